"""Files of other tools as sides: what one process measured of each benchmark, and where and of which commit."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.compare.facts import Facts, conflicts, merged
from harness.compare.observations import Commit, Key, Observation, Problem, ProblemKind, Side, is_measurable
from harness.errors import InputError

Table = Mapping[str, object]  # of a file that is not ours

_ARCHITECTURES = {"amd64": "x86_64", "x64": "x86_64", "x86-64": "x86_64", "arm64": "aarch64", "ppc64el": "ppc64le"}
_UNKNOWN_TEXTS = {"", "unknown", "n/a", "none"}
NO_VALUE = "no value was recorded"


@dataclass(frozen=True)
class Reading:
    """One benchmark in one file.

    Attributes:
        name: of the benchmark.
        processes: for each process the time of a call, or why there is none.
        unit: of the values; empty where the file does not say.
        conditions: what else holds for this benchmark alone.
    """

    name: str
    processes: tuple[float | str, ...]
    unit: str = "s"
    conditions: Facts = field(default_factory=dict)


@dataclass(frozen=True)
class ForeignFile:
    """What a file says; ``tool`` is the scenario of its keys, ``created`` ISO 8601 or empty."""

    path: str
    tool: str
    created: str
    facts: Facts
    readings: tuple[Reading, ...]
    commit: Commit | None = None


@dataclass(frozen=True)
class Unusable:
    """A file of a tool that keeps nothing to compare: why, and what to do."""

    why: str
    remedy: str


def side_of_files(name: str, files: Sequence[ForeignFile], where: str = "") -> Side:
    """A side from the files of several processes or shards of one commit on one machine.

    The n-th process of a benchmark is its block n, whichever file it is in. A benchmark that cannot be used says why
    and leaves the others alone. ``where`` is what errors call the whole.

    Raises:
        InputError: the files are of several commits, machines or interpreters, as far as they say so.
    """
    first, *others = files
    facts, commit = first.facts, first.commit
    for file in others:
        if commit is not None and file.commit is not None and not commit.is_same(file.commit):
            raise InputError(
                f"{where or name} holds files of several commits ({first.path} of {commit}, {file.path} of"
                f" {file.commit}); a side is one commit.",
                remedy=f"Give the files of one commit, or look for steps with: lparbench history {where or name}",
            )
        differing = conflicts(facts, file.facts)
        if differing:
            values = "; ".join(f"{key}: {file.facts[key]} and {facts[key]}" for key in differing)
            raise InputError(
                f"{file.path}: another machine or interpreter than in {first.path}: {values}.",
                remedy="Give files of one environment as one side; compare the two environments as two sides.",
            )
        facts, commit = merged(facts, file.facts), commit or file.commit
    observations: dict[Key, Observation] = {}
    for file in files:
        for reading in file.readings:
            key = Key(reading.name, file.tool, "", "", 0)
            observations[key] = _with(observations.get(key), key, reading)
        for reading in _repeated(file.readings):
            key = Key(reading.name, file.tool, "", "", 0)
            problem = Problem(ProblemKind.AMBIGUOUS, f"{file.path} holds it more than once")
            observations[key] = replace(observations[key], seconds={}, problems=(problem,))
    return Side(name, max(file.created for file in files), facts, observations, commit=commit)


def _with(earlier: Observation | None, key: Key, reading: Reading) -> Observation:
    """The observation with the processes of one more file."""
    observation = earlier or Observation(key, {}, conditions=reading.conditions, unit=reading.unit)
    seconds, unusable = dict(observation.seconds), dict(observation.unusable)
    for block, value in enumerate(reading.processes, start=len(seconds) + len(unusable)):
        if isinstance(value, str):
            unusable[block] = value
        elif is_measurable(value):
            seconds[block] = value
        else:
            unusable[block] = f"its value is {value:g}, which is no time"
    problems = observation.problems
    if observation.unit != reading.unit:
        units = f"{observation.unit or 'not known'} in one file, {reading.unit or 'not known'} in another"
        problems = (Problem(ProblemKind.AMBIGUOUS, f"its unit is {units}"),)
    conditions = merged(observation.conditions, reading.conditions)
    return replace(observation, seconds=seconds, unusable=unusable, problems=problems, conditions=conditions)


def _repeated(readings: Sequence[Reading]) -> Iterator[Reading]:
    seen: set[str] = set()
    for reading in readings:
        if reading.name in seen:
            yield reading
        seen.add(reading.name)


def table(value: object) -> Table:
    """``value`` if it is a table, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def items(value: object) -> Sequence[object]:
    """``value`` if it is a list, else an empty one."""
    return value if isinstance(value, list) else ()


def text(source: Table, *names: str) -> str | None:
    """The first text under ``names`` that says something."""
    values = (source.get(name) for name in names)
    return next((v.strip() for v in values if isinstance(v, str) and v.strip().lower() not in _UNKNOWN_TEXTS), None)


def number(value: object) -> float | None:
    """``value`` if it is a number, also one that is not finite."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf if value > 0 else -math.inf


def architecture(name: str | None) -> str | None:
    """One name for one instruction set, whatever the operating system calls it."""
    return None if name is None else _ARCHITECTURES.get(name.lower(), name.lower())


def centre(values: Sequence[object]) -> float | str:
    """Median of the values of one process, or why there is none: one that is no positive number spoils it."""
    numbers = [number(value) for value in values]
    for index, value in enumerate(numbers):
        if value is None or not math.isfinite(value) or value <= 0:
            return f"value {index} is {values[index]}, which is no time"
    known = [value for value in numbers if value is not None]
    return statistics.median(known) if known else NO_VALUE
