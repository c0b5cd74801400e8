"""The measure job: time the scenarios of one configuration. Runs in a fresh worker process."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.detectors.inference.scorer import open_scorer
from harness.measure.causes import Watch
from harness.measure.clock import SystemClock, clock_cost_ns
from harness.platform.counters import ThreadCounters, steal_ns
from harness.platform.sysroot import SysRoot
from harness.record.model import Series
from harness.runs.fitting import TEST_ROWS, TRAIN_LABELS, TRAIN_ROWS
from harness.runs.jobs import MeasureJob
from harness.scenarios.inference import offline, single_stream
from harness.scenarios.series import Bench
from harness.scenarios.train import train_eager, train_native

AGREEMENT_ROWS = 2048  # rows scored for the comparison of backends
SCORES_FILE = "scores.npy"


def measure(job: MeasureJob) -> dict[str, Any]:
    """Run the job's scenarios in its order; also score a fixed set of rows, for the comparison with other backends."""
    clock = SystemClock()
    sysroot = SysRoot("/")
    read_steal = partial(steal_ns, sysroot, job.steal_cpus)
    bench = Bench(
        clock=clock,
        clock_cost_ns=clock_cost_ns(clock),
        counters=ThreadCounters(),
        watch=Watch(steal_ns=read_steal),
        seconds=job.series_seconds,
    )
    artifact = Path(job.artifact)
    rows = np.load(artifact / TEST_ROWS, allow_pickle=False)
    scorer = open_scorer(artifact, job.backend, job.dtype, job.threads)
    np.save(Path(job.directory) / SCORES_FILE, scorer.score(rows[:AGREEMENT_ROWS]), allow_pickle=False)
    shuffled = rows[random.Random(job.seed).sample(range(len(rows)), len(rows))]  # noqa: S311 - order of rows
    scenarios: dict[str, Callable[[], list[Series]]] = {
        "offline": lambda: offline(scorer.score, shuffled, job.batch_sizes, bench),
        "single_stream": lambda: single_stream(scorer.score, shuffled, bench),
        "train": lambda: _train(artifact, job, bench),
    }
    stolen_before, began = read_steal(), clock.now_ns()
    series = {name: [asdict(one) for one in scenarios[name]()] for name in job.scenarios}
    stolen_after, ended = read_steal(), clock.now_ns()
    stolen = None if stolen_before is None or stolen_after is None else stolen_after - stolen_before
    return {
        "series": series,
        "steal_share": None if stolen is None else stolen / (ended - began) / max(1, len(job.steal_cpus)),
    }


def _train(artifact: Path, job: MeasureJob, bench: Bench) -> list[Series]:
    X = np.load(artifact / TRAIN_ROWS, allow_pickle=False)
    y = np.load(artifact / TRAIN_LABELS, allow_pickle=False)
    train = train_native if job.backend == "native" else train_eager
    return train(artifact, X, y, job.seed, bench)
