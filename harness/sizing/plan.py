"""From a configuration to a partition: processors, entitlement, memory, where it fits, and commands that make it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from harness.platform.facts import Facts
from harness.platform.machine import MachineModel, models
from harness.record.size_model import PartitionPlan, PlanKind, Size, SizeAnswer, SizedConfiguration
from harness.sizing.partition import LEAST_PER_PROCESSOR, USUAL_PER_PROCESSOR, cap_objection, entitlement

_MIB = 1 << 20
_BLOCK = 256 * _MIB  # logical memory block
_SYSTEM = 4 << 30  # for the operating system and its caches
_GENERATIONS = ("POWER10", "POWER11")
_LARGE_MODEL = 64 << 30  # of memory, from which the documents' figures for language models are the nearer ones
_RULE = "measured peak of all processes, 4 GiB for the system and a tenth for the hypervisor, in blocks of 256 MiB"
_LARGE_RULE = (
    "; for language models the sizing guide reckons 80 GB for 20 billion parameters and gives such partitions 256 GB"
)


def plans_for(size: Size, answer: SizeAnswer, kinds: Sequence[PlanKind]) -> tuple[PartitionPlan, ...]:
    """A plan per kind; none without a configuration, nor for an answer that does not stand."""
    chosen = answer.chosen
    if chosen is None:
        return ()
    busy = busy_cores(size, answer, chosen)
    return tuple(_plan(size, answer, chosen, kind, busy) for kind in kinds)


def busy_cores(size: Size, answer: SizeAnswer, chosen: SizedConfiguration) -> float:
    """Cores that the demand keeps busy: a core is charged as a whole while any of its threads works.

    From the time of a request and the rate; without it, from the share of the capacity.
    """
    rate = answer.question.rate * (1 + answer.question.growth)
    service_s = next(
        (
            block.service_s
            for series in size.series
            if (series.threads_per_core, series.layout) == (chosen.threads_per_core, chosen.layout)
            for point in sorted(series.points, key=lambda point: abs(point.cores - chosen.cores))
            for block in point.blocks
            if block.service_s is not None
        ),
        None,
    )
    if service_s is None:
        return chosen.cores * min(1.0, rate / chosen.capacity.value)
    width = max(1, chosen.cores * chosen.threads_per_core // chosen.instances)  # threads that a request keeps busy
    share = min(1.0, rate * service_s * width / (chosen.cores * chosen.threads_per_core))
    return chosen.cores * (1 - (1 - share) ** chosen.threads_per_core)


def memory_bytes(size: Size, chosen: SizedConfiguration) -> int:
    """Memory of the partition by the measured peak; what was measured elsewhere counts per process."""
    per_process = [
        block.peak_bytes / point.instances
        for series in size.series
        for point in series.points
        for block in point.blocks
        if block.peak_bytes
    ]
    peak = max(per_process, default=0.0) * chosen.instances
    return math.ceil((peak + _SYSTEM) * 1.1 / _BLOCK) * _BLOCK


def _plan(size: Size, answer: SizeAnswer, chosen: SizedConfiguration, kind: PlanKind, busy: float) -> PartitionPlan:
    question = answer.question
    notes = list(_notes_of_all(size, chosen, answer))
    shared, units = kind != "dedicated", None
    if shared:
        units = entitlement(busy, question.headroom, chosen.cores)
        notes += _notes_of_shared(question.p99_s, kind, units, chosen.cores)
        if kind == "shared capped" and cap_objection(question.p99_s, units, chosen.cores) is not None:
            units = float(chosen.cores)
        units = min(units, float(chosen.cores))
    memory = memory_bytes(size, chosen)
    return PartitionPlan(
        kind=kind,
        partitions=1 + question.spare,
        cores=chosen.cores,
        virtual_processors=chosen.cores if shared else None,
        entitlement=units,
        threads_per_core=chosen.threads_per_core,
        instances=chosen.instances,
        threads_per_instance=max(1, chosen.cores * chosen.threads_per_core // chosen.instances),
        memory_bytes=memory,
        memory_rule=_RULE + (_LARGE_RULE if memory >= _LARGE_MODEL else ""),
        one_chip=_one_chip(size.facts, chosen.cores),
        fits=tuple(_fits(chosen.cores)),
        commands=(_hmc(size.facts, kind, chosen, units, memory), *_inside(chosen)),
        notes=tuple(notes),
    )


def _notes_of_all(size: Size, chosen: SizedConfiguration, answer: SizeAnswer) -> Iterator[str]:
    if answer.verdict != "answered":
        yield f"the answer it rests on is {answer.verdict}"
    if not (size.facts.cpu.architecture or "").startswith("ppc64"):
        yield "measured on another architecture: measure there, or give --on MTM for bounds"
    if chosen.threads_per_core == 1 and size.facts.topology.smt.max not in (None, 1):
        yield "a thread alone on an SMT8 core reaches half of its matrix engines"
    yield "populate all DIMM slots: bandwidth follows the channels, not the size"


def _notes_of_shared(p99_s: float | None, kind: PlanKind, units: float, processors: int) -> Iterator[str]:
    yield "entitlement from the busy time of requests, a core charged as a whole while any of its threads works"
    objection = cap_objection(p99_s, units, processors)
    if kind == "shared capped" and objection is not None:
        yield f"{objection}; raised to {processors:.2f}"
    if kind == "shared uncapped":
        yield "what is used beyond the entitlement is borrowed and no capacity: not guaranteed while others are busy"
        if objection is not None:
            yield objection
    if units / processors < USUAL_PER_PROCESSOR:
        yield f"{units / processors:.2f} units per virtual processor; practice is {USUAL_PER_PROCESSOR:g} and more"


def _one_chip(facts: Facts, cores: int) -> bool | None:
    """Whether a chip of this machine has so many cores; None where its modules are not known."""
    sizes = [count for module in facts.machine.modules for count in module.cores_per_chip]
    return cores <= max(sizes) if sizes else None


def _fits(cores: int) -> Iterator[str]:
    """Machines of the table with a chip of so many cores."""
    distinct: dict[str, MachineModel] = {model.name: model for model in models().values()}
    for name, model in sorted(distinct.items()):
        largest = max((count for module in model.modules for count in module.cores_per_chip), default=0)
        if model.generation in _GENERATIONS and cores <= largest:
            yield f"{name} ({largest})"


def _hmc(facts: Facts, kind: PlanKind, chosen: SizedConfiguration, units: float | None, memory: int) -> str:
    """What makes the partition on the HMC; upper-case words are to be replaced."""
    mib, cores = memory // _MIB, chosen.cores
    fields = [
        "name=LPAR_NAME",
        "profile_name=default",
        "lpar_env=aixlinux",
        f"min_mem={mib // 2 // 256 * 256 or 256}",
        f"desired_mem={mib}",
        f"max_mem={2 * mib}",
        f"min_procs=1,desired_procs={cores},max_procs={cores}",
    ]
    if kind == "dedicated" or units is None:
        fields.append("proc_mode=ded,sharing_mode=keep_idle_procs")
    else:
        least = max(LEAST_PER_PROCESSOR, 0.05)
        mode = "cap" if kind == "shared capped" else "uncap,uncap_weight=128"
        fields.append(
            f"proc_mode=shared,min_proc_units={least:g},desired_proc_units={units:.2f},max_proc_units={cores},"
            f"sharing_mode={mode}"
        )
    system = f"{facts.machine.mtm}*SERIAL" if facts.machine.mtm else "MANAGED_SYSTEM"
    return f'mksyscfg -r lpar -m {system} -i "{",".join(fields)}"'


def _inside(chosen: SizedConfiguration) -> Iterator[str]:
    if chosen.threads_per_core > 1:
        yield f"ppc64_cpu --smt={chosen.threads_per_core}"
    yield f"lparbench place --cores {chosen.cores} --threads-per-core {chosen.threads_per_core}"
