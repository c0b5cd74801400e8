"""Lines with another separator, or with decimal commas, as comma-separated ones; each stays a line."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MARKS = (",", ";", "\t", "|")
_SAMPLE = 1 << 16
_COMMA = re.compile(r"\s*[+-]?\d+,\d+([eE][+-]?\d+)?\s*")
_POINT = re.compile(r"\s*[+-]?\d*\.\d+([eE][+-]?\d+)?\s*")


@dataclass(frozen=True)
class LineForm:
    """How lines are written that are not comma-separated."""

    separator: str
    decimal_comma: bool

    def plain(self, block: bytes) -> bytes:
        """Whole lines, comma-separated; one that cannot be read stays one that cannot."""
        made = io.StringIO()
        writer = csv.writer(made, lineterminator="\n")
        lines = block.split(b"\n")
        for cells in _read(lines[:-1] if not lines[-1] else lines, self.separator):
            if cells is None:
                made.write('"\n')  # an open quotation mark, as it has
            else:
                writer.writerow(self._with_point(cell) for cell in cells)
        plain = made.getvalue() if block.endswith(b"\n") else made.getvalue().removesuffix("\n")
        return plain.encode("utf-8", "surrogateescape")

    def _with_point(self, cell: str) -> str:
        return cell.replace(",", ".") if self.decimal_comma and _COMMA.fullmatch(cell) else cell


def form_of(start: bytes, columns: Sequence[str]) -> LineForm | None:
    """How a file is written whose header names ``columns``; None of lines with commas, and without such a header."""
    lines = start[:_SAMPLE].removeprefix(b"\xef\xbb\xbf").split(b"\n")
    header = {mark: (*_read(lines[:1], mark), None)[0] or [] for mark in MARKS}
    named = {mark: sum(name.strip() in columns for name in names) for mark, names in header.items()}
    separator = max(MARKS, key=lambda mark: named[mark])
    if separator == "," or not named[separator]:
        return None
    cells = [cell for row in _read(lines[1:-1], separator) for cell in row or ()]
    comma = any(map(_COMMA.fullmatch, cells)) and not any(map(_POINT.fullmatch, cells))
    return LineForm(separator, comma)


def _read(lines: Sequence[bytes], separator: str) -> Iterator[list[str] | None]:
    """The values of each line; None where quotation marks do not close on it."""
    for line in lines:
        text = line.decode("utf-8", "surrogateescape").removesuffix("\r")
        try:
            yield next(csv.reader([text.replace("\0", "\ufffd")], delimiter=separator, strict=True), [])
        except csv.Error:
            yield None
