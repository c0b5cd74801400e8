"""Taking samples: calibrated, and flagged by what disturbed them; never dropped by value."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harness.measure.causes import NEVER_NS, Cause, Chunks, Watch
from harness.measure.clock import Clock

MIN_SAMPLE_NS = 1_000_000
CLOCK_SHARE = 1000  # a sample lasts at least this many clock readings, so reading costs at most 0.1 % of it
REQUEST_CLOCKS = 100  # a single request is timed on its own only from this many clock readings
MIN_CLEAN = 10  # an estimate rests on at least this many clean samples

# One observation this far above the target cannot be a preempted short call; no need to repeat it.
_SURE_FACTOR = 100
_CONFIRMATIONS = 3


class CounterReading(Protocol):
    """What the kernel has counted so far for the measuring thread, and the CPU it is on; equal when nothing moved."""

    @property
    def involuntary_switches(self) -> int:
        """Times the thread was taken off its CPU while it could have gone on."""

    @property
    def cpu(self) -> int:
        """The CPU the thread is on."""

    @property
    def major_faults(self) -> int:
        """Page faults that had to wait for a disk."""


class Counters(Protocol):
    """Reads the kernel's counters; at most 2 µs per reading, because it happens once per sample."""

    def read(self) -> CounterReading:
        """The counters now."""
        ...


@dataclass(frozen=True)
class Samples:
    """Durations of one timed thing inside one process, in the order they were taken.

    Attributes:
        durations_ns: int64, shape (n,); each is the duration of ``inner`` calls.
        flags: uint8, shape (n,); ``Cause`` bits.
        inner: calls per sample.
        wall_ns: from before the first sample to after the last, bookkeeping included.
        stolen_ns: time stolen meanwhile; None when the machine does not tell.
        page_faults: minor ones of the process meanwhile; None when the machine does not tell.
    """

    durations_ns: NDArray[np.int64]
    flags: NDArray[np.uint8]
    inner: int
    wall_ns: int
    stolen_ns: int | None = None
    page_faults: int | None = None

    def __len__(self) -> int:
        return len(self.durations_ns)

    @property
    def clean(self) -> NDArray[np.bool_]:
        """Mask of the samples nothing is known to have disturbed, shape (n,)."""
        return np.asarray(self.flags == 0)

    @property
    def clean_share(self) -> float:
        """Share of clean samples; 0 when there are no samples."""
        return float(np.mean(self.clean)) if len(self) else 0.0


@dataclass(frozen=True)
class Limits:
    """When sampling ends: at ``samples``, or once ``budget_s`` is used up and at least ``at_least`` were taken.

    Calls so slow that ``at_least`` of them would take longer than ``most_s`` are left at fewer.
    """

    samples: int
    budget_s: float | None = None
    at_least: int = 1
    most_s: float | None = None

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples must be at least 1, got {self.samples}")


def calibrate(
    call: Callable[[], object], clock: Clock, clock_cost_ns: float, *, min_sample_ns: float = MIN_SAMPLE_NS
) -> int:
    """Number of calls per sample so that a sample lasts at least ``max(1000 c, min_sample_ns)``.

    Doubles from one. A count is accepted only when three batches in a row are long enough, so that neither a cold
    first call nor a preemption makes a short call look long.

    Source: the 0.1 % rule of torch.utils.benchmark and the doubling of pyperf.
    """
    return _double_until(call, clock, max(CLOCK_SHARE * clock_cost_ns, min_sample_ns))


def lasts_as_request(call: Callable[[], object], clock: Clock, clock_cost_ns: float) -> bool:
    """Whether one call lasts at least 100 clock readings, so that timing each call on its own means something."""
    return _shortest_batch(call, clock, 1, REQUEST_CLOCKS * clock_cost_ns) >= REQUEST_CLOCKS * clock_cost_ns


def collect(
    call: Callable[[], object],
    *,
    clock: Clock,
    counters: Counters,
    inner: int,
    limits: Limits,
    watch: Watch | None = None,
    prepare: Callable[[], object] | None = None,
) -> Samples:
    """Take samples of ``inner`` calls each, flagging every sample by its cause.

    Args:
        call: what is timed; its result is discarded.
        clock: where time comes from.
        counters: read between samples, outside the timed span.
        inner: calls per sample, from :func:`calibrate`.
        limits: when to stop.
        watch: what to read at chunk boundaries.
        prepare: called before each sample, untimed (cold-cache mode evicts the caches here).
    """
    if inner < 1:
        raise ValueError(f"inner must be at least 1, got {inner}")
    if prepare is not None and inner != 1:
        raise ValueError(f"with prepare, inner must be 1, got {inner}: only the first call after it is prepared")
    now, read = clock.now_ns, counters.read
    durations = array("q", bytes(8 * limits.samples))
    flags = np.zeros(limits.samples, dtype=np.uint8)
    chunks = Chunks(clock, watch or Watch(), flags)
    start = now()
    deadline, last = _deadline(start, limits.budget_s), _deadline(start, limits.most_s)
    due = chunks.open(0)
    before = read()
    taken, wanted = 0, limits.samples
    while taken < wanted:
        if prepare is not None:
            prepare()
            before = read()
        began = now()
        for _ in repeat(None, inner):
            call()
        ended = now()
        after = read()
        durations[taken] = ended - began
        if after != before:
            flags[taken] = np.uint8(cause_between(before, after))
        before = after
        taken += 1
        if ended >= due:
            due = chunks.next(taken)
            before = read()
        if ended >= deadline and (taken >= limits.at_least or ended >= last):
            break
    return _samples(durations, flags, taken, inner, now() - start, chunks)


def collect_calls(
    call: Callable[[], object],
    *,
    clock: Clock,
    counters: Counters,
    clock_cost_ns: float,
    limits: Limits,
    watch: Watch | None = None,
    prepare: Callable[[], object] | None = None,
) -> Samples:
    """Time each call on its own; batch means when a call is shorter than 100 clock readings.

    A result with ``inner`` > 1 holds batch means, for which :func:`harness.measure.percentiles.percentile` gives no
    value. With ``prepare`` every call is a sample of its own, because only the first call after it is cold.
    """
    if prepare is not None:
        return collect(call, clock=clock, counters=counters, inner=1, limits=limits, watch=watch, prepare=prepare)
    if lasts_as_request(call, clock, clock_cost_ns):
        return collect_each(call, clock=clock, counters=counters, limits=limits, watch=watch)
    inner = calibrate(call, clock, clock_cost_ns)
    return collect(call, clock=clock, counters=counters, inner=inner, limits=limits, watch=watch)


def collect_each(
    call: Callable[[], object], *, clock: Clock, counters: Counters, limits: Limits, watch: Watch | None = None
) -> Samples:
    """Time each call on its own, reading the counters once per millisecond of calls.

    Reading them per call would cost more than the 0.3 µs allowed for recording one; what a reading shows is blamed on
    every call since the one before.
    """
    now, read = clock.now_ns, counters.read
    durations = array("q", bytes(8 * limits.samples))
    flags = np.zeros(limits.samples, dtype=np.uint8)
    chunks = Chunks(clock, watch or Watch(), flags)
    start = now()
    deadline, last = _deadline(start, limits.budget_s), _deadline(start, limits.most_s)
    due = chunks.open(0)
    before = read()
    group = 0  # first call not yet covered by a reading of the counters
    group_due = now() + MIN_SAMPLE_NS
    taken, wanted = 0, limits.samples
    while taken < wanted:
        began = now()
        call()
        ended = now()
        durations[taken] = ended - began
        taken += 1
        if ended < group_due:
            continue
        after = read()
        if after != before:
            flags[group:taken] |= np.uint8(cause_between(before, after))
        if ended >= due:
            due = chunks.next(taken)
            after = read()
        before, group, group_due = after, taken, now() + MIN_SAMPLE_NS
        if ended >= deadline and (taken >= limits.at_least or ended >= last):
            break
    after = read()
    if after != before:
        flags[group:taken] |= np.uint8(cause_between(before, after))
    return _samples(durations, flags, taken, 1, now() - start, chunks)


def _deadline(start_ns: int, seconds: float | None) -> int:
    return NEVER_NS if seconds is None else start_ns + round(seconds * 1e9)


def cause_between(before: CounterReading, after: CounterReading) -> Cause:
    """What happened between two readings of the counters."""
    cause = Cause(0)
    if after.involuntary_switches != before.involuntary_switches:
        cause |= Cause.PREEMPTED
    if after.cpu != before.cpu:
        cause |= Cause.MIGRATED
    if after.major_faults != before.major_faults:
        cause |= Cause.FAULTED
    return cause


def _samples(
    durations: array[int], flags: NDArray[np.uint8], taken: int, inner: int, wall_ns: int, chunks: Chunks
) -> Samples:
    return Samples(
        durations_ns=np.frombuffer(durations, dtype=np.int64)[:taken],
        flags=flags[:taken],
        inner=inner,
        wall_ns=wall_ns,
        stolen_ns=chunks.close(taken),
        page_faults=chunks.page_faults(),
    )


def _double_until(call: Callable[[], object], clock: Clock, target_ns: float) -> int:
    inner = 1
    while _shortest_batch(call, clock, inner, target_ns) < target_ns:
        inner *= 2
    return inner


def _shortest_batch(call: Callable[[], object], clock: Clock, inner: int, target_ns: float) -> int:
    """Shortest of up to three batches of ``inner`` calls; stops at the first one below the target."""
    shortest = NEVER_NS
    for _ in range(_CONFIRMATIONS):
        began = clock.now_ns()
        for _ in repeat(None, inner):
            call()
        taken = clock.now_ns() - began
        shortest = min(shortest, taken)
        if taken < target_ns or taken >= _SURE_FACTOR * target_ns:
            break
    return shortest
