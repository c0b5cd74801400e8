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


def some_of(some: int, total: int, singular: str, several: str | None = None) -> str:
    """``2 of 3 processes``, ``the only process``."""
    return f"the only {singular}" if total == 1 else f"{count(some)} of {plural(total, singular, several)}"


def counted(value: float, singular: str) -> str:
    """``1 core``, ``2.5 cores``."""
    return f"{value:.6g} {singular}{'' if value == 1 else 's'}"


def percentage(share: float, decimals: int = 0) -> str:
    """A share with so many decimals: ``93 %``."""
    return f"{100 * share:,.{decimals}f} %"


def signed(value: float) -> str:
    """A change with its sign and one decimal: ``+12.3``, ``−0.4``, ``0.0`` where it rounds to none."""
    text = f"{value:+,.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "\u2212")


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
