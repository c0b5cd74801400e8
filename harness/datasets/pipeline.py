"""From split rows to an ``EncodedDataset``: choose columns, classes and rows, set validation aside, fit and encode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from harness.datasets.coded_rows import Rows
from harness.datasets.encoded import EncodedDataset, Labels, Strings
from harness.datasets.encoders import Encoder
from harness.datasets.labels import mapping
from harness.datasets.recipe import Request
from harness.datasets.suspicions import suspicions
from harness.datasets.table import Split, Table, count_duplicates, row_hashes
from harness.errors import InputError
from harness.platform.memory import usable_bytes

if TYPE_CHECKING:
    import pandas as pd

_CODED_SHARE = 1 / 16  # of the memory that features may take before categories are kept as codes
_FEW_ANOMALIES = 2
_NAMED_COLUMNS = 3  # whose rarer values are counted one by one


@dataclass(frozen=True, eq=False)
class _Encoded:
    x: Rows
    y: Labels
    classes: Strings | None
    group: npt.NDArray[np.int64] | None


def encode(split: Split, request: Request, *, real: bool = True) -> EncodedDataset:
    """Rows as a detector takes them, by the options of the request; the origin is that of a stand-in.

    Raises:
        InputError: an option names a column or class that is not there, or leaves no rows.
    """
    options = request.options
    notes = [_labels(split), *split.notes, *_few_anomalies(split.test, request)]
    train = _with_classes(_without_columns(split.train, split, request), options["train_classes"], request)
    test = _with_classes(_without_columns(split.test, split, request), options["test_classes"], request)
    if options["deduplicate"] == "train":
        before = len(train)
        train = _without_repeats(train)
        notes.append(f"{before - len(train):,} repeated training rows were removed.")
    rng = np.random.default_rng(request.seed)
    train, test = _at_most(train, options["rows"], rng), _at_most(test, options["rows"], rng)
    warnings, whole = (*split.warnings, *suspicions(train, test)) if real else (), train
    validation = split.validation
    if validation is not None:
        validation = _with_classes(_without_columns(validation, split, request), options["train_classes"], request)
        validation = _at_most(validation, options["rows"], rng)
    elif options["validation"] > 0:
        train, validation = _set_aside(train, request)

    fitted_on = train if split.fit is None else _without_columns(split.fit, split, request)
    encoder = _fit(fitted_on, split, request)
    encoder = replace(encoder, gaps=split.gaps.bounding(encoder.without_indicator(_frame(fitted_on))))
    test_encoder = _refitted(encoder, test, request, notes)
    if options["train_rows"] == "normal":
        train, whole = train.take(train.label == 0), whole.take(whole.label == 0)
    _refuse_empty(train, test, request)
    notes += _vocabulary_notes(encoder, _frame(fitted_on), _frame(test) if test_encoder is encoder else None)

    coded = _take_much(encoder, [part for part in (train, test, validation) if part is not None])
    train_part, test_part = _apply(encoder, train, coded=coded), _apply(test_encoder, test, coded=coded)
    validation_part = None if validation is None else _apply(encoder, validation, coded=coded)
    return EncodedDataset(
        name=request.dataset,
        origin="synthetic",
        protocol=request.protocol,
        sha256={},
        verified=None,
        train_x=train_part.x,
        train_y=train_part.y,
        train_class=train_part.classes,
        validation_x=None if validation_part is None else validation_part.x,
        validation_y=None if validation_part is None else validation_part.y,
        validation_class=None if validation_part is None else validation_part.classes,
        test_x=test_part.x,
        test_y=test_part.y,
        test_class=test_part.classes,
        test_group=test_part.group,
        feature_names=encoder.feature_names,
        notes=tuple(notes),
        split_seed=request.seed if split.drawn else None,
        warnings=warnings,
        duplicates=count_duplicates(whole, test),
        streamed=None if split.streamed is None else split.streamed.encoded(encoder, options["rows"]),
        encoder=encoder,
    )


def _refuse_empty(train: Table, test: Table, request: Request) -> None:
    for table, what in ((train, "training"), (test, "test")):
        if not len(table):
            raise InputError(f"Data set {request.dataset}: no {what} rows are left by its options.")


def test_rows(split: Split, request: Request) -> int:
    """How many test rows :func:`encode` gives."""
    test = _with_classes(split.test, request.options["test_classes"], request)
    return len(_at_most(test, request.options["rows"], np.random.default_rng(request.seed)))


def _few_anomalies(test: Table, request: Request) -> list[str]:
    """A word on test rows with so few anomalies that they say little.

    Raises:
        InputError: the test rows of our own split are of one kind, so that nothing can be told from them.
    """
    anomalies = int(test.label.sum())
    if anomalies in (0, len(test)) and not request.published:
        raise InputError(
            f"Data set {request.dataset} has no {'normal rows' if anomalies else 'anomalies'} among its {len(test):,} "
            f"test rows.",
            remedy="Accuracy needs both kinds: take another split (options test, time, seed) or other test files.",
        )
    if anomalies > _FEW_ANOMALIES:
        return []
    return [
        f"The test rows hold {anomalies} {'anomaly' if anomalies == 1 else 'anomalies'}: on so few rows, another split "
        "can give quite another accuracy."
    ]


def _vocabulary_notes(encoder: Encoder, train: pd.DataFrame, test: pd.DataFrame | None) -> list[str]:
    bounded = encoder.without_indicator(train)
    unseen = {} if test is None else encoder.unseen(test)
    notes = [
        f"{count:,} of the rarer values of {name!r} {'has' if count == 1 else 'have'} no indicator."
        for name, count in bounded.items()
    ]
    if len(bounded) > _NAMED_COLUMNS:
        first, *_, last = bounded
        most = max(len(encoder.vocabulary[name]) for name in bounded)
        notes = [
            f"The rarer values of {len(bounded)} columns, {first!r} to {last!r}, {sum(bounded.values()):,} in all, "
            f"have no indicator: at most {most} of each column have."
        ]
    for name in unseen.keys() - bounded.keys():
        notes.append(f"{unseen[name]:,} test rows hold a value of {name!r} that training does not.")
    return notes


def _labels(split: Split) -> str:
    """What counts as normal and as anomalous, with the rows of all parts."""
    counts: list[Counter[str]] = [Counter(), Counter()]
    for part in filter(None, (split.train, split.validation, split.test)):
        for label, counter in enumerate(counts):
            chosen = part.label == label
            if part.classes is None:
                counter[str(label)] += int(chosen.sum())
                continue
            names = [str(name) for name in part.classes.categories]
            rows = np.bincount(part.classes.codes[chosen & (part.classes.codes >= 0)], minlength=len(names))
            counter.update({name: int(count) for name, count in zip(names, rows, strict=True) if count})
    return f"Labels: {mapping(counts[0], counts[1])}."


def _fit(table: Table, split: Split, request: Request) -> Encoder:
    frame = _frame(table)
    scaler_rows = None
    if request.options["scaler_rows"] == "normal" and table.windows is None:
        scaler_rows = table.label == 0
    if not len(frame) or (scaler_rows is not None and not scaler_rows.any()):
        raise InputError(f"Data set {request.dataset}: no training rows are left to fit its encoder on.")
    return Encoder.fit(
        request.options["encoding"],
        frame,
        scaler_rows=scaler_rows,
        vocabulary=split.vocabulary,
        indicators=split.indicators,
    )


def _frame(table: Table) -> pd.DataFrame:
    """The feature rows that the examples of a table rest on."""
    rows = table.rows()
    return table.features if len(rows) == len(table.features) else table.features.iloc[rows]


def _refitted(encoder: Encoder, test: Table, request: Request, notes: list[str]) -> Encoder:
    """The encoder of the test rows: another one only where a published protocol re-fits on them."""
    refit = request.options.get("refit", "none") if request.published else "none"
    if refit == "none":
        return encoder
    if encoder.encoding.categories == "onehot":
        notes.append("Nothing was fitted again on the test rows: the source document does that to ordinal codes only.")
        return encoder
    notes.append(f"As published: {refit.replace('+', ' and ')} fitted again on the test rows, which leaks.")
    if refit == "encoders+scaler":
        return Encoder.fit(request.options["encoding"], test.features)
    return encoder.refit_vocabulary(test.features)


def _take_much(encoder: Encoder, tables: Sequence[Table]) -> bool:
    """Whether the features of these rows would take more than their share of memory, and codes for them much less."""
    memory = usable_bytes()
    if memory is None or not encoder.indicator_columns or any(table.windows is not None for table in tables):
        return False
    features, columns = len(encoder.feature_names), len(encoder.columns)
    return features > 2 * columns and 4 * features * sum(map(len, tables)) > _CODED_SHARE * memory


def _apply(encoder: Encoder, table: Table, *, coded: bool) -> _Encoded:
    x: Rows
    if coded:
        x = encoder.coded(table.features)
    else:
        features = encoder.transform(table.features)
        x = features if table.windows is None else features[table.windows]
    return _Encoded(
        x,
        table.label,
        None if table.classes is None else np.asarray(table.classes, dtype=object).astype(np.str_),
        table.group,
    )


def _without_columns(table: Table, split: Split, request: Request) -> Table:
    drop = [name for name in request.options["drop"] or () if name not in split.left_out]
    if not drop:
        return table
    unknown = [name for name in drop if name not in table.features.columns]
    if unknown:
        near = get_close_matches(unknown[0], list(map(str, table.features.columns)), n=1)
        meant = f"Did you mean {near[0]!r}? " if near else ""
        raise InputError(
            f"Option 'drop' of data set {request.dataset}: no column {unknown[0]!r}.",
            remedy=f"{meant}Its columns: {', '.join(map(str, table.features.columns))}.",
        )
    return replace(table, features=table.features.drop(columns=drop))


def _with_classes(table: Table, kept: list[str] | None, request: Request) -> Table:
    """Normal rows and the anomalies of the ``kept`` classes."""
    if kept is None:
        return table
    if table.classes is None:
        raise InputError(f"Data set {request.dataset} names no classes, so none can be chosen.")
    unknown = [name for name in kept if name not in table.classes.categories]
    if unknown:
        known = ", ".join(sorted(map(str, table.classes.categories)))
        raise InputError(f"Data set {request.dataset} has no class {unknown[0]!r}.", remedy=f"Its classes: {known}.")
    return table.take(np.asarray((table.label == 0) | table.classes.isin(kept)))


def _without_repeats(table: Table) -> Table:
    keys = row_hashes(table) + table.label.astype(np.uint64)
    _, first = np.unique(keys, return_index=True)
    return table.take(np.sort(first))


def _at_most(table: Table, rows: int | None, rng: np.random.Generator) -> Table:
    """At most ``rows`` examples, each label keeping its share (and at least one example)."""
    if rows is None or len(table) <= rows:
        return table
    chosen = []
    for label in np.unique(table.label):
        places = np.flatnonzero(table.label == label)
        wanted = max(1, round(rows * len(places) / len(table)))
        chosen.append(rng.choice(places, size=min(wanted, len(places)), replace=False))
    return table.take(np.sort(np.concatenate(chosen)))


def _set_aside(table: Table, request: Request) -> tuple[Table, Table]:
    """A random share of the rows; each label keeps its share, except where a source document's draw is repeated."""
    from sklearn.model_selection import train_test_split

    if len(table) < 2:
        raise InputError("A validation split needs at least two training rows.")
    share = request.options["validation"]
    fewest = min(int(np.bincount(table.label).min()), round(share * len(table)), len(table) - round(share * len(table)))
    labels = None if request.published or fewest < 2 else table.label
    kept, aside = train_test_split(np.arange(len(table)), test_size=share, stratify=labels, random_state=request.seed)
    return table.take(kept), table.take(aside)
