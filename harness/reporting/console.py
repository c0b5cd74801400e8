"""What every table and sentence on a terminal or in a pipe shares: the console, its colours, and text made safe."""

from __future__ import annotations

import io
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from rich.cells import cell_len
from rich.text import Text

from harness.reporting.sections.status import Status
from harness.reporting.text import clip

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

COLOURS = {"good": "green", "warn": "yellow", "bad": "red", "note": "default"}
_PIPE_WIDTH = 10_000  # a pipe has no width: one line per result, whole
_LINE = 2000  # a verdict on four workloads takes about 900


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
    """Columns that fold between words, those in ``right`` aligned there; the first has names and does not fold."""
    for head in heads:
        justify: Literal["left", "right"] = "right" if head in right else "left"
        table.add_column(_clean(head), justify=justify, no_wrap=not table.columns, overflow="fold")


def print_table(out: Console, table: Table) -> None:
    """Print a table with no word of it broken; where that does not fit, every row as its first cell, the rest below."""
    for column in table.columns:
        column._cells = [_clean(cell) for cell in column.cells]
    texts = _texts(table)
    widest = [max(map(cell_len, "\n".join(cells).split("\n"))) for cells in texts]
    least = _least(table, texts)
    free = _free(out, table, least)
    if free >= 0:
        for left, at in enumerate(sorted(range(len(least)), key=lambda at: widest[at] - least[at])):
            granted = min(widest[at] - least[at], free // (len(least) - left))
            table.columns[at].width = least[at] + granted
            free -= granted
        _print_whole(out, table)
        return
    heads = [" ".join(cells[0].split()) for cells in texts]
    for name, *cells in zip(*(cells[1:] for cells in texts), strict=True):
        out.print(safe(name), markup=False, highlight=False, soft_wrap=True)  # whole, to be copied
        below = (
            f"{head} {cell.replace(chr(10), ' ')}".strip() for head, cell in zip(heads[1:], cells, strict=True) if cell
        )
        say(out, f"    {', '.join(below)}")


def fits(out: Console, table: Table) -> bool:
    """Whether a table has room with no word of it broken."""
    return _free(out, table, _least(table, _texts(table))) >= 0


def _free(out: Console, table: Table, least: Sequence[int]) -> int:
    """Cells that are left where every column has what it needs at least; below 0 where they do not fit."""
    return out.width - sum(least) - table.padding[1] * (len(least) - 1)


def _texts(table: Table) -> list[list[str]]:
    """The texts of every column, its head first."""
    return [[_plain(column.header), *map(_plain, column.cells)] for column in table.columns]


def _least(table: Table, texts: Sequence[Sequence[str]]) -> list[int]:
    """Cells that every column needs at least: its longest word, or its longest line where it does not fold."""
    least = []
    for column, cells in zip(table.columns, texts, strict=True):
        lines = "\n".join(cells)
        parts = lines if column.no_wrap else lines.replace(" ", "\n")  # a no-break space is none
        least.append(max(map(cell_len, parts.split("\n"))))
    return least


def _print_whole(out: Console, table: Table) -> None:
    """The table; into a pipe without the blanks that fill its last column."""
    if out.is_terminal:
        out.print(table)
        return
    with out.capture() as kept:
        out.print(table)
    for line in kept.get().splitlines():
        out.print(line.rstrip(), markup=False, highlight=False, soft_wrap=True)


def _clean(cell: object) -> Text:
    """A cell without control characters, whose brackets are no markup either; its lines stay."""
    text = "\n".join(safe(line) for line in _plain(cell).split("\n"))
    if isinstance(cell, Text):
        return cell if text == cell.plain else Text(text, style=cell.style)
    return Text(text)


def _plain(cell: object) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell)


def say(out: Console, text: str, style: str | None = None) -> None:
    """One line, whole in a pipe; on a terminal broken between words, but for a command, which stays one to copy."""
    line = safe(text)
    for part in _broken(line, out.width) if out.is_terminal and not line.lstrip().startswith("$ ") else (line,):
        out.print(part, style=style, markup=False, highlight=False, soft_wrap=True)


def _broken(line: str, width: int) -> Iterator[str]:
    """Lines of so many cells at most, broken at blanks, which no-break spaces are not; a longer word stays whole."""
    text = line.lstrip(" ")
    indent = " " * (len(line) - len(text))
    words = text.split(" ")
    hanging = indent + ("" if words[0].isalnum() or len(words[0]) > 1 else "  ")  # under the text behind a mark
    part = indent + words[0]
    for word in words[1:]:
        if cell_len(part) + 1 + cell_len(word) > width:
            yield part.rstrip(" ")
            part = hanging + word
        else:
            part = f"{part} {word}"
    yield part


def tag(status: Status) -> Text:
    """A status as its shape and word, in its colour."""
    return Text(f"{status.shape} {status.word}".lstrip(), style=COLOURS[status.kind])


def safe(text: str) -> str:
    """Without control characters: a name in a record must not command the terminal."""
    return clip(text, _LINE)
