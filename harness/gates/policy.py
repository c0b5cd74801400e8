"""What the user asks of the gate: for all results, and for some of them by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

from harness.compare.compare import ACCURACY_MARGIN
from harness.compare.observations import Key
from harness.decode import Check, decode
from harness.errors import InputError
from harness.measure.shares import LARGEST, parse_share
from harness.measure.verdicts import DEFAULT_MARGIN
from harness.parsing import read_toml
from harness.wording import percentage

_PYPROJECT = "pyproject.toml"
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}


def _readable(read: Any) -> Any:
    def holds(text: str) -> bool:
        try:
            read(text)
        except ValueError:
            return False
        return True

    return holds


def seconds(text: str) -> float:
    """``50 us`` in seconds.

    Raises:
        ValueError: it is not a duration above zero with a unit.
    """
    bare = text.strip()
    unit = next((unit for unit in _UNITS if bare.endswith(unit)), None)
    value = float(bare.removesuffix(unit)) * _UNITS[unit] if unit else 0.0
    if not 0 < value < float("inf"):
        raise ValueError("is not a duration above zero")
    return value


Share = Annotated[
    str, Check(f"a share in quotes such as '5%', above 0 and at most {percentage(LARGEST)}", _readable(parse_share))
]
Duration = Annotated[str, Check(f"a duration with a unit ({', '.join(_UNITS)}) such as '50 us'", _readable(seconds))]


@dataclass(frozen=True)
class Rule:
    """What is asked of some results, as written in a file.

    Attributes:
        margin: relative slowdown that matters.
        floor: slowdown in seconds below which nothing matters.
        allow_diff: facts that may differ.
    """

    margin: Share | None = None
    floor: Duration | None = None
    allow_diff: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Table(Rule):
    """The whole table: what is asked of all results, and of those whose name fits a pattern."""

    accuracy_margin: Share | None = None
    benchmarks: Mapping[str, Rule] = field(default_factory=dict)


@dataclass(frozen=True)
class Policy:
    """What the user asks of the gate.

    Attributes:
        margin: relative slowdown that matters; None: 3 %, or the noise where that is higher.
        accuracy_margin: absolute loss of an accuracy metric that matters.
        allowed: facts that may differ, because the difference is what the gate is asked about.
        floor_s: slowdown in seconds below which nothing matters.
        rules: pattern of names -> what is asked of those results instead; ``*`` and ``?`` stand for other characters.
    """

    margin: float | None = None
    accuracy_margin: float = ACCURACY_MARGIN
    allowed: Collection[str] = ()
    floor_s: float = 0.0
    rules: Mapping[str, Rule] = field(default_factory=dict)

    def asked(self, key: Key, level_s: float) -> Asked:
        """The margin asked for a result that takes ``level_s`` seconds."""
        rule = self._rule(key)
        margin = self.margin if rule.margin is None else parse_share(rule.margin)
        floor_s = self.floor_s if rule.floor is None else seconds(rule.floor)
        return Asked(max(DEFAULT_MARGIN if margin is None else margin, floor_s / level_s), named=margin is not None)

    def allowed_for(self, key: Key) -> frozenset[str]:
        """Facts that may differ where this result is judged."""
        return frozenset((*self.allowed, *self._rule(key).allow_diff))

    def _rule(self, key: Key) -> Rule:
        """That of the longest pattern that fits the workload or the whole name."""
        names = (key.workload, str(key))
        fitting = [pattern for pattern in self.rules if any(_fits(name, pattern) for name in names)]
        return self.rules[max(fitting, key=len)] if fitting else Rule()


@dataclass(frozen=True)
class Asked:
    """A margin, and whether somebody named it: then noise does not raise it."""

    share: float
    named: bool


def read_policy(path: Path | None, given: Policy, folders: Sequence[Path] = (Path(),)) -> Policy:
    """The policy in a file, with what was given on the command line on top.

    Args:
        path: a TOML file; None: ``[tool.lparbench.gate]`` of ``pyproject.toml``, where there is one.
        given: of the command line; its accuracy margin counts where it is not the default.
        folders: where that file is looked for; the first counts.

    Raises:
        InputError: the file cannot be read, or something in it is wrong; names the key.
    """
    here = (folder / _PYPROJECT for folder in folders)
    where = path or next((file for file in here if file.exists()), None)
    if where is None:
        return given
    document, at = read_toml(where), str(where)
    if where.name == _PYPROJECT:
        document, at = _gate_of(document), f"{where}: tool.lparbench.gate"
        if document is None:
            if path is None:
                return given
            raise InputError(f"{where} has no [tool.lparbench.gate].", remedy="Add it, or give another file.")
    table = decode(_Table, _underscored(document), at)
    return dataclasses.replace(
        given,
        margin=given.margin if given.margin is not None or table.margin is None else parse_share(table.margin),
        accuracy_margin=given.accuracy_margin
        if given.accuracy_margin != ACCURACY_MARGIN or table.accuracy_margin is None
        else parse_share(table.accuracy_margin),
        allowed=(*given.allowed, *table.allow_diff),
        floor_s=0.0 if table.floor is None else seconds(table.floor),
        rules=table.benchmarks,
    )


def _gate_of(pyproject: Any) -> Any:
    """What ``[tool.lparbench.gate]`` holds; None where there is none."""
    for name in ("tool", "lparbench", "gate"):
        pyproject = pyproject.get(name) if isinstance(pyproject, Mapping) else None
    return pyproject


def _underscored(table: Any) -> Any:
    """Keys as Python spells them; names of benchmarks stay as they are."""
    if not isinstance(table, Mapping):
        return table
    return {
        key.replace("-", "_"): {name: _underscored(rule) for name, rule in value.items()}
        if key == "benchmarks" and isinstance(value, Mapping)
        else value
        for key, value in table.items()
    }


def _fits(name: str, pattern: str) -> bool:
    """Whether a name is the pattern or fits it; brackets are those of parameters, not of a pattern."""
    return name == pattern or fnmatchcase(name, pattern.replace("[", "[[]"))
