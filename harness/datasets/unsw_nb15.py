"""UNSW-NB15: the two published parts, 45 columns with header, byte-order mark, and names that some copies swap.

Source: Moustafa & Slay 2015. The documentation calls the part of 175,341 rows training and that of 82,332 rows testing;
copies of the files exist with the two names exchanged, so the parts are distinguished by their number of rows.

The raw capture is published as four files of 49 columns without a header, of two days; it has no official parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from harness.datasets import csvfile, splits, synthetic
from harness.datasets.cicflow import sampled
from harness.datasets.options import choice, count, encoding
from harness.datasets.recipe import Reading, Recipe, Request, reading
from harness.datasets.store import Found, FoundFile, opened
from harness.datasets.table import Split, Table, categorical_of
from harness.errors import InputError

_TRAIN_ROWS, _TEST_ROWS = 175_341, 82_332
_NORMAL = "Normal"
_KINDS = """
    dur:count proto:category service:category state:category spkts:count dpkts:count sbytes:count dbytes:count
    rate:count sttl:count dttl:count sload:count dload:count sloss:count dloss:count sinpkt:count dinpkt:count
    sjit:count djit:count swin:count stcpb:count dtcpb:count dwin:count tcprtt:rate synack:rate ackdat:rate smean:count
    dmean:count trans_depth:count response_body_len:count ct_srv_src:count ct_state_ttl:count ct_dst_ltm:count
    ct_src_dport_ltm:count ct_dst_sport_ltm:count ct_dst_src_ltm:count is_ftp_login:flag ct_ftp_cmd:count
    ct_flw_http_mthd:count ct_src_ltm:count ct_srv_dst:count is_sm_ips_ports:flag"""
_SYNTHETIC_VALUES = {
    "proto": tuple(f"proto-{number}" for number in range(133)),
    "service": ("-", "dhcp", "dns", "ftp", "ftp-data", "http", "irc", "pop3", "radius", "smtp", "snmp", "ssh", "ssl"),
    "state": ("ACC", "CLO", "CON", "ECO", "FIN", "INT", "PAR", "REQ", "RST"),
}
_FIELDS = synthetic.fields(_KINDS, _SYNTHETIC_VALUES)
_FEATURES = tuple(field.name for field in _FIELDS)
_CATEGORIES = frozenset(_SYNTHETIC_VALUES)
_RAW = """
    srcip sport dstip dsport proto state dur sbytes dbytes sttl dttl sloss dloss service sload dload spkts dpkts swin
    dwin stcpb dtcpb smean dmean trans_depth response_body_len sjit djit stime ltime sinpkt dinpkt tcprtt synack ackdat
    is_sm_ips_ports ct_state_ttl ct_flw_http_mthd is_ftp_login ct_ftp_cmd ct_srv_src ct_srv_dst ct_dst_ltm ct_src_ltm
    ct_src_dport_ltm ct_dst_sport_ltm ct_dst_src_ltm attack_cat label"""
_RAW_COLUMNS = tuple(_RAW.split())
_BLANK = ("ct_flw_http_mthd", "is_ftp_login", "ct_ftp_cmd")  # empty in the raw files where a flow has none
_RAW_FEATURES = tuple(name for name in _FEATURES if name != "rate")  # which only the parts have
_SPELLINGS = {"": _NORMAL, "-": _NORMAL, "normal": _NORMAL, "nan": _NORMAL, "backdoors": "Backdoor"}
_SYNTHETIC_SHARE = 0.1
_ROWS = synthetic.counts(  # of the published part of 82,332 rows
    """Normal:37000 Generic:18871 Exploits:11132 Fuzzers:6062 DoS:4089 Reconnaissance:3496 Analysis:677 Backdoor:583
    Shellcode:378 Worms:44"""
)


def _read(local: Found, request: Request) -> Reading:
    if local.variant.name == "raw":
        return _read_raw(local, request)
    tables: list[Table] = []
    digests = {}
    for entry in local.files:
        table, digests[entry.name] = _table(entry)
        tables.append(table)
    tables.sort(key=len, reverse=True)
    return reading(local, digests, _split(tables, request))


def _table(entry: FoundFile) -> tuple[Table, str]:
    names = csvfile.header(entry.path, text="utf-8-sig")
    csvfile.require_columns(entry.path, names, (*_FEATURES, "attack_cat", "label"))
    schema = csvfile.Schema(
        columns=names, categories=_CATEGORIES | {"attack_cat"}, keep=(*_FEATURES, "attack_cat", "label")
    )
    frame, digest = csvfile.read(entry.path, schema, header_lines=1)
    return _labelled(frame, list(_FEATURES), entry.path, header_lines=1), digest


def _labelled(frame: pd.DataFrame, features: list[str], path: Path, *, header_lines: int) -> Table:
    column = frame["attack_cat"].cat
    written = [str(name).strip() for name in column.categories]
    names = np.array([*(_SPELLINGS.get(name.casefold(), name) for name in written), _NORMAL])
    classes = categorical_of(names[column.codes.to_numpy()].tolist())
    label = (frame["label"].to_numpy() != 0).astype(np.int8)
    wrong = np.flatnonzero(label != np.asarray(classes != _NORMAL))
    if len(wrong):
        line = int(wrong[0]) + header_lines + 1
        raise InputError(f"{path} line {line}: label {label[wrong[0]]} contradicts {str(classes[wrong[0]])!r}.")
    return Table(frame[features], label, classes)


def _read_raw(local: Found, request: Request) -> Reading:
    """The four raw files as one table, the latest flows of each class as test."""
    digests: dict[str, str] = {}
    rng = np.random.default_rng(request.seed)
    frame, seen = sampled(_raw_blocks(local, digests), request.options["flows"], rng)
    if frame is None:
        raise InputError(f"{local.files[0].path} holds no flows.")
    for name in _BLANK:
        texts = [str(text).strip() for text in frame[name].cat.categories]
        values = np.array([*(float(text) if text else 0.0 for text in texts), 0.0])
        frame[name] = values[frame[name].cat.codes.to_numpy()]
    table = _labelled(frame, list(_RAW_FEATURES), local.files[0].path, header_lines=0)
    notes: tuple[str, ...] = ("The raw files have no official parts and no column 'rate'.",)
    if seen > len(frame):
        notes = (*notes, f"{len(frame):,} of {seen:,} flows were drawn evenly.")
    if request.options["split"] == "random":
        return reading(local, digests, splits.random(table, request, notes))
    notes = (*notes, "The latest flows of each class test, instead of an official part.")
    order, within = frame["stime"].to_numpy(), np.asarray(frame["attack_cat"].cat.codes)
    split = splits.by_time(table, order, validation=request.options["validation"], within=within, notes=notes)
    return reading(local, digests, split)


def _raw_blocks(local: Found, digests: dict[str, str]) -> Iterator[pd.DataFrame]:
    keep = (*_RAW_FEATURES, "stime", "attack_cat", "label")
    categories = _CATEGORIES | {"attack_cat", *_BLANK}
    for entry in local.files:
        headed = csvfile.header(entry.path, text="utf-8-sig")[0].casefold() == _RAW_COLUMNS[0]
        schema = csvfile.Schema(_RAW_COLUMNS, categories=categories, keep=keep, text="utf-8-sig")
        with opened(entry.path) as reader:
            yield from csvfile.frames(reader, entry.path, schema, header_lines=1 if headed else 0)
            digests[entry.name] = reader.drain()


def _split(parts: list[Table], request: Request, notes: tuple[str, ...] = ()) -> Split:
    """The official split where both parts are here and it is asked for, else a random one of what is here."""
    sizes = [len(part) for part in parts]
    if len(parts) == 2 and request.options["split"] == "official":
        if sizes != [_TRAIN_ROWS, _TEST_ROWS] and not notes:
            notes = (f"The parts have {sizes[0]:,} and {sizes[1]:,} rows; the larger one trains.",)
        return Split(parts[0], parts[1], notes=notes)
    if request.options["split"] == "official":
        notes = (*notes, f"Only the part of {sizes[0]:,} rows is here, so it is split at random instead of officially.")
    return splits.random(parts[0], request, notes)


def _synthesise(request: Request) -> Split:
    attacks = sorted(set(_ROWS) - {_NORMAL})
    process = synthetic.CopulaMixture(_FIELDS, attacks, seed=request.seed, normal=_NORMAL)
    parts = [
        process.table({name: max(2, round(rows * _SYNTHETIC_SHARE * factor)) for name, rows in _ROWS.items()})
        for factor in (_TRAIN_ROWS / _TEST_ROWS, 1.0)
    ]
    return _split(parts, request, (synthetic.NOTE,))


RECIPE = Recipe(
    read=_read,
    synthesise=_synthesise,
    options={
        "encoding": encoding("onehot-log-standard"),
        "split": choice("official", "random", help="the publisher's parts, or 80 % and 20 % of the larger part"),
        "flows": count(500_000, help="at most this many flows of the raw files, drawn evenly while reading"),
    },
    published={"encoding": "onehot-standard", "split": "random"},
)
