"""Reads values out of parsed JSON strictly, naming the path of whatever is not as expected."""

from __future__ import annotations

from typing import Any

from harness.compare.observations import Accuracy, AccuracyFigure, Key

_SHORTEST_S, _LONGEST_S = 1e-12, 1e9
_LARGEST_FIGURE = 1e6


class WrongShapeError(ValueError):
    """A value that is not what it has to be; the message names its path."""


class Reader:
    """A JSON value with its path; that of a file ends in ": ".

    Every method raises WrongShapeError when the value is of another shape.
    """

    def __init__(self, value: Any, path: str) -> None:
        self.value, self.path = value, path

    def fields(self) -> dict[str, Reader]:
        """The members of an object."""
        if not isinstance(self.value, dict):
            raise self._wrong("an object")
        joint = "." if self.path and not self.path.endswith(" ") else ""
        return {key: Reader(item, f"{self.path}{joint}{key}") for key, item in self.value.items()}

    def get(self, key: str) -> Reader:
        """One member of an object."""
        fields = self.fields()
        if key not in fields:
            raise WrongShapeError(f"{self._place}: no {key!r}")
        return fields[key]

    def items(self) -> list[Reader]:
        """The items of a list."""
        if not isinstance(self.value, list):
            raise self._wrong("a list")
        return [Reader(item, f"{self.path}[{index}]") for index, item in enumerate(self.value)]

    def text(self) -> str:
        """A text."""
        if not isinstance(self.value, str):
            raise self._wrong("a text")
        return self.value

    def count(self) -> int:
        """A whole number from 0."""
        if not isinstance(self.value, int) or isinstance(self.value, bool) or not 0 <= self.value < 2**63:
            raise self._wrong("a count")
        return self.value

    def number(self, low: float, high: float) -> float:
        """A finite number within bounds."""
        if not isinstance(self.value, int | float) or isinstance(self.value, bool) or not low <= self.value <= high:
            raise self._wrong(f"a number from {low:g} to {high:g}")
        return float(self.value)

    def seconds(self) -> float:
        """A time that something can take."""
        return self.number(_SHORTEST_S, _LONGEST_S)

    @property
    def _place(self) -> str:
        return self.path.removesuffix(": ") or "the file"

    def _wrong(self, expected: str) -> WrongShapeError:
        return WrongShapeError(f"{self._place}: expected {expected}, found {str(self.value)[:40]!r}")


def read_key(reader: Reader) -> Key:
    """A key as files hold it."""
    return Key(
        workload=reader.get("workload").text(),
        scenario=reader.get("scenario").text(),
        backend=reader.get("backend").text(),
        dtype=reader.get("dtype").text(),
        batch_size=reader.get("batch_size").count(),
        layout=reader.get("layout").text(),
    )


def block_number(name: str, path: str) -> int:
    """The number of a block from its name in a file."""
    if not name.isascii() or not name.isdigit() or len(name) > 9:
        raise WrongShapeError(f"{path}: expected a block number, found {name[:40]!r}")
    return int(name)


def read_unusable(result: Reader) -> dict[int, str]:
    """Blocks of a result that give no time, and why."""
    return {block_number(name, one.path): one.text() for name, one in result.get("unusable").fields().items()}


def read_accuracy(reader: Reader) -> Accuracy:
    """The accuracy of one workload as files hold it."""
    headline = reader.get("headline")
    return Accuracy(
        headline=None if headline.value is None else headline.text(),
        metrics={name: _figure(one) for name, one in reader.get("metrics").fields().items()},
    )


def _figure(reader: Reader) -> AccuracyFigure:
    sd, n = reader.get("sd"), reader.get("n").count()
    if n < 1:
        raise WrongShapeError(f"{reader.path}.n: expected at least 1")
    mean = reader.get("mean").number(-_LARGEST_FIGURE, _LARGEST_FIGURE)
    return AccuracyFigure(mean, None if sd.value is None or n < 2 else sd.number(0, _LARGEST_FIGURE), n)
