"""The same fleet before and after a change: host by host, all together, and in which facts they changed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath

from harness.compare.facts import FactValue, conflicts
from harness.decode import decode
from harness.errors import EnvironmentMismatchError, LparbenchError
from harness.fleet.judge import effect_of, lasting, standing_of
from harness.measure.hosts import HostEffect, changes
from harness.measure.stats import holm
from harness.parsing import read_json
from harness.platform.facts import Facts
from harness.record.archive_entry import partition_of
from harness.record.fleet_model import Fleet, FleetHost, FleetTest, HostStanding
from harness.record.spec import RunSpec
from harness.record.store import RECORD_NAME, load_fleet

ALL = "all together"
_OF_THE_MOMENT = (".free", "_free_bytes", "_available_bytes")  # last parts of paths
_OTHERWISE = frozenset({"seed", "blocks", "data_dir", "save", "bundles"})  # of a spec, which do not change the work
Key = tuple[str, str, str, str, int]


@dataclass(frozen=True)
class ResultChange:
    """How one result changed; ratios are of rates, after over before.

    Attributes:
        title: what was measured.
        together: of all hosts that were measured in both.
        hosts: of each, in the order of the fleet before.
    """

    title: str
    together: HostStanding
    hosts: tuple[HostStanding, ...]


@dataclass(frozen=True)
class FactChange:
    """A fact that is another one now on these hosts."""

    name: str
    before: str
    after: str
    hosts: tuple[str, ...]
    effect: str


@dataclass(frozen=True)
class FleetChange:
    """Two runs of one fleet.

    Attributes:
        missing: hosts that cannot be compared, each with the reason.
        facts: changes of facts, the likely strongest effect first; None where no record of a host is there.
    """

    before: str
    after: str
    margin: float
    results: tuple[ResultChange, ...]
    missing: dict[str, str]
    facts: tuple[FactChange, ...] | None


def compare_fleets(before: Path, after: Path, margin: float) -> FleetChange:
    """Hold a run of a fleet against an earlier one of the same hosts and the same work.

    Raises:
        InputError: one of them is no record of a fleet.
        EnvironmentMismatchError: they did other work, or have no host or result in common.
    """
    sides = [load_fleet(before), load_fleet(after)]
    _refuse_other_work(sides[0].spec, sides[1].spec)
    facts = [_facts_of(fleet, path) for fleet, path in zip(sides, (before, after), strict=True)]
    hosts = [{host.name: host for host in fleet.hosts} for fleet in sides]
    tests = [_rates(fleet.tests) for fleet in sides]
    measured = [{name for _, rates in of_side.values() for name in rates} for of_side in tests]
    missing = {
        name: reason
        for name in dict.fromkeys([*hosts[0], *hosts[1]])
        if (reason := _missing(name, measured, [side.get(name) for side in hosts], [side.get(name) for side in facts]))
        is not None
    }
    common = [name for name in hosts[0] if name not in missing]
    keys = [key for key in tests[0] if key in tests[1]]
    if not common or not keys:
        raise EnvironmentMismatchError(
            f"{before} and {after} have no {'result' if common else 'host'} in common.",
            remedy="Compare two runs of one fleet, by the same inventory and workloads.",
        )
    compared = {key: _compared(tests[0][key], tests[1][key], common, margin) for key in keys}
    flat = [effect for effects in compared.values() for effect in effects[1][:-1] if effect is not None]
    pooled = [effects[1][-1] for effects in compared.values() if effects[1][-1] is not None]
    adjusted: dict[int, tuple[float, float]] = {}
    for family in (flat, pooled):
        slow, fast = holm([each.p_slow for each in family]), holm([each.p_fast for each in family])
        adjusted.update(zip(map(id, family), zip(slow, fast, strict=True), strict=True))
    results = []
    for key, (names, effects) in compared.items():
        standings = [
            standing_of(name, (), effect, adjusted.get(id(effect), (1.0, 1.0)), margin)
            for name, effect in zip([*names, ALL], effects, strict=True)
        ]
        results.append(ResultChange(tests[0][key][0].title, standings[-1], tuple(standings[:-1])))
    known = any(facts[0].get(name) and facts[1].get(name) for name in common)
    return FleetChange(
        sides[0].fleet_id, sides[1].fleet_id, margin, tuple(results), missing,
        _changed(facts[0], facts[1], common) if known else None,
    )  # fmt: skip


def _refuse_other_work(a: RunSpec, b: RunSpec) -> None:
    names = [field.name for field in fields(RunSpec) if field.name not in _OTHERWISE]
    pairs = [(name, getattr(a, name), getattr(b, name)) for name in names]
    differing = [f"{name} {old!r} and {new!r}" for name, old, new in pairs if old != new]
    if differing:
        raise EnvironmentMismatchError(
            f"The fleets did other work: {', '.join(differing)}.",
            remedy="Run the fleet again with the options of the first run.",
        )


def _facts_of(fleet: Fleet, path: Path) -> dict[str, Facts]:
    """The facts in the first record of each host, as far as the records are there."""
    directory = path if path.is_dir() else path.parent
    facts: dict[str, Facts] = {}
    for host in fleet.hosts:
        for record in host.records[:1]:
            inside = PurePosixPath(record.path)
            if inside.is_absolute() or ".." in inside.parts:
                continue
            file = directory / inside / RECORD_NAME
            try:
                document = read_json(file)
                facts[host.name] = decode(Facts, document["facts"], f"{file}: facts")
            except (LparbenchError, KeyError, TypeError):
                continue
    return facts


def _missing(
    name: str, measured: Sequence[AbstractSet[str]], hosts: Sequence[FleetHost | None], facts: Sequence[Facts | None]
) -> str | None:
    for host, rated, when in zip(hosts, measured, ("before", "after"), strict=True):
        if host is None:
            return f"not in the fleet {when}"
        if name not in rated:
            return f"{host.state.value} {when}" + ("" if host.reason is None else f": {host.reason}")
    a, b = facts
    if a is not None and b is not None and partition_of(a) != partition_of(b):
        return "another partition or machine has its name now"
    return None


def _rates(tests: Sequence[FleetTest]) -> dict[Key, tuple[FleetTest, dict[str, tuple[float, ...]]]]:
    """Rates by host of every result, whatever population it was in."""
    rates: dict[Key, tuple[FleetTest, dict[str, tuple[float, ...]]]] = {}
    for test in tests:
        key = (test.workload, test.scenario, test.backend, test.dtype, test.batch_size)
        of_hosts = rates.setdefault(key, (test, {}))[1]
        for host in test.hosts:
            of_hosts[host.host] = tuple(math.nan if rate is None else rate for rate in host.rates)
    return rates


def _compared(
    a: tuple[FleetTest, Mapping[str, tuple[float, ...]]],
    b: tuple[FleetTest, Mapping[str, tuple[float, ...]]],
    common: Sequence[str],
    margin: float,
) -> tuple[list[str], tuple[HostEffect | None, ...]]:
    names = [name for name in common if name in a[1] and name in b[1]]
    return names, changes([a[1][name] for name in names], [b[1][name] for name in names], margin=margin)


def _changed(a: Mapping[str, Facts], b: Mapping[str, Facts], common: Sequence[str]) -> tuple[FactChange, ...]:
    """Facts that changed, those on the same hosts in the same way as one."""
    groups: dict[tuple[str, FactValue, FactValue], list[str]] = {}
    for name in common:
        if name not in a or name not in b:
            continue
        old, new = lasting(a[name]), lasting(b[name])
        for path in conflicts(old, new):
            if not path.endswith(_OF_THE_MOMENT):
                groups.setdefault((path, old[path], new[path]), []).append(name)
    ranked = sorted(groups.items(), key=lambda item: (effect_of(item[0][0])[0], -len(item[1]), item[0][0]))
    return tuple(
        FactChange(path, str(old), str(new), tuple(hosts), effect_of(path)[1]) for (path, old, new), hosts in ranked
    )
