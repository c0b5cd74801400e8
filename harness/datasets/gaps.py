"""What training took for a missing value, kept with the encoder so that rows that are scored later are read alike."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

# What programs and people write where a number is missing, casefolded.
MISSING = frozenset({"?", "-", "--", ".", "na", "n/a", "nan", "null", "none", "nil", "missing", "unknown", "<na>",
                     "#div/0!", "#n/a", "#value!", "#ref!", "#name?", "#num!", "#null!"})  # fmt: skip
# What pandas takes for missing unless told otherwise.
MISSING_TEXTS = tuple(
    ",#N/A,#NA,-1.#IND,-1.#QNAN,-NaN,-nan,1.#IND,1.#QNAN,<NA>,N/A,NA,NULL,NaN,None,n/a,nan,null".split(",")  # noqa: SIM905
)
BOOLEANS = MappingProxyType({"true": 1.0, "false": 0.0})
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity)", re.IGNORECASE)


@dataclass(frozen=True)
class Form:
    """How a file is written; ``None`` is found out."""

    separator: str | None = None
    decimal: str | None = None
    text: str | None = None
    header: bool | None = None


@dataclass(frozen=True)
class Gaps:
    """Missing values as training took them.

    Attributes:
        numbers: casefolded texts in place of a number, whose place the training median takes; none where a missing
            number was an error.
        texts: texts in place of a category, as they are written.
        declared: casefolded texts in place of either, named by the user.
        strays: other texts in a column of numbers that training counted as missing, column -> texts.
        bounded: columns of categories whose rarer values have no feature.
        form: of the files of training, where these were a table of the user's own.
    """

    numbers: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    declared: tuple[str, ...] = ()
    strays: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    bounded: tuple[str, ...] = ()
    form: Form | None = None

    @property
    def filled(self) -> bool:
        """Whether a number may be missing."""
        return bool(self.numbers)

    @cached_property
    def _missing(self) -> frozenset[str]:
        return frozenset((*self.numbers, *self.declared))

    @cached_property
    def sentinels(self) -> frozenset[float]:
        """Numbers that the user named as missing."""
        return frozenset(float(text) for text in self.declared if NUMBER.fullmatch(text))

    def written(self, column: str) -> list[str]:
        """Usual spellings of a missing number, for a reader that compares texts as they are."""
        spellings = {spelt for text in self._missing for spelt in (text, text.upper(), text.capitalize())}
        return sorted({*spellings, "NaN", *self.strays.get(column, ())})

    def number(self, column: str, text: str) -> float | None:
        """A number as training read it: NaN where it is missing or infinite, None where the text is neither."""
        plain = text.strip()
        folded = plain.casefold()
        if folded in self._missing or plain in self.strays.get(column, ()):
            return math.nan
        if NUMBER.fullmatch(plain):
            value = float(plain)
            return value if math.isfinite(value) and value not in self.sentinels else math.nan
        return BOOLEANS.get(folded)

    def category(self, text: str, known: Collection[str], *, numeric: bool) -> str:
        """A category as training read it: without blanks around it, empty where it is missing.

        Args:
            text: as it is written.
            known: categories of the column.
            numeric: all of them are numbers, so that ``22.0`` is their ``22``.
        """
        plain = text.strip()
        if plain in known and plain.casefold() not in self.declared:
            return plain
        if plain in self.texts or plain.casefold() in self.declared:
            return ""
        if numeric and NUMBER.fullmatch(plain):
            value = float(plain)
            named = str(int(value)) if value.is_integer() else repr(value)
            return "" if value in self.sentinels else named
        return plain

    def bounding(self, columns: Collection[str]) -> Gaps:
        """The same with the columns whose rarer values have no feature."""
        return replace(self, bounded=tuple(columns))


@dataclass(frozen=True, eq=False)
class Absent:
    """Training rows without a value, column by column: in all of them, and in their first half.

    Attributes:
        rows: (2,).
        counts: (2, columns).
    """

    rows: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, columns: Iterable[npt.NDArray[np.bool_]], rows: int) -> Absent:
        """Of a mask of the rows for each column."""
        first = rows // 2
        counts = [(int(mask.sum()), int(mask[:first].sum())) for mask in columns]
        return cls(np.array([rows, first]), np.array(counts, dtype=np.int64).reshape(-1, 2).T)

    def __len__(self) -> int:
        return int(self.counts.shape[1])

    def column(self, place: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows without a value and rows, in all and in the first half."""
        (whole, first), (rows, half) = self.counts[:, place].tolist(), self.rows.tolist()
        return (whole, rows), (first, half)


NUMBERS = Gaps(numbers=("", "nan", "na"))  # of published numbers, some of which are missing


def are_numbers(categories: Collection[str]) -> bool:
    """Whether all categories but the missing one are numbers."""
    return all(NUMBER.fullmatch(name) for name in categories if name)


def own_gaps(declared: Collection[str], strays: Mapping[str, tuple[str, ...]], form: Form) -> Gaps:
    """Of a table of the user's own."""
    folded = tuple(text.strip().casefold() for text in declared)
    return Gaps(("", *sorted(MISSING)), MISSING_TEXTS, folded, strays, form=form)
