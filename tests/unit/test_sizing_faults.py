"""Machines that misbehave while they are sized: what is said, and what the answer is then worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.sizes import ServingExecutor
from support.trees import LparSpec, NodeSpec, TreeSpec, build
from test_sizing_session import SPEC, Progress, ask, law, machine, sized

from harness.errors import ExitCode
from harness.measure.clock import FakeClock
from harness.placement.model import Placement
from harness.platform.sysroot import SysRoot
from harness.record.model import Served
from harness.reporting.size_view import view_of
from harness.scenarios.server import server
from harness.sizing import session
from harness.sweeps import session as sweeps
from harness.workers.jobs import Job
from harness.workers.outcomes import InstanceOutcome, JobResult, MeasureOutcome

Outcome = MeasureOutcome | InstanceOutcome


class Changed(ServingExecutor):
    """Every measurement's outcome by way of a function of the block and the number of cores."""

    def __init__(self, change: Callable[[Outcome, int, int], Outcome]) -> None:
        super().__init__(law, noise=0.01)
        self.change = change

    def run(self, job: Job, placement: Placement, *, timeout_s: float) -> JobResult:
        result = super().run(job, placement, timeout_s=timeout_s)
        block = int(self.served[-1][0].split("-")[0]) if self.served else 0
        reports = (
            replace(report, outcome=self.change(report.outcome, block, placement.cores))
            if isinstance(report.outcome, MeasureOutcome | InstanceOutcome)
            else report
            for report in result.reports
        )
        return replace(result, reports=tuple(reports))


@pytest.fixture
def twelve(tmp_path: Path) -> SysRoot:
    return machine(tmp_path / "tree", 12)


def test_a_clock_that_falls_during_the_study_makes_it_invalid(tmp_path: Path, twelve: SysRoot) -> None:
    def throttled(outcome: Outcome, block: int, cores: int) -> Outcome:
        return replace(outcome, frequency_ratio=1.0 if block < 3 else 0.94)

    record = sized(tmp_path, twelve, ask(5000), Changed(throttled))
    assert record.answer.verdict == "answered"
    assert session.exit_code(record) == ExitCode.INCONCLUSIVE
    assert any(
        "clock differs by 6.0 % between processes of the same setting" in text for text in view_of(record).invalid
    )
    chosen = record.answer.chosen
    assert chosen is not None
    clocks = [
        block.frequency_ratio
        for point in record.series[0].points
        if point.cores == chosen.cores
        for block in point.blocks
    ]
    assert set(clocks) == {1.0, 0.94}


def test_a_clock_that_depends_on_the_number_of_cores_is_said(tmp_path: Path, twelve: SysRoot) -> None:
    def boosted(outcome: Outcome, block: int, cores: int) -> Outcome:
        return replace(outcome, frequency_ratio=1.0 if cores <= 2 else 0.95)

    record = sized(tmp_path, twelve, ask(5000), Changed(boosted))
    assert session.exit_code(record) == ExitCode.GOOD  # each number of cores at the clock that it has
    assert any("at 12 cores the clock was 5.0 % lower than at 1 core" in text for text in view_of(record).marks)
    steady = sized(tmp_path / "steady", twelve, ask(5000), Changed(lambda outcome, block, cores: outcome))
    assert not any("the clock was" in text for text in view_of(steady).marks)


def test_a_warm_up_longer_than_a_block_makes_it_invalid(tmp_path: Path, twelve: SysRoot) -> None:
    def cold(outcome: Outcome, block: int, cores: int) -> Outcome:
        if isinstance(outcome, MeasureOutcome):
            return replace(
                outcome, served={name: replace(each, settled=False) for name, each in outcome.served.items()}
            )
        assert outcome.served is not None
        return replace(outcome, served=replace(outcome.served, settled=False))

    record = sized(tmp_path, twelve, ask(5000), Changed(cold))
    assert session.exit_code(record) == ExitCode.INCONCLUSIVE
    assert any("6 of 6 processes did not settle" in text for text in view_of(record).invalid)


@pytest.mark.parametrize(("warming_s", "settled"), [(0.0, True), (0.02, True), (40.0, False)])
def test_a_search_knows_whether_the_server_was_warm(warming_s: float, settled: bool) -> None:
    """A request of 1 ms that takes four times as long at first, and comes down with a time constant."""
    clock = FakeClock()

    def call() -> None:
        cold = 0.0 if warming_s == 0 else 3.0 * 2.0 ** (-clock.now_ns() * 1e-9 / warming_s)
        clock.advance(round(1e6 * (1 + cold)))

    served: Served = server(call, clock, bound_s=0.05, seconds=1.0, seed=3)[1]
    assert served.rate is not None
    assert served.settled == settled


def test_clocks_that_disagree_make_it_invalid(tmp_path: Path, twelve: SysRoot) -> None:
    """As of a program under a clock ten times too fast."""
    from harness.platform.second_clock import Elapsed

    class Fast(ServingExecutor):
        def run(self, job: Job, placement: Placement, *, timeout_s: float) -> JobResult:
            result = super().run(job, placement, timeout_s=timeout_s)
            reports = tuple(replace(report, clocks=Elapsed(100.0, 10.0)) for report in result.reports)
            return replace(result, reports=reports)

    record = sized(tmp_path, twelve, ask(900), Fast(law, noise=0.01))
    assert session.exit_code(record) == ExitCode.INCONCLUSIVE
    assert view_of(record).invalid


def test_siblings_stand_for_an_smt_level_that_cannot_be_switched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "may_switch", lambda root: False)
    tree = TreeSpec(nodes=(NodeSpec(0, cores=4),), threads=4, smt_control=None, lpar=LparSpec())
    placed: set[tuple[int, int, int]] = set()

    class Seen(ServingExecutor):
        def run(self, job: Job, placement: Placement, *, timeout_s: float) -> JobResult:
            placed.add((placement.cores, placement.threads_per_core, len({cpu // 4 for cpu in placement.cpus})))
            return super().run(job, placement, timeout_s=timeout_s)

    executor = Seen(lambda cores, threads_per_core: law(cores, 1) * threads_per_core**0.4, noise=0.01)
    record = sized(tmp_path, SysRoot(build(tree, tmp_path / "tree")), ask(2500), executor)
    assert record.answer.verdict == "answered"
    assert {(cores, level) for cores, level, _ in placed} >= {(1, 1), (1, 2), (1, 4), (4, 2)}
    assert all(cores == apart for cores, _, apart in placed)
    assert any(text.startswith("SMT levels were obtained by affinity") for text in view_of(record).marks)


def test_a_working_set_that_outgrows_the_cache_is_not_forced_onto_the_law(tmp_path: Path, twelve: SysRoot) -> None:
    """Hot caches up to four cores, cold ones from there on: measured points stand, nothing is said beyond them."""
    executor = ServingExecutor(lambda cores, level: 1000.0 * cores if cores <= 4 else 550.0 * cores, noise=0.002)
    directory = session.begin(
        SPEC, ask(4500, cores=(1, 2, 3, 4, 6, 8)), ("lparbench",), tmp_path / "out", sysroot=twelve
    )
    record = session.proceed(directory, executor, Progress(), clock=FakeClock(), sysroot=twelve)
    assert record.answer.verdict == "refused"  # 8 cores give 4,400; the law of the first four would have 5 serve it
    assert any("not a USL curve" in text for text in view_of(record).models)
