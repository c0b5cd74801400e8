"""Sizings on simulated machines: what is measured next, what ends it, resuming, and what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.sizes import LAW, ServingExecutor
from support.sweeps import Quiet
from support.trees import LparSpec, NodeSpec, TreeSpec, build

from harness.errors import EnvironmentMismatchError, ExitCode, InputError
from harness.measure.clock import FakeClock
from harness.placement.model import Placement
from harness.platform.sysroot import SysRoot
from harness.record.journal import JOURNAL_FILE
from harness.record.size_model import Size, SizeQuestion
from harness.record.spec import RunSpec
from harness.record.store import SIZE_NAME, encode, load_size, size_text
from harness.reporting.size_html import render_size
from harness.reporting.size_view import view_of
from harness.runs import run as runs
from harness.runs.design import read_design
from harness.sizing import session
from harness.sizing.assemble import answered
from harness.sizing.session import Wanted
from harness.sweeps import session as sweeps
from harness.workers.jobs import Job, MeasureJob
from harness.workers.outcomes import InstanceOutcome, JobResult, MeasureOutcome

SPEC = RunSpec(("nsl-kdd-mlp",), synthetic=True, seeds=1, epochs=1, series_seconds=0.1)


class Progress(Quiet):
    def expect(self, total: int) -> None:
        self.units = total


def machine(directory: Path, *cores: int, **changes: Any) -> SysRoot:
    """A POWER10 partition whose cores have one thread; nodes 0, 8, 16, ... with ``cores``."""
    nodes = tuple(NodeSpec(8 * at, cores=count) for at, count in enumerate(cores))
    return SysRoot(build(TreeSpec(nodes=nodes, threads=1, smt_control=None, lpar=LparSpec(**changes)), directory))


def law(cores: int, threads_per_core: int) -> float:
    return float(LAW.rate(cores))


def ask(rate: float, *, cores: tuple[int, ...] | None = None, budget_s: float | None = None, **changes: Any) -> Wanted:
    return Wanted(SizeQuestion(rate, 0.005, **changes), (), cores=cores, budget_s=budget_s)


def sized(tmp_path: Path, root: SysRoot, wanted: Wanted, executor: ServingExecutor) -> Size:
    directory = session.begin(SPEC, wanted, ("lparbench", "size"), tmp_path / "out", sysroot=root)
    return session.proceed(directory, executor, Progress(), clock=executor.clock or FakeClock(), sysroot=root)


@pytest.fixture
def twelve(tmp_path: Path) -> SysRoot:
    return machine(tmp_path / "tree", 12)


def test_it_measures_where_the_decision_is_open(tmp_path: Path, twelve: SysRoot) -> None:
    executor = ServingExecutor(law, noise=0.01)
    record = sized(tmp_path, twelve, ask(5000), executor)
    answer = record.answer
    assert answer.verdict == "answered"
    assert answer.chosen is not None
    truth = next(cores for cores in range(1, 13) if LAW.rate(cores) >= 5000)
    assert answer.chosen.cores == truth == 6
    assert answer.chosen.capacity.basis == "measured"
    assert answer.smaller is not None
    assert (answer.smaller.cores, answer.smaller.enough) == (5, False)
    counts = {cores: sum(cores == each for _, each in executor.served) for cores in range(1, 13)}
    assert counts[6] >= 6
    assert counts[1] == counts[2] == counts[4] == 2  # dropped: their interval lies below the need
    assert record.design.ended_by == "decided"
    assert session.exit_code(record) == ExitCode.GOOD
    assert view_of(record).sentence.startswith("6 cores (6 instances) serve 5,000 req/s at p99 ≤ 5 ms: capacity ")


def test_it_measures_behind_the_server_with_a_core_left_for_the_load(tmp_path: Path, twelve: SysRoot) -> None:
    record = sized(tmp_path, twelve, replace(ask(5000), http=True), executor := ServingExecutor(law, noise=0.01))
    assert record.answer.chosen is not None
    assert (record.answer.chosen.cores, record.answer.chosen.layout) == (6, "single")
    assert record.design.scenario == "http"
    assert record.not_covered[-1] == "the network: server and load were on one machine"
    assert max(cores for _, cores in executor.served) <= 11
    path = tmp_path / SIZE_NAME
    path.write_bytes(encode(size_text(record)))
    assert load_size(path) == record


@pytest.mark.parametrize("name", ["constant", "recorded"])
def test_requests_arrive_as_asked_and_a_recording_is_kept(name: str, tmp_path: Path, twelve: SysRoot) -> None:
    class Seen(ServingExecutor):
        def run(self, job: Job, placement: Placement, *, timeout_s: float) -> JobResult:
            if isinstance(job, MeasureJob):
                arrivals.add(job.arrivals)
            return super().run(job, placement, timeout_s=timeout_s)

    arrivals: set[str] = set()
    file = tmp_path / "access.csv"
    file.write_text("0\n0.5\n0.5\n2\n")
    wanted = replace(ask(900, cores=(1,)), arrivals=name if name == "constant" else str(file))
    directory = session.begin(SPEC, wanted, ("lparbench",), tmp_path / "out", sysroot=twelve)
    file.unlink()
    record = session.proceed(directory, Seen(law), Progress(), clock=FakeClock(), sysroot=twelve)
    kept = directory / session.ARRIVALS_FILE
    assert arrivals == {"constant" if name == "constant" else str(kept)}
    assert record.design.arrivals in arrivals
    if name == "constant":
        assert "arrivals that are not evenly spaced: these were, which is the kindest case" in record.not_covered
        return
    assert kept.read_text() == "0\n0.5\n0.5\n2\n"
    assert "other arrivals than those recorded in arrivals.txt" in record.not_covered


@pytest.mark.parametrize(("text", "message"), [("0\nsoon\n", "is no time"), ("1\n1\n", "no two requests")])
def test_a_recording_that_is_none_is_refused_before_anything_starts(
    text: str, message: str, tmp_path: Path, twelve: SysRoot
) -> None:
    file = tmp_path / "access.csv"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        session.begin(SPEC, replace(ask(9), arrivals=str(file)), ("lparbench",), tmp_path / "out", sysroot=twelve)
    throughput = Wanted(SizeQuestion(5.0), (), arrivals="constant")
    with pytest.raises(InputError, match="--arrivals needs --p99"):
        session.begin(SPEC, throughput, ("lparbench",), tmp_path / "out", sysroot=twelve)


@pytest.mark.parametrize(
    ("wanted", "cores", "message"),
    [
        (Wanted(SizeQuestion(5.0), (), http=True), 12, "--scenario http needs --p99"),
        (Wanted(SizeQuestion(5.0, 0.005), (), http=True), 1, "there is only one"),
        (Wanted(SizeQuestion(5.0, 0.005), (), http=True, layouts=("per-core",)), 12, "measures one server process"),
    ],
)
def test_what_cannot_be_measured_behind_the_server_is_refused(
    tmp_path: Path, wanted: Wanted, cores: int, message: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        session.begin(SPEC, wanted, ("lparbench",), tmp_path / "out", sysroot=machine(tmp_path / "tree", cores))
    assert error.value.remedy


def test_the_record_is_whole_and_the_page_is_the_same_bytes(tmp_path: Path, twelve: SysRoot) -> None:
    record = sized(tmp_path, twelve, ask(5000), ServingExecutor(law))
    path = tmp_path / SIZE_NAME
    path.write_bytes(encode(size_text(record)))
    stored = load_size(path)
    assert stored == record
    assert size_text(stored) == size_text(record)
    assert render_size(stored) == render_size(record)
    assert answered(stored, record.answer.question, ()) == record


def test_a_killed_sizing_goes_on_where_it_was(tmp_path: Path, twelve: SysRoot) -> None:
    class Interrupted(ServingExecutor):
        def run(self, job: Job, placement: Placement, *, timeout_s: float) -> JobResult:
            if len(self.served) == 7:
                raise KeyboardInterrupt
            return super().run(job, placement, timeout_s=timeout_s)

    directory = session.begin(SPEC, ask(5000), ("lparbench",), tmp_path / "out", sysroot=twelve)
    first, second = Interrupted(law), ServingExecutor(law)
    with pytest.raises(KeyboardInterrupt):
        session.proceed(directory, first, Progress(), clock=FakeClock(), sysroot=twelve)
    with (directory / JOURNAL_FILE).open("ab") as journal:
        journal.write(b'{"entry": {"kind": "measu')  # what a killed process was about to write
    so_far = session.stored(directory)
    assert so_far.design.ended_by == "stored"
    record = session.proceed(directory, second, Progress(), clock=FakeClock(), sysroot=twelve)
    whole = ServingExecutor(law)
    other = sized(tmp_path / "other", twelve, ask(5000), whole)
    assert [slot for slot, _ in first.served + second.served] == [slot for slot, _ in whole.served]
    assert record.answer == other.answer


def test_a_budget_ends_it_and_says_so(tmp_path: Path, twelve: SysRoot) -> None:
    clock = FakeClock()
    executor = ServingExecutor(law, clock=clock, wall_s=10.0)
    progress = Progress()
    directory = session.begin(SPEC, ask(5000, budget_s=95.0), ("lparbench",), tmp_path / "out", sysroot=twelve)
    record = session.proceed(directory, executor, progress, clock=clock, sysroot=twelve)
    assert "One block takes 50 s; about 45 s to go." in progress.said
    assert record.design.ended_by == "budget"
    assert len(executor.served) == 9
    assert session.exit_code(record) == ExitCode.INCONCLUSIVE
    longer = session.proceed(directory, executor, progress, clock=clock, sysroot=twelve, more_s=2000.0)
    assert longer.design.ended_by == "decided"
    assert len(executor.served) > 9


@pytest.mark.parametrize("rate", [500.0, 900.0, 2400.0, 5000.0, 6600.0, 30_000.0])
@pytest.mark.parametrize("cores", [(1, 2), None])
def test_the_time_left_after_the_first_block_is_what_it_takes(
    rate: float, cores: tuple[int, ...] | None, tmp_path: Path, twelve: SysRoot
) -> None:
    clock = FakeClock()

    class Timed(Progress):
        def say(self, text: str) -> None:
            super().say(text)
            if text.startswith("One block takes"):
                self.at_ns, self.ahead = clock.now_ns(), self.units

        def expect(self, total: int) -> None:
            self.units = total - 2 - len(executor.served)  # survey and training are done

    progress, executor = Timed(), ServingExecutor(law, noise=0.01, clock=clock, wall_s=5.0)
    executor.wall_per_core_s = 4.0
    directory = session.begin(SPEC, ask(rate, cores=cores), ("lparbench",), tmp_path / "out", sysroot=twelve)
    session.proceed(directory, executor, progress, clock=clock, sysroot=twelve)
    (text,) = [text for text in progress.said if text.startswith("One block takes")]
    forecast = re.search(r"about (?:(\d+) min)? ?(?:(\d+) s)? ?to go", text)
    assert forecast is not None
    left_s = 60 * int(forecast[1] or 0) + int(forecast[2] or 0)
    assert left_s == pytest.approx((clock.now_ns() - progress.at_ns) * 1e-9, rel=0.3)
    assert progress.units == 0


def test_other_core_counts_are_considered_only_where_asked(tmp_path: Path, twelve: SysRoot) -> None:
    record = sized(tmp_path, twelve, ask(5000, cores=(4, 8)), ServingExecutor(law, noise=0.01))
    assert record.answer.chosen is not None
    assert {point.cores for series in record.series for point in series.points} == {4, 8}
    assert record.answer.chosen.capacity.basis == "interpolated"  # 6 or 7 by a line between them, each block of its own


def test_the_node_bounds_the_answer(tmp_path: Path) -> None:
    root = machine(tmp_path / "tree", 4, 6)
    record = sized(tmp_path, root, ask(9000), ServingExecutor(law))
    assert record.node_cores == 6
    assert {series.node for series in record.series} == {8}  # sparse ids; the node with most cores
    assert record.answer.verdict == "refused"
    assert "a second node is a step" in record.answer.refused[0].why
    assert session.exit_code(record) == ExitCode.INCONCLUSIVE


def test_an_uncapped_partition_that_borrowed(tmp_path: Path) -> None:
    root = machine(tmp_path / "tree", 4, shared=True, capped=False)

    class Borrowing(ServingExecutor):
        def run(self, job: Job, placement: Placement, *, timeout_s: float) -> JobResult:
            result = super().run(job, placement, timeout_s=timeout_s)
            reports = tuple(
                replace(report, outcome=replace(report.outcome, physical_cores=2.0 * entitled(root)))
                if hasattr(report.outcome, "physical_cores")
                else report
                for report in result.reports
            )
            return replace(result, reports=reports)

    plain = sized(tmp_path / "a", root, ask(900), ServingExecutor(law, noise=0.01))
    borrowed = sized(tmp_path / "b", root, ask(900), Borrowing(law, noise=0.01))
    assert plain.answer.chosen is not None
    assert borrowed.answer.chosen is not None
    assert (plain.answer.chosen.cores, borrowed.answer.chosen.cores) == (1, 2)


def entitled(root: SysRoot) -> float:
    from harness.platform.probe import probe

    facts = probe(root)
    assert facts.lpar.mode == "shared uncapped"
    assert facts.lpar.entitled_cores is not None
    return facts.lpar.entitled_cores


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (ask(10, cores=(13,)), "None of the settings can run here: node 0 has 12 cores, not 13"),
        (Wanted(SizeQuestion(10, 5.0), ()), "a trial lasts ten times the bound"),
        (Wanted(SizeQuestion(10, 0.005), (), node=3), "--nodes 3: no CPU of it may be used"),
        (Wanted(SizeQuestion(10, 0.005), (), threads_per_core=(8,)), "SMT 8"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_starts(
    tmp_path: Path, twelve: SysRoot, wanted: Wanted, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        session.begin(SPEC, wanted, ("lparbench",), tmp_path / "out", sysroot=twelve)


@pytest.mark.parametrize(("rows", "batch"), [(None, 4096), (2000, 2000)])
def test_throughput_is_that_of_batches_that_the_test_rows_fill(
    tmp_path: Path, twelve: SysRoot, rows: int | None, batch: int
) -> None:
    wanted = Wanted(SizeQuestion(10.0, None), (), cores=(1,))
    directory = session.begin(replace(SPEC, rows=rows), wanted, ("lparbench",), tmp_path / "out", sysroot=twelve)
    grid = read_design(directory).grid
    assert grid is not None
    assert {each.batch_sizes for each in grid.configurations} == {(batch,)}


def test_another_machine_is_refused(tmp_path: Path, twelve: SysRoot) -> None:
    directory = session.begin(SPEC, ask(10), ("lparbench",), tmp_path / "out", sysroot=twelve)
    with pytest.raises(EnvironmentMismatchError):
        session.proceed(
            directory, ServingExecutor(law), Progress(), clock=FakeClock(), sysroot=machine(tmp_path / "other", 4)
        )


def test_what_is_no_sizing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="this is no sizing"):
        session.proceed(tmp_path, ServingExecutor(law), Progress())


def test_a_machine_that_never_meets_the_bound(tmp_path: Path, twelve: SysRoot) -> None:
    class Slow(ServingExecutor):
        def run(self, job: Job, placement: Placement, *, timeout_s: float) -> JobResult:
            result = super().run(job, placement, timeout_s=timeout_s)
            reports = []
            for report in result.reports:
                outcome = report.outcome
                note = "no rate tried met the bound"
                if isinstance(outcome, MeasureOutcome):
                    missed = replace(outcome.served["server"], rate=None, note=note)
                    report = replace(report, outcome=replace(outcome, served={"server": missed}))
                elif isinstance(outcome, InstanceOutcome) and outcome.served is not None:
                    missed = replace(outcome.served, rate=None, note=note)
                    report = replace(report, outcome=replace(outcome, served=missed))
                reports.append(report)
            return replace(result, reports=tuple(reports))

    record = sized(tmp_path, twelve, ask(10), Slow(law))
    assert record.answer.verdict == "refused"
    assert "no rate tried met the bound" in record.answer.refused[0].why
    assert json.loads(size_text(record))["answer"]["chosen"] is None


def test_a_node_without_memory_is_measured_with_the_nearest(tmp_path: Path) -> None:
    nodes = (NodeSpec(0, cores=2, memory_mb=65536), NodeSpec(8, cores=4, memory_mb=0))
    tree = TreeSpec(nodes=nodes, threads=1, smt_control=None, lpar=LparSpec())
    record = sized(tmp_path, SysRoot(build(tree, tmp_path / "tree")), ask(2500), ServingExecutor(law, noise=0.01))
    assert record.node_cores == 4
    assert record.answer.chosen is not None
    assert (record.answer.chosen.node, record.answer.chosen.cores) == (8, 3)


def test_offline_cores_are_not_counted(tmp_path: Path) -> None:
    tree = TreeSpec(
        nodes=(NodeSpec(0, cores=6),), offline_cores=frozenset({1, 4}), threads=1, smt_control=None, lpar=LparSpec()
    )
    record = sized(tmp_path, SysRoot(build(tree, tmp_path / "tree")), ask(9000), ServingExecutor(law))
    assert record.node_cores == 4
    assert record.answer.verdict == "refused"


def test_stolen_time_makes_it_invalid_and_the_data_are_named(tmp_path: Path, twelve: SysRoot) -> None:
    class Stolen(ServingExecutor):
        def run(self, job: Job, placement: Placement, *, timeout_s: float) -> JobResult:
            result = super().run(job, placement, timeout_s=timeout_s)
            reports = tuple(
                replace(report, outcome=replace(report.outcome, steal_share=0.05))
                if isinstance(report.outcome, MeasureOutcome | InstanceOutcome)
                else report
                for report in result.reports
            )
            return replace(result, reports=reports)

    record = sized(tmp_path, twelve, ask(900), Stolen(law, noise=0.01))
    assert record.answer.verdict == "answered"
    assert session.exit_code(record) == ExitCode.INCONCLUSIVE
    view = view_of(record)
    assert any("the hypervisor took 5.0 %" in text for text in view.invalid)
    assert "synthetic data" in view.marks


def test_a_run_or_sweep_is_not_resumed_from_it(tmp_path: Path, twelve: SysRoot) -> None:
    directory = session.begin(SPEC, ask(10), ("lparbench",), tmp_path / "out", sysroot=twelve)
    for resume in (runs.resume, lambda path: sweeps.proceed(path, ServingExecutor(law), Progress())):
        with pytest.raises(InputError, match="this is a sizing") as caught:
            resume(directory)
        assert caught.value.remedy == f"Resume it by: lparbench size --resume {directory}"
