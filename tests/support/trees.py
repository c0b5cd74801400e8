"""Synthetic machines: trees of ``/proc`` and ``/sys`` in the kernel's formats, for tests without the hardware.

Every tree is synthetic and says so (``proc/version``). Use::

    from support.trees import TreeSpec, NodeSpec, build
    root = build(TreeSpec(nodes=(NodeSpec(7, cores=4, memory_mb=95948),)), tmp_path)

or ``PYTHONPATH=tests python -m support.trees DIR [PRESET]`` to look at one; presets are in ``trees_presets``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Platform = Literal["PowerVM", "KVM", "TCG", "PowerNV", "x86"]


@dataclass(frozen=True)
class NodeSpec:
    """One NUMA node. ``memory_mb`` 0 is a node without memory, ``cores`` 0 one without CPUs."""

    id: int
    cores: int
    memory_mb: int = 65536
    free_mb: int | None = None  # default: nine tenths of the memory


@dataclass(frozen=True)
class LparSpec:
    """What ``/proc/ppc64/lparcfg`` tells. ``None`` leaves a line out."""

    name: str = "bench1"
    id: int = 5
    serial: str = "0221A7B2C"
    shared: bool = False
    capped: bool = True
    donating: bool | None = False
    entitled_percent: int | None = None  # default: 100 per core
    virtual_processors: int | None = None  # default: the cores present
    weight: int = 0
    pool: int = 0
    pool_processors: int = 40
    system_processors: int = 40
    affinity_score: int | None = 100
    dispatches: int = 1_234_567
    dispersions: int = 42
    desired_memory_mb: int | None = None  # default: the memory of the nodes
    power_mode: int | None = None
    version: str = "1.9"


@dataclass(frozen=True)
class TreeSpec:
    """One machine. The defaults are a dedicated POWER10 LPAR with SMT8, four cores on node 0."""

    platform: Platform = "PowerVM"
    generation: str = "POWER10"  # of the silicon
    mode: str | None = None  # compatibility mode; default: the generation
    mtm: str | None = "9105-22A"
    pvr_low: int | None = None  # low half of the PVR; default: as seen on such machines
    little_endian: bool = True
    threads: int = 8  # of a core
    smt: int | None = None  # threads online per core; default: all
    smt_of_core: Mapping[int, int] = field(default_factory=dict)  # core number -> threads online, where different
    online_threads: Mapping[int, tuple[int, ...]] = field(default_factory=dict)  # which threads, not the first ones
    nodes: tuple[NodeSpec, ...] = (NodeSpec(0, cores=4),)
    node_of_core: tuple[int, ...] | None = None  # default: in the order of the nodes
    offline_cores: frozenset[int] = frozenset()
    moved: Mapping[int, int] = field(default_factory=dict)  # node of Linux -> the one that firmware has it on by now
    kernel_halves: bool = True  # the kernel reads ibm,thread-groups, so its caches show the halves
    deconfigured_cores: frozenset[int] = frozenset()  # numbers skipped by the kernel, as after a guarded core
    halves: bool = True  # SMT8 core of POWER9 and later: L1 to L3 per half
    enumeration: Literal["siblings-first", "cores-first"] = "cores-first"  # x86: CPU 0,1 of core 0, or 0 and N
    packages_known: bool = True
    possible_cpus: int | None = None  # default: those present
    distance: int = 40  # between nodes
    memory_total_mb: int | None = None  # default: the sum over the nodes
    clock_mhz: float = 3650.0
    # what the kernel tells
    sibling_lists: bool = True
    sibling_masks: bool = True
    node_masks: bool = True
    node_lists: bool = True
    has_possible: bool = True
    has_model_line: bool = True
    has_cache: bool = True
    has_numa: bool = True
    auxv: bool = True
    device_tree: bool = True
    mma: bool | None = None  # AT_HWCAP2 bit; default: mode POWER10 or later
    smt_control: str | None = "on"
    release: str = "6.6.0-synthetic"
    # settings and load
    numa_balancing: int = 0
    thp: str = "madvise"
    huge_pages_2m: int = 0
    page_size: int = 65536
    load: tuple[float, float, float] = (0.0, 0.0, 0.0)
    steal_ticks: int = 0
    busy_ticks: int = 1_000_000
    allowed_cpus: str | None = None  # default: all online
    allowed_mems: str | None = None  # default: all nodes with memory
    files: Mapping[str, str] = field(default_factory=dict)  # written last, over what is there
    lpar: LparSpec | None = field(default_factory=LparSpec)
    energy: Mapping[int, tuple[str, int, str | None]] | None = None  # id -> description, value, value in words
    governor: str | None = None  # cpufreq
    subcores: int | None = None
    x86_vendor: str = "GenuineIntel"
    x86_model: str = "Intel(R) Xeon(R) Gold 6448Y"
    x86_flags: str = "fpu sse sse2 ssse3 fma avx avx2 avx512f avx512bw avx512vl avx512_vnni lm constant_tsc"
    linked_threads: bool = True  # threads of a core share their files by links: small, but slower to read

    @property
    def power(self) -> bool:
        """Whether it is a Power machine."""
        return self.platform != "x86"


@dataclass(frozen=True)
class CoreLayout:
    """One core as laid out; ``number`` counts all cores, those that are switched off too."""

    number: int
    node: int
    package: int
    cpus: tuple[int, ...]
    online: tuple[int, ...]
    halves: tuple[tuple[int, ...], ...]  # of all threads


@dataclass(frozen=True)
class Layout:
    """What the tree must be read as: the truth that tests compare with."""

    cores: tuple[CoreLayout, ...]
    nodes: tuple[NodeSpec, ...]

    @property
    def present(self) -> tuple[int, ...]:
        """CPUs present."""
        return tuple(sorted(cpu for core in self.cores for cpu in core.cpus))

    @property
    def online(self) -> tuple[int, ...]:
        """CPUs online."""
        return tuple(sorted(cpu for core in self.cores for cpu in core.online))

    @property
    def online_cores(self) -> tuple[CoreLayout, ...]:
        """Cores with a thread online, in the order of their first CPU."""
        return tuple(sorted((core for core in self.cores if core.online), key=lambda core: core.online[0]))

    def node_cpus(self, node: int) -> tuple[int, ...]:
        """CPUs online of a node."""
        return tuple(sorted(cpu for core in self.cores if core.node == node for cpu in core.online))


def layout(spec: TreeSpec) -> Layout:
    """Numbers the CPUs as the kernel does.

    Power: the threads of core c are consecutive from c times the threads per core; a deconfigured core leaves a gap.
    x86: thread t of core c is ``c + t * cores`` (cores first) or ``c * threads + t`` (siblings first).
    """
    by_node = [node.id for node in spec.nodes for _ in range(node.cores)]
    node_of = list(spec.node_of_core or by_node)
    assert sorted(node_of) == sorted(by_node)
    package_of = {node.id: index for index, node in enumerate(spec.nodes)}
    total = len(node_of)
    cores: list[CoreLayout] = []
    slot = 0
    for number, node in enumerate(node_of):
        while slot in spec.deconfigured_cores:
            slot += 1
        if spec.power or spec.enumeration == "siblings-first":
            cpus = tuple(range(slot * spec.threads, (slot + 1) * spec.threads))
        else:
            cpus = tuple(number + thread * total for thread in range(spec.threads))
        slot += 1
        shown = spec.smt_of_core.get(number, spec.smt if spec.smt is not None else spec.threads)
        which = spec.online_threads.get(number, tuple(range(shown)))
        online = () if number in spec.offline_cores else tuple(cpus[thread] for thread in which)
        split = spec.power and spec.halves and spec.threads == 8 and spec.generation not in ("POWER7", "POWER8")
        halves = (cpus[0::2], cpus[1::2]) if split else (cpus,)
        cores.append(CoreLayout(number, node, package_of[node], cpus, online, halves))
    return Layout(tuple(cores), spec.nodes)


def build(spec: TreeSpec, root: Path) -> Path:
    """Write the tree below ``root``, an empty or missing directory; returns ``root``."""
    from support import trees_firmware, trees_procfs, trees_sysfs

    laid = layout(spec)
    trees_sysfs.write(spec, laid, root)
    trees_procfs.write(spec, laid, root)
    if spec.power:
        trees_firmware.write(spec, laid, root)
    for name, content in spec.files.items():
        write_file(root / name, content)
    return root


def write_file(path: Path, content: str | bytes) -> None:
    """A file and the directories above it; a text gets its final newline."""
    try:
        handle = path.open("wb")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("wb")
    with handle:
        handle.write(content if isinstance(content, bytes) else f"{content}\n".encode())


def cpu_list(cpus: tuple[int, ...]) -> str:
    """``0-3,8`` as the kernel prints it."""
    parts: list[str] = []
    ordered = sorted(cpus)
    index = 0
    while index < len(ordered):
        end = index
        while end + 1 < len(ordered) and ordered[end + 1] == ordered[end] + 1:
            end += 1
        parts.append(str(ordered[index]) if end == index else f"{ordered[index]}-{ordered[end]}")
        index = end + 1
    return ",".join(parts)


def cpu_mask(cpus: tuple[int, ...], bits: int) -> str:
    """``ff,ffff0000`` as the kernel prints a mask of ``bits`` CPUs: groups of 32, the first as short as can be."""
    value = sum(1 << cpu for cpu in cpus)
    groups = (bits + 31) // 32
    words = [f"{value >> (32 * index) & 0xFFFFFFFF:08x}" for index in reversed(range(groups))]
    head = (bits - 32 * (groups - 1) + 3) // 4
    return ",".join([words[0][8 - head :], *words[1:]])


if __name__ == "__main__":
    from support import trees_presets

    chosen = sys.argv[2] if len(sys.argv) > 2 else "p10-dedicated"
    build(trees_presets.PRESETS[chosen], Path(sys.argv[1]))
    print(f"{sys.argv[1]}: {chosen} (synthetic); others: {', '.join(sorted(trees_presets.PRESETS))}")
