"""Rules: one TOML file each in ``sysconfig/rules``, checked in full when read.

Keys of a rule file:

``severity``    high, medium, low or info; of a finding with a known ``loss`` that decides (`severity_of`)
``applies``     expression: the kind of machine the rule is for; absent: every machine
``when``        expression: true where there is something to find
``title``       template: the finding in one line
``why``         template: why it matters
``effect``      template: what it costs
``loss``        number or expression: the same as a share of throughput lost, for ordering
``source``      where the effect comes from
``evidence``    facts to show: paths, or ``{fact = path, value = expression}``
``fix``         commands: ``{on = "here" | "root" | "hmc", run = template, when = expression}``; one for root is of
                the host where the process is in a container, and left out where ``/sys`` is not to be written to.
                ``does`` says what it does where that is not the usual: "program" here (concerns what it starts),
                "change" elsewhere; "look" changes nothing, and "restart" needs one. ``then = true``: a further step
                after the command before; else it is another way
``let``         named sub-expressions, in order
``limits``      named numbers, the thresholds that a site's policy may set (``harness.advice.policy``)
``momentary``   true where the finding is about this moment and not about the machine's set-up

Every expression may use the names of ``let`` and ``limits``, and ``by_policy``: whether a site's policy names the rule.

A template holds expressions in braces. In a command each becomes part of one shell word, quoted as needed.
The rule's id is its file name.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from harness.advice.expression import Expression, ExpressionError, parse
from harness.advice.finding import Does, Severity
from harness.advice.kinds import BOOL, NUMBER, Kind, Record, fields_of
from harness.advice.logic import Unknown
from harness.content import content_dir
from harness.decode import NOT_EMPTY, Text, decode_toml_file
from harness.errors import InputError
from harness.platform.facts import Facts, Sources
from harness.platform.hmc import HmcFacts
from harness.platform.usable import Usable

BY_POLICY = "by_policy"
_SWITCHES = ("lparbench smt ", "ppc64_cpu ", "chcpu ", "cpupower ")  # they write below /sys
_HOLE = re.compile(r"\{([^{}]*)\}")


class Place(str, Enum):
    """Where a command is to be run."""

    HERE = "here"
    ROOT = "root"
    HMC = "hmc"


_Source = str | int | float  # an expression as the file has it


@dataclass(frozen=True)
class _Evidence:
    """What of a fact to show, where it is not the fact itself."""

    fact: str
    value: _Source


@dataclass(frozen=True)
class _Fix:
    """One command."""

    on: Place
    run: Text
    when: str | None = None
    does: Does | None = None
    then: bool = False


@dataclass(frozen=True)
class _File:
    """The keys of a rule file."""

    severity: Severity
    when: str
    title: Text
    why: Text
    effect: Text
    source: Text
    evidence: Annotated[tuple[str | _Evidence, ...], NOT_EMPTY]
    applies: str | None = None
    loss: _Source | None = None
    fix: tuple[_Fix, ...] = ()
    let: Mapping[str, _Source] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    momentary: bool = False


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
    does: Does
    then: bool

    def fill(self, names: Mapping[str, Any]) -> str | None:
        """The command line, each word quoted as the shell needs it; None for one that cannot be run from here."""
        line = shlex.join(word.fill_word(names) for word in self.words)
        container = names["limits"].container
        match self.on:
            case Place.HERE:
                return line
            case Place.HMC:
                return f"{line}  # on the HMC"
            case Place.ROOT if container in (None, "none"):
                switches = line.startswith(_SWITCHES) and names["limits"].sysfs_read_only is True
                return None if switches else f"{line}  # as root"
            case Place.ROOT if line.startswith("lparbench "):
                return None  # it is installed in the container, whose root cannot switch the host
            case Place.ROOT if container == "kubernetes":
                return f"oc debug node/NODE -- chroot /host {line}  # as cluster administrator"
            case Place.ROOT:
                return f"{line}  # as root on the host"


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
    limits: Mapping[str, float]
    momentary: bool
    forced: bool = False  # a site's policy sets the severity
    policy: str | None = None  # where a site's policy names the rule: file and key


def scope() -> dict[str, Kind]:
    """Names that rules may start a path with: groups of facts, what of them may be used, console, and workload."""
    groups = {name: kind for name, kind in fields_of(Facts).items() if isinstance(kind, Record)}
    return {**groups, "hmc": Record(HmcFacts), "usable": Record(Usable), "workload": Record(WorkloadNeeds)}


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
    return _Reader(path).rule()


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
    """Turns one rule file into a rule, naming file and key in every error."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.scope = scope()

    def rule(self) -> Rule:
        file = decode_toml_file(_File, self.path)
        self.scope[BY_POLICY] = BOOL
        for name in file.limits:
            self._new_name("limits", name, NUMBER)
        lets = self._lets(file.let)  # before the keys that may use the names
        return Rule(
            id=self.path.stem,
            severity=file.severity,
            applies=None if file.applies is None else self._parse("applies", file.applies, BOOL),
            lets=lets,
            when=self._parse("when", file.when, BOOL),
            title=self._template("title", " ".join(file.title.split())),
            why=self._template("why", " ".join(file.why.split())),
            effect=self._template("effect", " ".join(file.effect.split())),
            source=" ".join(file.source.split()),
            loss=None if file.loss is None else self._parse("loss", file.loss, NUMBER),
            evidence=tuple(self._evidence(f"evidence[{index}]", item) for index, item in enumerate(file.evidence)),
            fix=tuple(self._command(f"fix[{index}]", item) for index, item in enumerate(file.fix)),
            limits=file.limits,
            momentary=file.momentary,
        )

    def _error(self, key: str, problem: str) -> InputError:
        return InputError(f"{self.path}: {key}: {problem}.", remedy="Correct the rule file.")

    def _parse(self, key: str, source: _Source, kind: Kind | None = None) -> Expression:
        text = source if isinstance(source, str) else repr(source)
        try:
            expression = parse(text, self.scope)
        except ExpressionError as error:
            raise self._error(key, str(error)) from error
        if kind is not None and expression.kind != kind:
            raise self._error(key, f"{text!r} is {expression.kind}, expected {kind}")
        return expression

    def _template(self, key: str, text: str) -> Template:
        pieces = _HOLE.split(text)
        if any(brace in literal for literal in pieces[::2] for brace in "{}"):
            raise self._error(key, "a brace without its partner")
        return Template(tuple(self._parse(key, piece) if index % 2 else piece for index, piece in enumerate(pieces)))

    def _lets(self, sources: Mapping[str, _Source]) -> tuple[tuple[str, Expression], ...]:
        lets = []
        for name, source in sources.items():
            expression = self._parse(f"let.{name}", source)
            self._new_name("let", name, expression.kind)
            lets.append((name, expression))
        return tuple(lets)

    def _new_name(self, table: str, name: str, kind: Kind) -> None:
        if not name.isidentifier() or name in self.scope:
            raise self._error(f"{table}.{name}", "expected a name that is not in use")
        self.scope[name] = kind

    def _evidence(self, key: str, item: str | _Evidence) -> Shown:
        entry = _Evidence(item, item) if isinstance(item, str) else item
        fact = self._parse(key, entry.fact)
        if not fact.paths:
            raise self._error(key, f"{entry.fact!r} names no fact")
        return Shown(fact.text, self._parse(key, entry.value))

    def _command(self, key: str, item: _Fix) -> Command:
        return Command(
            on=item.on,
            words=tuple(self._template(f"{key}.run", word) for word in self._words(key, item.run)),
            when=None if item.when is None else self._parse(f"{key}.when", item.when, BOOL),
            does=item.does or ("program" if item.on is Place.HERE else "change"),
            then=item.then,
        )

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
