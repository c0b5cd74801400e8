"""Tables that are drawn with bars and rules, or whose columns the rule below the header shows, as lines of cells.

Markdown, Org, psql, MySQL and grids have bars; ``sqlite3 -column``, sqlcmd and reStructuredText have a rule of dashes
whose runs are as wide as the columns. Zeek names the columns of its logs in a comment. Lines keep their numbers: a rule
becomes an empty line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import InputError

_START = 1 << 20
_TEXT_ABOVE = 20  # lines that may stand above a table
_RULE = re.compile(r"[|+]?[ \t]*:?[-=]+:?[ \t]*([|+][ \t]*:?[-=]+:?[ \t]*)+[|+]?|[|+][ \t]*:?[-=]{2,}:?[ \t]*[|+]")
_DASHES = re.compile(r"[ \t]*(-{2,}|={2,})([ \t]+(-{2,}|={2,}))+[ \t]*|={3,}|-{3,}")
_FOOTER = re.compile(r"\(\d+ rows?( affected)?\)|\d+ rows? in set.*|Time: [\d.,]+ ms.*|Empty set.*", re.IGNORECASE)
_BAR = re.compile(r"[ \t]*\|[ \t]*")
_BOX = "│".encode()
_PLAIN = str.maketrans("│┃─━═┌┐└┘├┤┬┴┼╞╡╪╭╮╰╯┏┓┗┛┡┩╇┳┻", "||---" + "+" * 25)  # as sqlite's box mode draws
_ZEEK = b"#separator "
_BAR_WITHIN = "&#124;"  # as Markdown writes a bar that ends no cell


@dataclass(frozen=True)
class Drawn:
    """A drawn table as lines of cells."""

    data: bytes  # UTF-8, as many lines as the file has
    separator: str
    note: str


def drawn(path: Path, data: bytes) -> Drawn | None:
    """The table of a file whose first lines are those of a drawn one; None where they are not.

    Args:
        path: for messages.
        data: UTF-8.

    Raises:
        InputError: a value lies across the columns that the rule draws.
    """
    if data.startswith(_ZEEK):
        return _of_zeek(data)
    if _BOX in data[:_START]:
        data = data.decode("utf-8", "surrogateescape").translate(_PLAIN).encode("utf-8", "surrogateescape")
    start = data[:_START].decode("utf-8", "replace").splitlines()[: _TEXT_ABOVE + 3]
    there = [number for number, line in enumerate(start) if line.strip()]
    for number, below in zip(there, [*there[1:], -1], strict=True):
        if "|" in start[number] and below >= 0 and _is_rule(start[below]) and not _is_rule(start[number]):
            return _with_bars(data, number)
        if below == number + 1 and _DASHES.fullmatch(start[below]) and not _DASHES.fullmatch(start[number]):
            return _with_dashes(path, data, number, start[below])
    return None


def text_above(data: bytes, label: str, separators: Sequence[str]) -> tuple[int, int] | None:
    """Byte and number of the line that names the columns, where a title or other text stands above it; else None.

    It names the ``label``, holds no number, and every line above it has fewer values.
    """
    offset = 0
    above: list[str] = []
    for number, line in enumerate(data[:_START].splitlines(keepends=True)[: _TEXT_ABOVE + 1], 1):
        text = line.decode("utf-8", "replace")
        for mark in separators:
            cells = [cell.strip().strip('"') for cell in text.split(mark)]
            if label in cells and len(cells) > 1 and not any(re.fullmatch(r"[+-]?[\d.,]+", cell) for cell in cells):
                narrower = all(upper.count(mark) < len(cells) - 1 for upper in above)
                return (offset, number) if above and narrower else None
        above += [text] if text.strip() and not text.startswith("#") else []
        offset += len(line)
    return None


def _of_zeek(data: bytes) -> Drawn | None:
    """A log of Zeek, whose columns a comment names; None without that comment."""
    fields = re.search(rb"(?m)^#fields\t", data[:_START])
    if fields is None:
        return None
    unset = re.search(rb"(?m)^#unset_field\t(\S+)", data[: fields.start()])
    data = data[: fields.start()] + data[fields.end() :]
    if unset is not None:
        mark = re.escape(unset[1])
        data = re.sub(rb"(?m)(?:(?<=\t)|^)" + mark + rb"(?=[\t\r\n]|\Z)", b"", data)
    return Drawn(re.sub(rb"(?m)^#[^\n]*", b"", data), "\t", "The file is a log of Zeek.")


def _is_rule(line: str) -> bool:
    return _RULE.fullmatch(line.strip()) is not None


def _with_bars(data: bytes, header: int) -> Drawn:
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    outer = lines[header].lstrip().startswith("|")
    made = [""] * len(lines)
    for number, line in enumerate(lines[header:], header):
        stripped = line.strip()
        if _is_rule(stripped) or _FOOTER.fullmatch(stripped):
            continue
        if outer:
            stripped = stripped.removeprefix("|").removesuffix("|").strip()
        made[number] = _BAR.sub("|", stripped.replace("\\|", _BAR_WITHIN))
        if line.strip() and outer and not stripped.replace("|", "").strip():
            made[number] = ""
    return Drawn(
        "\n".join(made).encode("utf-8", "surrogateescape"), "|", "The table is drawn with bars; rules are left out."
    )


def _with_dashes(path: Path, data: bytes, header: int, rule: str) -> Drawn | None:
    runs = [match.span() for match in re.finditer(r"-+|=+", rule)]
    if len(runs) < 2 or b"\t" in data:
        return None
    starts = [start for start, _ in runs]
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    made = [""] * len(lines)
    for number, line in enumerate(lines[header:], header):
        text = line.rstrip("\r")
        if not text.strip() or _DASHES.fullmatch(text) or _FOOTER.fullmatch(text.strip()):
            continue
        for before, start in enumerate(starts[1:]):
            if text[runs[before][1] : start].strip():
                raise InputError(
                    f"{path} line {number + 1}: a value lies across the columns that line {header + 2} draws: "
                    f"{text[:60]!r}.",
                    remedy="Write the table as CSV: sqlite3 -csv -header, sqlcmd -s , -W, psql --csv.",
                )
        made[number] = "\t".join(
            text[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)
        )
    return Drawn(
        "\n".join(made).encode("utf-8", "surrogateescape"),
        "\t",
        "Columns are as wide as the rule below the header draws them.",
    )
