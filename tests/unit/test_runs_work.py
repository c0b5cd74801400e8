"""What a run does within a budget, on a clock that moves only with the jobs it is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support import records
from support.sweeps import PLACEMENT, Quiet, ScriptedExecutor, result_of

from harness.advice.finding import Report
from harness.measure.clock import FakeClock
from harness.placement.model import Placement
from harness.record.spec import RunSpec
from harness.runs.assemble import results_of
from harness.runs.engine import Engine
from harness.runs.forecast import forecast, within_budget
from harness.runs.journal import open_journal
from harness.runs.machine import Machine
from harness.runs.stopping import Amount, Stopping
from harness.runs.work import Work
from harness.workers.jobs import FitJob, Job
from harness.workers.outcomes import JobResult, TrainingFormatTrial
from harness.workload.files import find_workload
from harness.workload.model import Inference

FIT_S, SLOT_S = 3.0, 2.0
NAMES = ("first", "second")
INFERENCE = Inference(batch_sizes=(1, 4), backends=("eager", "native"), dtypes=("float32",))
WORKLOADS = {name: replace(find_workload("nsl-kdd-mlp"), name=name, inference=INFERENCE) for name in NAMES}


class TakesTime(ScriptedExecutor):
    """Every job takes its time on the clock."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(lambda job, placement: 1e6)
        self.clock = clock
        self.fits: list[FitJob] = []

    def run(self, job: Job, placement: Placement, *, timeout_s: float) -> JobResult:
        seconds = FIT_S if isinstance(job, FitJob) else SLOT_S
        self.fits += [job] if isinstance(job, FitJob) else []
        self.clock.sleep(seconds)
        return replace(super().run(job, placement, timeout_s=timeout_s), wall_s=seconds)


@pytest.mark.parametrize(
    ("budget_s", "before_s", "fits", "slots", "seconds"),
    [
        (1.0, 0.5, 1, 1, 5.5),  # less than anything takes: one of each
        (9.0, 1.0, 1, 2, 8.0),  # eager is expected to take as long as training, which loads torch too
        (8.9, 1.0, 1, 1, 6.0),
        (8.0, 1.1, 1, 1, 6.1),
        (9.7, 1.0, 2, 1, 9.0),  # of the second workload, or of the first: what is not measured has no result
        (16.0, 0.0, 2, 4, 14.0),
        (29.0, 0.0, 2, 8, 22.0),
    ],
)
def test_a_budget_bounds_set_up_and_blocks(
    budget_s: float, before_s: float, fits: int, slots: int, seconds: float, tmp_path: Path
) -> None:
    clock, said = FakeClock(), Quiet()
    executor = TakesTime(clock)
    asked = RunSpec(NAMES, budget_s=budget_s, scenarios=("offline",), seeds=3)
    spec, _ = within_budget(asked)
    machine = Machine(records.facts(), Report((), (), (), ()), PLACEMENT)
    with open_journal(tmp_path) as journal:
        engine = Engine(tmp_path, spec, WORKLOADS, journal, executor, said)
        stopping = Stopping(Amount.of(spec), clock, said.say, spent_s=before_s)
        work = Work(engine, machine, stopping)
        fitted = work.fits()
        configurations, measurements = work.measure(fitted)
    assert (len(fitted), len(measurements)) == (fits, slots)
    assert configurations[measurements[0].configuration].backend == "native", "the quickest to start first"
    assert before_s + clock.now_ns() * 1e-9 == pytest.approx(seconds)
    assert {(job.rows, job.epochs, job.seeds) for job in executor.fits} == {(2000, 1, (0,))}
    whole = slots >= len(configurations)
    assert any("for which the budget has no time" in text for text in said.said) is not whole
    assert any("second is left out" in text for text in said.said) is (fits < 2)
    assert any(text.startswith("Not even one block fits into the budget") for text in said.said) is not whole
    assert stopping.record().ended_by == "budget"
    assert not whole or not any("Not even" in text for text in said.said)
    results = results_of(replace(spec, backends=None), machine, {}, configurations, measurements)
    assert results == ()


def test_what_is_cut_is_said_before_it_begins() -> None:
    spec = RunSpec(NAMES, budget_s=5.0)
    short, cut = within_budget(spec)
    assert cut is not None
    assert cut.endswith("Training is cut to 1 epoch of 2,000 rows.")
    assert within_budget(replace(spec, rows=500))[0].rows == 500
    kept = within_budget(replace(spec, save="bundles"))
    assert (kept[0].rows, kept[0].epochs) == (None, None), "a bundle is of a whole training"
    assert "Training is cut" not in str(kept[1])
    assert forecast(list(WORKLOADS.values()), short, 1) == (
        "2 workloads, 4 configurations: as many as fit into 5 s, training included; a block takes about 11 s."
    )


class TrainsInFormats(ScriptedExecutor):
    """Fits are answered at once, and those in bfloat16 by ``trial``, or they fail."""

    def __init__(self, trial: TrainingFormatTrial | None) -> None:
        super().__init__(lambda job, placement: 1e6)
        self.trial = trial
        self.asked: list[tuple[str, str]] = []

    def run(self, job: Job, placement: Placement, *, timeout_s: float) -> JobResult:
        if isinstance(job, FitJob):
            self.asked.append((job.workload.name, job.dtype))
            if job.dtype != "float32":
                return JobResult((), "killed", 1, 0.5) if self.trial is None else result_of(self.trial, placement)
        return super().run(job, placement, timeout_s=timeout_s)


@pytest.mark.parametrize("trial", [TrainingFormatTrial("bfloat16", ({"f1": 0.5},), 2.0), None])
def test_a_training_in_another_format_is_a_unit_of_its_own_done_once(
    trial: TrainingFormatTrial | None, tmp_path: Path
) -> None:
    spec = RunSpec(NAMES, scenarios=("train",), train_dtypes=("bfloat16",))
    machine = Machine(records.facts(), Report((), (), (), ()), PLACEMENT)
    executor, said = TrainsInFormats(trial), Quiet()
    for _ in range(2):  # the second time from the journal
        with open_journal(tmp_path) as journal:
            engine = Engine(tmp_path, spec, WORKLOADS, journal, executor, said)
            work = Work(engine, machine, Stopping(Amount.of(spec), FakeClock(), said.say))
            units = work.set_up_units()
            plain = Work(replace(engine, spec=replace(spec, train_dtypes=())), machine, work.stopping).set_up_units()
            assert units == plain + len(NAMES)
            first = work._in_formats(work._fit("first", "clean"))
    assert executor.asked == [("first", "float32"), ("first", "bfloat16")]
    assert [text for text in said.said if "again" in text] == [
        "first is trained again in bfloat16; in float32 that took 1 s."
    ]
    assert first.outcome is not None
    assert first.outcome.training_formats == (() if trial is None else (trial,))
    assert first.outcome.remarks == (("Training in bfloat16 failed: killed",) if trial is None else ())
