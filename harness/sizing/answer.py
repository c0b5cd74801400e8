"""From capacity curves and a demand to a configuration, its neighbours, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from harness.measure.verdicts import MIN_BLOCKS
from harness.record.size_model import (
    Capacity,
    CapacityPoint,
    MemoryUse,
    SizeAnswer,
    SizedConfiguration,
    SizeQuestion,
    SizeRefusal,
)
from harness.sizing.curves import FARTHEST, Curve
from harness.sizing.memory import Traffic
from harness.wording import plural

_BASES = ("measured", "interpolated", "extrapolated")
_SLOWER = 1.1  # times the service alone from which sharing counts
_BUSY = 0.9
_FRONT = 0.5  # share of a server's CPU time outside the model from which the front is what limits
_MEMORY = 0.7  # share of a node's bandwidth from which requests wait for it


@dataclass(frozen=True)
class Bench:
    """What a question is answered from.

    Attributes:
        curves: of one node.
        node_cores: usable cores of that node; an answer never goes beyond them.
        p99_s: the bound of the capacities; None for throughput.
        traffic: with memory; None where it is not known.
    """

    curves: tuple[Curve, ...]
    node_cores: int
    p99_s: float | None
    traffic: Traffic | None = None

    @property
    def most(self) -> int:
        """The largest number of cores measured in at least two blocks; 0 where none was."""
        return max((curve.cores[-1] for curve in self.curves if curve.cores), default=0)

    @property
    def limit(self) -> int:
        """The largest number of cores that is answered for."""
        return min(self.node_cores, FARTHEST * self.most)


def answer(bench: Bench, question: SizeQuestion) -> SizeAnswer:
    """The smallest configuration whose lower limit reaches the need."""
    service_s = _least_service(bench.curves)
    if question.p99_s is not None and service_s is not None and service_s >= question.p99_s:
        why = f"one request alone takes {1e3 * service_s:.3g} ms: no number of cores helps"
        what = f"p99 of {1e3 * question.p99_s:.3g} ms"
        return _refused(question, what, why, "a faster backend or number format: lparbench sweep --backends, --dtypes")
    by_cores = [list(_at(bench, cores, question)) for cores in range(1, bench.limit + 1)]
    chosen = next((_best(those, certain=True) for those in by_cores if _best(those, certain=True)), None)
    verdict = "answered"
    if chosen is None:
        possible = [each for those in by_cores for each in those if each.enough is None]
        chosen = min(possible, key=lambda each: (each.cores, -each.capacity.value), default=None)
        verdict = "open"
    if chosen is None:
        return _unreachable(bench, question, by_cores)
    if chosen.capacity.basis == "extrapolated":
        verdict = "extrapolated"
    elif chosen.capacity.blocks < MIN_BLOCKS:
        verdict = "open"
    return SizeAnswer(
        question=question,
        verdict="open" if verdict == "open" else "extrapolated" if verdict == "extrapolated" else "answered",
        chosen=chosen,
        smaller=_neighbour(by_cores, reversed(range(1, chosen.cores))),
        larger=_neighbour(by_cores, range(chosen.cores + 1, bench.limit + 1)),
        refused=tuple(_open_reasons(chosen, verdict)),
    )


def _at(bench: Bench, cores: int, question: SizeQuestion) -> Iterator[SizedConfiguration]:
    """Every way to use this number of cores that something measured speaks of."""
    for curve in bench.curves:
        capacity = curve.capacity(cores, question.confidence)
        if capacity is not None:
            series = curve.series
            memory = memory_of(bench, curve, cores, capacity.value)
            yield SizedConfiguration(
                cores=cores,
                threads_per_core=series.threads_per_core,
                layout=series.layout,
                instances=instances_of(series.layout, cores, series.threads_per_core),
                node=series.node,
                capacity=capacity,
                enough=is_enough(capacity, question.need),
                limited_by=limited_by(bench, curve, cores, memory),
                memory=memory,
            )


def is_enough(capacity: Capacity, need: float) -> bool | None:
    """Whether the one-sided limits decide."""
    if capacity.floor >= need:
        return True
    return False if capacity.value**2 / capacity.floor < need else None


def instances_of(layout: str, cores: int, threads_per_core: int) -> int:
    """Processes that a layout takes."""
    return {"per-core": cores, "per-thread": cores * threads_per_core}.get(layout, 1)


def memory_of(bench: Bench, curve: Curve, cores: int, rate: float) -> MemoryUse | None:
    """What a configuration takes from memory at a rate; None where that is not known."""
    series = curve.series
    instances = instances_of(series.layout, cores, series.threads_per_core)
    return None if bench.traffic is None else bench.traffic.use(cores, instances, series.dtype, rate)


def limited_by(bench: Bench, curve: Curve, cores: int, memory: MemoryUse | None = None) -> str:
    """What keeps a configuration from serving more, from its memory and from the times of single requests."""
    if memory is not None and memory.share is not None and memory.share >= _MEMORY:
        return f"memory bandwidth: {100 * memory.share:.0f} % of the node's measured roof"
    point = curve.point(cores)
    if point is None:
        return "not known: this number of cores was not measured"
    service, rate = _service(point), _rate(point)
    if service is None or rate is None:
        first = curve.point(curve.cores[0]) if curve.cores else None
        single = None if first is None else _rate(first)
        if (
            rate is not None
            and first is not None
            and single is not None
            and rate / cores < single / first.cores / _SLOWER
        ):
            return (
                f"contention: a core gives {100 * rate / cores / (single / first.cores):.0f} % of what it gives alone"
            )
        return "the scorer"
    for reason, other in (("SMT sharing", _unshared(bench, curve, cores)), ("contention", curve.point(curve.cores[0]))):
        alone = None if other is None else _service(other)
        if other is not None and alone is not None and service > _SLOWER * alone:
            of = "with one thread per core" if reason == "SMT sharing" else "on the fewest cores"
            slower = f"a request takes {service / alone:.2f} times as long as {of}"
            before = memory_of(bench, curve, other.cores, 0.0)
            if before is not None and memory is not None and before.cached and not memory.cached:
                return f"cache: {_outgrown(memory)}; {slower}"
            return f"{reason}: {slower}"
    front = median([block.front_share for block in point.blocks if block.front_share is not None] or [0.0])
    if front > _FRONT:
        return f"the front: {100 * front:.0f} % of the server's CPU time is spent outside the model"
    busy = rate * service / point.instances
    if bench.p99_s is None or busy >= _BUSY:
        return f"the scorer: {100 * min(busy, 1.0):.0f} % busy"
    return f"queueing: the bound is reached with the scorer {100 * busy:.0f} % busy"


def _outgrown(memory: MemoryUse) -> str:
    working_set, cache = (each / 2**20 for each in (memory.working_set_bytes, memory.cache_bytes))
    return f"weights of {working_set:.3g} MiB a core no longer fit {cache:.3g} MiB of it"


def _unshared(bench: Bench, curve: Curve, cores: int) -> CapacityPoint | None:
    """The same cores with one thread on each."""
    if curve.series.threads_per_core == 1:
        return None
    return next((each.point(cores) for each in bench.curves if each.series.threads_per_core == 1), None)


def _service(point: CapacityPoint) -> float | None:
    known = [block.service_s for block in point.blocks if block.service_s is not None]
    return median(known) if known else None


def _rate(point: CapacityPoint) -> float | None:
    known = [block.capacity for block in point.blocks if block.capacity is not None]
    return median(known) if known else None


def _least_service(curves: Sequence[Curve]) -> float | None:
    times = [time for curve in curves for point in curve.series.points if (time := _service(point)) is not None]
    return min(times, default=None)


def _best(those: Sequence[SizedConfiguration], *, certain: bool) -> SizedConfiguration | None:
    fitting = [each for each in those if each.enough or not certain]
    return min(
        fitting, key=lambda each: (_BASES.index(each.capacity.basis), -each.capacity.floor, each.threads_per_core),
        default=None,
    )  # fmt: skip


def _neighbour(
    by_cores: Sequence[Sequence[SizedConfiguration]], order: Iterator[int] | range
) -> SizedConfiguration | None:
    """The nearest number of cores that anything is known of, used as well as it can be."""
    known = (by_cores[cores - 1] for cores in order if by_cores[cores - 1])
    return next((max(those, key=lambda each: each.capacity.value) for those in known), None)


def _open_reasons(chosen: SizedConfiguration, verdict: str) -> Iterator[SizeRefusal]:
    cores = plural(chosen.cores, "core")
    if verdict == "extrapolated":
        yield SizeRefusal(cores, "extrapolated beyond the largest number measured", f"--cores {chosen.cores}")
    elif verdict == "open" and chosen.capacity.blocks < MIN_BLOCKS:
        yield SizeRefusal(
            cores,
            f"{plural(chosen.capacity.blocks, 'block')}; a valid answer rests on {MIN_BLOCKS}",
            "a larger --budget",
        )
    elif verdict == "open":
        yield SizeRefusal(cores, "the interval holds the need", "a larger --budget, or longer trials: --seconds")


def _unreachable(bench: Bench, question: SizeQuestion, by_cores: Sequence[Sequence[SizedConfiguration]]) -> SizeAnswer:
    """Why no number of cores is named."""
    need = f"{question.need:,.0f} {question.unit}"
    measured = [curve for curve in bench.curves if curve.cores]
    if not measured:
        blocks = max((len(point.blocks) for curve in bench.curves for point in curve.series.points), default=0)
        notes = [block.note for curve in bench.curves for point in curve.series.points for block in point.blocks]
        note = next((f": {note}" for note in notes if note), "")
        why = f"one block has no interval{note}" if blocks == 1 else f"no setting gave a capacity in two blocks{note}"
        return _refused(question, need, why, "six blocks (a larger --budget) on a machine without other work")
    largest = max((each for those in by_cores for each in those), key=lambda each: each.capacity.value)
    peaks = [law.peak_cores for curve in measured for law in curve.laws.values()]
    bent = [peak for peak in peaks if peak is not None and peak <= bench.limit]
    best = (
        f"{plural(largest.cores, 'core')} {'gives' if largest.cores == 1 else 'give'} "
        f"{largest.capacity.value:,.0f} {question.unit}"
    )
    if peaks and len(bent) == len(peaks):
        return _refused(
            question, need, f"no number of cores does: {best}, and more cores give less", "another backend or batch"
        )
    if bench.limit == bench.node_cores:
        why = f"the node has {plural(bench.node_cores, 'core')}, and {best}; a second node is a step, not a curve"
        return _refused(question, need, why, "two partitions, each of a part of the rate, or the other node: --nodes")
    why = f"beyond {plural(bench.limit, 'core')}, {FARTHEST} times the largest number measured; {best}"
    return _refused(question, need, why, f"--cores up to {bench.node_cores}")


def _refused(question: SizeQuestion, what: str, why: str, measure: str) -> SizeAnswer:
    return SizeAnswer(question, "refused", None, None, None, (SizeRefusal(what, why, measure),))
