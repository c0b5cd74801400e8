"""Inside a worker process: times one function and leaves its samples for the test's own process."""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.decode import decode_json_file
from harness.measure.causes import Watch
from harness.measure.clock import SystemClock, clock_cost_ns
from harness.placement.verify import Observation, observe
from harness.platform.counters import StealMeter, ThreadCounters
from harness.platform.sysroot import SysRoot
from harness.record.model import Series
from harness.scenarios.series import Bench, batch_series
from harness.workers.process import write_outcome

JOB_FILE = "job.json"


@dataclass(frozen=True)
class FunctionJob:
    """What the worker is asked for: the time to spend on timing, and the CPUs that it is pinned to."""

    seconds: float
    cpus: tuple[int, ...]


@dataclass(frozen=True)
class FunctionOutcome:
    """What the worker hands back; ``steal_share`` is None where the machine does not tell."""

    series: Series
    steal_share: float | None
    wall_s: float
    rss_peak_bytes: int
    observation: Observation


def measure(directory: Path, side: str, functions: Mapping[str, Callable[[], object]]) -> None:
    """Time the function of ``side`` as the job in ``directory`` says, and leave the outcome there."""
    job = decode_json_file(FunctionJob, directory / JOB_FILE)
    clock = SystemClock()
    steal = StealMeter(SysRoot("/"), job.cpus)
    bench = Bench(clock, clock_cost_ns(clock), ThreadCounters(), Watch(steal_ns=steal.stolen_ns), job.seconds)
    began = clock.now_ns()
    series = batch_series("call", functions[side], None, bench)
    outcome = FunctionOutcome(
        series=series,
        steal_share=steal.share(),
        wall_s=(clock.now_ns() - began) * 1e-9,
        rss_peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        observation=observe(),
    )
    write_outcome(directory, outcome)
