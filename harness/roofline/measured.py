"""What one process measures of the CPUs it may use: their roofs, and the kernels below them.

The survey of a run and ``lparbench kernels`` both measure here, by one rule; they differ in their `Effort`. The result
crosses processes through ``harness.decode``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from harness.linalg import native
from harness.linalg.native import Dtype
from harness.placement.apply import set_memory_policy
from harness.platform.caches import last_level_bytes
from harness.platform.facts import Facts
from harness.platform.usable import usable
from harness.roofline import cases, probes
from harness.roofline.probes import ComputeRoof, MemoryRoof, mma_evidence
from harness.roofline.rates import MeasuredKernel, kernel_rates
from harness.wording import plural

_ARRAYS = 12  # sizes of the last-level cache that the memory probe takes
_BYTES_PER_S = 1e9  # at which arrays are filled for the first time
_CASE_S = 0.05  # to make the operands of a kernel, and to find how many calls the clock can tell
_START_S = 2.0  # to load torch


@dataclass(frozen=True)
class Effort:
    """How long to measure, and which kernels; seconds are per probe and per kernel, divided among the rounds."""

    seconds: float
    kernel_seconds: float
    low_precision: tuple[Dtype, ...] = ()  # formats, next to float32, whose products are rated where there is a kernel
    streamed: tuple[int, ...] = (8, 64)  # squares whose operands come from memory
    rounds: int = 1


IN_A_RUN = Effort(0.1, 0.02)
ALONE = Effort(0.3, 0.1, ("bfloat16", "int8"), (8, 16, 32, 64, 128, 256), rounds=6)


class Heard(Protocol):
    """Hears what is measured, step by step."""

    def start(self, total: int, text: str) -> None:
        """``total`` steps lie ahead; ``text`` names the first."""
        ...

    def advance(self, text: str) -> None:
        """A step is done; ``text`` names the next."""
        ...


class Unheard:
    """Nobody hears of it."""

    def start(self, total: int, text: str) -> None:
        """See `Heard.start`."""

    def advance(self, text: str) -> None:
        """See `Heard.advance`."""


@dataclass(frozen=True)
class NodePair:
    """CPUs of one node and the node whose memory they read; None leaves memory to the policy of this process."""

    cpus: tuple[int, ...]
    cpu_node: int | None = None
    memory_node: int | None = None


@dataclass(frozen=True)
class MeasuredRoof:
    """Roofs of all ``cpus`` at once, and kernels on the first of them alone, rated against its own roofs.

    ``memory`` is empty where memory was not probed; ``kernels`` where none were rated. ``measured_at`` is the time of a
    roof that was kept from an earlier run, ISO 8601, UTC. ``first_compute`` and ``first_memory`` are the roofs of the
    first CPU alone; empty where no kernel was rated.
    """

    cpus: tuple[int, ...]
    compute: tuple[ComputeRoof, ...]  # one per number format that has a kernel here
    memory: tuple[MemoryRoof, ...]
    kernels: tuple[MeasuredKernel, ...]
    evidence: str  # of the matrix unit; empty where no kernel was rated
    measured_at: str | None = None
    first_compute: tuple[ComputeRoof, ...] = ()
    first_memory: tuple[MemoryRoof, ...] = ()


def cache_to_exceed(facts: Facts, cpus: Sequence[int]) -> int | None:
    """Size of the last-level cache of ``cpus`` in bytes; None where memory is not to be probed.

    That is under emulation, where the size is not known, and where the probe would take a quarter of the memory.
    """
    size = last_level_bytes(facts.caches, set(cpus))
    memory = sum(node.memory_bytes or 0 for node in usable(facts.topology, facts.limits).nodes)
    if facts.emulation.emulated or not size or 4 * _ARRAYS * size > memory:
        return None
    return size


def node_pairs(facts: Facts, cpus: Sequence[int]) -> tuple[NodePair, ...]:
    """Every node that has some of ``cpus``, against every node with memory that this process may use."""
    nodes = usable(facts.topology, facts.limits).nodes
    by_node = {node.id: tuple(cpu for cpu in cpus if cpu in node.cpus) for node in nodes}
    by_node = {node: members for node, members in by_node.items() if members} or {0: tuple(cpus)}
    targets = [node.id for node in nodes if node.memory_bytes != 0] or [0]
    return tuple(NodePair(members, node, target) for node, members in by_node.items() for target in targets)


def measured_roof(cpus: Sequence[int], cache_bytes: int | None) -> MeasuredRoof | None:
    """What the survey of a run measures; memory is where the launcher's policy places it.

    Run it in a worker process that does nothing else. Without ``cache_bytes`` neither memory nor kernels are measured.
    None without native kernels.
    """
    if native.extension is None:
        return None
    return measure((NodePair(tuple(cpus)),), cache_bytes, IN_A_RUN, kernels=cache_bytes is not None)


def seconds_needed(pairs: Sequence[NodePair], cache_bytes: int | None, effort: Effort) -> float:
    """How long :func:`measure` takes with kernels, about."""
    cache, types = cache_bytes or 0, len(cases.available_types())
    times = 2 if len({cpu for pair in pairs for cpu in pair.cpus}) > 1 else 1  # the first CPU alone as well
    compute = times * types * effort.seconds
    memory = (len(pairs) + times - 1) * (3 * effort.seconds + 1.5 * _ARRAYS * cache / _BYTES_PER_S) if cache else 0.0
    streamed = len(effort.streamed) * _ARRAYS * cache / _BYTES_PER_S
    return _START_S + compute + memory + _count(effort, cache_bytes) * (effort.kernel_seconds + _CASE_S) + streamed


def measure(
    pairs: Sequence[NodePair],
    cache_bytes: int | None,
    effort: Effort,
    *,
    kernels: bool = True,
    heard: Heard | None = None,
) -> MeasuredRoof:
    """Measure the CPUs of ``pairs``.

    Args:
        pairs: what to measure the memory of; their CPUs together are those of the compute roof.
        cache_bytes: last-level cache of those CPUs; None leaves memory out, and kernels whose operands come from it.
        effort: seconds and kernels.
        kernels: whether to rate kernels.
        heard: hears of it.

    Raises:
        InputError: the native kernels are not built, or a CPU is not allowed.
    """
    cpus = tuple(dict.fromkeys(cpu for pair in pairs for cpu in pair.cpus))
    heard = heard or Unheard()
    heard.start(_steps(pairs, cache_bytes, effort), "loading the kernels")
    compute = _compute(cpus, effort, heard)
    memory = _memory(pairs, cache_bytes, effort, heard)
    if not kernels:
        return MeasuredRoof(cpus, compute, memory, (), "")
    first = cpus[:1]
    single, near = compute, memory
    if len(cpus) > 1:
        home = [NodePair(first, pair.cpu_node, pair.memory_node) for pair in pairs if first[0] in pair.cpus]
        single, near = _compute(first, effort, heard), _memory(home, cache_bytes, effort, heard)
    rates = kernel_rates(
        _heard_cases(_cases(single, cache_bytes, effort), heard),
        first[0],
        {roof.dtype: roof.ops_per_s for roof in single},
        max((roof.best_bytes_per_s for roof in near), default=0.0),
        effort.kernel_seconds,
        effort.rounds,
    )
    evidence = _evidence(first, rates, effort)
    return MeasuredRoof(
        cpus, compute, memory, tuple(rates), evidence, first_compute=tuple(single), first_memory=tuple(near)
    )


def _compute(cpus: Sequence[int], effort: Effort, heard: Heard) -> tuple[ComputeRoof, ...]:
    roofs = []
    for dtype in cases.available_types():
        heard.advance(f"compute roof of {plural(len(cpus), 'CPU')}, {dtype}")
        roofs.append(probes.compute_roof(cpus, dtype, seconds=effort.seconds, rounds=effort.rounds))
    return tuple(roof for roof in roofs if roof is not None)


def _memory(pairs: Sequence[NodePair], cache_bytes: int | None, effort: Effort, heard: Heard) -> tuple[MemoryRoof, ...]:
    if cache_bytes is None:
        return ()
    roofs = []
    for pair in pairs:
        where = "memory" if pair.memory_node is None else f"memory of node {pair.memory_node}"
        heard.advance(f"{where} from {plural(len(pair.cpus), 'CPU')} of node {pair.cpu_node}")
        roof = probes.memory_roof(
            pair.cpus,
            cpu_node=pair.cpu_node,
            memory_node=pair.memory_node,
            bind=lambda node: set_memory_policy([node]),
            cache_bytes=cache_bytes,
            seconds=effort.seconds,
            rounds=effort.rounds,
        )
        roofs.append(roof)
    return tuple(roofs)


def _heard_cases(kernels: Iterator[cases.Case], heard: Heard) -> Iterator[cases.Case]:
    for case in kernels:
        heard.advance(f"kernels {'in cache' if case.traffic is None else 'from memory'}, {case.dtype}")
        yield case


def _steps(pairs: Sequence[NodePair], cache_bytes: int | None, effort: Effort) -> int:
    """As many as :func:`measure` with kernels tells of."""
    types, alone = len(cases.available_types()), len({cpu for pair in pairs for cpu in pair.cpus}) > 1
    first = next(iter(pairs[0].cpus)) if alone else None
    home = sum(first in pair.cpus for pair in pairs)
    memory = 0 if cache_bytes is None else len(pairs) + home
    return 1 + types * (1 + alone) + memory + _count(effort, cache_bytes)


def _count(effort: Effort, cache_bytes: int | None) -> int:
    """How many kernels are rated."""
    low = sum(dtype in effort.low_precision for dtype in cases.available_types())
    streamed = 0 if cache_bytes is None else len(effort.streamed)
    return len(cases.SHAPES) * (2 + low) + 2 * len(cases.CHAINS) + streamed


def _cases(single: Sequence[ComputeRoof], cache_bytes: int | None, effort: Effort) -> chain[cases.Case]:
    low = [roof.dtype for roof in single if roof.dtype in effort.low_precision]
    return chain(
        cases.products(("native", "torch")),
        *(cases.products(("native",), dtype) for dtype in low),
        cases.chains(1),
        cases.chains(4096),
        () if cache_bytes is None else cases.streamed_products(4 * cache_bytes, effort.streamed),
    )


def _evidence(cpus: Sequence[int], rates: Sequence[MeasuredKernel], effort: Effort) -> str:
    isa = native.select()
    vector = probes.compute_roof(cpus, isa="vsx-power9", seconds=effort.seconds) if isa.name == "mma" else None
    best = max((rate.ops_per_s for rate in rates if rate.dtype == "float32"), default=0.0)
    return mma_evidence(isa, best, vector)
