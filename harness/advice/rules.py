"""Rules: one TOML file each in ``sysconfig/rules``, checked in full when read.

Keys of a rule file:

``severity``    high, medium, low or info
``applies``     expression: the kind of machine the rule is for; absent: every machine
``when``        expression: true where there is something to find
``title``       template: the finding in one line
``why``         template: why it matters
``effect``      template: what it costs
``loss``        number or expression: the same as a share of throughput lost, for ordering
``source``      where the effect comes from
``evidence``    facts to show: paths, or ``{fact = path, value = expression}``
``fix``         commands: ``{on = "here" | "root" | "hmc", run = template, when = expression}``
``let``         named sub-expressions, in order

A template holds expressions in braces. In a command each becomes part of one shell word, quoted as needed.
The rule's id is its file name.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.advice.expression import Expression, ExpressionError, parse
from harness.advice.finding import Severity
from harness.advice.kinds import BOOL, NUMBER, Kind, Record, fields_of
from harness.advice.logic import Unknown
from harness.content import content_dir
from harness.errors import InputError
from harness.platform.facts import Facts, Sources
from harness.platform.hmc import HmcFacts

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_HOLE = re.compile(r"\{([^{}]*)\}")
_REQUIRED = {"severity", "when", "title", "why", "effect", "source", "evidence"}
_OPTIONAL = {"applies", "loss", "fix", "let"}


class Place(str, Enum):
    """Where a command is to be run."""

    HERE = "here"
    ROOT = "root"
    HMC = "hmc"


@dataclass(frozen=True)
class WorkloadNeeds:
    """What the work at hand asks of the machine."""

    memory_bytes: int | None = None
    sources: Sources = field(default_factory=dict)


@dataclass(frozen=True)
class Template:
    """A text with expressions in it: literal, expression, literal, ..., literal."""

    parts: tuple[str | Expression, ...]

    def fill(self, names: Mapping[str, Any]) -> str:
        """The text for people; what is not known reads "unknown"."""
        return "".join(
            part if isinstance(part, str) else _shown(part.evaluate(names), "unknown") for part in self.parts
        )

    def fill_word(self, names: Mapping[str, Any]) -> str:
        """The text for a command; what is not known becomes a name in capitals for the reader to replace."""
        return "".join(
            part if isinstance(part, str) else _shown(part.evaluate(names), _placeholder(part)) for part in self.parts
        )


@dataclass(frozen=True)
class Shown:
    """A piece of evidence: which fact, and what of it to show."""

    path: str
    value: Expression


@dataclass(frozen=True)
class Command:
    """A command template, as words of a shell command line."""

    on: Place
    words: tuple[Template, ...]
    when: Expression | None

    def fill(self, names: Mapping[str, Any]) -> str:
        """The command line, each word quoted as the shell needs it."""
        line = shlex.join(word.fill_word(names) for word in self.words)
        return {Place.HERE: line, Place.ROOT: f"{line}  # as root", Place.HMC: f"{line}  # on the HMC"}[self.on]


@dataclass(frozen=True)
class Rule:
    """One checked rule; see the module's description of the keys."""

    id: str
    severity: Severity
    applies: Expression | None
    lets: tuple[tuple[str, Expression], ...]
    when: Expression
    title: Template
    why: Template
    effect: Template
    source: str
    loss: Expression | None
    evidence: tuple[Shown, ...]
    fix: tuple[Command, ...]


def scope() -> dict[str, Kind]:
    """Names that rules may start a path with: the groups of facts, the console's view, and the workload's needs."""
    groups = {name: kind for name, kind in fields_of(Facts).items() if isinstance(kind, Record)}
    return {**groups, "hmc": Record(HmcFacts), "workload": Record(WorkloadNeeds)}


@lru_cache(maxsize=1)
def shipped_rules() -> tuple[Rule, ...]:
    """The rules of ``sysconfig/rules``, by id."""
    return load_rules(content_dir("sysconfig") / "rules")


def load_rules(folder: Path) -> tuple[Rule, ...]:
    """All rules of a folder, by id.

    Raises:
        InputError: a file is not TOML, a key is missing or unknown, or an expression is wrong; names file and key.
    """
    return tuple(load_rule(path) for path in sorted(folder.glob("*.toml")))


def load_rule(path: Path) -> Rule:
    """One rule file; see :func:`load_rules`."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: not readable as TOML: {error}.") from error
    return _Reader(path, document).rule()


def _placeholder(expression: Expression) -> str:
    return re.sub(r"[^A-Z0-9_]+", "_", expression.text.rpartition(".")[2].strip().upper()).strip("_")


def _shown(value: Any, unknown: str) -> str:
    if value is None or isinstance(value, Unknown):
        return unknown
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return ", ".join(_shown(item, unknown) for item in value)
    return str(value)


class _Reader:
    """Turns one TOML document into a rule, naming file and key in every complaint."""

    def __init__(self, path: Path, document: Mapping[str, Any]) -> None:
        self.path = path
        self.document = document
        self.scope = scope()

    def rule(self) -> Rule:
        unknown = sorted(set(self.document) - _REQUIRED - _OPTIONAL)
        if unknown:
            raise self._error(unknown[0], f"unknown key; expected {', '.join(sorted(_REQUIRED | _OPTIONAL))}")
        missing = sorted(_REQUIRED - set(self.document))
        if missing:
            raise self._error(missing[0], "missing")
        severities = [item.value for item in Severity]
        if self.document["severity"] not in severities:
            raise self._error("severity", f"expected one of {', '.join(severities)}")
        lets = self._lets()  # first: the other keys may use the names
        return Rule(
            id=self.path.stem,
            severity=Severity(self.document["severity"]),
            applies=self._expression("applies", BOOL) if "applies" in self.document else None,
            lets=lets,
            when=self._expression("when", BOOL),
            title=self._template("title", self._text("title")),
            why=self._template("why", self._text("why")),
            effect=self._template("effect", self._text("effect")),
            source=self._text("source"),
            loss=self._expression("loss", NUMBER) if "loss" in self.document else None,
            evidence=self._evidence(),
            fix=self._fix(),
        )

    def _error(self, key: str, problem: str) -> InputError:
        return InputError(f"{self.path}: {key}: {problem}.", remedy="Correct the rule file.")

    def _text(self, key: str) -> str:
        value = self.document[key]
        if not isinstance(value, str) or not value.strip():
            raise self._error(key, "expected a text")
        return " ".join(value.split())

    def _parse(self, key: str, text: Any, kind: Kind | None = None) -> Expression:
        if isinstance(text, (int, float)) and not isinstance(text, bool):
            text = repr(text)
        if not isinstance(text, str):
            raise self._error(key, "expected an expression in quotes")
        try:
            expression = parse(text, self.scope)
        except ExpressionError as error:
            raise self._error(key, str(error)) from error
        if kind is not None and expression.kind != kind:
            raise self._error(key, f"{text!r} is {expression.kind}, expected {kind}")
        return expression

    def _expression(self, key: str, kind: Kind) -> Expression:
        return self._parse(key, self.document[key], kind)

    def _template(self, key: str, text: str) -> Template:
        pieces = _HOLE.split(text)
        if any(brace in literal for literal in pieces[::2] for brace in "{}"):
            raise self._error(key, "a brace without its partner")
        return Template(tuple(self._parse(key, piece) if index % 2 else piece for index, piece in enumerate(pieces)))

    def _lets(self) -> tuple[tuple[str, Expression], ...]:
        table = self.document.get("let", {})
        if not isinstance(table, dict):
            raise self._error("let", "expected a table of expressions")
        lets = []
        for name, text in table.items():
            if not name.isidentifier() or name in self.scope:
                raise self._error(f"let.{name}", "expected a name that is not in use")
            expression = self._parse(f"let.{name}", text)
            self.scope[name] = expression.kind
            lets.append((name, expression))
        return tuple(lets)

    def _evidence(self) -> tuple[Shown, ...]:
        items = self.document["evidence"]
        if not isinstance(items, list) or not items:
            raise self._error("evidence", "expected a list of facts")
        shown = []
        for index, item in enumerate(items):
            key = f"evidence[{index}]"
            entry = {"fact": item, "value": item} if isinstance(item, str) else item
            if not isinstance(entry, dict) or set(entry) != {"fact", "value"}:
                raise self._error(key, "expected a fact's path, or a table with the keys fact and value")
            fact = self._parse(key, entry["fact"])
            if not fact.paths:
                raise self._error(key, f"{entry['fact']!r} names no fact")
            shown.append(Shown(fact.text, self._parse(key, entry["value"])))
        return tuple(shown)

    def _fix(self) -> tuple[Command, ...]:
        items = self.document.get("fix", [])
        if not isinstance(items, list):
            raise self._error("fix", "expected a list of commands")
        places = [place.value for place in Place]
        commands = []
        for index, item in enumerate(items):
            key = f"fix[{index}]"
            if not isinstance(item, dict) or not {"on", "run"} <= set(item) <= {"on", "run", "when"}:
                raise self._error(key, "expected a table with the keys on, run and, if needed, when")
            if item["on"] not in places:
                raise self._error(f"{key}.on", f"expected one of {', '.join(places)}")
            if not isinstance(item["run"], str):
                raise self._error(f"{key}.run", "expected a text")
            commands.append(
                Command(
                    on=Place(item["on"]),
                    words=tuple(self._template(f"{key}.run", word) for word in self._words(key, item["run"])),
                    when=self._parse(f"{key}.when", item["when"], BOOL) if "when" in item else None,
                )
            )
        return tuple(commands)

    def _words(self, key: str, text: str) -> list[str]:
        """Shell words of a command, blanks and quotes inside braces left alone."""
        holes: list[str] = []

        def keep(match: re.Match[str]) -> str:
            holes.append(match[0])
            return f"\x00{len(holes) - 1}\x00"

        try:
            words = shlex.split(_HOLE.sub(keep, text))
        except ValueError as error:
            raise self._error(f"{key}.run", f"not a command line: {error}") from error
        if not words:
            raise self._error(f"{key}.run", "expected a command")
        return [re.sub(r"\x00(\d+)\x00", lambda match: holes[int(match[1])], word) for word in words]
