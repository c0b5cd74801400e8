"""The measure jobs: time the scenarios of one configuration, alone or beside others. Run in a fresh worker process."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.detectors.opening import open_scorer
from harness.measure.causes import Watch
from harness.measure.clock import SystemClock, clock_cost_ns
from harness.measure.steady import steady_state
from harness.platform.counters import ThreadCounters, steal_ns
from harness.platform.sysroot import SysRoot
from harness.record.model import Series
from harness.scenarios import concurrent as together
from harness.scenarios.cold import Evictor
from harness.scenarios.inference import Score, multi_stream, offline, round_robin, single_stream
from harness.scenarios.series import Bench, as_series
from harness.scenarios.server import server
from harness.scenarios.train import train_eager, train_native
from harness.scoring.artifacts import AGREEMENT_ROWS, test_rows, training_rows, write_measured_scores
from harness.workers.jobs import InstanceJob, MeasureJob
from harness.workers.rendezvous import announce, await_signal


def measure(job: MeasureJob) -> dict[str, Any]:
    """Run the job's scenarios in its order; also score a fixed set of rows, for the comparison with other backends."""
    stand = _stand(job)
    score, rows, bench = stand.score, stand.rows, stand.bench
    served: dict[str, Any] = {}

    def serve() -> list[Series]:
        one = round_robin(score, rows, 1)
        series, outcome = server(one, bench.clock, bound_s=job.p99_bound_s, seconds=job.series_seconds, seed=job.seed)
        served.update(outcome.to_json())
        return series

    scenarios: dict[str, Callable[[], list[Series]]] = {
        "offline": lambda: offline(score, rows, job.batch_sizes, bench),
        "single_stream": lambda: single_stream(score, rows, bench),
        "multi_stream": lambda: multi_stream(score, rows, bench),
        "server": serve,
        "train": lambda: _train(Path(job.artifact), job, bench),
    }
    with _stolen(stand) as steal:
        series = {name: [asdict(one) for one in scenarios[name]()] for name in job.scenarios}
    return {"series": series, "served": served or None, **steal}


def measure_instance(job: InstanceJob) -> dict[str, Any]:
    """Get ready, wait for the common signal, and time each batch size in its window.

    Each entry of ``traces`` is a series with the times, on the clock that all instances share, at which it began and at
    which its samples were completed.
    """
    stand = _stand(job)
    sizes = [size for size in job.batch_sizes if size <= len(stand.rows)]
    ready = [together.prepare(stand.score, stand.rows, size, stand.bench) for size in sizes]
    announce(Path(job.directory), [one.sample_s for one in ready])
    windows = await_signal(Path(job.start_file))
    with _stolen(stand) as steal:
        traces = [
            together.run(one, window.begin_ns, window.end_ns, stand.bench)
            for one, window in zip(ready, windows, strict=True)
        ]
    return {"traces": [_trace(size, trace) for size, trace in zip(sizes, traces, strict=True)], **steal}


def _trace(batch_size: int, trace: together.Trace) -> dict[str, Any]:
    series = as_series("call", trace.samples, steady_state(trace.samples.durations_ns), batch_size)
    return {"series": asdict(series), "began_ns": trace.began_ns, "completed_ns": trace.completed_ns.tolist()}


@dataclass(frozen=True)
class _Stand:
    """What a measuring process works with."""

    score: Score
    rows: NDArray[np.float32]  # of the test split, in an order of this process's own
    bench: Bench
    read_steal: Callable[[], int | None]
    steal_cpus: int


def _stand(job: MeasureJob) -> _Stand:
    """Open the scorer and keep its scores of the fixed rows."""
    clock = SystemClock()
    read_steal = partial(steal_ns, SysRoot("/"), job.steal_cpus)
    bench = Bench(
        clock=clock,
        clock_cost_ns=clock_cost_ns(clock),
        counters=ThreadCounters(),
        watch=Watch(steal_ns=read_steal),
        seconds=job.series_seconds,
        prepare=None if job.evict_bytes is None else Evictor(job.steal_cpus, job.evict_bytes),
    )
    artifact = Path(job.artifact)
    rows = test_rows(artifact)
    scorer = open_scorer(artifact, job.backend, job.dtype, job.threads)
    write_measured_scores(Path(job.directory), scorer.score(rows[:AGREEMENT_ROWS]))
    shuffled = rows[random.Random(job.seed).sample(range(len(rows)), len(rows))]  # noqa: S311 - order of rows
    return _Stand(scorer.score, shuffled, bench, read_steal, len(job.steal_cpus))


@contextmanager
def _stolen(stand: _Stand) -> Iterator[dict[str, float | None]]:
    """Yields an object whose ``steal_share`` is known once the work inside is done."""
    found: dict[str, float | None] = {"steal_share": None}
    before, began = stand.read_steal(), stand.bench.clock.now_ns()
    yield found
    after, ended = stand.read_steal(), stand.bench.clock.now_ns()
    if before is not None and after is not None:
        found["steal_share"] = (after - before) / (ended - began) / max(1, stand.steal_cpus)


def _train(artifact: Path, job: MeasureJob, bench: Bench) -> list[Series]:
    X, y = training_rows(artifact)
    train = train_native if job.backend == "native" else train_eager
    return train(artifact, X, y, job.seed, bench)
