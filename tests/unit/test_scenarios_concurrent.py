"""An instance of several on a clock that moves only when told to, and cold-cache mode."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from harness.errors import InputError
from harness.measure.causes import Cause, Watch
from harness.measure.clock import FakeClock
from harness.measure.overlap import InstanceTrace, overlap_throughput
from harness.platform.facts import Cache, CacheFacts, Core, CpuFacts, Facts, Topology
from harness.scenarios.cold import Evictor, eviction_bytes
from harness.scenarios.concurrent import Prepared, prepare, run
from harness.scenarios.inference import multi_stream, offline
from harness.scenarios.series import Bench

MS = 1_000_000


class Counters:
    """Says that the thread was preempted whenever told so."""

    def __init__(self) -> None:
        self.switches = 0

    def read(self) -> SimpleNamespace:
        return SimpleNamespace(involuntary_switches=self.switches, cpu=0, major_faults=0)


def bench(clock: FakeClock, **changes) -> Bench:
    return Bench(**{"clock": clock, "clock_cost_ns": 0.0, "counters": Counters(), "watch": Watch(), "seconds": 0.05,
                    **changes})  # fmt: skip


def scorer(clock: FakeClock, ns_per_row: int):
    return lambda rows: clock.advance(ns_per_row * len(rows))


def test_an_instance_starts_at_the_signal_and_ends_after_the_window() -> None:
    clock = FakeClock()
    rows = np.zeros((100, 3), dtype=np.float32)
    ready = prepare(scorer(clock, MS // 4), rows, 4, bench(clock))
    assert (ready.inner, ready.sample_s) == (1, pytest.approx(1e-3))
    begin = clock.now_ns() + 7 * MS
    trace = run(ready, begin, begin + 20 * MS, bench(clock))
    assert trace.began_ns == begin
    assert trace.completed_ns.tolist() == [begin + MS * n for n in range(1, 21)]
    assert set(trace.samples.durations_ns.tolist()) == {MS}


def test_short_calls_are_batched_into_samples() -> None:
    clock = FakeClock()
    ready = prepare(scorer(clock, 1000), np.zeros((100, 3), dtype=np.float32), 1, bench(clock))
    assert ready.inner == 1024


def test_a_disturbed_sample_is_flagged_and_an_unexpectedly_fast_one_ends_at_the_room_there_is() -> None:
    clock = FakeClock()
    counters = Counters()
    taken: Iterator[int] = iter(range(10_000))

    def call() -> None:
        counters.switches += next(taken) == 2
        clock.advance(MS // 10)

    trace = run(Prepared(1, call, 1, 1e-3), 0, 10 * MS, bench(clock, counters=counters))
    assert np.flatnonzero(trace.samples.flags & Cause.PREEMPTED).tolist() == [2]
    assert len(trace.completed_ns) == 41
    assert not trace.samples.flags[3:].any()


def test_the_window_of_a_slow_and_a_fast_instance_leaves_out_the_tail() -> None:
    clock = FakeClock()
    traces = []
    for step, end in ((10 * MS, 1000 * MS), (20 * MS, 2000 * MS)):  # one is done when the other is half way
        clock = FakeClock()
        call = lambda clock=clock, step=step: clock.advance(step)  # noqa: E731
        traces.append(run(Prepared(1, call, 1, step * 1e-9), 0, end, bench(clock)))
    together = overlap_throughput([InstanceTrace(trace.began_ns, trace.completed_ns) for trace in traces])
    assert together.total == pytest.approx(150.0)
    assert together.window_share == pytest.approx(0.5)


def test_multi_stream_sends_queries_of_eight_rows() -> None:
    clock = FakeClock()
    (series,) = multi_stream(scorer(clock, MS // 8), np.zeros((100, 3), dtype=np.float32), bench(clock))
    assert series.batch_size == 8
    assert series.estimate_s == pytest.approx(1e-3)
    assert multi_stream(scorer(clock, MS), np.zeros((7, 3), dtype=np.float32), bench(clock)) == []


def test_cold_mode_prepares_before_every_sample_of_one_call_and_does_not_time_it() -> None:
    clock = FakeClock()
    evictions = 0

    def evict() -> None:
        nonlocal evictions
        evictions += 1
        clock.advance(50 * MS)

    cold = bench(clock, prepare=evict)
    (series,) = offline(scorer(clock, 2000), np.zeros((64, 3), dtype=np.float32), [1], cold)
    assert series.inner == 1
    assert set(series.durations_ns) == {2000}
    assert evictions == len(series.durations_ns)


def machine(architecture: str, instances: tuple[tuple[int, ...], ...], **changes) -> Facts:
    cores = tuple(Core(c, c, c // 2, 0, 0, (c,), (c,), None) for c in range(4))  # two nodes of two cores
    caches = (
        Cache(1, "Instruction", 1 << 30, 64, 8, 1, ((0,), (1,), (2,), (3,))),
        Cache(2, "Unified", 1 << 20, 64, 8, 1, ((0,), (1,), (2,), (3,))),
        Cache(3, "Unified", 4 << 20, 64, 8, 1, instances),
    )
    return Facts(
        "/",
        cpu=CpuFacts(architecture=architecture),
        topology=Topology(cores=cores),
        caches=CacheFacts(caches),
        **changes,
    )


def test_the_buffer_is_twice_the_last_level_that_can_hold_the_lines() -> None:
    shared_by_pairs = ((0, 1), (2, 3))
    assert eviction_bytes(machine("x86_64", shared_by_pairs), [0]) == 8 << 20
    assert eviction_bytes(machine("x86_64", shared_by_pairs), [0, 2]) == 16 << 20
    own = ((0,), (1,), (2,), (3,))
    assert eviction_bytes(machine("x86_64", own), [0]) == 8 << 20
    assert eviction_bytes(machine("ppc64le", own), [0]) == 16 << 20, "a neighbour's cache takes what is cast out"
    with pytest.raises(InputError, match="cold cache"):
        eviction_bytes(Facts("/"), [0])


def test_every_cpu_reads_the_buffer() -> None:
    cpus = sorted(os.sched_getaffinity(0))
    evict = Evictor(cpus, 1 << 20)
    for _ in range(3):
        evict()
    statuses = [(task / "status").read_text() for task in Path("/proc/self/task").iterdir()]
    pinned = {line.split()[1] for status in statuses for line in status.splitlines() if "Cpus_allowed_list" in line}
    assert {str(cpu) for cpu in cpus} <= pinned or len(cpus) == 1
