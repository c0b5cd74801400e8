"""The reference pages of the site, and the man page, from the code itself: the commands, and the keys of files.

MkDocs calls :func:`on_files` (``mkdocs.yml``); ``python docs/reference.py`` writes ``docs/lparbench.1``.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from typer.main import get_command

from harness import __version__
from harness.cli.help import help_rows
from harness.cli.main import app
from harness.detectors.registry import BUILT_IN
from harness.errors import ExitCode
from harness.record.fleet_model import Fleet
from harness.record.load_model import LoadRecord
from harness.record.model import Run
from harness.record.size_model import Size
from harness.record.sweep_model import Sweep
from harness.workload.files import _File
from harness.workload.model import Suite

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

_ENTITIES = {"<": "&lt;", ">": "&gt;"}
_WORDS = (
    (r"Annotated\[(\w+), .*?\)?\]", r"\1"),
    (r"\b(?:Mapping|dict)\[[^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*\]", "table"),
    (r"tuple\[(.*), \.\.\.\]", r"list of \1"),
    (r"tuple\[\(\)\]", "empty list"),
    (r"Literal\[(.*?)\]", r"\1"),
    (r"\bPathPart\b", "name"),
    (r"\b(?:str|Text)\b", "text"),
    (r"\b(?:PositiveInt|PositiveCount)\b", "whole number > 0"),
    (r"\bCount\b", "whole number >= 0"),
    (r"\bint\b", "whole number"),
    (r"\b(?:PositiveFloat|Positive)\b", "number > 0"),
    (r"\bNotNegative\b", "number >= 0"),
    (r"\bShare\b", "number from 0 to 1"),
    (r"\bfloat\b", "number"),
    (r"\bbool\b", "true or false"),
    (r"\bNone\b", "nothing"),
    (r" \| ", " or "),
)
MAN = Path(__file__).with_name("lparbench.1")
EXIT_CODES = {
    ExitCode.GOOD: "good",
    ExitCode.REGRESSION: "a regression, or a check that failed",
    ExitCode.INCONCLUSIVE: "inconclusive, or a measurement that is not valid",
    ExitCode.ENVIRONMENT_MISMATCH: "environments that cannot be compared",
    ExitCode.USAGE: "wrong use, or a broken file",
    ExitCode.TOOL_FAILED: "the tool itself failed: a full disk, a refused SMT switch, a bug",
    ExitCode.INTERRUPTED: "interrupted",
}
ENVIRONMENT = {
    "LPARBENCH_DATA": "Directories with data sets, separated by colons; searched after --data.",
    "XDG_CACHE_HOME": "Where downloaded data sets and other caches are kept; ~/.cache by default.",
    "TMPDIR": "Where measuring processes keep what they exchange.",
    "NO_COLOR": "No colours in the terminal.",
}


def commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with its words, groups left out."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        elif not command.hidden:
            yield (*words, name), command


def options(command: Any, words: tuple[str, ...]) -> list[tuple[str, str]]:
    """Each argument and option of a command with its explanation."""
    context = command.make_context(words[-1], [], resilient_parsing=True)
    return list(help_rows(command.get_params(context), context))


def command_page() -> str:
    """``commands.md``."""
    lines = ["# Commands", "", "Every command with its arguments and options, as `--help` prints them.", ""]
    for words, command in commands(get_command(app)):
        rows = ((f"`{name}`", text) for name, text in options(command, words))
        lines += [f"## lparbench {' '.join(words)}", "", _paragraphs(command.help), ""]
        lines += _table(("argument or option", "meaning"), rows)
    lines += ["## Exit codes", ""]
    lines += _table(("code", "meaning"), ((str(int(code)), text) for code, text in EXIT_CODES.items()))
    lines += ["## Environment", ""]
    lines += _table(("variable", "meaning"), ((f"`{name}`", text) for name, text in ENVIRONMENT.items()))
    return "\n".join(lines)


def key_page() -> str:
    """``keys.md``."""
    lines = ["# Keys of files", "", "From the types that read and write them. A key without a default is required.", ""]
    lines += ["## Workload files", "", *_keys(_File), *_nested(_File, set()), "## Suite files", "", *_keys(Suite)]
    lines += ["## Parameters of the detectors", "", "Keys of `[hyperparameters]`, or arguments of the class.", ""]
    for name, path in BUILT_IN.items():
        module, _, attribute = path.partition(":")
        detector = getattr(importlib.import_module(module), attribute)
        summary = _paragraphs(inspect.getdoc(detector)).partition("\n\nArgs:")[0]
        lines += [f"### {name}", "", summary, "", *_keys(detector)]
    seen: set[str] = set()
    for title, record in (
        ("run.json", Run),
        ("sweep.json", Sweep),
        ("size.json", Size),
        ("load.json", LoadRecord),
        ("fleet.json", Fleet),
    ):
        lines += [f"## {title}", "", *_keys(record), *_nested(record, seen)]
    return "\n".join(lines)


def man_page() -> str:
    """``lparbench(1)``."""
    lines = [
        f'.TH LPARBENCH 1 "" "lparbench {__version__}" "User Commands"',
        ".SH NAME",
        r"lparbench \- benchmark anomaly detectors on IBM Power LPARs",
        ".SH SYNOPSIS",
        r"\fBlparbench\fR \fICOMMAND\fR [\fIOPTIONS\fR]",
    ]
    lines += [".SH DESCRIPTION", _roff(_paragraphs(get_command(app).help)), ".SH COMMANDS"]
    for words, command in commands(get_command(app)):
        lines += [f".SS {_roff(' '.join(words))}", _roff(_paragraphs(command.help))]
        for name, text in options(command, words):
            lines += [".TP", rf"\fB{_roff(name)}\fR", _roff(text)]
    lines += [".SH EXIT STATUS"]
    for code, text in EXIT_CODES.items():
        lines += [".TP", rf"\fB{int(code)}\fR", _roff(text)]
    lines += [".SH ENVIRONMENT"]
    for variable, text in ENVIRONMENT.items():
        lines += [".TP", rf"\fB{variable}\fR", _roff(text)]
    lines += [".SH FILES", ".TP", r"\fIresults/runs/\fR", "Runs: run.json and report.html of each."]
    lines += [".TP", r"\fIresults/sweeps/\fR", "Sweeps, and sizings below \\fIresults/sizings/\\fR.", ""]
    return "\n".join(lines)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the reference pages to those of the site."""
    from mkdocs.structure.files import File

    for name, text in (("commands.md", command_page()), ("keys.md", key_page())):
        files.append(File.generated(config, name, content=text))
    return files


def _keys(model: type) -> list[str]:
    """A table of the fields of a dataclass."""
    meanings = {**_comments(model), **_attributes(model)}
    rows = (
        (f"`{item.name}`", f"`{_type(item)}`", _default(item), meanings.get(item.name, ""))
        for item in fields(model)
        if item.init
    )
    return _table(("key", "type", "default", "meaning"), rows)


def _nested(model: type, seen: set[str]) -> list[str]:
    """The same of every dataclass that its fields hold and that is not ``seen`` yet."""
    lines = []
    for inner in _inner(model):
        if inner.__name__ not in seen:
            seen.add(inner.__name__)
            summary = (inspect.getdoc(inner) or "").partition("\n\n")[0]
            lines += [f"### {inner.__name__}", "", _escaped(summary), "", *_keys(inner), *_nested(inner, seen)]
    return lines


def _inner(model: type) -> Iterator[type]:
    def walk(hint: Any) -> Iterator[type]:
        if is_dataclass(hint) and isinstance(hint, type):
            yield hint
        for argument in get_args(hint):
            yield from walk(argument)

    for hint in get_type_hints(model).values():
        yield from walk(hint)


def _attributes(model: type) -> dict[str, str]:
    """What the docstrings of a class and of its bases say of each field."""
    meanings: dict[str, str] = {}
    for base in reversed(model.__mro__):
        text = inspect.cleandoc(base.__doc__ or "")
        section = text.partition("Attributes:\n" if "Attributes:\n" in text else "Args:\n")[2]
        body = re.split(r"\n(?=\S)", section)[0]
        for names, meaning in re.findall(r"^    ([\w, ]+):\s+(.*(?:\n {6,}.*)*)", body, flags=re.M):
            meanings |= dict.fromkeys(names.split(", "), " ".join(meaning.split()))
    return meanings


def _comments(model: type) -> dict[str, str]:
    """The comments that end the lines of the fields."""
    return dict(re.findall(r"^    (\w+): [^#\n]*  # ((?!noqa|fmt).+)$", inspect.getsource(model), flags=re.M))


def _type(item: Field[Any]) -> str:
    """The type in the words of TOML and JSON."""
    text = item.type if isinstance(item.type, str) else getattr(item.type, "__name__", str(item.type))
    for pattern, words in _WORDS:
        text = re.sub(pattern, words, text)
    return text


def _default(item: Field[Any]) -> str:
    if item.default is not MISSING:
        return f"`{item.default!r}`"
    return "" if item.default_factory is MISSING else "empty"


def _paragraphs(text: str | None) -> str:
    plain = inspect.cleandoc(text or "").replace("\b\n", "")
    return plain.partition("\f")[0].strip()


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    body = ["| " + " | ".join(_escaped(cell) for cell in row) + " |" for row in rows]
    return ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *body, ""] if body else []


def _escaped(cell: str) -> str:
    """Text for a cell of a table: no cell ends early, and no word in angle brackets becomes an element."""
    cell = cell.replace("|", "/" if "`" in cell else "&#124;")
    return re.sub(r"(`[^`]*`)|([<>])", lambda match: match[1] or _ENTITIES[match[2]], cell)


def _roff(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", escaped, flags=re.M).replace("\n\n", "\n.PP\n")


if __name__ == "__main__":
    MAN.write_text(man_page(), encoding="utf-8")
