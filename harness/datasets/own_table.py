"""A table of one's own: ``csv:PATH`` or ``parquet:PATH``, with the name of its label column as an option."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd

from harness.datasets import csvfile, parquet, splits
from harness.datasets.options import choice, encoding, names, share, text
from harness.datasets.recipe import Reading, Recipe, Request
from harness.datasets.store import Found, content, digest
from harness.datasets.table import Split, Table, categorical_of
from harness.errors import InputError

_NORMAL = frozenset({"0", "0.0", "normal", "benign", "false", "no"})


def _read(local: Found, request: Request) -> Reading:
    path = local.files[0].path
    if request.dataset.startswith("parquet:"):
        blocks = list(parquet.frames(path, lambda _name: True))
        frame, sha256 = csvfile.concatenate(blocks) if blocks else pd.DataFrame(), digest(path)
    else:
        frame, sha256 = _csv(path)
    if not len(frame):
        raise InputError(f"{path} holds no rows.")
    return Reading(_split(path, frame, request), {path.name: sha256}, None)


def _csv(path: Path) -> tuple[pd.DataFrame, str]:
    columns = csvfile.header(path)
    data, sha256 = content(path)
    try:
        frame = pd.read_csv(
            io.BytesIO(data), skiprows=1, header=None, names=list(columns), index_col=False, low_memory=False
        )
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: UTF-8 text expected, {error.reason}.") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(
            f"{path}: {str(error).splitlines()[0].replace('Error tokenizing data. C error: ', '')}."
        ) from None
    for name in columns:
        if not pd.api.types.is_numeric_dtype(frame[name].dtype):
            frame[name] = frame[name].astype("str").where(frame[name].notna()).astype("category")
    return frame, sha256


def _split(path: Path, frame: pd.DataFrame, request: Request) -> Split:
    label_name = request.options["label"]
    if label_name is None:
        raise InputError(
            f"Data set {request.dataset}: option 'label' must name its label column.",
            remedy=f"Its columns: {', '.join(map(str, frame.columns[:20]))}.",
        )
    _require(path, frame, label_name, "label")
    values = frame[label_name]
    if values.isna().any():
        raise InputError(f"{path} line {int(values.isna().to_numpy().argmax()) + 2}: no label in {label_name!r}.")
    classes = np.asarray(values.astype(object)).astype(np.str_)
    normal = request.options["normal"]
    normal_values = _NORMAL if normal is None else frozenset(name.casefold() for name in normal)
    label = np.array([name.casefold() not in normal_values for name in classes]).astype(np.int8)
    if label.all() or not label.any():
        labels = ", ".join(sorted(set(classes.tolist()))[:10])
        raise InputError(
            f"{path}: column {label_name!r} holds {'no normal' if label.all() else 'no anomalous'} rows: {labels}.",
            remedy="Option 'normal' lists the values that stand for normal rows.",
        )
    time_name = request.options["time"]
    if time_name:
        _require(path, frame, time_name, "time")
    features = frame.drop(columns=[name for name in (label_name, time_name) if name])
    for name in request.options["categories"] or ():
        _require(path, features, name, "categories")
        features[name] = features[name].astype("str").astype("category")
    features = features.astype(
        {name: "float64" for name in features.columns if not isinstance(features[name].dtype, pd.CategoricalDtype)}
    )
    table = Table(features, label, categorical_of(classes.tolist()))
    if time_name is None:
        return splits.random(table, request, share=request.options["test"])
    order = np.unique(np.asarray(frame[time_name].astype(object)), return_inverse=True)[1]
    return splits.by_time(table, order, validation=request.options["validation"], share=request.options["test"])


def _require(path: Path, frame: pd.DataFrame, name: str, option: str) -> None:
    if name not in frame.columns:
        raise InputError(
            f"{path} has no column {name!r}, which option {option!r} names.",
            remedy=f"Its columns: {', '.join(map(str, frame.columns[:20]))}.",
        )


def _synthesise(request: Request) -> Split:
    raise InputError(f"{request.dataset} is a file of your own; there is no stand-in for it.")


RECIPE = Recipe(
    read=_read,
    synthesise=_synthesise,
    options={
        "encoding": encoding("onehot-standard"),
        "label": text(None, help="name of the label column"),
        "normal": names(help="values of the label column that stand for normal rows"),
        "categories": names(help="columns that are categories although they hold numbers"),
        "time": text(None, help="column the rows are ordered by; the latest then test, and it is no feature"),
        "test": share(0.2, help="share of the rows that test"),
        "train_rows": choice("all", "normal", help="training rows kept; validation and test keep both kinds"),
    },
)
