"""Inside a worker process: times one function and leaves its samples for the test's own process."""

from __future__ import annotations

import gc
import resource
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from harness.measure.causes import Watch
from harness.measure.clock import SystemClock, clock_cost_ns
from harness.measure.sampling import Limits, Samples, calibrate, collect
from harness.measure.steady import MIN_SAMPLES, next_pilot, steady_state
from harness.placement.verify import Observation, observe
from harness.platform.counters import StealMeter, ThreadCounters, page_faults
from harness.platform.second_clock import ClockWatch
from harness.platform.sysroot import SysRoot
from harness.pytest_plugin.originals import Patches
from harness.record.series import Series
from harness.scenarios.series import Bench, as_series, joined
from harness.workers.process import write_outcome

JOB_FILE = "job.json"
BASELINE, CANDIDATE = "baseline", "candidate"

FEWEST_SAMPLES = 20  # of slow calls: enough for a median of which half may be disturbed
_MOST_SAMPLES = 2_000
_MOST_SECONDS = 10.0
_TOOLS = 6  # that sys.monitoring has places for


@dataclass(frozen=True)
class FunctionJob:
    """What the worker is asked for.

    Attributes:
        nodeid: the test.
        side: which of its functions to time, and ``index``: in which of its calls of the fixture.
        seconds: time to spend on timing.
        cpus: that it is pinned to.
        fork: in a fork of the process that imported the suite, or in that process itself, which then ends.
        patched: whether the test replaces what this package works with.
    """

    nodeid: str
    side: str
    index: int
    seconds: float
    cpus: tuple[int, ...]
    fork: bool = True
    patched: bool = False


@dataclass(frozen=True)
class FunctionOutcome:
    """What the worker hands back; ``steal_share`` is None where the machine does not tell.

    ``few``: the test asks for so few rounds that one process does not give an estimate. ``clock``: how the clock that
    timed disagrees with the kernel's.
    """

    series: Series
    steal_share: float | None
    wall_s: float
    rss_peak_bytes: int
    observation: Observation
    few: bool = False
    clock: str | None = None


@dataclass(frozen=True)
class Timed:
    """A function to time.

    Attributes:
        call: what is timed.
        prepare: called before each sample, untimed; a sample is then one call.
        rounds, iterations: samples, and calls in each, that the test asks for; None: as many as fit.
        collect_garbage: whether the garbage collector may run while it is timed.
    """

    call: Callable[[], object]
    prepare: Callable[[], object] | None = None
    rounds: int | None = None
    iterations: int = 1
    warmup: int = 0
    collect_garbage: bool = True


def measure(directory: Path, job: FunctionJob, timed: Timed, patches: Patches) -> FunctionOutcome:
    """Time the function as the job says, as the test has it, and leave the outcome in ``directory``."""
    with patches.aside():
        return _measure(directory, job, timed, patches)


def _measure(directory: Path, job: FunctionJob, timed: Timed, patches: Patches) -> FunctionOutcome:
    untraced()
    clock = SystemClock()
    steal = StealMeter(SysRoot(), job.cpus)
    watch = Watch(steal_ns=patches.reader(steal.stolen_ns), page_faults=page_faults)
    bench = Bench(clock, clock_cost_ns(clock), ThreadCounters(), watch, job.seconds, timed.prepare)
    began, clocks = clock.now_ns(), ClockWatch()
    if not timed.collect_garbage:
        gc.disable()
    try:
        series = _series(timed, bench, patches)
    finally:
        gc.enable()
    outcome = FunctionOutcome(
        series=series,
        steal_share=steal.share(),
        wall_s=(clock.now_ns() - began) * 1e-9,
        rss_peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        observation=observe(),
        few=timed.rounds is not None and timed.prepare is None and timed.rounds < FEWEST_SAMPLES,
        clock=clocks.disagreement(),
    )
    write_outcome(directory, outcome)
    return outcome


def _series(timed: Timed, bench: Bench, patches: Patches) -> Series:
    """The rounds that the test asks for, or samples until they are steady; slow calls get fewer."""
    asked = timed.rounds is not None or timed.prepare is not None
    with patches.back():
        for _ in range(timed.warmup):
            if timed.prepare is not None:
                timed.prepare()
            timed.call()
        inner = timed.iterations if asked else calibrate(timed.call, bench.clock, bench.clock_cost_ns)
    inner = 1 if timed.prepare is not None else inner  # what comes between two rounds holds for the call after it
    fewest = FEWEST_SAMPLES if timed.prepare is not None or timed.rounds is None else 0
    fewest = max(fewest, timed.rounds or 0)

    def more(samples: int, budget_s: float, at_least: int) -> Samples:
        limits = Limits(samples, budget_s, min(samples, at_least), _MOST_SECONDS)
        with patches.back():
            return collect(
                timed.call,
                clock=bench.clock,
                counters=bench.counters,
                inner=inner,
                limits=limits,
                watch=bench.watch,
                prepare=timed.prepare,
            )

    samples = more(fewest if asked else _MOST_SAMPLES, bench.seconds, fewest)
    outcome = steady_state(samples.durations_ns)
    while not asked and len(samples) >= MIN_SAMPLES and (longer := next_pilot(len(samples), outcome)) is not None:
        samples = joined(samples, more(longer - len(samples), bench.seconds, 1))
        outcome = steady_state(samples.durations_ns)
        if len(samples) < longer:
            break
    return as_series("call", samples, replace(outcome, steady=outcome.steady or not outcome.tested), None)


def untraced() -> None:
    """Take coverage, tracers and profilers off this process: what is timed is the code alone."""
    sys.settrace(None)
    sys.setprofile(None)
    threading.settrace(None)
    threading.setprofile(None)
    tracemalloc.stop()
    unmonitored(getattr(sys, "monitoring", None))  # from Python 3.12


def unmonitored(monitoring: Any) -> None:
    """Free every tool of ``sys.monitoring``, and what it watches of single functions, which would go on."""
    for tool in range(_TOOLS if monitoring else 0):
        if monitoring.get_tool(tool) is None:
            continue
        monitoring.set_events(tool, 0)
        for code in _codes():
            monitoring.set_local_events(tool, code, 0)
        monitoring.free_tool_id(tool)


def _codes() -> Iterator[CodeType]:
    """The code of all functions there are, and of those that they make."""
    left = [
        each.__code__ for each in gc.get_objects() if type(each) is FunctionType
    ]  # not isinstance: that asks lazy objects
    seen: set[int] = set()
    while left:
        code = left.pop()
        if id(code) not in seen:
            seen.add(id(code))
            left += [inner for inner in code.co_consts if isinstance(inner, CodeType)]
            yield code
