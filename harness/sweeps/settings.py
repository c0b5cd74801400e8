"""The settings of a sweep: every combination of its factors that the machine can have. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from harness.placement.instances import divides_evenly
from harness.placement.smt import SmtMethod
from harness.platform.facts import Topology
from harness.scoring.backends import BACKENDS


@dataclass(frozen=True)
class Place:
    """A NUMA node to run on, and the node to take memory from; None is the node's own (or the nearest that has some).

    ``node`` is None on a kernel without NUMA.
    """

    node: int | None
    memory: int | None = None

    @property
    def name(self) -> str:
        """``node 0``, ``node 0, memory of node 1``."""
        if self.node is None:
            return "the machine"
        return f"node {self.node}" + ("" if self.memory is None else f", memory of node {self.memory}")


@dataclass(frozen=True)
class Factors:
    """What is varied; every factor has at least one level."""

    workloads: tuple[str, ...]
    smt: tuple[int, ...]  # threads online per core
    threads_per_core: tuple[int, ...]  # of those, in use
    cores: tuple[int, ...]  # in use, by all instances together
    places: tuple[Place, ...]
    batches: tuple[int, ...]
    backends: tuple[str, ...]
    dtypes: tuple[str, ...]
    instances: tuple[int, ...]


@dataclass(frozen=True)
class Setting:
    """One combination."""

    workload: str
    backend: str
    dtype: str
    batch: int
    place: Place
    smt: int
    threads_per_core: int
    cores: int
    instances: int

    @property
    def threads(self) -> int:
        """Threads in use, of all instances together."""
        return self.cores * self.threads_per_core


@dataclass(frozen=True)
class Machine:
    """What bounds the settings.

    Attributes:
        cores: node (None without NUMA) -> cores this process may use there.
        memory_nodes: nodes that have memory.
        threads: threads a core can have on line; 1 where there is no SMT.
        method: how a number of threads per core is had.
    """

    cores: Mapping[int | None, int]
    memory_nodes: frozenset[int]
    threads: int
    method: SmtMethod


def machine_of(topology: Topology, allowed: Sequence[int] | None, method: SmtMethod) -> Machine:
    """Bounds from the facts; by affinity no thread can be brought on line that is not."""
    may = frozenset(topology.cpus_online if allowed is None else allowed)
    cores = Counter(core.node for core in topology.cores if may & set(core.cpus))
    online = topology.smt.online or 1
    most = max(topology.smt.max or online, online)
    with_memory = frozenset(node.id for node in topology.nodes if node.memory_bytes)
    return Machine(dict(cores), with_memory, most if method is SmtMethod.SWITCHED else online, method)


def default_factors(machine: Machine, workloads: tuple[str, ...], batch: int, backend: str) -> Factors:
    """All SMT levels, threads per core and nodes; cores by doubling; one batch size, backend and instance."""
    levels = _doubling(machine.threads)
    return Factors(
        workloads=workloads,
        smt=levels,
        threads_per_core=levels,
        cores=_doubling(max(machine.cores.values(), default=1)),
        places=tuple(Place(node) for node in sorted(machine.cores, key=lambda node: -1 if node is None else node)),
        batches=(batch,),
        backends=(backend,),
        dtypes=("float32",),
        instances=(1,),
    )


def settings_of(factors: Factors, machine: Machine) -> tuple[tuple[Setting, ...], dict[str, int]]:
    """Every combination that can be had, and for the others how many each reason rules out."""
    chosen: list[Setting] = []
    skipped: Counter[str] = Counter()
    for setting in _combinations(factors):
        reason = _impossible(setting, machine)
        if reason is None:
            chosen.append(setting)
        else:
            skipped[reason] += 1
    return tuple(chosen), dict(skipped)


def _combinations(factors: Factors) -> Iterator[Setting]:
    for workload, backend, dtype, batch, place, smt, threads_per_core, cores, instances in product(
        factors.workloads,
        factors.backends,
        factors.dtypes,
        factors.batches,
        factors.places,
        factors.smt,
        factors.threads_per_core,
        factors.cores,
        factors.instances,
    ):
        yield Setting(workload, backend, dtype, batch, place, smt, threads_per_core, cores, instances)


def _impossible(setting: Setting, machine: Machine) -> str | None:
    """Why a setting cannot be had; the reasons of the machine before those of the combination."""
    place = setting.place
    if place.node not in machine.cores:
        usable = ", ".join(str(node) for node in sorted(node for node in machine.cores if node is not None))
        return f"node {place.node}: it has no CPU that may be used; nodes that have: {usable or 'none, without NUMA'}"
    if place.memory is not None and place.memory not in machine.memory_nodes:
        return f"memory of node {place.memory}: that node has none"
    if setting.smt > machine.threads:
        threads = f"{machine.threads} {'thread' if machine.threads == 1 else 'threads'}"
        limit = "" if machine.method is SmtMethod.SWITCHED else " on line, and no more can be had here"
        return f"SMT {setting.smt}: the cores have {threads}{limit}"
    if setting.cores > machine.cores[place.node]:
        return f"{setting.cores} cores: {place.name} has {machine.cores[place.node]}"
    if setting.threads_per_core > setting.smt:
        return "more threads per core than the SMT level has"
    if machine.method is SmtMethod.AFFINITY and setting.smt != setting.threads_per_core:
        return "by affinity, SMT k is k threads per core: with fewer of them it is the lower level again"
    if not divides_evenly(setting.cores, setting.threads_per_core, setting.instances):
        return "the instances cannot divide the cores evenly"
    if setting.dtype not in BACKENDS[setting.backend].dtypes:
        return f"backend {setting.backend} has no {setting.dtype}"
    return None


def _doubling(most: int) -> tuple[int, ...]:
    """1, 2, 4, ... and ``most`` itself."""
    levels = [1]
    while 2 * levels[-1] <= most:
        levels.append(2 * levels[-1])
    return tuple(dict.fromkeys([*levels, most]))
