"""What pytest-benchmark saves also says where it ran, and whether its times may be used.

pytest-benchmark neither pins nor flags; what can still be known of its session is observed. Its own types and its JSON
are foreign and stay in this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.compare.pytest_benchmark import OWN
from harness.decode import encode
from harness.measure.steady import steady_state
from harness.measure.validity import Evidence, Reason, invalidities
from harness.measure.verdicts import MIN_BLOCKS
from harness.placement.verify import Observation, observe
from harness.platform.facts import Smt
from harness.pytest_plugin.machine import this_machine
from harness.record.model import Validity, Verdict

SESSION = "lparbench_session"  # key in the saved file


@dataclass(frozen=True)
class BenchmarkSession:
    """Where the benchmarks of one session ran.

    Attributes:
        placement: CPUs, memory and thread settings of the process, as observed at its end.
        nodes: NUMA nodes of the CPUs that it was allowed on.
        smt: as it stands.
        steal_share: of the session, in [0, 1]; None where the machine does not tell.
    """

    placement: Observation
    nodes: tuple[int, ...]
    smt: Smt
    steal_share: float | None


def add_machine(machine_info: dict[str, Any]) -> None:
    """Add what ``lparbench compare`` needs to know of the machine."""
    machine_info[OWN] = encode(this_machine().fingerprint)


def add_session(benchmarks: Sequence[Any], output_json: dict[str, Any], steal_share: float | None) -> None:
    """Add where the session ran, and a verdict on each benchmark to its ``extra_info``."""
    facts, placement = this_machine().facts, observe()
    nodes = sorted({node for cpu in placement.cpus_allowed if (node := placement.node_of(cpu)) is not None})
    output_json[SESSION] = encode(BenchmarkSession(placement, tuple(nodes), facts.topology.smt, steal_share))
    emulator = facts.emulation.refuses
    rounds_s = {benchmark.fullname: benchmark.stats.data for benchmark in benchmarks if benchmark}
    for saved in output_json["benchmarks"]:
        verdict = validity(rounds_s[saved["fullname"]], steal_share, emulator)
        saved["extra_info"] = {**saved["extra_info"], OWN: encode(verdict)}


def validity(rounds_s: Sequence[float], steal_share: float | None, emulator: str | None) -> Validity:
    """Whether the rounds of one benchmark may be used; that a single process is too few is for whoever compares to say.

    Args:
        rounds_s: seconds per iteration of each round.
        steal_share: of the session, in [0, 1].
        emulator: that the session ran under, if any.
    """
    if emulator is not None:
        return Validity(Verdict.TIMINGS_REFUSED, (f"Times are refused under emulation ({emulator}).",))
    series = steady_state(rounds_s)
    steady = [series.steady] if series.tested else []
    broken = invalidities(Evidence(blocks=MIN_BLOCKS, steal_shares=[steal_share], steady=steady))
    if not broken:
        return Validity(Verdict.VALID)
    unsteady = all(rule.reason is Reason.NO_STEADY_STATE for rule in broken)
    reasons = tuple(f"{rule.text}. {rule.reason.remedy}" for rule in broken)
    return Validity(Verdict.NO_STEADY_STATE if unsteady else Verdict.INVALID, reasons)
