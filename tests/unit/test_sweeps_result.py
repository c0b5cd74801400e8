"""From journals with known answers to the best setting, its ties, cliffs and penalties, and to valid records."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from support import records
from support.sweeps import design_of, journal_of, noise, setting

from harness.compare.inputs import load_side
from harness.errors import InputError, LparbenchError
from harness.parsing import parse_json
from harness.placement.smt import SmtMethod
from harness.record.check import SchemaError, check_sweep
from harness.record.codec import normal, to_json
from harness.record.model import Served, Verdict
from harness.record.store import load_run, load_sweep, sweep_text
from harness.record.sweep_model import Sweep
from harness.reporting.stored import ExportFormat, exported, page_of
from harness.reporting.sweep_csv import render_sweep_csv
from harness.reporting.sweep_html import render_sweep
from harness.reporting.sweep_terminal import print_sweep
from harness.runs.design import write_design
from harness.runs.journal import Entry, Measurement
from harness.runs.schedule import Configuration
from harness.sweeps.result import is_sweep, stored_sweep, sweep_record
from harness.workers.outcomes import MeasureOutcome

ONE = setting()
# SMT 2 and 4 are the same within half a percent; SMT 8 loses a quarter, as does every setting on node 1.
BY_SMT = {1: 0.8e6, 2: 1.0e6, 4: 0.995e6, 8: 0.75e6}


def by_smt(configuration: Configuration, block: int) -> float:
    return BY_SMT[configuration.smt or 1] * configuration.cores * (0.75 if configuration.node else 1.0)


def sweep(*configurations: Configuration, rate=by_smt, **changes) -> Sweep:
    design = design_of(configurations, records.facts(), **changes)
    return sweep_record(design, journal_of(design, rate))


def smt_levels(**changes) -> tuple[Configuration, ...]:
    return tuple(replace(ONE, smt=k, threads_per_core=k, **changes) for k in (1, 2, 4, 8))


def test_the_best_its_tie_and_what_it_beats() -> None:
    record = sweep(*smt_levels())
    (best,) = record.best
    assert (best.workload, best.cores, record.cells[best.cell].smt) == ("w", None, 2)
    standings = {record.cells[one.cell].smt: one.standing for one in best.rivals}
    assert standings == {4: "equivalent", 1: "slower", 8: "slower"}
    slowest = best.rivals[-1]
    assert slowest.ratio == pytest.approx(4 / 3, rel=0.01)
    assert slowest.ci_low < slowest.ratio < slowest.ci_high
    assert all(cell.validity.verdict is Verdict.VALID for cell in record.cells)
    assert [one.block for one in record.cells[0].processes] == list(range(6))


def test_each_number_of_cores_has_a_best_of_its_own() -> None:
    record = sweep(*smt_levels(), *smt_levels(cores=2))
    found = {one.cores: (record.cells[one.cell].cores, record.cells[one.cell].smt) for one in record.best}
    assert found == {None: (2, 2), 1: (1, 2), 2: (2, 2)}


def test_an_smt_cliff_is_where_more_threads_give_less() -> None:
    record = sweep(*smt_levels())
    (loss,) = record.losses
    assert (loss.kind, record.cells[loss.start].smt, record.cells[loss.to].smt) == ("smt_cliff", 4, 8)
    assert loss.ratio == pytest.approx(0.75 / 0.995, rel=0.01)
    assert loss.ci_low < loss.ratio < loss.ci_high < 1


def test_with_smt_switched_more_threads_in_use_can_be_the_cliff() -> None:
    """One SMT level, one to eight of its threads in use."""
    used = tuple(replace(ONE, threads_per_core=k) for k in (1, 2, 4, 8))
    record = sweep(*used, rate=lambda configuration, block: BY_SMT[configuration.threads_per_core])
    assert [(one.kind, record.cells[one.to].threads_per_core) for one in record.losses] == [("smt_cliff", 8)]


def test_a_core_cliff_and_a_numa_penalty_are_told_apart() -> None:
    record = sweep(
        *(
            replace(ONE, cores=n, node=node, memory_node=memory_node)
            for n in (1, 2)
            for node, memory_node in ((0, None), (1, None), (0, 1))
        ),
        rate=lambda each, block: (
            1e6 * (0.5 if each.cores == 2 else 1) * (0.7 if (each.node, each.memory_node) != (0, None) else 1)
        ),
    )
    kinds = [one.kind for one in record.losses]
    assert kinds.count("core_cliff") == 3
    assert kinds.count("numa_penalty") == 4
    assert "smt_cliff" not in kinds
    for loss in record.losses:
        start, to = record.cells[loss.start], record.cells[loss.to]
        if loss.kind == "numa_penalty":
            assert (start.node, start.memory_node) == (0, None)
            assert (to.node, to.memory_node) != (0, None)
            assert start.cores == to.cores


def test_a_noisy_fall_and_a_small_one_are_no_losses() -> None:
    small = sweep(*smt_levels(), rate=lambda one, block: 1e6 * (0.98 if one.smt == 8 else 1))
    assert small.losses == ()
    swings = [0.5, 1.9, 0.4, 1.8, 0.6, 1.2]
    noisy = sweep(*smt_levels(), rate=lambda one, block: 1e6 * (0.8 * swings[block] if one.smt == 8 else 1))
    assert noisy.losses == ()


def test_by_affinity_levels_are_compared_with_all_of_their_threads() -> None:
    facts = records.facts()
    record = sweep(*smt_levels(), method=SmtMethod.AFFINITY)
    assert [one.kind for one in record.losses] == ["smt_cliff"]
    assert "by affinity" in record.notes[0]
    assert facts.topology.smt.online == 8
    assert "by affinity" not in sweep(ONE, method=SmtMethod.AFFINITY).notes[0]


def disturbed(measurement: Measurement) -> Measurement:
    (report,) = measurement.result.reports
    (series,) = report.outcome.series["offline"]
    outcome = replace(report.outcome, series={"offline": (replace(series, flags=(1,) * 40),)})
    return replace(measurement, result=replace(measurement.result, reports=(replace(report, outcome=outcome),)))


def test_only_valid_settings_are_compared_where_there_is_one_of_the_workload() -> None:
    """The fastest one was disturbed; the other workload has nothing but that."""
    fast, other = replace(ONE, batch_sizes=(128,)), replace(ONE, workload="x")
    plan = design_of((ONE, fast, other), records.facts())
    journal = [
        disturbed(entry) if isinstance(entry, Measurement) and entry.configuration in (1, 2) else entry
        for entry in journal_of(plan, lambda each, block: {64: 1e6, 128: 2e6}[each.batch_sizes[-1]])
    ]
    record = sweep_record(plan, journal)
    assert [cell.validity.verdict.value for cell in record.cells] == ["valid", "invalid", "invalid"]
    assert {one.workload: one.cell for one in record.best} == {"w": 0, "x": 2}


def test_failed_processes_are_reported_and_an_unfinished_sweep_has_a_record() -> None:
    plan = design_of((ONE, replace(ONE, cores=2)), records.facts())
    journal = journal_of(plan, lambda one, block: None if one.cores == 2 else 1e6)
    record = sweep_record(plan, journal)
    assert record.cells[1].validity.verdict is Verdict.FAILED
    assert record.cells[1].rows_per_s.value is None
    assert "SIGKILL" in record.cells[1].processes[0].failure
    early = sweep_record(plan, journal[:5])
    assert (early.design.slots_done, early.design.slots) == (2, 12)
    check_sweep(parse_json(sweep_text(early), "early"))
    nothing = sweep_record(plan, [])
    assert nothing.best == ()
    check_sweep(parse_json(sweep_text(nothing), "nothing"))


def test_the_record_comes_back_from_its_file_and_from_an_unfinished_directory(tmp_path: Path) -> None:
    plan = design_of(smt_levels(), records.facts(), skipped={"node 0 has 4 cores, not 5": 2})
    record = sweep_record(plan, journal_of(plan, by_smt))
    assert normal(record) == record
    (tmp_path / "sweep.json").write_text(sweep_text(record))
    assert load_sweep(tmp_path) == stored_sweep(tmp_path) == record
    assert is_sweep(tmp_path)
    assert is_sweep(tmp_path / "sweep.json")
    with pytest.raises(InputError, match="this is a sweep, not a run"):
        load_run(tmp_path)
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    assert not is_sweep(unfinished)
    write_design(plan, unfinished)
    with pytest.raises(InputError, match=r"journal\.jsonl: no such file"):
        stored_sweep(unfinished)
    (unfinished / "journal.jsonl").write_text("")
    assert stored_sweep(unfinished).design.slots_done == 0
    reasons = {cell.validity.reasons for cell in stored_sweep(unfinished).cells}
    assert reasons == {("not measured: the sweep ended before",)}


def test_a_run_that_is_not_finished_is_no_sweep_and_says_how_it_is_finished(tmp_path: Path) -> None:
    directory = tmp_path / "r.unfinished"
    directory.mkdir()
    write_design(replace(design_of(smt_levels(), records.facts()), grid=None), directory)
    (directory / "journal.jsonl").write_text("")
    for look in (is_sweep, page_of, load_side, lambda path: exported([path], ExportFormat.CSV)):
        with pytest.raises(InputError, match="this run is not finished") as error:
            look(directory)
        assert f"lparbench run --resume {directory}" in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["cells"][1].update(id=0), "two of them have the same id"),
        (lambda d: d["best"][0].update(cell=77), r"best\[0\]\.cell: there is no cell 77"),
        (
            lambda d: d["best"][0]["rivals"][0].update(standing="beaten"),
            "expected one of equivalent, slower, not_distinguishable, not_judged",
        ),
        (lambda d: d["losses"][0].update(to=9), r"losses\[0\]\.to: there is no cell 9"),
        (lambda d: d["cells"][0]["rows_per_s"].update(ci_low=None), "an interval has two ends"),
        (lambda d: d.update(schema_version=1), "schema_version is 1, which no release of lparbench wrote"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(change, message: str) -> None:
    document = to_json(sweep(*smt_levels()))
    change(document)
    with pytest.raises(SchemaError, match=message):
        check_sweep(document)


def test_a_figure_that_is_not_finite_is_never_written() -> None:
    record = replace(sweep(*smt_levels()), margin=float("inf"))
    with pytest.raises(LparbenchError, match="not a finite number"):
        sweep_text(record)


def served_by(entry: Entry, rate: float | None, over_http: float | None = None) -> Entry:
    """The same measurement of a server: the rate that met the bound; also over HTTP where that is given."""
    if not isinstance(entry, Measurement):
        return entry

    def served(rate: float | None) -> Served:
        latencies = {"p99_s": 0.004}
        return Served(rate, 0.005, 2e-5, 3, 5000, latencies, ((1e4, True),), 1, None if rate else "too slow")

    outcomes = {"server": served(rate)} | ({} if over_http is None else {"http": served(over_http or None)})
    reports = tuple(
        replace(report, outcome=MeasureOutcome(dict.fromkeys(outcomes, ()), outcomes, 0.0))
        for report in entry.result.reports
    )
    return replace(entry, scenarios=tuple(outcomes), result=replace(entry.result, reports=reports))


def test_a_sweep_over_http_ranks_by_that_rate_and_says_what_it_leaves() -> None:
    settings = tuple(replace(each, scenarios=("http", "server"), batch_sizes=(1,)) for each in smt_levels())
    design = design_of(settings, records.facts())
    design = replace(design, spec=replace(design.spec, scenarios=("http",), p99_bound_s=0.005))
    in_process = {1: 40_000.0, 2: 50_000.0, 4: 90_000.0, 8: None}
    over_http = {1: 9000.0, 2: 10_000.0, 4: 0.0, 8: 8000.0}  # none at SMT 4
    served = [
        served_by(entry, in_process[smt], over_http[smt] * noise(entry.block, entry.configuration))
        if isinstance(entry, Measurement) and (smt := settings[entry.configuration].smt)
        else entry
        for entry in journal_of(design, by_smt)
    ]
    record = sweep_record(design, served)
    by_level = {cell.smt: cell for cell in record.cells}
    assert record.cells[record.best[0].cell].smt == 2  # not the level that is fastest in process
    two = by_level[2]
    assert two.in_process_rows_per_s is not None
    assert two.http_share is not None
    assert two.rows_per_s.value == pytest.approx(10_000.0, rel=0.01)
    assert two.in_process_rows_per_s.value == pytest.approx(50_000.0)
    assert (two.http_share.value, two.http_share.n) == (pytest.approx(0.2, rel=0.01), 6)
    assert by_level[4].validity.verdict is Verdict.INVALID
    assert by_level[4].http_share is not None
    assert by_level[4].http_share.value is by_level[8].http_share.value is None  # type: ignore[union-attr]
    assert by_level[8].validity.verdict is Verdict.VALID
    assert record.losses  # cells are still alike but for a factor
    check_sweep(to_json(record))
    text = render_sweep_csv(record)
    header = text.splitlines()[0].split(",")
    assert header.index("http_share") == header.index("in_process_rows_per_s") + 1
    page = render_sweep(record).decode()
    shown = io.StringIO()
    print_sweep(record, Path("here"), Console(file=shown, width=200))
    for words in (page, shown.getvalue()):
        assert "over HTTP, 20" in words
        assert "HTTP leaves" in words
        assert "rows/s undisturbed<" not in words


def test_a_sweep_of_the_server_scenario_ranks_settings_by_the_rate_that_meets_the_bound() -> None:
    settings = tuple(replace(each, scenarios=("server",), batch_sizes=(1,)) for each in smt_levels())
    design = design_of(settings, records.facts())
    design = replace(design, spec=replace(design.spec, scenarios=("server",), p99_bound_s=0.005))
    rates = {1: 9000.0, 2: 10_000.0, 4: 9950.0, 8: None}
    journal = journal_of(design, by_smt)
    served = [
        served_by(entry, rates[settings[entry.configuration].smt or 1] if isinstance(entry, Measurement) else None)
        for entry in journal
    ]
    record = sweep_record(design, served)
    (best,) = record.best
    assert record.cells[best.cell].smt == 2
    by_level = {cell.smt: cell for cell in record.cells}
    assert by_level[2].rows_per_s.value == pytest.approx(10_000.0)
    assert by_level[2].mean_inference_per_row_s.value == pytest.approx(2e-5)
    assert by_level[2].validity.verdict is Verdict.VALID
    assert by_level[8].validity.verdict is Verdict.INVALID
    assert "no rate that meets the bound: too slow" in by_level[8].validity.reasons[-1]
    assert any("p99 of the latency" in note and "at most 5 ms" in note for note in record.notes)
    check_sweep(to_json(record))
