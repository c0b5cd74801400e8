"""Flows as CICFlowMeter writes them: CICIDS2017 in both forms, CSE-CIC-IDS2018, MAWIFlow.

The files differ in column names, in how normal traffic is called, in missing rates ("NaN", "Infinity") and in defects:
a repeated column, a header repeated among the rows, a dash that is no valid UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.datasets import csvfile, parquet, splits, synthetic, times
from harness.datasets.file_days import by_day
from harness.datasets.gaps import NUMBERS
from harness.datasets.options import Option, choice, count, encoding
from harness.datasets.recipe import Reading, Request, reading
from harness.datasets.store import Found, FoundFile, digest, opened
from harness.datasets.table import Split, Table, categorical_of, counted
from harness.errors import InputError

_LABEL, _TIME, _TAXONOMY = "Label", "Timestamp", "taxonomy"
_ATTEMPTED = " - Attempted"  # suffix of the improved labels for attacks that had no effect
_LABELS = frozenset({"label", "labels", "class", "attack type", "attack", "category", "traffic type"})
_BENIGN = frozenset({"benign", "normal", "benigntraffic", "normal traffic", "benign traffic"})
_TEXT = "latin-1"  # decodes any byte; some labels hold a dash in Windows-1252
_HEADER_BYTES = 1 << 16
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
    order = by_day([entry.name for entry in local.files])
    local = replace(local, files=tuple(local.files[position] for position in order))
    unlabelled: list[int] = []
    frame, seen = sampled(_labelled(_blocks(local, digests), unlabelled), request.options["flows"], rng)
    if frame is None or not len(frame):
        kind = "labelled flows" if any(unlabelled) else "flows"
        raise InputError(f"{local.files[0].path} holds a header and no {kind}.")
    notes: list[str] = []
    if any(unlabelled):
        notes.append(f"{counted(sum(unlabelled), 'line')} left out, without a label (rows of commas).")
    if seen > len(frame):
        notes.append(f"{len(frame):,} of {seen:,} flows were drawn evenly.")
    table, time = _table(frame, request, dropped, notes)
    return reading(local, digests, replace(_split(table, time, request, tuple(notes)), gaps=NUMBERS))


def synthesise(names: Sequence[str], rows: dict[str, int], request: Request) -> Split:
    """A stand-in with the columns ``names``; its rows have a random order as their time."""
    fields = [synthetic.Field(name, "flag" if "Flag" in name else "count") for name in names]
    normal = next(name for name in rows if name.casefold() in _BENIGN)
    process = synthetic.CopulaMixture(fields, sorted(set(rows) - {normal}), seed=request.seed, normal=normal)
    table = process.table(rows)
    return replace(_split(table, np.arange(len(table)), request, (synthetic.NOTE,)), gaps=NUMBERS)


def _blocks(local: Found, digests: dict[str, str]) -> Iterator[pd.DataFrame]:
    """Blocks of all files with the same columns; ``digests`` is filled as files end."""
    kept: list[str] | None = None
    for entry in local.files:
        is_parquet = entry.path.suffix == ".parquet"
        for block in _parquet_blocks(entry, digests) if is_parquet else _csv_blocks(entry, digests):
            kept = list(block.columns) if kept is None else kept
            for lacking, having, names in (
                (entry, local.files[0], set(kept) - set(block.columns)),
                (local.files[0], entry, set(block.columns) - set(kept)),
            ):
                if names:
                    raise InputError(
                        f"{lacking.path} lacks the column {min(names)!r} that {having.path.name} has.",
                        remedy="Files of one data set must come from the same release.",
                    )
            yield block[kept]


def _labelled(blocks: Iterable[pd.DataFrame], unlabelled: list[int]) -> Iterator[pd.DataFrame]:
    """The rows that have a label; ``unlabelled`` receives how many of each block have none."""
    for block in blocks:
        labels = block[_LABEL].cat
        named = np.array([bool(str(name).strip()) for name in labels.categories] + [False])[labels.codes.to_numpy()]
        unlabelled.append(int((~named).sum()))
        yield block if named.all() else block[named]


def _csv_blocks(entry: FoundFile, digests: dict[str, str]) -> Iterator[pd.DataFrame]:
    names = _with_label(csvfile.header(entry.path, text=_TEXT))
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
        yield from csvfile.frames(reader, entry.path, schema, header_lines=1)
        digests[entry.name] = reader.drain()


def _with_label(names: Sequence[str]) -> tuple[str, ...]:
    """The columns with the label under its published name; it is looked for from the end."""
    places = [place for place, name in enumerate(names) if name.casefold().replace("_", " ") in _LABELS]
    if not places or _LABEL in names:
        return tuple(names)
    return (*names[: places[-1]], _LABEL, *names[places[-1] + 1 :])


def _parquet_blocks(entry: FoundFile, digests: dict[str, str]) -> Iterator[pd.DataFrame]:
    for frame in parquet.frames(entry.path, _is_wanted, required=(_LABEL,)):
        texts = [name for name in frame.columns if name in _TEXTS]
        yield frame.astype(dict.fromkeys(texts, "category"))
    digests[entry.name] = digest(entry.path)


def _is_wanted(name: str) -> bool:
    return name not in _IDENTIFIERS or name in (_LABEL, _TIME, _TAXONOMY)


def sampled(blocks: Iterable[pd.DataFrame], most: int, rng: np.random.Generator) -> tuple[pd.DataFrame | None, int]:
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
    benign = np.array([name.casefold() in _BENIGN or _is_zero(name) for name in names])
    if not benign.any():
        raise InputError(
            f"Data set {request.dataset}: no flow is labelled {' or '.join(sorted(_BENIGN)[:1])}; "
            f"labels are {', '.join(sorted(set(names.tolist()))[:8])}.",
            remedy="The labels must show which flows are normal; are files of normal days missing?",
        )
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
    time = np.arange(len(frame), dtype=np.int64)
    if _TIME in frame.columns and request.options["split"] != "random":
        time, dated = _times(frame[_TIME], notes)
        rows = rows[dated[rows]]
    elif request.options["split"] != "random":
        notes.append("The files hold no times; flows are ordered as they stand in the files, and files by their day.")
    classes = names[codes[rows]]
    if _TAXONOMY in frame.columns:  # MAWIFlow: the label says whether, the taxonomy which
        taxonomy = np.asarray(frame[_TAXONOMY].iloc[rows], dtype=object).astype(np.str_)
        classes = np.where(benign[codes[rows]], classes, taxonomy)
    described = frame[[name for name in frame.columns if name not in _IDENTIFIERS]].iloc[rows].reset_index(drop=True)
    broken = np.zeros(len(described), np.bool_)
    for name in described.columns:
        broken |= ~np.isfinite(described[name].to_numpy())
    if broken.any():
        notes.append(f"{broken.sum():,} flows hold missing or infinite numbers; the training median takes their place.")
    label = (~benign[codes[rows]]).astype(np.int8)
    return Table(described, label, categorical_of(classes.tolist())), time[rows]


def _times(column: pd.Series[Any], notes: list[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Time of each flow, and which flows have one; where none has, their order in the files."""
    codes = column.cat.codes.to_numpy()
    parsed = times.parse([str(value) for value in column.cat.categories], codes)
    stamps = np.append(parsed.stamps, times.UNKNOWN)[codes]
    dated = stamps != times.UNKNOWN
    if not dated.any():
        notes.append(f"{_TIME} holds no readable times; flows are ordered as their files are, by day.")
        return np.arange(len(stamps), dtype=np.int64), ~dated  # the order that files without times get
    if not dated.all():
        notes.append(f"{counted(int((~dated).sum()), 'flow')} left out, without a readable time.")
    afternoon = times.twelve_hour_clock(stamps)
    if afternoon.any():
        notes.append("Times are on a clock of 12 hours without AM or PM; hours before 8 are taken as afternoon.")
        stamps = np.where(afternoon, stamps + times.HALF_DAY, stamps)
    return stamps, dated


def _is_zero(label: str) -> bool:
    """Whether a label is the number 0, as in copies that only say whether a flow is an attack."""
    try:
        return float(label) == 0
    except ValueError:
        return False


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
