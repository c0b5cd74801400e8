"""``--help`` in plain text: it starts in a fraction of the time that rich needs, and reads the same in a pipe."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, ClassVar

from typer.core import TyperCommand, TyperGroup

_WHOLE = 10_000  # characters of a summary: never cut, wrapped instead
_TYPE = re.compile(r" +<([^>]*)>$")  # typer's, after a name that has no metavar
# [[NAME]...]..., [[-- COMMAND...]]..., [NAME...]..., {RUN...}... and {RUN}
_DOUBLED = (
    (re.compile(r"^\[\[(.*)\]\.\.\.\]\.\.\.$"), r"[\1]..."),
    (re.compile(r"^\[\[(.*)\]\](\.\.\.)?$"), r"[\1]"),
    (re.compile(r"^\[(.*)\.\.\.\]\.\.\.$"), r"[\1]..."),
    (re.compile(r"^\{(.*\.\.\.)\}\.\.\.$"), r"\1"),
    (re.compile(r"^\{([^|{}]*)\}$"), r"\1"),
)
_PLACEHOLDERS = {
    "str": "TEXT",
    "path": "PATH",
    "int": "N",
    "int range": "N",
    "float": "X",
    "float range": "X",
    "list[str]": "TEXT...",
}


class Group(TyperGroup):
    """A group whose commands stand under the headings of their ``rich_help_panel``."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a section per heading, each summary whole."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [
            (_heading(command, "Commands"), (name, command.get_short_help_str(_WHOLE)))
            for name, command in commands
            if command is not None and not command.hidden
        ]
        _write_sections(rows, formatter)


class Command(TyperCommand):
    """A command whose options stand under the headings of their ``rich_help_panel``."""

    alone: ClassVar[Mapping[str, str]] = {}  # options that may stand without a value, and what they mean then

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give options that stand alone their value first."""
        return super().parse_args(ctx, [*_with_values(args, self.alone)])

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Arguments as their own metavars have them, without a second pair of brackets or dots."""
        return [_usage(piece) for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write a section per heading."""
        parameters = [each for each in self.get_params(ctx) if each.get_help_record(ctx) is not None]
        headings = [_heading(each, "Arguments" if _is_argument(each) else "Options") for each in parameters]
        _write_sections(zip(headings, help_rows(parameters, ctx), strict=True), formatter)


def _with_values(args: Sequence[str], alone: Mapping[str, str]) -> Iterator[str]:
    for arg, following in zip_longest(args, args[1:], fillvalue="-"):
        yield arg
        if arg in alone and following.startswith("-"):
            yield alone[arg]


def help_rows(parameters: Iterable[Any], ctx: Any) -> Iterator[tuple[str, str]]:
    """Name, as manuals write it, and explanation of each argument and option that is shown."""
    for parameter in parameters:
        record = parameter.get_help_record(ctx)
        if record is not None:
            yield _TYPE.sub("" if _is_argument(parameter) else _placeholder, record[0]), record[1]


def _usage(piece: str) -> str:
    for doubled, plain in _DOUBLED:
        piece = doubled.sub(plain, piece)
    return piece


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _placeholder(match: re.Match[str]) -> str:
    """What stands for a value: the words of a choice, else a letter or word as manuals have it, not Python's type."""
    return " " + _PLACEHOLDERS.get(match[1], match[1])


def _heading(item: object, default: str) -> str:
    return getattr(item, "rich_help_panel", None) or default


def _write_sections(rows: Iterable[tuple[str, tuple[str, str]]], formatter: Any) -> None:
    sections: dict[str, list[tuple[str, str]]] = {}
    for heading, row in rows:
        sections.setdefault(heading, []).append(row)
    for heading, of_heading in sections.items():
        with formatter.section(heading):
            formatter.write_dl(of_heading)
