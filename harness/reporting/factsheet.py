"""Facts as headings with rows of name and value: what ``lparbench probe`` shows."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from rich.text import Text

from harness.platform.facts import Cache, Core, Facts, Module
from harness.platform.nodes import Node
from harness.platform.parse import format_cpulist
from harness.reporting.console import bare_table, print_table, say, standard_output
from harness.reporting.text import NO_BREAK
from harness.reporting.text import size as binary
from harness.wording import cores_by_threads, count, cpu_time, plural

UNKNOWN = "not known"

Row = tuple[str, str]


def sections(facts: Facts) -> list[tuple[str, list[Row]]]:
    """Headings with their rows, in reading order; a section without rows is left out."""
    headed = [
        ("Machine", _machine(facts)),
        ("LPAR", _lpar(facts)),
        ("Processor", _processor(facts)),
        ("Cores and threads", _cores(facts)),
        ("Caches", [_cache(cache) for cache in facts.caches.caches]),
        ("NUMA nodes", [_node(node, facts) for node in facts.topology.nodes]),
        ("Memory", _memory(facts)),
        ("Limits of this process, and other load", _limits(facts)),
        ("Software", _software(facts)),
        (
            "Other tools disagree",
            [
                (f"{item.tool}: {item.subject}", f"{item.theirs}; read here: {item.ours}")
                for item in facts.crosscheck.disagreements
            ],
        ),
    ]
    return [(title, rows) for title, rows in headed if rows]


def print_facts(facts: Facts) -> None:
    """The facts on standard output."""
    console = standard_output()
    for title, rows in sections(facts):
        table = bare_table()
        table.show_header = False
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in rows:
            table.add_row(Text(name), Text(value))
        console.print(Text(title, style="bold"))
        print_table(console, table)
        console.print()


def say_origin(facts: Facts, asked: Path) -> None:
    """Of a dump, what the facts were read from."""
    if facts.sysroot != os.fspath(asked):
        say(standard_output(), f"Read from {facts.sysroot}. What it does not contain is not known.")


def text(value: object) -> str:
    """A value in words; ``None`` is "not known"."""
    match value:
        case None | "":
            return UNKNOWN
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)


def size(value: int | None) -> str:
    """Bytes with a binary unit."""
    return UNKNOWN if value is None else binary(value).replace(NO_BREAK, " ")  # for grep


def _clock(hertz: float | None) -> str:
    return UNKNOWN if hertz is None else f"{hertz / 1e9:.3g} GHz"


def _machine(facts: Facts) -> list[Row]:
    rows: list[Row] = []
    machine, emulation = facts.machine, facts.emulation
    if emulation.emulated:
        rows.append(("emulated", f"yes, by {emulation.emulator}: " + "; ".join(emulation.evidence)))
    if machine.mtm is not None:
        rows.append(("model", f"{machine.name} ({machine.mtm})" if machine.name else machine.mtm))
    if machine.modules:
        rows.append(("modules sold", "; ".join(_module(module) for module in machine.modules)))
    rows.append(("hypervisor", text(facts.kernel.hypervisor)))
    rows.append(("kernel", text(facts.kernel.release)))
    if facts.energy.power_performance_mode is not None:
        rows.append(("energy mode", facts.energy.power_performance_mode))
    if facts.energy.governor is not None:
        rows.append(("clock governor", facts.energy.governor))
    return rows


def _module(module: Module) -> str:
    counts = "/".join(str(count) for count in module.cores_per_chip)
    return f"{module.type} with {counts} cores per chip"


def _lpar(facts: Facts) -> list[Row]:
    lpar = facts.lpar
    if lpar.mode is None and lpar.partition_name is None and lpar.system_type is None:
        return []
    entitled = _entitlement(lpar.entitled_cores)
    least, most = _entitlement(lpar.minimum_entitled_cores), _entitlement(lpar.maximum_entitled_cores)
    pool = [f"id {text(lpar.pool_id)}"]
    pool += [] if lpar.pool_cores is None else [f"{_entitlement(lpar.pool_cores)} of capacity"]
    pool += [] if lpar.pool_processors is None else [plural(lpar.pool_processors, "processor")]
    rows = [
        ("name, id", f"{text(lpar.partition_name)}, {text(lpar.partition_id)}"),
        ("processors", text(lpar.mode)),
        ("entitled", f"{entitled} for {text(lpar.virtual_processors)} virtual processors"),
        ("entitlement", f"{least} at least, {most} at most"),
        ("virtual processors", f"{text(lpar.virtual_processors)} online, {text(lpar.virtual_processors_max)} at most"),
        ("weight", "none: capped or dedicated" if lpar.capped or lpar.dedicated else text(lpar.capacity_weight)),
        ("shared pool", "none: dedicated" if lpar.dedicated else ", ".join(pool)),
        (
            "processors of the system",
            f"{text(lpar.system_active_processors)} active, {text(lpar.system_potential_processors)} at most",
        ),
        ("affinity score", UNKNOWN if lpar.affinity_score is None else f"{lpar.affinity_score} of 100"),
    ]
    if lpar.dispatches is not None and lpar.dispatch_dispersions is not None:
        rows.append(("dispatched elsewhere", f"{count(lpar.dispatch_dispersions)} of {count(lpar.dispatches)} times"))
    return rows


def _entitlement(cores: float | None) -> str:
    return UNKNOWN if cores is None else f"{cores:g} {'core' if cores == 1 else 'cores'}"


def _processor(facts: Facts) -> list[Row]:
    cpu = facts.cpu
    rows = [("architecture", text(cpu.architecture)), ("name", text(cpu.model_name))]
    if cpu.generation_hw is not None or cpu.generation_mode is not None:
        rows.append(("silicon, mode", f"{text(cpu.generation_hw)}, running as {text(cpu.generation_mode)}"))
    rows.append(("clock", _clock(cpu.clock_hz)))
    for title, wanted in (("instructions", True), ("without", False), ("not known", None)):
        names = [name for name, there in cpu.isa.items() if there is wanted]
        if names:
            rows.append((title, " ".join(names)))
    return rows


def _cores(facts: Facts) -> list[Row]:
    topology = facts.topology
    smt = topology.smt
    rows = [
        ("CPUs online", f"{len(topology.cpus_online)}: {format_cpulist(topology.cpus_online) or 'none'}"),
        ("CPUs present", str(len(topology.cpus_present))),
        ("cores", str(len(topology.cores)) if topology.cores else UNKNOWN),
    ]
    if smt.mixed:
        levels = cores_by_threads(smt.cores_by_threads)
        rows.append(("threads online", f"mixed: {levels}; {text(smt.max)} at most"))
    else:
        rows.append(("threads per core", f"{text(smt.online)} online, {text(smt.max)} at most"))
    if smt.control is not None:
        rows.append(("SMT switch", smt.control))
    rows.append(("halves of a core", _halves(topology.cores)))
    return rows


def _halves(cores: tuple[Core, ...]) -> str:
    known = [core for core in cores if core.halves is not None]
    if not known:
        return UNKNOWN
    counts = Counter(len(core.halves or ()) for core in known)
    if set(counts) == {1}:
        return "none: all threads share the first cache"
    example = max(known, key=lambda core: len(core.halves or ()))
    shown = " | ".join(format_cpulist(half) for half in example.halves or ())
    return f"{max(counts)}, as core {example.id}: CPUs {shown}"


def _cache(cache: Cache) -> Row:
    kind = "" if cache.type == "Unified" else f" {cache.type.lower()}"
    parts = [size(cache.size_bytes)]
    if cache.instances:
        parts.append(plural(len(cache.instances), "instance"))
        parts.append(f"shared by {plural(max(len(cpus) for cpus in cache.instances), 'CPU')}")
    if cache.ways is not None:
        parts.append(f"{cache.ways}-way")
    if cache.line_bytes is not None:
        parts.append(f"{cache.line_bytes} B lines")
    return f"L{cache.level}{kind}", ", ".join(parts)


def _node(node: Node, facts: Facts) -> Row:
    cores = len(facts.topology.cores_of(node.id))
    cpus = f"{plural(cores, 'core')}, CPUs {format_cpulist(node.cpus)}" if node.cpus else "no CPUs"
    memory = "no memory" if node.memory_bytes == 0 else f"memory {size(node.memory_bytes)}"
    if node.memory_bytes:
        memory += f", {size(node.memory_free_bytes)} free"
    others: dict[int, list[int]] = {}
    for other, distance in (node.distances or {}).items():
        if other != node.id:
            others.setdefault(distance, []).append(other)
    words = ", ".join(f"{distance} to {format_cpulist(tuple(nodes))}" for distance, nodes in sorted(others.items()))
    away = f"; distance {words}" if words else ""
    return f"node {node.id}", f"{cpus}; {memory}{away}"


def _memory(facts: Facts) -> list[Row]:
    memory = facts.memory
    rows = [
        ("total", size(memory.total_bytes)),
        ("available", size(memory.available_bytes)),
        ("base page", size(memory.base_page_bytes)),
        ("transparent huge pages", text(memory.thp_enabled)),
    ]
    reserved = [pool for pool in memory.huge_pages if pool.total]
    if reserved:
        rows.append(("huge pages", ", ".join(f"{pool.total} of {size(pool.size_bytes)}" for pool in reserved)))
    rows.append(("NUMA balancing", UNKNOWN if memory.numa_balancing is None else text(memory.numa_balancing != 0)))
    return rows


def _limits(facts: Facts) -> list[Row]:
    limits, load = facts.limits, facts.load
    cpus = limits.allowed_cpus
    rows = [("may use CPUs", UNKNOWN if cpus is None else format_cpulist(cpus))]
    if limits.cpu_quota_cores is not None:
        rows.append(("CPU quota", f"{cpu_time(limits.cpu_quota_cores)} (a CPU is one hardware thread)"))
    if limits.allowed_mems is not None and facts.topology.nodes:
        here = tuple(node.id for node in facts.topology.nodes if node.id in limits.allowed_mems)
        nodes = "node" if len(here) == 1 else "nodes"
        rows.append(("may use memory of", f"{nodes} {format_cpulist(here)}" if here else "no node"))
    if limits.memory_limit_bytes is not None:
        rows.append(("memory limit", size(limits.memory_limit_bytes)))
    rows.append(("container", text(limits.container)))
    rows.append(("load", UNKNOWN if load.load_1m is None else f"{load.load_1m:g} over the last minute"))
    stolen = load.steal_share
    rows.append(("stolen since boot", UNKNOWN if stolen is None else f"{100 * stolen:.2g} % of all CPU time"))
    return rows


def _software(facts: Facts) -> list[Row]:
    software = facts.software
    if software.python is None:
        return []
    rows = [("Python", software.python)]
    for package in software.packages:
        origin = f" ({package.origin})" if package.origin else ""
        rows.append((package.name, f"{text(package.version)}{origin}"))
    for library in software.blas:
        rows.append((f"BLAS of {library.used_by}", f"{library.name} {library.version or ''}".strip()))
        if library.kernel is not None:
            rows[-1] = rows[-1][0], f"{rows[-1][1]}, kernels for {library.kernel}"
    rows += [(name, value) for name, value in software.environment.items()]
    return rows
