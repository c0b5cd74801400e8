"""A file's columns as they were read, before anything is made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.datasets.table import trimmed

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class RawTable:
    """Columns of a file before anything is made of them: float64, categories of trimmed texts, or datetime64."""

    path: Path
    frame: pd.DataFrame
    sha256: str
    place: Callable[[int], str]  # where a row stands, for messages
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    dropped: frozenset[str] = frozenset()  # columns of the file that the user does not want


def column_of(values: Sequence[Any]) -> pd.Series[Any]:
    """Values of a program as a raw column: float64 where all are numbers or None, else categories of texts."""
    import pandas as pd

    if all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values):
        return pd.Series([_number(value) for value in values], dtype="float64")
    texts = [None if value is None or value != value else _text(value) for value in values]
    codes, distinct = pd.factorize(pd.Series(texts, dtype=object))
    return pd.Series(trimmed(codes, [str(value) for value in distinct]))


def _number(value: float | None) -> float:
    try:
        return float("nan") if value is None else float(value)
    except OverflowError:  # an integer beyond float64
        return float("inf") if value is not None and value > 0 else float("-inf")


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
