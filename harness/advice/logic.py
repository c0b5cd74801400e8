"""Kleene's three-valued logic: true, false, and unknown for what rests on facts nobody could read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Unknown:
    """A value that is not known, and the facts that were missing for it."""

    missing: frozenset[str]


def merged(values: Iterable[Any]) -> Unknown | None:
    """All that was missing for any of the values; ``None`` when all are known."""
    missing = [value.missing for value in values if isinstance(value, Unknown)]
    return Unknown(frozenset().union(*missing)) if missing else None


def negation(value: Any) -> Any:
    """``not``: unknown stays unknown."""
    return value if isinstance(value, Unknown) else not value


def conjunction(values: Sequence[Any]) -> Any:
    """``and``: false wins over unknown."""
    if any(value is False for value in values):
        return False
    return merged(values) or True


def disjunction(values: Sequence[Any]) -> Any:
    """``or``: true wins over unknown."""
    if any(value is True for value in values):
        return True
    return merged(values) or False
