"""Sizings without a machine: capacity series made from a law, with the noise that blocks have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from support.sweeps import Quiet, fit_outcome, report_of, result_of
from support.trees import NodeSpec, TreeSpec, build

from harness.measure.clock import FakeClock
from harness.placement.model import Placement
from harness.platform.sysroot import SysRoot
from harness.record.model import Served, Validity, Verdict
from harness.record.size_model import CapacityBlock, CapacityPoint, CapacitySeries, Layout, Size, SizeQuestion
from harness.record.spec import RunSpec
from harness.scoring import artifacts
from harness.sizing import session
from harness.sizing.answer import Bench, instances_of
from harness.sizing.curves import curve_of
from harness.sizing.usl import Usl
from harness.workers.jobs import ConcurrentJob, FitJob, Job, MeasureJob, SurveyJob
from harness.workers.outcomes import InstanceOutcome, JobResult, MeasureOutcome

LAW = Usl(0.02, 0.0005, 1000.0)
VALID = Validity(Verdict.VALID)


def series_of(
    rate: Callable[[int], float],
    cores: Sequence[int] = (1, 2, 4, 8),
    *,
    blocks: int = 6,
    noise: float = 0.03,
    seed: int = 1,
    threads_per_core: int = 1,
    layout: Layout = "per-core",
    service_s: float | None = 0.0009,
    physical_cores: Callable[[int], float] | None = None,
) -> CapacitySeries:
    """A series whose every block is ``rate`` of its cores, times a lognormal factor of ``noise``."""
    generator = np.random.default_rng(seed)
    points = []
    for count in cores:
        measured = []
        for block in range(blocks):
            capacity = rate(count) * float(np.exp(generator.normal(0, noise)))
            # p99 rises along the trials from a fifth of the bound to twice it
            trials = tuple((share * capacity, 0.005 * share**4) for share in (0.5, 0.8, 0.95, 1.0, 1.05, 1.2))
            used = None if physical_cores is None else physical_cores(count)
            measured.append(CapacityBlock(block, capacity, service_s, trials=trials, physical_cores=used))
        points.append(CapacityPoint(count, instances_of(layout, count, threads_per_core), tuple(measured), VALID))
    return CapacitySeries(threads_per_core, layout, 0, "native", "float32", tuple(points))


def bench_of(
    *series: CapacitySeries, node_cores: int = 12, p99_s: float | None = 0.005, entitled: float | None = None
) -> Bench:
    """What questions are answered from."""
    return Bench(tuple(curve_of(each, entitled=entitled) for each in series), node_cores, p99_s)


class ServingExecutor:
    """Answers jobs at once: a machine whose capacity is known, with ``noise`` between processes.

    Attributes:
        served: slot and number of cores of every measurement, in order.
        wall_s, wall_per_core_s: that each takes, by the clock given.
    """

    def __init__(
        self,
        capacity: Callable[[int, int], float],
        *,
        noise: float = 0.03,
        seed: int = 1,
        clock: FakeClock | None = None,
        wall_s: float = 10.0,
    ) -> None:
        self.capacity, self.noise, self.seed, self.clock, self.wall_s = capacity, noise, seed, clock, wall_s
        self.wall_per_core_s = 0.0
        self.served: list[tuple[str, int]] = []

    def run(self, job: Job, placement: Placement, *, timeout_s: float) -> JobResult:
        if isinstance(job, SurveyJob):
            return JobResult((), "no survey here", 1, 0.5)
        if isinstance(job, FitJob):
            directory = Path(job.directory)
            directory.mkdir(parents=True)
            artifacts.write_rows(directory, *(np.ones(8, np.float32) for _ in range(4)))
            return result_of(fit_outcome(("eager", "native", "onnxruntime")), placement)
        assert isinstance(job, MeasureJob | ConcurrentJob)
        name = Path(job.directory).name
        self.served.append((name, placement.cores))
        wall_s = self.wall_s + self.wall_per_core_s * placement.cores
        if self.clock is not None:
            self.clock.advance(round(wall_s * 1e9))
        factor = np.exp(np.random.default_rng([self.seed, *map(int, name.split("-"))]).normal(0, self.noise))
        rate = self.capacity(placement.cores, placement.threads_per_core) * float(factor)
        jobs = [each.measure for each in job.instances] if isinstance(job, ConcurrentJob) else [job]
        for each in jobs:
            Path(each.directory).mkdir(parents=True)
            artifacts.write_measured_scores(Path(each.directory), np.ones(8, np.float32))
        served = served_at(rate, placement.threads, jobs[0].p99_bound_s)
        if isinstance(job, ConcurrentJob):
            reports = [report_of(InstanceOutcome((), 0.0, served), part) for part in job.placements]
            return JobResult(tuple(reports), None, 1, wall_s)
        (scenario,) = job.scenarios
        if job.http is not None:
            assert not set(job.http.generator.cpus) & set(placement.cpus)
        return replace(result_of(MeasureOutcome({scenario: ()}, {scenario: served}, 0.0), placement), wall_s=wall_s)


def served_at(rate: float, threads: int, bound_s: float) -> Served:
    """What instances report that hold ``rate`` at the bound, busy for nine tenths of the time."""
    shares = (0.125, 0.5, 0.8, 1.0, 1.1)
    return Served(
        rate, bound_s, 0.9 * threads / rate, 3, 10_000, {"p50_s": 0.2 * bound_s, "p99_s": bound_s},
        tuple((share * rate, share <= 1) for share in shares), 1, None, tuple(bound_s * share**3 for share in shares),
    )  # fmt: skip


def sized_record(folder: Path) -> Size:
    """An answered sizing of a made partition of twelve cores that follow the law."""
    root = SysRoot(build(TreeSpec(nodes=(NodeSpec(0, cores=12),), threads=1, smt_control=None), folder / "tree"))
    spec = RunSpec(("nsl-kdd-mlp",), synthetic=True, seeds=1, epochs=1, series_seconds=0.1)
    executor = ServingExecutor(lambda cores, threads_per_core: float(LAW.rate(cores)), noise=0.01)
    wanted = session.Wanted(SizeQuestion(5000, 0.005), ())
    directory = session.begin(spec, wanted, ("lparbench", "size"), folder / "sizes", sysroot=root)
    return session.proceed(directory, executor, _Unseen(), clock=executor.clock or FakeClock(), sysroot=root)


class _Unseen(Quiet):
    def expect(self, total: int) -> None:
        self.units = total
