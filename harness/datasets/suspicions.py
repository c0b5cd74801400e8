"""What makes the accuracy on a data set worth less than it looks: columns that give the label away, rows seen twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from harness.datasets.table import Table, row_hashes
from harness.wording import percentage

if TYPE_CHECKING:
    import pandas as pd

_TELLING = 0.999  # ROC-AUC of one column from which it tells the label alone
_LEAST = 5  # rows of a kind from which such an area says anything
_MOST_ROWS = 20_000  # looked at per column
_SHARED = 0.01  # share of test rows that training holds too from which it is worth a warning
_CONTRADICTORY = 0.001  # share of rows with a twin of the other label from which it is
_SHOWN = 3
_CATEGORY_ROWS = 5  # mean rows per value from which a column is no list of names


def suspicions(train: Table, test: Table) -> tuple[str, ...]:
    """Sentences on telling columns, columns that number rows, contradictory labels, and rows on both sides."""
    columns = tuple(_of_columns(train, test)) if train.windows is None and test.windows is None else ()
    return (*columns, *_of_rows(train, test))


def _of_columns(train: Table, test: Table) -> Iterator[str]:
    label = np.concatenate([train.label, test.label])
    names = train.features.columns
    if not len(label) or (train.features.dtypes == np.uint8).all():  # pixels
        return
    rows = _sample(label)
    enough = min(int((label[rows] == 1).sum()), int((label[rows] == 0).sum())) >= _LEAST
    telling = []
    for name in names:
        values = _numbers(train.features[name], test.features[name], train.label)
        if _numbers_rows(train.features[name], values):
            yield (
                f"Column {str(name)!r} numbers the rows, each with a value of its own: detectors may learn the order "
                "of the file. Leave it out with --drop."
            )
        elif enough and (area := _separation(values[rows], label[rows])) >= _TELLING:
            telling.append(f"{str(name)!r} (ROC-AUC {area:.3f})")
    if telling:
        shown = ", ".join(telling[:_SHOWN]) + (f" and {len(telling) - _SHOWN} more" if len(telling) > _SHOWN else "")
        yield (
            f"{'Columns' if len(telling) > 1 else 'Column'} {shown} alone "
            f"{'separate' if len(telling) > 1 else 'separates'} the labels: if made from it or known only "
            "afterwards, leave out with --drop."
        )


def _of_rows(train: Table, test: Table) -> Iterator[str]:
    hashes = np.concatenate([row_hashes(train), row_hashes(test)])
    label = np.concatenate([train.label, test.label])
    _, group = np.unique(hashes, return_inverse=True)
    anomalous = np.bincount(group, weights=label)[group]
    contradictory = int(((anomalous > 0) & (anomalous < np.bincount(group)[group])).sum())
    if contradictory > _CONTRADICTORY * len(label):
        yield (
            f"{contradictory:,} of {len(label):,} rows have a twin with equal features and the other label: no "
            "detector can be right on both."
        )
    shared = int(np.isin(hashes[len(train) :], hashes[: len(train)]).sum())
    if shared > _SHARED * len(test):
        yield (
            f"{shared:,} of {len(test):,} test rows ({percentage(shared / len(test))}) equal a training row: accuracy "
            "on them is that of memory."
        )


def _sample(label: npt.NDArray[np.int8]) -> npt.NDArray[np.int64]:
    """At most about so many rows, all anomalies or an even part of them among these."""
    chosen = []
    for kind in (0, 1):
        places = np.flatnonzero(label == kind)
        chosen.append(places[:: max(1, len(places) * 2 // _MOST_ROWS)])
    return np.concatenate(chosen)


def _numbers(train: pd.Series[Any], test: pd.Series[Any], label: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
    """The values of both parts; of categories, the share of anomalies that each has in training."""
    if not hasattr(train, "cat"):
        return np.concatenate([train.to_numpy(np.float64), test.to_numpy(np.float64)])
    codes, categories = train.cat.codes.to_numpy(), train.cat.categories
    rows = np.bincount(codes[codes >= 0], minlength=len(categories)).astype(np.float64)
    anomalies = np.bincount(codes[codes >= 0], weights=label[codes >= 0], minlength=len(categories))
    if len(categories) * _CATEGORY_ROWS > len(codes):
        return np.zeros(len(train) + len(test))
    share: Mapping[Any, float] = dict(zip(categories, anomalies / np.maximum(rows, 1), strict=True))
    of_test = np.array([share.get(name, 0.5) for name in test.cat.categories] + [0.5])
    of_train = np.append(np.array([share[name] for name in categories]), 0.5)
    return np.concatenate([of_train[codes], of_test[test.cat.codes.to_numpy()]])


def _numbers_rows(column: pd.Series[Any], values: npt.NDArray[np.float64]) -> bool:
    """Whether whole numbers count the rows: all different, with hardly any left out between the least and the most."""
    if hasattr(column, "cat") or len(values) < 20 or not np.isfinite(values).all() or (values != np.rint(values)).any():
        return False
    span = values.max() - values.min() + 1
    return bool(len(values) <= span <= 1.05 * len(values)) and len(np.unique(values)) == len(values)


def _separation(values: npt.NDArray[np.float64], label: npt.NDArray[np.int8]) -> float:
    """ROC-AUC of the values as scores or their opposite, whichever is higher; missing values lie in the middle."""
    from sklearn.metrics import roc_auc_score

    finite = np.isfinite(values)
    if not finite.any():
        return 0.5
    area = float(roc_auc_score(label, np.where(finite, values, np.median(values[finite]))))
    return max(area, 1.0 - area)
