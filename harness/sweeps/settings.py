"""The configurations of a sweep: every combination of its factors that the machine can run. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from harness.placement.instances import divides_evenly
from harness.placement.smt import SmtMethod
from harness.platform.facts import LimitFacts, Topology
from harness.platform.usable import usable
from harness.record.spec import Scenario
from harness.runs.schedule import Configuration
from harness.scoring.backends import BACKENDS
from harness.wording import cpu_time, plural


@dataclass(frozen=True)
class Location:
    """A NUMA node to run on, and the node to take memory from; None is the node's own (or the nearest that has some).

    ``node`` is None on a kernel without NUMA.
    """

    node: int | None
    memory_node: int | None = None


@dataclass(frozen=True)
class Factors:
    """What is varied; every factor has at least one level."""

    workloads: tuple[str, ...]
    smt: tuple[int, ...]  # threads online per core
    threads_per_core: tuple[int, ...]  # of those, in use
    cores: tuple[int, ...]  # in use, by all instances together
    locations: tuple[Location, ...]
    batch_sizes: tuple[int, ...]
    backends: tuple[str, ...]
    dtypes: tuple[str, ...]
    instances: tuple[int, ...]


@dataclass(frozen=True)
class Bounds:
    """What bounds the configurations of a sweep.

    Attributes:
        cores: node (None without NUMA) -> cores this process may use there.
        memory_nodes: nodes that have memory this process may use.
        threads: threads a core can have online; 1 where there is no SMT.
        method: how a number of threads per core is obtained.
        cpu_time: CPUs' worth of time that a control group allows; None without a quota.
    """

    cores: Mapping[int | None, int]
    memory_nodes: frozenset[int]
    threads: int
    method: SmtMethod
    cpu_time: float | None = None


def bounds_of(topology: Topology, limits: LimitFacts, method: SmtMethod) -> Bounds:
    """Bounds from the facts; by affinity no thread can be brought online that is not."""
    part = usable(topology, limits)
    cores = Counter(core.node for core in part.cores)
    online = max((len(core.cpus) for core in part.cores), default=1)
    most = max(topology.smt.max or online, online)
    with_memory = frozenset(node.id for node in part.nodes if node.memory_bytes)
    threads = most if method is SmtMethod.SWITCHED else online
    return Bounds(dict(cores), with_memory, threads, method, limits.cpu_quota_cores)


def default_factors(bounds: Bounds, workloads: tuple[str, ...], batch_size: int, backend: str) -> Factors:
    """All SMT levels, threads per core and nodes; cores by doubling; one batch size, backend and instance."""
    levels = _doubling(bounds.threads)
    return Factors(
        workloads=workloads,
        smt=levels,
        threads_per_core=levels,
        cores=_doubling(max(bounds.cores.values(), default=1)),
        locations=tuple(Location(node) for node in sorted(bounds.cores, key=lambda node: -1 if node is None else node)),
        batch_sizes=(batch_size,),
        backends=(backend,),
        dtypes=("float32",),
        instances=(1,),
    )


def configurations_of(
    factors: Factors, bounds: Bounds, scenario: Scenario = "offline"
) -> tuple[tuple[Configuration, ...], dict[str, int]]:
    """Every combination that can run, and for the others how many each reason rules out.

    What is served over HTTP is served in process too, in the same blocks: the difference is the price of HTTP.
    """
    chosen: list[Configuration] = []
    skipped: Counter[str] = Counter()
    scenarios: tuple[Scenario, ...] = ("http", "server") if scenario == "http" else (scenario,)
    for configuration in _combinations(factors, scenarios):
        reason = _impossible(configuration, bounds)
        if reason is None:
            chosen.append(configuration)
        else:
            skipped[reason] += 1
    return tuple(chosen), dict(skipped)


def _combinations(factors: Factors, scenarios: tuple[Scenario, ...]) -> Iterator[Configuration]:
    for workload, backend, dtype, batch_size, location, smt, threads_per_core, cores, instances in product(
        factors.workloads,
        factors.backends,
        factors.dtypes,
        factors.batch_sizes,
        factors.locations,
        factors.smt,
        factors.threads_per_core,
        factors.cores,
        factors.instances,
    ):
        yield Configuration(
            workload=workload,
            backend=backend,
            dtype=dtype,
            scenarios=scenarios,
            batch_sizes=(batch_size,),
            cores=cores,
            threads_per_core=threads_per_core,
            instances=instances,
            node=location.node,
            memory_node=location.memory_node,
            smt=smt,
        )


def _impossible(configuration: Configuration, bounds: Bounds) -> str | None:
    """Why a configuration cannot run; the reasons of the machine before those of the combination."""
    node, memory_node, smt = configuration.node, configuration.memory_node, configuration.smt or 1
    if node not in bounds.cores:
        usable = ", ".join(str(each) for each in sorted(each for each in bounds.cores if each is not None))
        return f"node {node} has no CPU that may be used (nodes that have: {usable or 'none, without NUMA'})"
    if memory_node is not None and memory_node not in bounds.memory_nodes:
        return f"node {memory_node} has no memory that may be used"
    if smt > bounds.threads:
        limit = "" if bounds.method is SmtMethod.SWITCHED else " online, and no more can be brought online here"
        return f"SMT {smt} is more than the cores have, {plural(bounds.threads, 'thread')}{limit}"
    if configuration.cores > bounds.cores[node]:
        where = "the machine" if node is None else f"node {node}"
        return f"{where} has {plural(bounds.cores[node], 'core')}, not {configuration.cores:,}"
    if "http" in configuration.scenarios:
        if configuration.cores >= sum(bounds.cores.values()):
            cores = plural(configuration.cores, "core")
            return f"the load over HTTP needs a core of its own, and {cores} would leave none"
        if configuration.instances > 1:
            return "the http scenario measures one server process"
    if configuration.threads_per_core > smt:
        return "more threads per core than the SMT level has"
    busy = configuration.cores * configuration.threads_per_core
    if bounds.cpu_time is not None and busy > max(1.0, bounds.cpu_time):
        return f"a control group allows {cpu_time(bounds.cpu_time)}, and {plural(busy, 'thread')} would be busy"
    if bounds.method is SmtMethod.AFFINITY and smt != configuration.threads_per_core:
        return "by affinity, SMT k is k threads per core, so fewer of them are the lower level again"
    if not divides_evenly(configuration.cores, configuration.threads_per_core, configuration.instances):
        return "the instances cannot divide the cores evenly"
    if configuration.dtype not in BACKENDS[configuration.backend]:
        return f"backend {configuration.backend} has no {configuration.dtype}"
    return None


def _doubling(most: int) -> tuple[int, ...]:
    """1, 2, 4, ... and ``most`` itself."""
    levels = [1]
    while 2 * levels[-1] <= most:
        levels.append(2 * levels[-1])
    return tuple(dict.fromkeys([*levels, most]))
