"""What is said of a run before it begins, what a short budget leaves out, and when a sweep's time is used up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support import records
from support.sweeps import design_of, setting

from harness.measure.clock import FakeClock
from harness.record.spec import RunSpec
from harness.runs.design import write_design
from harness.runs.engine import measured
from harness.runs.forecast import (
    block_s,
    closing_s,
    for_work_s,
    forecast,
    further_splits,
    has_time,
    least_s,
    next_slot_s,
    no_survey,
    sweep_too_small,
    sweep_within_budget,
    within_budget,
)
from harness.runs.journal import FitEntry, open_journal
from harness.runs.schedule import Slot
from harness.sweeps.run import _Budget, _without_time
from harness.sweeps.session import _as_measured, _of_budget, _used_up, _with_budget
from harness.workers.outcomes import JobResult
from harness.workload.files import find_workload
from harness.workload.model import Inference, Settings, Training

SPEC = RunSpec(("mine",))
MINE = replace(
    find_workload("sklearn.ensemble:IsolationForest"),
    inference=Inference(batch_sizes=(1, 64, 1024), backends=("eager", "native"), dtypes=("float32",)),
)


def test_the_forecast_counts_configurations_blocks_and_series() -> None:
    # two processes of 2.5 s, each with two batches, single stream and training of twice 0.5 s
    assert block_s([MINE], SPEC) == pytest.approx(2 * (2.5 + 2 * 0.5 * 4))
    assert forecast([MINE], SPEC, 6) == (
        "1 workload, 2 configurations in 6 blocks: about 78 s, after survey, training and baseline detectors."
    )
    assert block_s([MINE], replace(SPEC, backends=("eager",), scenarios=("offline",))) == pytest.approx(2.5 + 2)
    assert block_s([MINE, MINE], SPEC) == pytest.approx(2 * block_s([MINE], SPEC))
    assert block_s([MINE], replace(SPEC, dtypes=("float32", "int8"))) == pytest.approx(2 * block_s([MINE], SPEC))


def test_the_forecast_counts_what_is_trained_in_another_format() -> None:
    both = replace(SPEC, train_dtypes=("bfloat16",))
    assert block_s([MINE], both) == pytest.approx(block_s([MINE], SPEC) + 2.5 + 2 * 0.5), "its training loop"
    assert forecast([MINE], both, 6) == (
        "1 workload, 3 configurations in 6 blocks: about 99 s, after survey, training, again in bfloat16 and baseline "
        "detectors."
    )
    assert block_s([MINE], replace(both, scenarios=("offline",))) == block_s(
        [MINE], replace(SPEC, scenarios=("offline",))
    )
    assert block_s([MINE], replace(both, dtypes=("float32", "bfloat16"))) == 2 * block_s([MINE], SPEC)


def test_the_forecast_counts_the_baselines_of_further_splits() -> None:
    own = replace(MINE, dataset="csv:flows.csv", clean=Settings({"label": "label"}))
    ordered = replace(own, clean=Settings({"label": "label", "time": "stamp"}))
    plain, further = (forecast([own], replace(SPEC, seeds=seeds), 6) for seeds in (1, 5))
    assert "about 78 s, after survey" in plain
    splits = "4 further splits, on which detector and baselines are fitted again"
    assert f"about 88 s (10 s of it for {splits}), after survey" in further
    assert further_splits([own, own, MINE], replace(SPEC, seeds=3)) == 2, "the same data are split once"
    assert further_splits([ordered], replace(SPEC, seeds=3)) == 0
    trained = replace(own, clean=replace(own.clean, training=Training(epochs=20)))
    of_rows = forecast([trained], replace(SPEC, seeds=5), 6, {own.name: 100_000})  # 2 million rows a split, 5 µs each
    assert "about 3 min (50 s of it for" in of_rows
    assert "further" not in forecast([own], replace(SPEC, seeds=5, budget_s=60.0), 6), "a short budget has none"


@pytest.mark.parametrize(("budget_s", "time", "survey"), [(5, False, False), (40, False, True), (120, True, True)])
def test_a_short_budget_leaves_out_what_is_not_timed_and_says_so(budget_s: float, time: bool, survey: bool) -> None:
    spec = replace(SPEC, budget_s=budget_s, seeds=5, both_protocols=True)
    short, said = within_budget(spec)
    assert has_time(short) is time
    assert no_survey(short) is not survey
    if time:
        assert (short, said) == (spec, None)
        return
    assert (short.seeds, short.roofline, short.both_protocols) == (1, "none", False)
    assert short.series_seconds < spec.series_seconds
    assert f"{budget_s} s leave no time for baseline detectors, roofs" in str(said)
    assert ("the survey" in str(said)) is not survey
    assert "1 epoch" not in str(within_budget(spec, passes=False)[1])


def test_a_budget_below_the_least_says_what_the_least_is() -> None:
    short, _ = within_budget(replace(SPEC, budget_s=5))
    series_s = 2 * 0.05 * 4
    assert least_s(series_s, 1.0) < 5 < least_s(series_s, 1.5), "a machine that starts it in a second does it in five"
    assert forecast([MINE], short, 1, started_s=1.0).startswith("1 workload, 2 configurations: as many as fit into 5 s")
    assert forecast([MINE], short, 1, started_s=3.0) == (
        "1 workload, 2 configurations. The budget of 5 s is too small. Training one workload and measuring one "
        "configuration, the least that is done, takes about 14 s here: --budget 14s."
    )
    sweep = replace(short, series_seconds=0.05)
    assert sweep_too_small(sweep, 1.0) is None
    assert "takes about 14 s here: --budget 14s." in str(sweep_too_small(sweep, 3.0))
    assert sweep_too_small(SPEC, 3.0) is None
    assert forecast([MINE], replace(SPEC, budget_s=600), 1) == (
        "1 workload, 2 configurations in as many blocks as fit into 10 min, survey, training and baseline detectors "
        "included."
    )


def test_a_sweep_begins_no_block_that_does_not_fit(tmp_path: Path) -> None:
    clock = FakeClock()
    configurations = (setting(cores=1), setting(cores=2))
    design = design_of(configurations, records.facts(), blocks=6)
    design = replace(design, spec=replace(design.spec, budget_s=100.0))
    write_design(design, tmp_path)
    slots = list(design.slots())
    with open_journal(tmp_path) as journal:
        budget = _Budget(100.0, clock, journal, configurations)
        assert budget.has_room(slots[0]), "one setting at least"
        clock.sleep(40.0)  # survey and training
        for slot in slots[:4]:
            assert budget.has_room(slot)
            clock.sleep(12.0)
            journal.note(measured(slot, (), JobResult((), None, None, 12.0)))
        assert not budget.has_room(slots[4]), "88 s are gone, and a block takes 24"
        assert _as_measured(design, journal).spec.blocks == 2
        assert _Budget(None, clock, journal, configurations).has_room(slots[10])
        # Of a session that resumes, the 48 s of the measurements count.
        assert not _Budget(60.0, clock, journal, configurations).has_room(slots[4])
        assert _Budget(100.0, clock, journal, configurations).has_room(slots[4])
        left_s = for_work_s(design.spec, 30.0)
        assert left_s == pytest.approx(70.0 - closing_s(30.0))
        assert not _Budget(left_s, clock, journal, configurations).has_room(slots[4]), "what came before counts"


def test_a_backend_that_was_not_measured_yet_is_expected_to_take_what_it_loads(tmp_path: Path) -> None:
    assert next_slot_s("native", {}, 3.0) == 3.0
    assert next_slot_s("native", {"onnxruntime": [0.7, 0.6]}, 3.0) == 0.7
    assert next_slot_s("eager", {"onnxruntime": [0.7], "native": [0.5]}, 3.0) == 3.0, "torch is loaded, as to train"
    assert next_slot_s("eager", {"native": [0.5], "eager": [1.9]}, 3.0) == 1.9
    assert next_slot_s("native", {"eager": [2.0]}, 3.0) == pytest.approx(1.2), "without torch it takes less"
    configurations = (setting(backend="native"), setting(backend="eager"))
    design = design_of(configurations, records.facts(), blocks=6)
    slots = {slot.configuration: slot for slot in design.slots() if slot.block == 0}
    with open_journal(tmp_path) as journal:
        fit = JobResult((), None, None, 3.0)
        journal.note(FitEntry("w", "clean", fit))
        journal.note(measured(slots[0], (), JobResult((), None, None, 0.5)))
        for budget_s, room in ((6.4, False), (6.6, True)):  # 3.5 s are gone
            assert _Budget(budget_s, FakeClock(), journal, configurations).has_room(slots[1]) is room


def test_a_short_budget_of_a_sweep_cuts_series_and_data_and_says_so() -> None:
    spec = replace(SPEC, budget_s=5.0, series_seconds=0.25)
    short, said = sweep_within_budget(spec, 0)
    assert (short.series_seconds, short.rows) == (0.05, 2000)
    assert said == (
        "5 s leave no time for the survey of the timing loop, the cross-check with other tools; from 30 s on there is. "
        "For the budget each series takes 0.05 s and data sets are cut to 2,000 rows."
    )
    assert sweep_within_budget(short, 0) == (short, said), "the same once more, where a sweep goes on"
    assert sweep_within_budget(spec, 4096)[0].rows == 4096, "a batch that was asked for is filled"
    assert sweep_within_budget(replace(spec, rows=600), 64)[0].rows == 600
    longer, said = sweep_within_budget(replace(spec, budget_s=40.0, series_seconds=0.5), 0)
    assert (longer.rows, said) == (None, "For the budget each series takes 0.4 s.")
    for unbound in (replace(spec, budget_s=300.0), replace(spec, budget_s=None)):
        assert sweep_within_budget(unbound, 0) == (unbound, None)


def test_the_first_block_of_a_sweep_goes_as_far_as_there_is_time(tmp_path: Path) -> None:
    clock = FakeClock()
    configurations = tuple(setting(cores=cores) for cores in (1, 2, 3, 4, 5, 6))
    design = design_of(configurations, records.facts(), blocks=6)
    design = replace(design, spec=replace(design.spec, budget_s=10.0))
    slots = list(design.slots())
    with open_journal(tmp_path) as journal:
        budget = _Budget(10.0, clock, journal, configurations)
        clock.sleep(30.0)
        assert budget.has_room(slots[0]), "one setting at least"
        journal.note(measured(slots[0], (), JobResult((), None, None, 2.0)))
        heard: list[Slot] = []
        assert list(budget.within(slots[1:], heard.extend)) == []
        assert heard == slots[1:6]
        assert design.grid is not None
        said = _without_time(design.grid, slots[1:6])
        assert said.startswith("Left out, for which the budget has no time: ")
        assert said.endswith("; 1 more.")
        assert _as_measured(design, journal).spec.blocks == 1


def test_a_sweep_whose_budget_is_used_up_says_what_would_finish_it(tmp_path: Path) -> None:
    design = design_of((setting(cores=1), setting(cores=2)), records.facts(), blocks=6)
    with open_journal(tmp_path) as journal:
        for slot in list(design.slots())[:4]:
            journal.note(measured(slot, (), JobResult((), None, None, 12.0)))
        assert _used_up(tmp_path, journal, 12, 0.0) == (
            "The budget is used up after 4 of 12 measurements. The others, about 96 s: "
            f"lparbench sweep --resume {tmp_path} --budget 96s"
        )
        more = _with_budget(design, journal.spent_s() + 40.0)
        budget = _Budget(for_work_s(more.spec, 0.0), FakeClock(), journal, (setting(cores=1), setting(cores=2)))
        assert budget.has_room(list(design.slots())[4]), "24 of the 40 s that were given now"


def test_a_sweep_that_goes_on_is_not_called_too_small() -> None:
    design = design_of((setting(),), records.facts(), blocks=6)
    design = replace(design, spec=replace(design.spec, budget_s=5.0, series_seconds=0.05))
    fresh, again = (list(_of_budget(design, 3.0, resumed=resumed)) for resumed in (False, True))
    assert fresh[0].startswith("The budget of 5 s is too small.")
    assert fresh[1:] == again
    assert again[0].startswith("5 s leave no time for the survey")
    assert list(_of_budget(replace(design, grid=None), 3.0, resumed=True)) == again, "of no setting at all"
