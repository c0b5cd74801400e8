"""Lists of names with what they are: aligned where the lines fit, stacked where they do not, and no name ever cut."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence

from harness.errors import printable

_GAP = 2
_LEAST_PROSE = 30  # columns that a wrapped last column needs to be readable
_INDENT = "    "


def output_width() -> int | None:
    """Columns of standard output; None in a pipe, whose reader wraps for itself, unless ``COLUMNS`` is set."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() or os.environ.get("COLUMNS") else None


def listing(headings: Sequence[str] | None, rows: Sequence[Sequence[str]], width: int | None) -> str:
    """Lines of a list.

    Args:
        headings: of the columns; the first holds names, the last prose. None: a list without.
        rows: one text per column.
        width: columns there are; None for no limit.

    Returns:
        One line per row where that fits; else the prose is wrapped in its column; else every row is its name, with the
        rest below it. Only prose is ever broken, between words.
    """
    rows = [tuple(map(printable, row)) for row in rows]  # a line that a name makes for itself may be a command
    table = [*([] if headings is None else [headings]), *rows]
    if not table:
        return ""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    left = sum(widths[:-1]) + _GAP * (len(widths) - 1)
    if width is not None and left + min(widths[-1], _LEAST_PROSE) > width:
        return "\n".join(line for row in rows for line in _stacked(row, width)) + "\n"
    prose = None if width is None else width - left
    return "\n".join(line for row in table for line in _aligned(row, widths, prose)) + "\n"


def _aligned(row: Sequence[str], widths: Sequence[int], prose: int | None) -> Iterator[str]:
    start = "".join(text.ljust(width + _GAP) for text, width in zip(row[:-1], widths, strict=False))
    lines = [row[-1]] if prose is None else _wrapped(row[-1], prose)
    yield (start + lines[0]).rstrip()
    yield from (" " * len(start) + line for line in lines[1:])


def _stacked(row: Sequence[str], width: int) -> Iterator[str]:
    yield row[0].rstrip()
    below = ", ".join(text for text in row[1:-1] if text)
    for text in (below, row[-1]):
        yield from (_INDENT + line for line in _wrapped(text, width - len(_INDENT)) if line)


def paragraph(text: str, width: int | None) -> list[str]:
    """Its lines on a terminal of this width; one where nobody says how wide it is, as in a pipe."""
    return [text] if width is None else _wrapped(text, width)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(width, 1), break_long_words=False, break_on_hyphens=False) or [""]
