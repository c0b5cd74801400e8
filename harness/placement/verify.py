"""Whether a process really ran where it was put: observed inside it at the end, judged outside it."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.decode import in_words
from harness.placement.model import MemoryBinding, Placement, process_environment
from harness.platform import nodes as numa
from harness.platform import parse
from harness.platform.parse import format_cpulist
from harness.platform.pinning import POLICY_VARIABLE
from harness.platform.sysroot import SysRoot
from harness.wording import plural

# Of pages elsewhere: with a binding, room for the few that the kernel shares between processes; without one (not
# permitted), the kernel's own habit of taking local memory is what is checked.
_STRAY_SHARE_BOUND = 0.01
_STRAY_SHARE_UNBOUND = 0.10
# proc_pid_stat(5), counted from the state, which follows the name: user and system time in ticks, last CPU
_USER, _SYSTEM, _LAST_CPU = 11, 12, 36
# A thread counts as busy from this share of the busiest one's CPU time, and from this many ticks of 10 ms.
_BUSY_SHARE = 0.05
_BUSY_TICKS = 3
# What numa_maps calls shared memory: anonymous mappings and memory file descriptors, of huge pages too, POSIX's and
# System V's (Linux, mm/shmem.c, ipc/shm.c).
_SHARED_MEMORY = ("/dev/zero", "/memfd:", "/anon_hugepage", "/dev/shm/", "/SYSV")  # noqa: S108 - names, not files


@dataclass(frozen=True)
class Observation:
    """Where a process was allowed to run and did run.

    Attributes:
        cpus_allowed: union over its threads.
        cpus_sampled: the CPUs its threads were last on.
        threads: number of threads.
        busy_threads: threads that used a noteworthy part of the CPU time, as the workers of a pool do.
        busy_cpus: union of the CPUs that these were allowed on at the end.
        page_nodes: NUMA node -> base pages of memory, shared too, but not of files; ``None`` where it is not known.
        memory_policy: what :func:`harness.placement.apply.apply` put into force; ``None`` where it was not used.
        node_cpus: NUMA node -> its CPUs, to name the node of a CPU.
        env: settings of threads and allocator as the process had them.
    """

    cpus_allowed: tuple[int, ...]
    cpus_sampled: tuple[int, ...]
    threads: int
    busy_threads: int
    busy_cpus: tuple[int, ...]
    page_nodes: Mapping[int, int] | None
    memory_policy: MemoryBinding | None = field(metadata=in_words(MemoryBinding.parse))
    node_cpus: Mapping[int, tuple[int, ...]]
    env: Mapping[str, str]

    def node_of(self, cpu: int) -> int | None:
        """The NUMA node of a CPU."""
        return next((node for node, cpus in self.node_cpus.items() if cpu in cpus), None)


def observe(sysroot: SysRoot | None = None, environ: Mapping[str, str] | None = None) -> Observation:
    """Look at the calling process; call it when its work is done and its threads still live.

    Args:
        sysroot: where ``/proc`` and ``/sys`` are; the live machine by default.
        environ: environment of the process; its own by default.
    """
    sysroot = sysroot or SysRoot()
    environ = os.environ if environ is None else environ
    threads = [_thread(sysroot, name) for name in sysroot.list_dir("proc/self/task") if name.isdigit()]
    allowed = {cpu for thread in threads for cpu in thread.allowed}
    sampled = {thread.last_cpu for thread in threads if thread.last_cpu is not None}
    if sysroot.live:
        sampled.add(int(ctypes.CDLL(None).sched_getcpu()))
    noteworthy = max(_BUSY_TICKS, _BUSY_SHARE * max((thread.ticks for thread in threads), default=0))
    busy = [thread for thread in threads if thread.ticks >= noteworthy]
    online = tuple(sorted(allowed | sampled))
    return Observation(
        cpus_allowed=tuple(sorted(allowed)),
        cpus_sampled=tuple(sorted(sampled)),
        threads=len(threads),
        busy_threads=len(busy),
        busy_cpus=tuple(sorted({cpu for thread in busy for cpu in thread.allowed})),
        page_nodes=memory_pages(sysroot.read_text("proc/self/numa_maps"), os.sysconf("SC_PAGE_SIZE")),
        memory_policy=_policy(environ.get(POLICY_VARIABLE)),
        node_cpus={node.id: node.cpus for node in numa.collect(sysroot, online)},
        env={key: environ[key] for key in process_environment(()) if key in environ},
    )


def _policy(text: str | None) -> MemoryBinding | None:
    """What the process was started under; None for words of somebody else."""
    try:
        return None if text is None else MemoryBinding.parse(text)
    except ValueError:
        return None


@dataclass(frozen=True)
class _Thread:
    allowed: tuple[int, ...]
    last_cpu: int | None
    ticks: int


def _thread(sysroot: SysRoot, task: str) -> _Thread:
    base = f"proc/self/task/{task}"
    status = parse.key_values(sysroot.read_text(f"{base}/status"), ":")
    fields = (sysroot.read_text(f"{base}/stat") or "").rpartition(")")[2].split()
    numbers = [parse.integer(fields[index]) if len(fields) > index else None for index in (_USER, _SYSTEM, _LAST_CPU)]
    return _Thread(
        allowed=parse.cpu_list(status.get("Cpus_allowed_list")) or (),
        last_cpu=numbers[2],
        ticks=(numbers[0] or 0) + (numbers[1] or 0),
    )


def memory_pages(text: str | None, page_bytes: int) -> dict[int, int] | None:
    """Base pages by node of the mappings in ``numa_maps`` that are memory, shared between processes or not.

    Pages of files are left out: they are in the page cache from whoever read them first. The kernel gives shared memory
    the name of a file, too: it has none on a disk.
    """
    if text is None:
        return None
    pages: dict[int, int] = {}
    for line in text.splitlines():
        name = re.search(r" file=(\S+)", line)
        if name is not None and not (name[1].startswith(_SHARED_MEMORY) or " huge" in line):
            continue
        size = re.search(r" kernelpagesize_kB=([0-9]{1,9})", line)
        scale = max(1, (int(size[1]) << 10) // page_bytes) if size else 1
        for node, count in re.findall(r" N([0-9]{1,4})=([0-9]{1,15})(?= |$)", line):
            pages[int(node)] = pages.get(int(node), 0) + int(count) * scale
    return dict(sorted(pages.items()))


def cpus_online(sysroot: SysRoot) -> frozenset[int]:
    """CPUs that are online; empty where the kernel does not tell."""
    return frozenset(parse.cpu_list(sysroot.read_text("sys/devices/system/cpu/online")) or ())


def changed_cpus(before: frozenset[int], after: frozenset[int]) -> tuple[str, ...]:
    """How the machine itself changed under a measurement: cores plugged in or taken away, SMT switched by others."""
    return tuple(
        f"{'CPU' if len(cpus) == 1 else 'CPUs'} {format_cpulist(tuple(cpus))} {what} during the measurement."
        for cpus, what in ((after - before, "came online"), (before - after, "went offline"))
        if cpus
    )


def mismatches(plan: Placement, observation: Observation) -> tuple[str, ...]:
    """How the observation contradicts the plan, one sentence each, naming CPUs and nodes; empty when it does not."""
    return (
        *_stray_cpus(plan, observation, observation.cpus_allowed, "Threads were allowed to run on"),
        *_stray_cpus(plan, observation, observation.cpus_sampled, "Threads ran on"),
        *_crowded(plan, observation),
        *_stray_pages(plan, observation),
        *_changed_environment(plan, observation),
    )


def _stray_cpus(plan: Placement, observation: Observation, cpus: tuple[int, ...], what: str) -> list[str]:
    stray: dict[int | None, list[int]] = {}
    for cpu in cpus:
        if cpu not in plan.cpus:
            stray.setdefault(observation.node_of(cpu), []).append(cpu)
    where = f"the plan has CPUs {format_cpulist(plan.cpus)}{_of_node(plan.node)}"
    return [f"{what} CPUs {format_cpulist(tuple(cpus))}{_of_node(node)}; {where}." for node, cpus in stray.items()]


def _of_node(node: int | None) -> str:
    return "" if node is None else f" of node {node}"


def _crowded(plan: Placement, observation: Observation) -> list[str]:
    """Working threads on fewer CPUs than there are of them: they inherited the pin of the thread that started them."""
    within = tuple(cpu for cpu in observation.busy_cpus if cpu in plan.cpus)
    if 0 < len(within) < min(plan.threads, observation.busy_threads):
        return [
            f"{observation.busy_threads} working threads were confined to CPUs {format_cpulist(within)}; "
            f"the plan has CPUs {format_cpulist(plan.cpus)}{_of_node(plan.node)} for {plural(plan.threads, 'thread')}."
        ]
    return []


def _stray_pages(plan: Placement, observation: Observation) -> list[str]:
    pages = observation.page_nodes or {}
    total = sum(pages.values())
    if not plan.memory_nodes or total == 0:
        return []
    bound = observation.memory_policy == plan.memory_policy
    limit = _STRAY_SHARE_BOUND if bound else _STRAY_SHARE_UNBOUND
    stray = {node: count for node, count in pages.items() if node not in plan.memory_nodes}
    if sum(stray.values()) <= limit * total:
        return []
    where = ", ".join(f"{100 * count / total:.0f} % on node {node}" for node, count in stray.items())
    return [f"Of the memory pages, {where}; the plan has node {format_cpulist(plan.memory_nodes)}."]


def _changed_environment(plan: Placement, observation: Observation) -> list[str]:
    return [
        f"{key} was {observation.env.get(key, 'not set')} at the end; the plan has {value}."
        for key, value in plan.env.items()
        if observation.env.get(key) != value
    ]
