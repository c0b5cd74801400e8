"""Types of the fields of records, with the bounds that their schema gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from harness.decode import LARGEST_FLOAT, LARGEST_INT


@dataclass(frozen=True)
class Bounds:
    """Of a number; ``above`` is excluded itself."""

    minimum: float | None = None
    maximum: float | None = None
    above: int | None = None


@dataclass(frozen=True)
class Pattern:
    """A regular expression that a text holds to."""

    regex: str


_LARGEST = LARGEST_INT

Count = Annotated[int, Bounds(0, _LARGEST)]
PositiveCount = Annotated[int, Bounds(1, _LARGEST)]
Share = Annotated[float, Bounds(0, 1)]
NotNegative = Annotated[float, Bounds(0, LARGEST_FLOAT)]
Positive = Annotated[float, Bounds(maximum=LARGEST_FLOAT, above=0)]
Identifier = Annotated[str, Pattern("^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Timestamp = Annotated[
    str, Pattern(r"^[1-9][0-9]{3}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\.[0-9]+)?(Z|\+00:00)$")
]  # ISO 8601, UTC
Sha256 = Annotated[str, Pattern("^[0-9a-f]{64}$")]
