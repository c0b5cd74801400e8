"""Flows as CICFlowMeter writes them: CICIDS2017 in both forms, CSE-CIC-IDS2018, MAWIFlow.

The files differ in column names, in how normal traffic is called, in missing rates ("NaN", "Infinity") and in defects:
a repeated column, a header repeated among the rows, a dash that is no valid UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.datasets import csvfile, parquet, splits, synthetic
from harness.datasets.options import Option, choice, count, encoding
from harness.datasets.recipe import Reading, Request, reading
from harness.datasets.store import Found, FoundFile, digest, opened
from harness.datasets.table import Split, Table, categorical_of
from harness.errors import InputError

_LABEL, _TIME, _TAXONOMY = "Label", "Timestamp", "taxonomy"
_ATTEMPTED = " - Attempted"  # suffix of the improved labels for attacks that had no effect
_BENIGN = frozenset({"benign", "normal"})
_TEXT = "latin-1"  # decodes any byte; some labels hold a dash in Windows-1252
_HEADER_BYTES = 1 << 16
_TIME_FORMS = ("ISO8601", "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %I:%M:%S %p", "%d/%m/%Y %H:%M")
# Columns that name a flow rather than describe it.
_TEXTS = frozenset(
    {"Flow ID", "Src IP", "Source IP", "Dst IP", "Destination IP", _TIME, _LABEL, _TAXONOMY, "SimillarHTTP"}
)
_IDENTIFIERS = _TEXTS | {"id", "Unnamed: 0", "", "Src Port", "Source Port", "Attempted Category", "Inbound"}

_SPLITS = ("time-within-class", "time", "random")


def split_option(default: str) -> Option:
    """How test rows are chosen; ``default`` comes first."""
    others = [name for name in _SPLITS if name != default]
    return choice(default, *others, help="test rows are the latest of each class, the latest of all, or random")


OPTIONS: dict[str, Option] = {
    "encoding": encoding("log-standard"),
    "split": split_option("time-within-class"),
    "attempted": choice("attack", "benign", "drop", help="what attacks without effect count as (improved labels)"),
    "flows": count(500_000, help="at most this many flows are kept, drawn evenly while reading"),
}
# The source documents split at random and used 250,000 flows.
PUBLISHED: dict[str, Any] = {"encoding": "standard", "split": "random", "flows": 250_000}


def read(local: Found, request: Request, *, dropped: frozenset[str] = frozenset()) -> Reading:
    """Read the files of a variant; rows whose label is in ``dropped`` are left out."""
    digests: dict[str, str] = {}
    rng = np.random.default_rng(request.seed)
    frame, seen = _sampled(_blocks(local, digests), request.options["flows"], rng)
    if frame is None:
        raise InputError(f"{local.files[0].path} holds a header and no flows.")
    notes: list[str] = []
    if seen > len(frame):
        notes.append(f"{len(frame):,} of {seen:,} flows were drawn evenly.")
    table, time = _table(frame, request, dropped, notes)
    return reading(local, digests, _split(table, time, request, tuple(notes)))


def synthesise(names: Sequence[str], rows: dict[str, int], request: Request) -> Split:
    """A stand-in with the columns ``names``; its rows have a random order as their time."""
    fields = [synthetic.Field(name, "flag" if "Flag" in name else "count") for name in names]
    normal = next(name for name in rows if name.casefold() in _BENIGN)
    process = synthetic.CopulaMixture(fields, sorted(set(rows) - {normal}), seed=request.seed, normal=normal)
    table = process.table(rows)
    return _split(table, np.arange(len(table)), request, (synthetic.NOTE,))


def _blocks(local: Found, digests: dict[str, str]) -> Iterator[pd.DataFrame]:
    """Blocks of all files with the same columns; ``digests`` is filled as files end."""
    kept: list[str] | None = None
    for entry in local.files:
        parquet = entry.path.suffix == ".parquet"
        for block in _parquet_blocks(entry, digests) if parquet else _csv_blocks(entry, digests):
            kept = list(block.columns) if kept is None else kept
            missing = [name for name in kept if name not in block.columns]
            if missing:
                raise InputError(
                    f"{entry.path} lacks the column {missing[0]!r} that {local.files[0].path.name} has.",
                    remedy="Files of one data set must come from the same release.",
                )
            yield block[kept]


def _csv_blocks(entry: FoundFile, digests: dict[str, str]) -> Iterator[pd.DataFrame]:
    names = csvfile.header(entry.path, text=_TEXT)
    csvfile.require_columns(entry.path, names, (_LABEL,))
    with opened(entry.path) as reader:
        schema = csvfile.Schema(
            names,
            categories=frozenset(names) & _TEXTS,
            keep=tuple(name for name in names if _is_wanted(name)),
            missing_numbers=True,
            skip=(reader.read(_HEADER_BYTES) or b"").split(b"\n", 1)[0] + b"\n",
            text=_TEXT,
        )
    with opened(entry.path) as reader:
        for block in csvfile.frames(reader, entry.path, schema, header_lines=1):
            yield _with_times(block)
        digests[entry.name] = reader.drain()


def _parquet_blocks(entry: FoundFile, digests: dict[str, str]) -> Iterator[pd.DataFrame]:
    for frame in parquet.frames(entry.path, _is_wanted, required=(_LABEL,)):
        texts = [name for name in frame.columns if name in _TEXTS]
        yield _with_times(frame.astype(dict.fromkeys(texts, "category")))
    digests[entry.name] = digest(entry.path)


def _is_wanted(name: str) -> bool:
    return name not in _IDENTIFIERS or name in (_LABEL, _TIME, _TAXONOMY)


def _with_times(block: pd.DataFrame) -> pd.DataFrame:
    """The block with its times as ns since 1970, -1 where they are in no known form."""
    if _TIME not in block.columns:
        return block
    column = block[_TIME].cat
    written = pd.Series([str(value) for value in column.categories], dtype=object)
    stamps = np.full(len(written), -1, np.int64)
    for form in _TIME_FORMS:
        known = pd.to_datetime(written, errors="coerce", format=form)
        if known.notna().all():
            stamps = known.to_numpy().astype("datetime64[ns]").astype(np.int64)
            break
    return block.assign(**{_TIME: stamps[column.codes.to_numpy()]})


def _sampled(blocks: Iterable[pd.DataFrame], most: int, rng: np.random.Generator) -> tuple[pd.DataFrame | None, int]:
    """An even sample of at most ``most`` rows in their order: those with the smallest of independent random keys."""
    held: list[pd.DataFrame] = []
    keys: list[npt.NDArray[np.float64]] = []
    seen = 0
    for block in blocks:
        seen += len(block)
        held.append(block)
        keys.append(rng.random(len(block)))
        if sum(map(len, held)) > 2 * most:
            held, keys = _smallest(held, keys, most)
    if not held:
        return None, 0
    held, _ = _smallest(held, keys, most)
    return held[0], seen


def _smallest(
    held: list[pd.DataFrame], keys: list[npt.NDArray[np.float64]], most: int
) -> tuple[list[pd.DataFrame], list[npt.NDArray[np.float64]]]:
    frame, key = csvfile.concatenate(held), np.concatenate(keys)
    if len(frame) <= most:
        return [frame], [key]
    chosen = np.sort(np.argpartition(key, most)[:most])
    return [frame.iloc[chosen].reset_index(drop=True)], [key[chosen]]


def _table(
    frame: pd.DataFrame, request: Request, dropped: frozenset[str], notes: list[str]
) -> tuple[Table, npt.NDArray[np.int64]]:
    labels = frame[_LABEL].cat
    names = np.array([_tidy(str(name)) for name in labels.categories])
    benign = np.array([name.casefold() in _BENIGN for name in names])
    kept = np.array([name.casefold() not in dropped for name in names])
    match request.options["attempted"]:
        case "benign":
            benign |= np.array([name.endswith(_ATTEMPTED) for name in names])
        case "drop":
            kept &= np.array([not name.endswith(_ATTEMPTED) for name in names])
    codes = labels.codes.to_numpy()
    rows = np.flatnonzero(kept[codes])
    if len(rows) < len(frame):
        notes.append(f"{len(frame) - len(rows):,} flows without a usable label were left out.")
    classes = names[codes[rows]]
    if _TAXONOMY in frame.columns:  # MAWIFlow: the label says whether, the taxonomy which
        taxonomy = np.asarray(frame[_TAXONOMY].iloc[rows], dtype=object).astype(np.str_)
        classes = np.where(benign[codes[rows]], classes, taxonomy)
    time = frame[_TIME].to_numpy()[rows] if _TIME in frame.columns else rows
    described = frame[[name for name in frame.columns if name not in _IDENTIFIERS]].iloc[rows].reset_index(drop=True)
    broken = np.zeros(len(described), np.bool_)
    for name in described.columns:
        broken |= ~np.isfinite(described[name].to_numpy())
    if broken.any():
        notes.append(f"{broken.sum():,} flows hold missing or infinite numbers; the training median takes their place.")
    label = (~benign[codes[rows]]).astype(np.int8)
    return Table(described, label, categorical_of(classes.tolist())), time.astype(np.int64)


def _tidy(label: str) -> str:
    """A label with its dash in whatever encoding made a plain one."""
    return re.sub(r"\s*[^\x20-\x7e]+\s*", " - ", label.strip())


def _split(table: Table, time: npt.NDArray[np.int64], request: Request, notes: tuple[str, ...]) -> Split:
    match request.options["split"]:
        case "random":
            return splits.random(table, request, notes)
        case "time":
            within = None
        case _:
            within = np.asarray(table.classes.codes) if table.classes is not None else None
    return splits.by_time(table, time, validation=request.options["validation"], within=within, notes=notes)
