"""The machine and its partition in a few lines."""

from __future__ import annotations

from harness.platform.facts import Facts
from harness.reporting.text import NO_BREAK, as_given, number, quantity, ranges, size
from harness.wording import counted, cpu_time, plural

Line = tuple[str, str]


def is_power(facts: Facts) -> bool | None:
    """Whether the code ran as Power code; None when the architecture is not recorded."""
    architecture = facts.cpu.architecture
    return None if architecture is None else architecture.startswith("ppc64")


def machine_line(facts: Facts) -> str:
    """The machine in one line: model, processor, partition, cores, nodes, memory."""
    parts = [_model(facts), _processor(facts), _partition(facts), _cores(facts), _nodes(facts), _memory(facts)]
    return " · ".join(part for part in parts if part)


def machine_card(facts: Facts) -> list[Line]:
    """What is known of the machine, the partition and the kernel, as label and value; unknown lines are left out."""
    score = facts.lpar.affinity_score
    emulation = facts.emulation
    lines = [
        ("Machine", _model(facts)),
        ("Processor", _processor(facts)),
        ("Instruction sets", _isa(facts)),
        ("Cores and SMT", _cores(facts)),
        ("NUMA nodes", _nodes(facts)),
        ("Memory", _memory(facts)),
        ("Partition", _partition(facts)),
        ("Capacity", _capacity(facts)),
        ("Affinity score", "" if score is None else f"{score} of 100"),
        ("Hypervisor", facts.kernel.hypervisor),
        ("Kernel", facts.kernel.release),
        ("Energy mode", facts.energy.power_performance_mode or facts.energy.governor),
        ("Limits", _limits(facts)),
        ("Other load", _load(facts)),
        ("Emulator", (emulation.emulator or "yes") if emulation.emulated else ""),
    ]
    return [(label, value) for label, value in lines if value]


def _model(facts: Facts) -> str:
    name, mtm = facts.machine.name, facts.machine.mtm
    if name and mtm:
        return f"{name} ({mtm})"
    return name or mtm or ""


def _processor(facts: Facts) -> str:
    cpu = facts.cpu
    silicon, mode = cpu.generation_hw, cpu.generation_mode
    if silicon:
        named = silicon if mode in (None, silicon) else f"{silicon} in {mode} mode"
    else:
        named = cpu.model_name or mode or cpu.architecture or ""
    clock = cpu.clock_max_hz or cpu.clock_hz
    return f"{named}, {quantity(clock, 'Hz')}" if named and clock else named


def _isa(facts: Facts) -> str:
    usable = sorted(name for name, on in facts.cpu.isa.items() if on is True)
    missing = sorted(name for name, on in facts.cpu.isa.items() if on is False)
    return ", ".join(usable) + (f" (not: {', '.join(missing)})" if missing else "")


def _cores(facts: Facts) -> str:
    topology = facts.topology
    cpus = len(topology.cpus_online)
    if not topology.cores:
        return plural(cpus, "CPU") if cpus else ""
    smt, text = topology.smt, ""
    if smt.mixed:
        text = ", SMT mixed"
    elif smt.online and smt.max and smt.max > 1:
        text = f", SMT{NO_BREAK}{smt.online}" + (f" of {smt.max}" if smt.online != smt.max else "")
    return f"{plural(len(topology.cores), 'core')}{text}, {plural(cpus, 'CPU')}"


def _nodes(facts: Facts) -> str:
    nodes = facts.topology.nodes
    return plural(len(nodes), "NUMA node") if nodes else ""


def _memory(facts: Facts) -> str:
    total, page = facts.memory.total_bytes, facts.memory.base_page_bytes
    if total is None:
        return ""
    return size(total) + (f" memory, {size(page)} pages" if page else " memory")


def _partition(facts: Facts) -> str:
    mode, name = facts.lpar.mode, facts.lpar.partition_name
    if not mode and not name:
        return ""
    return " ".join(part for part in ("LPAR", name, f"({mode})" if mode else "") if part)


def _capacity(facts: Facts) -> str:
    lpar, parts = facts.lpar, []
    if lpar.entitled_cores is not None:
        parts.append(f"{counted(lpar.entitled_cores, 'core')} entitled")
    if lpar.virtual_processors is not None:
        parts.append(plural(lpar.virtual_processors, "virtual processor"))
    if lpar.pool_id is not None:
        parts.append(f"pool {lpar.pool_id}" + (f" of {counted(lpar.pool_cores, 'core')}" if lpar.pool_cores else ""))
    return ", ".join(parts)


def _limits(facts: Facts) -> str:
    limits, parts = facts.limits, []
    if limits.container and limits.container != "none":
        parts.append(limits.container)
    if limits.cpu_quota_cores is not None:
        parts.append(f"quota of {cpu_time(limits.cpu_quota_cores)}")
    if limits.allowed_cpus and len(limits.allowed_cpus) < len(facts.topology.cpus_online):
        parts.append(f"CPUs {ranges(limits.allowed_cpus)} allowed")
    with_memory = {node.id for node in facts.topology.nodes if node.memory_bytes}
    if limits.allowed_mems and not with_memory <= set(limits.allowed_mems):
        parts.append(f"memory of nodes {ranges(limits.allowed_mems)} allowed")
    if limits.memory_limit_bytes is not None:
        parts.append(f"memory limit {size(limits.memory_limit_bytes)}")
    return ", ".join(parts)


def _load(facts: Facts) -> str:
    load, steal, parts = facts.load.load_1m, facts.load.steal_share, []
    if load is not None:
        parts.append(f"load {as_given(load)} before the run")
    if steal is not None:
        parts.append(f"{number(100 * steal)}{NO_BREAK}% stolen since boot")
    return ", ".join(parts)
