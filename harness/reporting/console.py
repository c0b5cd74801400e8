"""What every table and sentence on a terminal or in a pipe shares: the console, its colours, and text made safe."""

from __future__ import annotations

import io
import sys
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from rich.text import Text

from harness.reporting.sections.status import Status
from harness.reporting.text import clip

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

COLOURS = {"good": "green", "warn": "yellow", "bad": "red", "note": "default"}
_PIPE_WIDTH = 10_000  # a pipe has no width: one line per result, whole
_LINE = 400


def standard_output() -> Console:
    """Standard output, as wide as it is."""
    from rich.console import Console

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without the shapes shows a question mark, not a traceback
    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def bare_table(gap: int = 2) -> Table:
    """A table without frames, ``gap`` blanks between its columns."""
    from rich.table import Table

    return Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), highlight=False, header_style="dim")


def add_columns(table: Table, heads: Iterable[str], *, right: Collection[str]) -> None:
    """Columns that fold, those in ``right`` aligned there."""
    for head in heads:
        table.add_column(Text(safe(head)), justify="right" if head in right else "left", overflow="fold")


def say(out: Console, text: str, style: str | None = None) -> None:
    """One line, never wrapped."""
    out.print(safe(text), style=style, markup=False, highlight=False, soft_wrap=True)


def tag(status: Status) -> Text:
    """A status as its shape and word, in its colour."""
    return Text(f"{status.shape} {status.word}".lstrip(), style=COLOURS[status.kind])


def safe(text: str) -> str:
    """Without control characters: a name in a record must not command the terminal."""
    return clip(text, _LINE)
