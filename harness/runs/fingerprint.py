"""The facts two runs must share before their times may be compared."""

from __future__ import annotations

from dataclasses import fields

from harness import __version__
from harness.decode import encode
from harness.errors import EnvironmentMismatchError
from harness.placement.model import Placement
from harness.platform.facts import Facts, SoftwareFacts
from harness.record.codec import digest_of
from harness.record.model import Fingerprint


def fingerprint(facts: Facts, software: SoftwareFacts) -> Fingerprint:
    """Pick them out of the facts and of the software as it was loaded; what is unknown stays ``None``."""
    cpu, lpar, kernel = facts.cpu, facts.lpar, facts.kernel
    return Fingerprint(
        arch=cpu.architecture,
        cpu=cpu.model_name,
        generation=cpu.generation_hw,
        mode=cpu.generation_mode,
        machine=facts.machine.mtm,
        smt=facts.topology.smt,
        cpus_online=facts.topology.cpus_online,
        page_size_bytes=facts.memory.base_page_bytes,
        kernel=kernel.release,
        hypervisor=kernel.hypervisor,
        lpar_dedicated=lpar.dedicated,
        lpar_capped=lpar.capped,
        lpar_entitled_capacity=lpar.entitled_cores,
        lpar_virtual_processors=lpar.virtual_processors,
        cpu_quota=facts.limits.cpu_quota_cores,
        emulated=facts.emulation.emulated,
        libraries={package.name: package.version for package in software.packages},
    )


def state_digest(facts: Facts, placement: Placement) -> str:
    """Equal for the same machine, software and energy mode, and the same CPUs and memory of it."""
    place = [placement.cpus, placement.memory_nodes, str(placement.memory_policy)]
    energy = [facts.energy.power_performance_mode, facts.energy.governor]
    state = {"version": __version__, "facts": encode(fingerprint(facts, facts.software)), "place": place}
    return digest_of({**state, "energy": energy}).partition(":")[2]


def check_same_machine(then: Facts, now: Facts, kind: str) -> None:
    """See that a ``kind`` ("run", "sweep") is resumed on the machine that it was begun on, in the same state.

    Raises:
        EnvironmentMismatchError: it is not; names what differs.
    """
    before, after = fingerprint(then, then.software), fingerprint(now, now.software)
    names = [item.name for item in fields(before)]
    differing = sorted(name for name in names if getattr(before, name) != getattr(after, name))
    if differing:
        raise EnvironmentMismatchError(
            f"this is not the machine, or not the state of it, that the {kind} was begun on: {', '.join(differing)}.",
            remedy=f"Put it back as it was, or start a new {kind}.",
        )
