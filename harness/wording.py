"""Numbers with their words, and cells of tables, for every text that a person reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Cell = TypeVar("Cell")

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def count(value: int) -> str:
    """A whole number with thousands separated."""
    return f"{value:,}"


def plural(amount: int, singular: str, several: str | None = None) -> str:
    """``1 core``, ``2 cores``."""
    word = singular if amount == 1 else several or f"{singular}s"
    return f"{count(amount)} {word}"


def counted(value: float, singular: str) -> str:
    """``1 core``, ``2.5 cores``."""
    return f"{value:.6g} {singular}{'' if value == 1 else 's'}"


def cores_by_threads(cores: Mapping[int, int]) -> str:
    """``1 core with 2 threads, 3 cores with 8 threads``."""
    return ", ".join(f"{plural(cores[threads], 'core')} with {plural(threads, 'thread')}" for threads in sorted(cores))


def cpu_time(cpus: float) -> str:
    """``1 CPU's worth of time``, ``2.5 CPUs' worth of time``."""
    of = "CPU's" if cpus == 1 else "CPUs'"
    return f"{cpus:g} {of} worth of time"


def inert(cell: Cell) -> Cell | str:
    """A text that a spreadsheet would run as a formula, made a text."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
