"""``/sys/devices/system`` of a synthetic machine (see ``trees``)."""

from __future__ import annotations

from pathlib import Path

from support.trees import CoreLayout, Layout, TreeSpec, cpu_list, cpu_mask, write_file

# index -> level, type, size in K, ways, sets, line; sizes and ways as tests/../sysconfig/cpus has them
_POWER_HALF = (
    (1, "Data", 32, 8, 32, 128),
    (1, "Instruction", 48, 6, 64, 128),
    (2, "Unified", 1024, 8, 1024, 128),
    (3, "Unified", 4096, 16, 2048, 128),
)
_X86 = (
    (1, "Data", 48, 12, 64, 64),
    (1, "Instruction", 32, 8, 64, 64),
    (2, "Unified", 2048, 16, 2048, 64),
    (3, "Unified", 61440, 15, 65536, 64),
)


def write(spec: TreeSpec, laid: Layout, root: Path) -> None:
    """CPUs, caches, nodes and the settings beside them."""
    system = root / "sys/devices/system"
    bits = spec.possible_cpus or laid.present[-1] + 1
    _cpu_sets(spec, laid, system / "cpu", bits)
    package_cpus: dict[int, tuple[int, ...]] = {}
    for core in laid.cores:
        package_cpus[core.package] = (*package_cpus.get(core.package, ()), *core.online)
    for core in laid.cores:
        _core(spec, core, package_cpus[core.package], system / "cpu", bits)
    if spec.has_numa:
        _nodes(spec, laid, system / "node", bits)
    _settings(spec, laid, root)


def _cpu_sets(spec: TreeSpec, laid: Layout, base: Path, bits: int) -> None:
    present, online = laid.present, laid.online
    write_file(base / "online", cpu_list(online))
    write_file(base / "offline", cpu_list(tuple(cpu for cpu in range(bits) if cpu not in set(online))))
    write_file(base / "present", cpu_list(present))
    write_file(base / "kernel_max", "2047")
    write_file(base / "isolated", "")
    if spec.has_possible:
        write_file(base / "possible", cpu_list(tuple(range(bits))))
    if spec.smt_control is not None:
        write_file(base / "smt/control", spec.smt_control)
        write_file(base / "smt/active", "1" if any(len(core.online) > 1 for core in laid.cores) else "0")
    if spec.subcores is not None:
        write_file(base / "subcores_per_core", str(spec.subcores))
    if spec.governor is not None:
        for core in laid.online_cores:
            policy = base / f"cpufreq/policy{core.online[0]}"
            write_file(policy / "scaling_governor", spec.governor)
            write_file(policy / "cpuinfo_max_freq", str(int(spec.clock_mhz * 1000)))


def _core(spec: TreeSpec, core: CoreLayout, package: tuple[int, ...], base: Path, bits: int) -> None:
    for cpu in core.cpus:
        directory = base / f"cpu{cpu}"
        write_file(directory / "online", "1" if cpu in core.online else "0")
        if spec.power:
            write_file(directory / "physical_id", str(cpu))
        if cpu not in core.online:
            continue  # the kernel removes topology and cache of a CPU that goes offline
        first = core.online[0]
        if cpu != first and spec.linked_threads:
            (directory / "topology").symlink_to(f"../cpu{first}/topology")
        else:
            _topology(spec, core, package, directory / "topology", bits)
        if not spec.has_cache:
            continue
        halves = core.halves if spec.kernel_halves else (core.cpus,)
        half = next(tuple(other for other in half if other in core.online) for half in halves if cpu in half)
        if cpu != half[0] and spec.linked_threads:
            (directory / "cache").symlink_to(f"../cpu{half[0]}/cache")
        else:
            _caches(spec, core, half, package, directory / "cache", bits)


def _topology(spec: TreeSpec, core: CoreLayout, package: tuple[int, ...], base: Path, bits: int) -> None:
    # On Power core_id is the hardware number of the first thread, on x86 the number inside the package.
    write_file(base / "core_id", str(core.cpus[0] if spec.power else core.number))
    write_file(base / "physical_package_id", str(core.package if spec.packages_known else -1))
    for names, cpus in (
        (("thread_siblings", "core_cpus"), core.online),
        (("core_siblings", "package_cpus"), package),
    ):
        for name in names:
            if spec.sibling_masks:
                write_file(base / name, cpu_mask(cpus, bits))
            if spec.sibling_lists:
                write_file(base / f"{name}_list", cpu_list(cpus))


def _caches(
    spec: TreeSpec, core: CoreLayout, half: tuple[int, ...], package: tuple[int, ...], base: Path, bits: int
) -> None:
    for index, (level, kind, size, ways, sets, line) in enumerate(_POWER_HALF if spec.power else _X86):
        shared = half if spec.power or level < 3 else package
        directory = base / f"index{index}"
        write_file(directory / "level", str(level))
        write_file(directory / "type", kind)
        write_file(directory / "size", f"{size}K")
        write_file(directory / "ways_of_associativity", str(ways))
        write_file(directory / "number_of_sets", str(sets))
        write_file(directory / "coherency_line_size", str(line))
        if spec.sibling_masks:
            write_file(directory / "shared_cpu_map", cpu_mask(shared, bits))
        if spec.sibling_lists:
            write_file(directory / "shared_cpu_list", cpu_list(shared))


def _nodes(spec: TreeSpec, laid: Layout, base: Path, bits: int) -> None:
    ids = tuple(node.id for node in laid.nodes)
    write_file(base / "online", cpu_list(ids))
    write_file(base / "possible", cpu_list(ids))
    write_file(base / "has_cpu", cpu_list(tuple(node for node in ids if laid.node_cpus(node))))
    write_file(base / "has_memory", cpu_list(tuple(node.id for node in laid.nodes if node.memory_mb)))
    for node in laid.nodes:
        directory = base / f"node{node.id}"
        cpus = laid.node_cpus(node.id)
        if spec.node_masks:
            write_file(directory / "cpumap", cpu_mask(cpus, bits))
        if spec.node_lists:
            write_file(directory / "cpulist", cpu_list(cpus))
        free = node.memory_mb * 9 // 10 if node.free_mb is None else node.free_mb
        write_file(
            directory / "meminfo",
            f"Node {node.id} MemTotal:{node.memory_mb * 1024:16d} kB\n"
            f"Node {node.id} MemFree:{free * 1024:17d} kB\n"
            f"Node {node.id} MemUsed:{(node.memory_mb - free) * 1024:17d} kB",
        )
        write_file(directory / "distance", " ".join("10" if other == node.id else str(spec.distance) for other in ids))
        for cpu in (cpu for core in laid.cores if core.node == node.id for cpu in core.cpus):
            (base.parent / f"cpu/cpu{cpu}/node{node.id}").symlink_to(f"../../node/node{node.id}")


def _settings(spec: TreeSpec, laid: Layout, root: Path) -> None:
    pages = root / "sys/kernel/mm"
    choices = " ".join(f"[{item}]" if item == spec.thp else item for item in ("always", "madvise", "never"))
    write_file(pages / "transparent_hugepage/enabled", choices)
    write_file(pages / "transparent_hugepage/defrag", "always defer defer+madvise [madvise] never")
    for kilobytes, count in ((2048, spec.huge_pages_2m), (1048576, 0)):
        write_file(pages / f"hugepages/hugepages-{kilobytes}kB/nr_hugepages", str(count))
        write_file(pages / f"hugepages/hugepages-{kilobytes}kB/free_hugepages", str(count))
    write_file(root / "sys/kernel/cpu_byteorder", "little" if spec.little_endian else "big")
    write_file(root / "sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids")
    write_file(root / "sys/fs/cgroup/cpuset.cpus.effective", cpu_list(laid.online))
    write_file(root / "sys/fs/cgroup/cpuset.mems.effective", cpu_list(tuple(node.id for node in laid.nodes)))
