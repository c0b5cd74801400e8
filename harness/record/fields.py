"""Types of the fields of records, with the bounds that their schema gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Bounds:
    """Of a number; ``above`` is excluded itself."""

    minimum: int | None = None
    maximum: int | None = None
    above: int | None = None


@dataclass(frozen=True)
class Pattern:
    """A regular expression that a text holds to."""

    regex: str


_LARGEST = 2**63 - 1

Count = Annotated[int, Bounds(0, _LARGEST)]
PositiveCount = Annotated[int, Bounds(1, _LARGEST)]
Share = Annotated[float, Bounds(0, 1)]
NotNegative = Annotated[float, Bounds(0)]
Positive = Annotated[float, Bounds(above=0)]
Identifier = Annotated[str, Pattern("^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Timestamp = Annotated[
    str, Pattern(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|\+00:00)$")
]  # ISO 8601, UTC
Sha256 = Annotated[str, Pattern("^[0-9a-f]{64}$")]
