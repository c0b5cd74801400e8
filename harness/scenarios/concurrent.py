"""One of several instances that score at the same time: it warms up, waits for the signal, and keeps every sample.

Instances are separate processes on disjoint CPUs; the clock (``CLOCK_MONOTONIC``) is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from harness.measure.causes import Chunks
from harness.measure.sampling import Samples, calibrate, cause_between
from harness.scenarios.inference import Score, round_robin
from harness.scenarios.series import Bench

_WARM_UP_CALLS = 3
_ROOM = 4  # for samples that turn out this many times shorter than those of the warm-up


@dataclass(frozen=True)
class Prepared:
    """A batch size ready to be timed: ``inner`` calls make a sample of about ``sample_s`` seconds."""

    batch_size: int
    call: Callable[[], object]
    inner: int
    sample_s: float


@dataclass(frozen=True)
class Trace:
    """Samples back to back from ``began_ns`` on, each with the time at which it was completed."""

    began_ns: int
    completed_ns: NDArray[np.int64]
    samples: Samples


def prepare(score: Score, rows: NDArray[np.float32], batch_size: int, bench: Bench) -> Prepared:
    """Calibrate and warm up for as long as a series is given."""
    call = round_robin(score, rows, batch_size)
    for _ in range(_WARM_UP_CALLS):
        call()
    inner = calibrate(call, bench.clock, bench.clock_cost_ns)
    now = bench.clock.now_ns
    durations: list[int] = []
    until = now() + round(bench.seconds * 1e9)
    while not durations or now() < until:
        began = now()
        for _ in repeat(None, inner):
            call()
        durations.append(now() - began)
    return Prepared(batch_size, call, inner, float(np.median(durations)) * 1e-9)


def run(prepared: Prepared, begin_ns: int, end_ns: int, bench: Bench) -> Trace:
    """Sample from ``begin_ns`` until a sample is completed at or after ``end_ns``; at least one sample."""
    now, read, call, inner = bench.clock.now_ns, bench.counters.read, prepared.call, prepared.inner
    most = _ROOM * max(1, round((end_ns - begin_ns) * 1e-9 / prepared.sample_s)) + 1
    completed = np.zeros(most, dtype=np.int64)
    flags = np.zeros(most, dtype=np.uint8)
    chunks = Chunks(bench.clock, bench.watch, flags)
    bench.clock.wait_until(begin_ns)
    due = chunks.open(0)
    before = read()
    began = ended = now()
    taken = 0
    while taken < most and (ended < end_ns or not taken):
        for _ in repeat(None, inner):
            call()
        ended = now()
        completed[taken] = ended
        after = read()
        if after != before:
            flags[taken] = int(cause_between(before, after))
        before = after
        taken += 1
        if ended >= due:
            due = chunks.next(taken)
            before = read()
    stolen = chunks.close(taken)
    stamps = completed[:taken]
    samples = Samples(
        np.diff(stamps, prepend=began), flags[:taken], inner, ended - began, stolen, page_faults=chunks.page_faults()
    )
    return Trace(began, stamps, samples)
