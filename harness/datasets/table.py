"""Raw data between a file and an encoder: named columns, labels, classes, splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from harness.datasets.gaps import Gaps

if TYPE_CHECKING:
    import pandas as pd

    from harness.datasets.streamed import Streamable

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of one split.

    Without ``windows`` every array has one entry per row of ``features``. With ``windows`` (n, steps), whose entries
    are row numbers of ``features``, oldest first, an example is a window and the other arrays have n entries.
    """

    features: pd.DataFrame  # float or categorical columns
    label: npt.NDArray[np.int8]  # 1 = anomaly
    classes: pd.Categorical | None = None
    windows: Indices | None = None
    group: Indices | None = None

    def __len__(self) -> int:
        return len(self.label)

    def take(self, chosen: npt.NDArray[np.bool_] | Indices) -> Table:
        """The chosen examples, by mask or by position, in the order given."""
        rows = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen
        return replace(
            self,
            features=self.features if self.windows is not None else self.features.iloc[rows],
            label=self.label[rows],
            classes=None if self.classes is None else self.classes[rows],
            windows=None if self.windows is None else self.windows[rows],
            group=None if self.group is None else self.group[rows],
        )

    def rows(self) -> Indices:
        """Row numbers of ``features`` that the examples rest on, each once."""
        if self.windows is None:
            return np.arange(len(self.features), dtype=np.int64)
        return np.unique(self.windows)


@dataclass(frozen=True, eq=False)
class Split:
    """Training and test rows as the protocol of a data set cuts them, before any encoder has seen them."""

    train: Table
    test: Table
    validation: Table | None = None  # None: the pipeline sets a share of the training rows aside
    fit: Table | None = None  # rows an as-published protocol fits its encoder on, where those are not the training rows
    vocabulary: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()  # of the file; see ``harness.datasets.suspicions`` for those of its rows
    left_out: frozenset[str] = frozenset()  # columns that were there and are no features
    drawn: bool = False  # the test rows were drawn at random here, so that another seed gives another split
    gaps: Gaps = field(default_factory=Gaps)  # what was taken for a missing value
    indicators: int | None = None  # most indicators of one column of categories; None for all
    streamed: Streamable | None = None  # what is trained on, where ``train`` is only a part of it


def column_name(given: str | int, columns: Sequence[str]) -> str:
    """The column that an option names: by its name, or, where there is none of that name, by its place from the end."""
    name = str(given)
    from_end = name.startswith("-") and name[1:].isdigit() and 0 < int(name[1:]) <= len(columns)
    return columns[int(name)] if name not in columns and from_end else name


def counted(number: int, noun: str, *, plural: str | None = None) -> str:
    """``1 row``, ``1,200 rows``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def categorical(codes: npt.NDArray[Any], categories: Sequence[str]) -> pd.Categorical:
    """A categorical column from codes into ``categories``; -1 is missing."""
    import pandas as pd

    return cast("pd.Categorical", pd.Categorical.from_codes(codes, pd.Index(list(categories))))


def categorical_of(values: Sequence[str]) -> pd.Categorical:
    """A categorical column of ``values``; its categories are those that occur, sorted."""
    categories, codes = np.unique(np.asarray(values, dtype=np.str_), return_inverse=True)
    return categorical(codes, [str(name) for name in categories])


def trimmed(codes: npt.NDArray[Any], values: Sequence[str]) -> pd.Categorical:
    """A categorical column of texts without blanks around them; what is empty is missing, as is the code -1."""
    texts = [value.strip() for value in values]
    categories = list(dict.fromkeys(text for text in texts if text))
    place = {text: position for position, text in enumerate(categories)}
    lookup = np.array([*(place.get(text, -1) for text in texts), -1], dtype=np.int64)
    return categorical(lookup[codes], categories)


def count_duplicates(train: Table, test: Table) -> dict[str, int]:
    """Repeated rows within and across splits, by all features.

    Returns:
        ``train`` and ``test``: rows equal to an earlier row of the same split; ``test_in_train``: test rows that also
        occur among the training rows.
    """
    train_hash, test_hash = row_hashes(train), row_hashes(test)
    seen = np.unique(train_hash)
    return {
        "train": len(train_hash) - len(seen),
        "test": len(test_hash) - len(np.unique(test_hash)),
        "test_in_train": int(np.isin(test_hash, seen).sum()),
    }


def row_hashes(table: Table) -> npt.NDArray[np.uint64]:
    """A 64-bit hash of each row's features (of the last step of each window); equal rows have equal hashes."""
    import pandas as pd

    combined = np.zeros(len(table.features), np.uint64)
    if len(table.features.columns) and (table.features.dtypes == np.uint8).all():
        return _pixel_hashes(table.features.to_numpy())
    for name in table.features.columns:
        column = table.features[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            of_category = pd.util.hash_array(np.asarray(column.cat.categories, dtype=object), categorize=False)
            bits = np.append(of_category, np.uint64(0))[column.cat.codes.to_numpy()]  # code -1 (missing) takes the last
        else:
            bits = (column.to_numpy(np.float64) + 0.0).view(np.uint64)  # + 0.0 makes -0.0 equal to 0.0
        combined = _mix(combined * np.uint64(0x9E3779B97F4A7C15) + bits)
    return combined if table.windows is None else combined[table.windows[:, -1]]


def _pixel_hashes(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    words = np.pad(pixels, ((0, 0), (0, -pixels.shape[1] % 8))).view(np.uint64)
    combined = np.zeros(len(pixels), np.uint64)
    for word in words.T:
        combined = _mix(combined * np.uint64(0x9E3779B97F4A7C15) + word)
    return combined


def _mix(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    # Finaliser of SplitMix64 (Steele, Lea & Flood 2014): every input bit reaches every output bit.
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
