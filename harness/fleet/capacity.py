"""How many partitions of which kind serve a demand, from what a fleet was measured to take."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from harness.errors import InputError
from harness.measure.stats import t_quantile
from harness.record.fleet_model import Fleet, FleetTest, Standing
from harness.record.size_model import SizeQuestion
from harness.record.store import load_fleet

_LEAST_HOSTS = 2
_MOST = 1_000_000  # LPARs


@dataclass(frozen=True)
class KindSize:
    """What partitions of one kind take, and how many of them are needed. Rates are per second.

    Attributes:
        measured: hosts of this kind with a capacity.
        mean: capacity of one of them.
        spread: standard deviation between them, relative.
        needed: so many serve the demand where each gets what it can take; None: see ``note``.
        low: one-sided limit of what these take together.
        low_of_one_less: of one fewer, which is below the demand; None where one is enough.
        evenly: so many are needed where each gets the same share, the slowest too.
        slowest: host with the lowest capacity.
        note: why there is no number.
    """

    title: str
    backend: str
    dtype: str
    measured: int
    mean: float | None = None
    spread: float | None = None
    needed: int | None = None
    low: float | None = None
    low_of_one_less: float | None = None
    evenly: int | None = None
    slowest: str | None = None
    slowest_rate: float | None = None
    note: str | None = None


@dataclass(frozen=True)
class FleetSize:
    """The answers for each kind of partition, the fewest first.

    Attributes:
        bound_s: at which the fleet was measured, at most the one asked for; None for throughput.
        remarks: what to know of the hosts.
    """

    fleet: str
    workload: str
    question: SizeQuestion
    bound_s: float | None
    kinds: tuple[KindSize, ...]
    remarks: tuple[str, ...]


def size_fleet(path: Path, question: SizeQuestion, workload: str | None = None) -> FleetSize:
    """Partitions that serve a demand, by kind.

    Raises:
        InputError: the fleet measured no capacity of this kind, at a wider bound, or of several workloads of which none
            is named.
    """
    fleet = load_fleet(path)
    tests = _tests(fleet, path, question, workload)
    kinds: dict[int, KindSize] = {}
    for test in tests:
        title = next(each.title for each in fleet.populations if each.number == test.population)
        size = _kind(title, test, question)
        if test.population not in kinds or _order(size) < _order(kinds[test.population]):
            kinds[test.population] = size
    odd = {
        host.host: host.standing.value
        for test in tests
        for host in test.hosts
        if host.standing in (Standing.SLOW, Standing.UNSTEADY)
    }
    remarks = [f"{host} is {standing} among its kind." for host, standing in odd.items()]
    if fleet.spec.synthetic:
        remarks.insert(0, "Synthetic data.")
    return FleetSize(
        fleet.fleet_id,
        tests[0].workload,
        question,
        None if question.p99_s is None else fleet.spec.p99_bound_s,
        tuple(sorted(kinds.values(), key=_order)),
        tuple(remarks),
    )


def _tests(fleet: Fleet, path: Path, question: SizeQuestion, workload: str | None) -> list[FleetTest]:
    scenario = "offline" if question.p99_s is None else "server"
    tests = [test for test in fleet.tests if test.scenario == scenario]
    if not tests:
        option = f" --p99 {1e3 * question.p99_s:g}ms" if question.p99_s is not None else ""
        raise InputError(
            f"{path}: no host has a result of the {scenario} scenario.",
            remedy=f"Measure: lparbench fleet run HOSTS --scenarios {scenario}{option}",
        )
    if question.p99_s is not None and fleet.spec.p99_bound_s > question.p99_s * (1 + 1e-9):
        raise InputError(
            f"{path}: its capacities hold p99 at {1e3 * fleet.spec.p99_bound_s:g} ms.",
            remedy=f"Measure: lparbench fleet run HOSTS --scenarios server --p99 {1e3 * question.p99_s:g}ms",
        )
    names = list(dict.fromkeys(test.workload for test in tests))
    if workload is None and len(names) > 1:
        raise InputError(f"{path} has {len(names)} workloads.", remedy=f"Give --workload: {', '.join(names)}.")
    if workload is not None and workload not in names:
        raise InputError(f"{path} has no workload {workload}.", remedy=f"Expected: {', '.join(names)}.")
    return [test for test in tests if workload in (None, test.workload)]


def _kind(title: str, test: FleetTest, question: SizeQuestion) -> KindSize:
    rows = test.batch_size or 1 if question.p99_s is None else 1
    capacities = {
        host.host: rows * float(np.mean(rates))
        for host in test.hosts
        if (rates := [rate for rate in host.rates if rate is not None])
    }
    size = KindSize(title, test.backend, test.dtype, len(capacities))
    if len(capacities) < _LEAST_HOSTS:
        text = "measure more, for nothing is known of how LPARs of this kind differ"
        return replace(size, note=f"{len(capacities)} measured: {text}")
    values = np.array([*capacities.values()])
    mean, deviation = float(values.mean()), float(values.std(ddof=1))
    slowest = min(capacities, key=capacities.__getitem__)
    size = replace(size, mean=mean, spread=deviation / mean, slowest=slowest, slowest_rate=capacities[slowest])
    needed = lpars_needed(question.need, mean, deviation, len(values), question.confidence)
    if needed is None:
        return replace(size, note="too few are measured for how much they differ: measure more LPARs")

    def low(count: int) -> float:
        return together(count, mean, deviation, len(values), question.confidence)

    return replace(
        size,
        needed=needed,
        low=low(needed),
        low_of_one_less=low(needed - 1) if needed > 1 else None,
        evenly=max(needed, math.ceil(question.need / capacities[slowest])),
    )


def together(count: int, mean: float, deviation: float, measured: int, confidence: float) -> float:
    """One-sided lower limit of what ``count`` further partitions take together.

    The capacity of each is taken as normal around a mean that is known from ``measured`` of them: their sum has the
    variance s²(n + n²/k), and the limit is Student's with k - 1 degrees of freedom.
    """
    quantile = t_quantile(2 * confidence - 1, measured - 1)
    return count * mean - quantile * deviation * math.sqrt(count + count**2 / measured)


def lpars_needed(need: float, mean: float, deviation: float, measured: int, confidence: float) -> int | None:
    """The fewest partitions whose limit of `together` reaches ``need``; None where no number does."""
    lowest, highest = 0, 1  # the limit is convex in the count and 0 at none: once above, it stays there
    while together(highest, mean, deviation, measured, confidence) < need:
        lowest, highest = highest, 2 * highest
        if highest > _MOST:
            return None
    while highest - lowest > 1:
        middle = (lowest + highest) // 2
        if together(middle, mean, deviation, measured, confidence) < need:
            lowest = middle
        else:
            highest = middle
    return highest


def _order(size: KindSize) -> tuple[bool, int, float]:
    return size.needed is None, size.needed or 0, -(size.low or 0.0)
