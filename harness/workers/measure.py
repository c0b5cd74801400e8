"""The measure jobs: time the scenarios of one configuration in a fresh process, alone or at the same time as others."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.datasets.coded_rows import CodedRows
from harness.detectors.opening import open_scorer
from harness.measure.causes import Watch
from harness.measure.clock import SystemClock, clock_cost_ns
from harness.measure.steady import steady_state
from harness.platform import purr
from harness.platform.counters import ThreadCounters, page_faults, steal_ns
from harness.platform.sysroot import SysRoot
from harness.record.model import ProcessCounters, Served
from harness.record.series import Series
from harness.record.spec import CAPACITY, Scenario
from harness.scenarios import concurrent
from harness.scenarios.cold import Evictor
from harness.scenarios.inference import QUERY_ROWS, Score, multi_stream, offline, round_robin, single_stream
from harness.scenarios.series import Bench, as_series
from harness.scenarios.server import server
from harness.scenarios.train import train_eager, train_native
from harness.scoring.artifacts import AGREEMENT_ROWS, test_rows, training_rows, write_measured_scores
from harness.serving.arrival_trace import arrivals_of
from harness.workers.counting import Counting
from harness.workers.http import http
from harness.workers.jobs import InstanceJob, MeasureJob
from harness.workers.outcomes import InstanceOutcome, MeasureOutcome, TimedSeries
from harness.workers.rendezvous import FileGroup, announce, await_signal

_MEASURED_BYTES = 1 << 28  # of features made of rows that are held as codes


def measure(job: MeasureJob) -> MeasureOutcome:
    """Run the job's scenarios in its order; also score a fixed set of rows, for the comparison with other backends."""
    counting = Counting(job.cpus) if job.counters else None  # before any library starts its threads
    workbench = _workbench(job)
    steal = _Steal()
    counters: dict[Scenario, ProcessCounters] = {}
    series: dict[str, tuple[Series, ...]] = {}
    served: dict[Scenario, Served] = {}
    with _counted(workbench, steal):
        for scenario in job.scenarios:
            sink: list[ProcessCounters] = []
            with nullcontext() if counting is None else counting.over(sink):
                if scenario in CAPACITY:
                    timed, served[scenario] = _capacity(scenario, job, workbench)
                    series[scenario] = tuple(timed)
                else:
                    series[scenario] = tuple(_timed(scenario, job, workbench))
            if sink:
                counters[scenario] = sink[0]
    return MeasureOutcome(series, served, steal.share, steal.physical_cores, counters, steal.frequency_ratio)


def _timed(scenario: Scenario, job: MeasureJob, workbench: _Workbench) -> list[Series]:
    score, rows, bench = workbench.score, workbench.rows, workbench.bench
    match scenario:
        case "offline":
            return offline(score, rows, job.batch_sizes, bench)
        case "single_stream":
            return single_stream(score, rows, bench)
        case "multi_stream":
            return multi_stream(score, rows, bench)
        case "train":
            return _train(Path(job.artifact), job, bench)
        case "server" | "http":
            raise AssertionError(f"the {scenario} scenario has an answer in addition to its series")


def _capacity(scenario: Scenario, job: MeasureJob, workbench: _Workbench) -> tuple[list[Series], Served]:
    if scenario == "http":
        return http(job)
    call = round_robin(workbench.score, workbench.rows, 1)
    return server(
        call, workbench.bench.clock, bound_s=job.p99_bound_s, seconds=job.series_seconds, seed=job.seed,
        arrivals=arrivals_of(job.arrivals),
    )  # fmt: skip


def measure_instance(job: InstanceJob) -> InstanceOutcome:
    """Get ready, wait for the common signal, and time each batch size in its window, or serve together."""
    counting = Counting(job.measure.cpus) if job.measure.counters else None
    workbench, measured = _workbench(job.measure), job.measure
    counted: list[ProcessCounters] = []
    over = nullcontext() if counting is None else counting.over(counted)
    timed = measured.batch_sizes if "offline" in measured.scenarios else ()
    sizes = [size for size in timed if size <= len(workbench.rows)]
    ready = [concurrent.prepare(workbench.score, workbench.rows, size, workbench.bench) for size in sizes]
    announce(Path(job.directory), [prepared.sample_s for prepared in ready])
    windows = await_signal(Path(job.start_file))
    steal = _Steal()
    if "server" in measured.scenarios:
        group = FileGroup(Path(job.start_file).parent, job.index, job.instances)
        call = round_robin(workbench.score, workbench.rows, 1)
        with _counted(workbench, steal), over:
            _, served = server(
                call, workbench.bench.clock, bound_s=measured.p99_bound_s, seconds=measured.series_seconds,
                seed=measured.seed, group=group, arrivals=arrivals_of(measured.arrivals),
            )  # fmt: skip
        return InstanceOutcome(
            (), steal.share, served, steal.physical_cores, next(iter(counted), None), steal.frequency_ratio
        )
    with _counted(workbench, steal), over:
        traces = [
            concurrent.run(prepared, window.begin_ns, window.end_ns, workbench.bench)
            for prepared, window in zip(ready, windows, strict=True)
        ]
    series = (_timed_series(size, trace) for size, trace in zip(sizes, traces, strict=True))
    return InstanceOutcome(
        tuple(series), steal.share, None, steal.physical_cores, next(iter(counted), None), steal.frequency_ratio
    )


def _timed_series(batch_size: int, trace: concurrent.Trace) -> TimedSeries:
    series = as_series("call", trace.samples, steady_state(trace.samples.durations_ns), batch_size)
    return TimedSeries(series, trace.began_ns, tuple(trace.completed_ns.tolist()))


@dataclass(frozen=True)
class _Workbench:
    """What a measuring process works with."""

    score: Score
    rows: NDArray[np.float32]  # of the test split, in an order of this process's own
    bench: Bench
    read_steal: Callable[[], int | None]
    cpus: tuple[int, ...]


@dataclass
class _Steal:
    """Share of the CPUs' time that the hypervisor took, what the partition consumed, and effective over nominal clock.

    Known once the work is done; None where it is not counted.
    """

    share: float | None = None
    physical_cores: float | None = None
    frequency_ratio: float | None = None


def _workbench(job: MeasureJob) -> _Workbench:
    """Open the scorer and keep its scores of the fixed rows."""
    clock = SystemClock()
    read_steal = partial(steal_ns, SysRoot(), job.cpus)
    bench = Bench(
        clock=clock,
        clock_cost_ns=clock_cost_ns(clock),
        counters=ThreadCounters(),
        watch=Watch(steal_ns=read_steal, page_faults=page_faults),
        seconds=job.series_seconds,
        prepare=None if job.evict_bytes is None else Evictor(job.cpus, job.evict_bytes),
    )
    artifact = Path(job.artifact)
    rows = test_rows(artifact)
    scored = "float32" if job.scenarios == ("train",) else job.dtype  # it may be a format of the training alone
    scorer = open_scorer(artifact, job.backend, scored, job.threads)
    write_measured_scores(Path(job.directory), scorer.score(rows[:AGREEMENT_ROWS]))
    order = random.Random(job.seed).sample(range(len(rows)), len(rows))  # noqa: S311 - order of rows
    if isinstance(rows, CodedRows):  # enough features to fill any cache, and no more
        order = order[: max(*job.batch_sizes, QUERY_ROWS, _MEASURED_BYTES // (4 * rows.shape[1]))]
    shuffled = rows[np.array(order)]
    return _Workbench(scorer.score, shuffled, bench, read_steal, job.cpus)


@contextmanager
def _counted(workbench: _Workbench, steal: _Steal) -> Iterator[None]:
    """Fills ``steal`` with the share during the work inside."""
    before, began = workbench.read_steal(), workbench.bench.clock.now_ns()
    partition, registers = purr.read(SysRoot()), purr.of_cpus(SysRoot(), workbench.cpus)
    yield
    after, ended = workbench.read_steal(), workbench.bench.clock.now_ns()
    consumed = purr.consumption(partition, purr.read(SysRoot()))
    steal.physical_cores = None if consumed is None else consumed.physical_cores
    steal.frequency_ratio = purr.frequency_ratio(registers, purr.of_cpus(SysRoot(), workbench.cpus))
    if before is not None and after is not None:
        steal.share = (after - before) / (ended - began) / max(1, len(workbench.cpus))


def _train(artifact: Path, job: MeasureJob, bench: Bench) -> list[Series]:
    X, y = training_rows(artifact)
    if job.backend == "native":
        return train_native(artifact, X, y, job.seed, bench, "bfloat16" if job.dtype == "bfloat16" else "float32")
    return train_eager(artifact, X, y, job.seed, bench)
