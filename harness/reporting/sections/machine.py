"""The machine and its partition in a few lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.reporting.sections.lookup import dig, number_at, objects_at, text_at, whole_numbers_at
from harness.reporting.text import NO_BREAK, as_given, number, plural, quantity, ranges, size

Line = tuple[str, str]


def is_power(facts: Mapping[str, Any]) -> bool | None:
    """Whether the code ran as Power code; None when the architecture is not recorded."""
    architecture = text_at(facts, "cpu", "architecture")
    return None if architecture is None else architecture.startswith("ppc64")


def machine_line(facts: Mapping[str, Any]) -> str:
    """The machine in one line: model, processor, partition, cores, nodes, memory."""
    parts = [_model(facts), _processor(facts), _partition(facts), _cores(facts), _nodes(facts), _memory(facts)]
    return " · ".join(part for part in parts if part)


def machine_card(facts: Mapping[str, Any]) -> list[Line]:
    """What is known of the machine, the partition and the kernel, as label and value; unknown lines are left out."""
    lines = [
        ("Machine", _model(facts)),
        ("Processor", _processor(facts)),
        ("Instruction sets", _isa(facts)),
        ("Cores and SMT", _cores(facts)),
        ("NUMA nodes", _nodes(facts)),
        ("Memory", _memory(facts)),
        ("Partition", _partition(facts)),
        ("Capacity", _capacity(facts)),
        ("Affinity score", _affinity(facts)),
        ("Hypervisor", text_at(facts, "kernel", "hypervisor") or ""),
        ("Kernel", text_at(facts, "kernel", "release") or ""),
        ("Energy mode", _energy(facts)),
        ("Limits", _limits(facts)),
        ("Other load", _load(facts)),
        ("Emulator", _emulator(facts)),
    ]
    return [(label, value) for label, value in lines if value]


def _model(facts: Mapping[str, Any]) -> str:
    name, mtm = text_at(facts, "machine", "name"), text_at(facts, "machine", "mtm")
    if name and mtm:
        return f"{name} ({mtm})"
    return name or mtm or ""


def _processor(facts: Mapping[str, Any]) -> str:
    silicon, mode = text_at(facts, "cpu", "generation_hw"), text_at(facts, "cpu", "generation_mode")
    if silicon:
        named = silicon if mode in (None, silicon) else f"{silicon} in {mode} mode"
    else:
        named = text_at(facts, "cpu", "model_name") or mode or text_at(facts, "cpu", "architecture") or ""
    clock = number_at(facts, "cpu", "clock_max_hz") or number_at(facts, "cpu", "clock_hz")
    return f"{named}, {quantity(clock, 'Hz')}" if named and clock else named


def _isa(facts: Mapping[str, Any]) -> str:
    found = dig(facts, "cpu", "isa")
    if not isinstance(found, Mapping):
        return ""
    usable = sorted(name for name, on in found.items() if on is True)
    missing = sorted(name for name, on in found.items() if on is False)
    return ", ".join(usable) + (f" (not: {', '.join(missing)})" if missing else "")


def _cores(facts: Mapping[str, Any]) -> str:
    cores = objects_at(facts, "topology", "cores")
    cpus = whole_numbers_at(facts, "topology", "cpus_online")
    if not cores:
        return plural(len(cpus), "CPU") if cpus else ""
    most, online = number_at(facts, "topology", "smt", "max"), number_at(facts, "topology", "smt", "online")
    smt = ""
    if dig(facts, "topology", "smt", "mixed") is True:
        smt = ", SMT mixed"
    elif online and most and most > 1:
        smt = f", SMT{int(online)}" + (f" of {int(most)}" if online != most else "")
    return f"{plural(len(cores), 'core')}{smt}, {plural(len(cpus), 'CPU')}"


def _nodes(facts: Mapping[str, Any]) -> str:
    nodes = objects_at(facts, "topology", "nodes")
    return plural(len(nodes), "NUMA node") if nodes else ""


def _memory(facts: Mapping[str, Any]) -> str:
    total, page = number_at(facts, "memory", "total_bytes"), number_at(facts, "memory", "base_page_bytes")
    if total is None:
        return ""
    return size(total) + (f" memory, {size(page)} pages" if page else " memory")


def _partition(facts: Mapping[str, Any]) -> str:
    mode, name = text_at(facts, "lpar", "mode"), text_at(facts, "lpar", "partition_name")
    if mode is None and name is None:
        return ""
    return " ".join(part for part in ("LPAR", name, f"({mode})" if mode else "") if part)


def _capacity(facts: Mapping[str, Any]) -> str:
    entitled, virtual = number_at(facts, "lpar", "entitled_cores"), number_at(facts, "lpar", "virtual_processors")
    parts = []
    if entitled is not None:
        parts.append(f"{as_given(entitled)} cores entitled")
    if virtual is not None:
        parts.append(plural(int(virtual), "virtual processor"))
    if (pool := number_at(facts, "lpar", "pool_id")) is not None:
        cores = number_at(facts, "lpar", "pool_cores")
        parts.append(f"pool {int(pool)}" + (f" of {as_given(cores)} cores" if cores else ""))
    return ", ".join(parts)


def _affinity(facts: Mapping[str, Any]) -> str:
    score = number_at(facts, "lpar", "affinity_score")
    return "" if score is None else f"{int(score)} of 100"


def _energy(facts: Mapping[str, Any]) -> str:
    return text_at(facts, "energy", "power_performance_mode") or text_at(facts, "energy", "governor") or ""


def _limits(facts: Mapping[str, Any]) -> str:
    parts = []
    container = text_at(facts, "limits", "container")
    if container and container != "none":
        parts.append(container)
    if (quota := number_at(facts, "limits", "cpu_quota_cores")) is not None:
        parts.append(f"quota of {as_given(quota)} CPUs")
    allowed = whole_numbers_at(facts, "limits", "allowed_cpus")
    if allowed and len(allowed) < len(whole_numbers_at(facts, "topology", "cpus_online")):
        parts.append(f"CPUs {ranges(allowed)} allowed")
    if (memory := number_at(facts, "limits", "memory_limit_bytes")) is not None:
        parts.append(f"memory limit {size(memory)}")
    return ", ".join(parts)


def _load(facts: Mapping[str, Any]) -> str:
    load, steal = number_at(facts, "load", "load_1m"), number_at(facts, "load", "steal_share")
    parts = []
    if load is not None:
        parts.append(f"load {as_given(load)} before the run")
    if steal is not None:
        parts.append(f"{number(100 * steal)}{NO_BREAK}% stolen since boot")
    return ", ".join(parts)


def _emulator(facts: Mapping[str, Any]) -> str:
    if dig(facts, "emulation", "emulated") is not True:
        return ""
    return text_at(facts, "emulation", "emulator") or "yes"
