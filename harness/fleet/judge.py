"""From the journal of a fleet run to its record: states, populations, tests, and in what a slow host differs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from harness import __version__
from harness.compare.environment import FACTS
from harness.compare.facts import FactValue, facts_of
from harness.decode import encode
from harness.errors import EnvironmentMismatchError
from harness.fleet.protocol import Looked
from harness.fleet.session import Entry, FleetDesign, LookedEntry, MeasuredEntry, MissedEntry, Timed
from harness.fleet.waves import answered, frames_of
from harness.measure.faulting import WHY, noteworthy
from harness.measure.hosts import ALPHA, HostComparison, HostEffect, compare_hosts
from harness.measure.stats import holm
from harness.platform.facts import Facts
from harness.record.codec import digest_of
from harness.record.fleet_model import (
    FLEET_SCHEMA_VERSION,
    Fleet,
    FleetDifference,
    FleetFinding,
    FleetHost,
    FleetPopulation,
    FleetRecord,
    FleetTest,
    HostStanding,
    HostState,
    Standing,
)
from harness.record.model import Fingerprint, Tool
from harness.runs.fingerprint import fingerprint
from harness.wording import plural

_OUT_OF_LINE = frozenset({Standing.SLOW, Standing.FAST, Standing.UNSTEADY})
_PEERS = 24  # hosts that a host out of line is compared with, fact by fact
_AGREE = 0.8  # share of them that must have one value for it to be usual
_DIFFERENCES = 12
_NAMED = 6  # hosts in a note
# What is of one host alone, or of the moment.
_IDENTITY = (
    "lpar.partition_id", "lpar.partition_name", "lpar.serial_sha256", "lpar.purr", "lpar.dispatch", "load.", "sysroot",
    "crosscheck.", "lpar.sources", "memory.available", "memory.free", "limits.pid",
)  # fmt: skip
Key = tuple[str, str, str, str, int]


def fleet_of(design: FleetDesign, entries: Sequence[Entry]) -> Fleet:
    """The record of a fleet run; the same journal gives the same record."""
    looked = answered([entry for entry in entries if isinstance(entry, LookedEntry)])
    measured: dict[str, list[MeasuredEntry]] = {host.name: [] for host in design.hosts}
    for entry in entries:
        if isinstance(entry, MeasuredEntry):
            measured[entry.host].append(entry)
    numbers, populations = _populations([host.name for host in design.hosts], looked)
    tests = _tests(design, numbers, measured)
    out_of_line = {s.host for test in tests for s in test.hosts if s.standing in _OUT_OF_LINE}
    flat = _flat(out_of_line, numbers, looked)
    frames, offsets = frames_of(looked), {e.host: e.offset_s for e in entries if isinstance(e, LookedEntry)}
    sizes = Counter(numbers.values())
    findings = {name: _findings(host) for name, host in looked.items()}
    hosts = []
    for host in design.hosts:
        state, reason = _state(host.name, entries, measured[host.name])
        alone = host.name in numbers and sizes[numbers[host.name]] == 1 and len(looked) > 1
        if alone and state is HostState.DONE:
            state, reason = HostState.DIFFERENT, _how_different(host.name, looked)
        hosts.append(
            FleetHost(
                host.name,
                state,
                reason,
                numbers.get(host.name),
                frames.get(host.name),
                offsets.get(host.name),
                tuple(FleetRecord(e.wave, e.path, e.digest) for e in measured[host.name]),
                findings.get(host.name, ()),
                _differences(host.name, numbers, flat) if host.name in out_of_line else (),
            )
        )
    return Fleet(
        FLEET_SCHEMA_VERSION, design.identity, design.created, Tool("lparbench", __version__, design.argv),
        "ssh" if design.scheduler is None else "dask",
        design.inventory, design.inventory_sha256, design.spec, design.waves, design.together, design.margin,
        tuple(hosts), populations, tests, (*design.remarks, *_notes(looked, frames, sizes), *_faulting(measured)),
    )  # fmt: skip


def _findings(looked: Looked) -> tuple[FleetFinding, ...]:
    ordered = sorted(looked.findings, key=lambda finding: finding.severity.rank)
    return tuple(FleetFinding(finding.id, finding.severity.value, finding.title) for finding in ordered)


def require_alike(looked: Mapping[str, Looked]) -> None:
    """See that all hosts are of one population.

    Raises:
        EnvironmentMismatchError: they are not.
    """
    numbers, populations = _populations(list(looked), looked)
    if len(populations) < 2:
        return
    kinds = []
    for each in populations:
        hosts = [name for name, number in numbers.items() if number == each.number]
        more = f" and {len(hosts) - _NAMED:,} more" if len(hosts) > _NAMED else ""
        kinds.append(f"{each.title}: {', '.join(hosts[:_NAMED])}{more}")
    raise EnvironmentMismatchError(
        f"--alike: {plural(len(looked), 'host')} of {len(kinds)} kinds, which cannot be compared: {'; '.join(kinds)}. "
        f"They differ in {', '.join(_differing(looked))}.",
        remedy="Choose those of one kind by --hosts, or leave --alike out: each kind is then compared with itself.",
    )


def _differing(looked: Mapping[str, Looked]) -> list[str]:
    """Facts of the fingerprint that not all hosts have alike."""
    prints = [vars(fingerprint(host.facts, host.facts.software)) for host in looked.values()]
    return [name for name in prints[0] if len({repr(each[name]) for each in prints}) > 1]


def _populations(
    names: Sequence[str], looked: Mapping[str, Looked]
) -> tuple[dict[str, int], tuple[FleetPopulation, ...]]:
    """Host -> number of its population, the largest being 1, and what each of them is."""
    prints = {name: fingerprint(host.facts, host.facts.software) for name, host in looked.items()}
    digests = {name: digest_of(encode(each)) for name, each in prints.items()}
    order = [name for name in names if name in digests]
    counts = Counter(digests[name] for name in order)
    ranked = sorted(counts, key=lambda digest: (-counts[digest], order.index(_first(order, digests, digest))))
    numbers = {digest: at for at, digest in enumerate(ranked, start=1)}
    populations = tuple(
        FleetPopulation(numbers[digest], _title(prints[_first(order, digests, digest)]), counts[digest])
        for digest in ranked
    )
    return {name: numbers[digests[name]] for name in order}, populations


def _first(order: Sequence[str], digests: Mapping[str, str], digest: str) -> str:
    return next(name for name in order if digests[name] == digest)


def _title(facts: Fingerprint) -> str:
    parts = [facts.machine or facts.cpu or "machine not known", plural(len(facts.cpus_online), "CPU")]
    if facts.smt is not None and facts.smt.online is not None:
        parts.append(f"SMT {facts.smt.online}")
    if facts.lpar_entitled_capacity is not None:
        parts.append(f"entitlement {facts.lpar_entitled_capacity:g}")
    return ", ".join([*parts, f"kernel {facts.kernel or 'not known'}"])


def _state(name: str, entries: Iterable[Entry], measured: Sequence[MeasuredEntry]) -> tuple[HostState, str | None]:
    """What became of a host, and why; a wave that it missed is named though others were measured."""
    missed = [e for e in entries if isinstance(e, MissedEntry) and e.host == name]
    drifting = _drifting(measured)
    usable = [e for e in measured if any(_usable(timed) and _key(timed) not in drifting for timed in e.timed)]
    if missed:
        last = missed[-1]
        return last.state, f"{len(missed)} of its waves missed, the last of them {last.wave}: {last.reason}"
    if measured and not usable:
        problems = (text for e in measured for timed in e.timed for text in timed.problems)
        return HostState.INVALID, next(problems, "no result of it settles" if drifting else "no time of it can be used")
    if not measured:
        looks = [e for e in entries if isinstance(e, LookedEntry) and e.host == name]
        if not looks or looks[-1].looked is not None:
            return HostState.FAILED, "it was not measured"
        return looks[-1].state, looks[-1].reason
    if len(usable) < len(measured):
        problems = (text for e in measured for timed in e.timed for text in timed.problems)
        return HostState.DONE, f"{len(measured) - len(usable)} of its waves cannot be used: {next(problems, '')}"
    return HostState.DONE, None


def _key(timed: Timed) -> Key:
    return timed.workload, timed.scenario, timed.backend, timed.dtype, timed.batch_size


def _drifting(records: Sequence[MeasuredEntry]) -> set[Key]:
    """Results of which no more than half of the waves settled; of one that did not settle alone, nothing is said."""
    settled: dict[Key, list[bool]] = {}
    for record in records:
        for timed in record.timed:
            settled.setdefault(_key(timed), []).append(timed.settled)
    return {key for key, waves in settled.items() if 2 * sum(waves) <= len(waves)}


def _usable(timed: Timed) -> bool:
    return timed.seconds is not None and timed.seconds > 0 and not timed.problems


def _tests(
    design: FleetDesign, numbers: Mapping[str, int], measured: Mapping[str, Sequence[MeasuredEntry]]
) -> tuple[FleetTest, ...]:
    """Every result in every population, its p-values adjusted over all of them."""
    rates: dict[Key, dict[str, list[float]]] = {}
    for name, records in measured.items():
        drifting = _drifting(records)
        for record in records:
            for timed in record.timed:
                by_host = rates.setdefault(_key(timed), {})
                row = by_host.setdefault(name, [math.nan] * design.waves)
                if _usable(timed) and timed.seconds is not None and _key(timed) not in drifting:
                    row[record.wave - 1] = 1 / timed.seconds
    compared: list[tuple[int, Key, list[str], list[list[float]], HostComparison]] = []
    for population in sorted(set(numbers.values())):
        for key in sorted(rates):
            names = [
                host.name for host in design.hosts if numbers.get(host.name) == population and host.name in rates[key]
            ]
            if names:
                rows = [rates[key][name] for name in names]
                compared.append((population, key, names, rows, compare_hosts(rows, margin=design.margin)))
    effects = [effect for *_, comparison in compared for effect in comparison.hosts if effect is not None]
    slow = dict(zip(map(id, effects), holm([effect.p_slow for effect in effects]), strict=True))
    fast = dict(zip(map(id, effects), holm([effect.p_fast for effect in effects]), strict=True))
    tests = []
    for population, key, names, rows, comparison in compared:
        standings = []
        for name, row, effect in zip(names, rows, comparison.hosts, strict=True):
            p = (1.0, 1.0) if effect is None else (slow[id(effect)], fast[id(effect)])
            standings.append(standing_of(name, row, effect, p, design.margin))
        tests.append(
            FleetTest(
                population,
                *key,
                math.expm1(comparison.sd),
                comparison.detectable(len(effects), margin=design.margin),
                tuple(standings),
            )
        )
    return tuple(tests)


def standing_of(
    name: str, row: Sequence[float], effect: HostEffect | None, p: tuple[float, float], margin: float
) -> HostStanding:
    """What an effect says of a host; ``p`` that it is slower, faster by more than the margin, adjusted."""
    rates = tuple(rate if math.isfinite(rate) else None for rate in row)
    if effect is None:
        return HostStanding(name, Standing.UNDECIDED, rates)
    limit = math.log1p(margin)
    if p[0] < ALPHA:
        standing = Standing.SLOW
    elif p[1] < ALPHA:
        standing = Standing.FAST
    elif effect.unsteady:
        standing = Standing.UNSTEADY
    else:
        standing = Standing.EQUAL if -limit < effect.low and effect.high < limit else Standing.UNDECIDED
    ratio, low, high = (_exp(value) for value in (effect.effect, effect.low, effect.high))
    return HostStanding(name, standing, rates, ratio, low, high, p[standing is Standing.FAST], effect.unsteady)


def _exp(value: float) -> float:
    return math.exp(min(max(value, -200.0), 200.0))  # of a host with two measurements, the limits are anywhere


def _flat(
    names: Iterable[str], numbers: Mapping[str, int], looked: Mapping[str, Looked]
) -> dict[str, Mapping[str, FactValue]]:
    """The facts of hosts out of line and of some of their peers, flat."""
    wanted = set(names)
    for population in {numbers[name] for name in wanted}:
        peers = [name for name, number in numbers.items() if number == population and name not in wanted]
        wanted |= set(peers[:_PEERS])
    flat: dict[str, Mapping[str, FactValue]] = {}
    for name in sorted(wanted):
        flat[name] = lasting(looked[name].facts)
    return flat


def lasting(facts: Facts) -> Mapping[str, FactValue]:
    """Facts by their paths, without those that are of one host alone, or of the moment."""
    flat = facts_of(facts).items()
    return {path: value for path, value in flat if not path.startswith(_IDENTITY) and ".sources" not in path}


def _differences(
    name: str, numbers: Mapping[str, int], flat: Mapping[str, Mapping[str, FactValue]]
) -> tuple[FleetDifference, ...]:
    """Facts of a host that are not what most of its peers have, the likely strongest effect first."""
    peers = [facts for other, facts in flat.items() if other != name and numbers[other] == numbers[name]]
    ranked = []
    for path, own in flat[name].items():
        values = Counter(facts.get(path) for facts in peers)
        usual, count = values.most_common(1)[0] if values else (None, 0)
        if own is None or usual is None or own == usual or count < _AGREE * len(peers):
            continue
        rank, effect = effect_of(path)
        ranked.append((rank, -_apart(own, usual), FleetDifference(path, str(own), str(usual), effect)))
    return tuple(
        difference for *_, difference in sorted(ranked, key=lambda each: (each[:2], each[2].name))[:_DIFFERENCES]
    )


def effect_of(path: str) -> tuple[int, str]:
    """Position by likely effect, and what it does, by the last part of the path that the table of comparisons knows."""
    words = set(path.replace("[", ".").split("."))
    for rank, fact in enumerate(FACTS):
        if fact.name.split(".")[-1].removeprefix("lpar_") in words:
            return rank, fact.effect
    return len(FACTS), ""


def _apart(a: FactValue, b: FactValue) -> float:
    """How far two figures are from each other, as a logarithm; of what is no figure, far."""
    if isinstance(a, int | float) and isinstance(b, int | float) and a > 0 and b > 0 and not isinstance(a, bool):
        return abs(math.log(a / b))
    return math.inf


def _how_different(name: str, looked: Mapping[str, Looked]) -> str:
    """In what a host without a peer differs from most others."""
    own = vars(fingerprint(looked[name].facts, looked[name].facts.software))
    others = [vars(fingerprint(host.facts, host.facts.software)) for other, host in looked.items() if other != name]
    differing = []
    for key, value in own.items():
        usual = Counter(repr(other[key]) for other in others).most_common(1)[0][0]
        if repr(value) != usual:
            differing.append(key)
    return f"no other host is like it: {', '.join(differing) or 'each differs from the next'}"


def _faulting(measured: Mapping[str, Sequence[MeasuredEntry]]) -> Iterator[str]:
    """Which hosts' calls fault their memory again in which part of their waves, where not all do in all."""
    waves: dict[Key, dict[str, list[bool]]] = {}
    for name, records in measured.items():
        for timed in (each for record in records for each in record.timed if each.page_faults is not None):
            by_host = waves.setdefault(_key(timed), {})
            by_host.setdefault(name, []).append(noteworthy(timed.page_faults, timed.seconds))
    for key, by_host in sorted(waves.items()):
        some = {name: which for name, which in by_host.items() if any(which)}
        if some and not all(map(all, by_host.values())):
            shown = [f"{sum(which)} of {len(which)} of {name}" for name, which in list(some.items())[:_NAMED]]
            more = [f"some of {plural(len(some) - _NAMED, 'further host')}"] if len(some) > _NAMED else []
            yield (
                f"{' '.join(key[:3])}: in waves ({', '.join(shown + more)}) each call faulted its pages again, {WHY}; "
                "in the others it stays."
            )


def _notes(looked: Mapping[str, Looked], frames: Mapping[str, str], sizes: Mapping[int, int]) -> tuple[str, ...]:
    notes = []
    systems: dict[str, list[str]] = {}
    for name, host in looked.items():
        if host.machine_id is not None:
            systems.setdefault(host.machine_id, []).append(name)
    for names in systems.values():
        if len(names) > 1:
            notes.append(
                f"{', '.join(names)} have one machine id: one system under several names, or copies of one image."
            )
    if any(frame.startswith(("system ", "host ")) for frame in frames.values()):
        notes.append("Where no serial number is known, hosts are distinguished by machine id, not by frame.")
    if any(size > 1 for size in sizes.values()):
        notes.append("What slows all hosts alike cannot be seen within a fleet: compare a record with an earlier one.")
    return tuple(notes)
