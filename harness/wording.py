"""Numbers with their words, for every text that a person reads."""

from __future__ import annotations


def count(value: int) -> str:
    """A whole number with thousands separated."""
    return f"{value:,}"


def plural(amount: int, singular: str, several: str | None = None) -> str:
    """``1 core``, ``2 cores``."""
    word = singular if amount == 1 else several or f"{singular}s"
    return f"{count(amount)} {word}"
