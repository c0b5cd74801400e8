"""A sweep is killed, again and again, and resumed: one plan, each measurement once, SMT as it was found."""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support.smt_kernel import FakeKernel
from support.sweeps import Quiet, ScriptedExecutor, factors, sweep_design
from support.trees import LparSpec, NodeSpec, TreeSpec, build, layout

from harness.errors import EnvironmentMismatchError, InputError, LparbenchError
from harness.placement import smt_state
from harness.placement.model import Placement
from harness.placement.smt import Write
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot
from harness.record.journal import JOURNAL_FILE
from harness.record.model import Verdict
from harness.runs.design import DESIGN_FILE, Design, read_design, write_design
from harness.runs.journal import Measurement, open_journal, read_journal
from harness.sweeps.result import sweep_record
from harness.sweeps.run import run_sweep
from harness.sweeps.settings import Location
from harness.workers.jobs import ConcurrentJob, Job, MeasureJob

SPEC = TreeSpec(nodes=(NodeSpec(0, cores=2), NodeSpec(1, cores=2)), smt=4, smt_of_core={1: 2}, threads=4,
                generation="POWER9", lpar=LparSpec(), smt_control=None)  # fmt: skip
KILLS = 20


def rate(job: MeasureJob | ConcurrentJob, placement: Placement) -> float:
    by_threads = {1: 0.8, 2: 1.0, 4: 0.7}[placement.threads_per_core]
    return 1e6 * placement.cores * by_threads * (1.0 if placement.node == 0 else 0.8)


@pytest.fixture
def root(tmp_path: Path) -> SysRoot:
    return SysRoot(build(SPEC, tmp_path / "root"))


def planned(directory: Path, root: SysRoot, *, blocks: int) -> Path:
    """The directory of a sweep over 3 SMT levels, 1 and 2 cores, and two nodes."""
    chosen = factors(smt=(1, 2, 4), threads_per_core=(1, 2), cores=(1, 2), locations=(Location(0), Location(1)))
    directory.mkdir()
    write_design(sweep_design(probe(root), chosen, blocks=blocks), directory)
    return directory


@pytest.fixture
def directory(tmp_path: Path, root: SysRoot) -> Path:
    return planned(tmp_path / "sweep", root, blocks=1)


def switches(root: SysRoot) -> dict[str, bytes]:
    cpus = root.path / smt_state.CPUS
    return {str(path): path.read_bytes() for path in sorted(cpus.rglob("*")) if path.is_file()}


def await_switches(root: SysRoot, wanted: dict[str, bytes]) -> None:
    """The guard beside a killed sweep needs a moment."""
    deadline = time.monotonic() + 240
    while switches(root) != wanted or (root.path / "run/lparbench/smt.json").exists():
        assert time.monotonic() < deadline, "the SMT state before did not come back"
        time.sleep(0.01)


def at_once(path: Path, text: str) -> None:
    """Write a switch as the kernel takes it: not first emptied, as a file is that a killed process was writing."""
    with path.open("r+") as file:
        file.write(f"{text}\n")


def go_on(directory: Path, root: SysRoot, executor: ScriptedExecutor, write: Write = at_once) -> Quiet:
    progress = Quiet()
    with open_journal(directory) as journal:
        run_sweep(directory, read_design(directory), journal, executor, progress, sysroot=root, write=write)
    return progress


def in_child(directory: Path, root: SysRoot) -> int:
    """A process of its own that goes on with the sweep, each measurement taking some milliseconds."""
    child = os.fork()
    if child == 0:
        try:
            go_on(directory, root, ScriptedExecutor(rate, seconds=0.01))
        finally:
            os._exit(0)
    return child


def journalled(directory: Path) -> int:
    """Whole lines of the journal so far."""
    journal = directory / JOURNAL_FILE
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def check_whole(directory: Path, plan: Design) -> None:
    slots = [entry.slot for entry in read_journal(directory) if isinstance(entry, Measurement)]
    assert slots == [slot.name for slot in plan.slots()]  # each once, none lost, in the order of the plan


def test_where_a_budget_ends_it_a_session_with_more_has_what_was_fitted(directory: Path, root: SysRoot) -> None:
    plan = read_design(directory)
    short = replace(plan, spec=replace(plan.spec, budget_s=0.4))  # a measurement takes 0.5
    with open_journal(directory) as journal:
        run_sweep(directory, short, journal, ScriptedExecutor(rate), Quiet(), sysroot=root, write=at_once)
    assert sum(isinstance(entry, Measurement) for entry in read_journal(directory)) == 1
    assert list((directory / "fits").iterdir())
    go_on(directory, root, ScriptedExecutor(rate))
    check_whole(directory, plan)
    assert not (directory / "fits").exists()


def test_killed_at_twenty_random_points_it_loses_and_repeats_nothing(tmp_path: Path, root: SysRoot) -> None:
    directory = planned(tmp_path / "sweep", root, blocks=6)
    before, plan_bytes = switches(root), (directory / DESIGN_FILE).read_bytes()
    plan = read_design(directory)
    rng = random.Random(20)
    kills = 0
    done_at: list[int] = []
    while kills < KILLS:
        # Killed by how far it came, not by how long it took: a fast machine would be done, a slow one starting.
        enough = journalled(directory) + rng.randint(0, 4)
        child = in_child(directory, root)
        while journalled(directory) < enough:
            assert os.waitpid(child, os.WNOHANG)[0] == 0, "it ended by itself"
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        kills += 1
        await_switches(root, before)
        done_at.append(journalled(directory))
    go_on(directory, root, ScriptedExecutor(rate))
    assert len(set(done_at)) > KILLS / 4, done_at  # it came further in between
    assert switches(root) == before
    assert (directory / DESIGN_FILE).read_bytes() == plan_bytes
    check_whole(directory, plan)
    record = sweep_record(plan, read_journal(directory))
    assert all(cell.validity.verdict is Verdict.VALID for cell in record.cells)
    assert record.design.sessions > 1
    assert not (directory / "scratch").exists()
    assert not (directory / "fits").exists()
    assert {one.kind for one in record.losses} >= {"numa_penalty"}


def test_what_was_measured_is_measured_at_its_level_and_place(directory: Path, root: SysRoot) -> None:
    """The executor looks at the switches while it measures."""
    plan, seen = read_design(directory), []

    class Looking(ScriptedExecutor):
        def run(self, job: Job, placement: Placement, *, timeout_s: float):
            if isinstance(job, MeasureJob):
                seen.append(
                    (probe(root).topology.smt.online, placement.threads_per_core, placement.cores, placement.node)
                )
            return super().run(job, placement, timeout_s=timeout_s)

    go_on(directory, root, Looking(rate), FakeKernel(root.path, layout(SPEC)).write)
    settings = [plan.grid.configurations[slot.configuration] for slot in plan.slots()]
    assert seen == [(one.smt, one.threads_per_core, one.cores, one.node) for one in settings]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_smt_put_back_at_once(directory: Path, root: SysRoot, number: signal.Signals) -> None:
    before = switches(root)

    class Interrupted(ScriptedExecutor):
        def run(self, job: Job, placement: Placement, *, timeout_s: float):
            if isinstance(job, MeasureJob) and len(self.measured) == 5:
                os.kill(os.getpid(), number)
                time.sleep(5)
            return super().run(job, placement, timeout_s=timeout_s)

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        go_on(directory, root, Interrupted(rate))
    assert switches(root) == before
    assert len([entry for entry in read_journal(directory) if isinstance(entry, Measurement)]) == 5
    go_on(directory, root, ScriptedExecutor(rate))
    check_whole(directory, read_design(directory))


def test_an_error_puts_smt_back_too(directory: Path, root: SysRoot) -> None:
    before = switches(root)

    class Broken(ScriptedExecutor):
        def run(self, job: Job, placement: Placement, *, timeout_s: float):
            if isinstance(job, MeasureJob):
                raise LparbenchError("the disk is full")
            return super().run(job, placement, timeout_s=timeout_s)

    with pytest.raises(LparbenchError, match="the disk is full"):
        go_on(directory, root, Broken(rate))
    assert switches(root) == before


def test_a_setting_that_cannot_be_measured_fails_alone(directory: Path, root: SysRoot) -> None:
    class Choosy(ScriptedExecutor):
        def run(self, job: Job, placement: Placement, *, timeout_s: float):
            if isinstance(job, MeasureJob) and job.threads == 4:
                raise InputError("that is too much.")
            return super().run(job, placement, timeout_s=timeout_s)

    go_on(directory, root, Choosy(rate))
    record = sweep_record(read_design(directory), read_journal(directory))
    failed = [cell for cell in record.cells if cell.validity.verdict is Verdict.FAILED]
    assert {cell.cores * cell.threads_per_core for cell in failed} == {4}
    assert len(failed) == 4
    assert "that is too much" in failed[0].validity.reasons[0]


def test_cpus_that_come_or_go_during_a_measurement_make_it_invalid(directory: Path, root: SysRoot) -> None:
    listed = root.path / "sys/devices/system/cpu/online"

    class Plugging(ScriptedExecutor):
        slots = 0

        def run(self, job: Job, placement: Placement, *, timeout_s: float):
            if isinstance(job, MeasureJob):
                self.slots += 1
                online = listed.read_text().strip()
                if self.slots == 2:
                    listed.write_text(f"{online},96-99\n")
                elif self.slots == 4:
                    listed.write_text(online.removesuffix(",96-99") + "\n")
            return super().run(job, placement, timeout_s=timeout_s)

    go_on(directory, root, Plugging(rate))
    record = sweep_record(read_design(directory), read_journal(directory))
    changed = [
        (cell.validity.verdict, reason.partition(".")[0])
        for cell in record.cells
        for reason in cell.validity.reasons
        if "during the measurement" in reason
    ]
    words = ("came online", "went offline")
    assert sorted(changed) == [(Verdict.INVALID, f"CPUs 96-99 {what} during the measurement") for what in words]


def test_a_backend_that_a_workload_does_not_have_is_told(directory: Path, root: SysRoot) -> None:
    go_on(directory, root, ScriptedExecutor(rate, backends=("native",)))
    record = sweep_record(read_design(directory), read_journal(directory))
    assert "cannot run on backend eager; it runs on: native" in record.cells[0].validity.reasons[0]


def test_another_machine_cannot_go_on(directory: Path, tmp_path: Path) -> None:
    other = SysRoot(build(TreeSpec(), tmp_path / "other"))
    with pytest.raises(EnvironmentMismatchError, match=r"the sweep was begun on: .*cpu"):
        go_on(directory, other, ScriptedExecutor(rate))
    assert read_journal(directory) == []


def test_the_time_it_will_take_is_said_before_anything_is_measured(directory: Path, root: SysRoot) -> None:
    progress = go_on(directory, root, ScriptedExecutor(rate))
    # 20 times 0.5 s to start a process, 2 x 0.1 s of series and 0.5 s around them
    assert progress.said[0] == "20 settings in 1 block: about 24 s after training 1 workload."
