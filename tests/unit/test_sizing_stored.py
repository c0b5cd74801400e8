"""Answers without measuring: from a sizing, from sweeps and runs, what-ifs, and the partition that they come to."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support import records
from support.sizes import LAW, ServingExecutor, served_at
from support.sweeps import power_sweep
from test_sizing_session import ask, law, machine, sized
from typer.testing import CliRunner

from harness.cli.main import app
from harness.decode import encode as plain
from harness.errors import EnvironmentMismatchError, InputError
from harness.record.model import ProcessRecord
from harness.record.size_model import PLAN_KINDS, Size, SizeQuestion
from harness.record.spec import RunSpec
from harness.record.store import SIZE_NAME, SWEEP_NAME, encode, size_text, sweep_text, write_run
from harness.reporting.size_view import view_of
from harness.sizing.plan import busy_cores, memory_bytes
from harness.sizing.stored import size_from, what_if
from harness.sizing.subject import spec_of


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Size:
    directory = tmp_path_factory.mktemp("sizing")
    return sized(directory, machine(directory / "tree", 12), ask(5000), ServingExecutor(law, noise=0.01))


@pytest.fixture
def stored(tmp_path: Path, record: Size) -> Path:
    path = tmp_path / "stored" / SIZE_NAME
    path.parent.mkdir()
    path.write_bytes(encode(size_text(record)))
    return path.parent


def test_the_same_question_gives_the_same_answer(stored: Path, record: Size) -> None:
    again = size_from([stored], record.answer.question, ())
    assert again.answer == record.answer
    other = size_from([stored], SizeQuestion(2500, 0.005), ())
    assert other.answer.chosen is not None
    assert other.answer.chosen.cores == next(cores for cores in range(1, 13) if LAW.rate(cores) >= 2500)


def test_every_capacity_has_its_unit(record: Size) -> None:
    view = view_of(record)
    for text in (view.sentence, next(text for text in view.sentences if text.startswith("7 cores"))):
        assert text.count("] req/s") == text.count("["), text


def test_a_thousand_answers_from_one_curve_are_the_same_bytes(record: Size) -> None:
    questions = [SizeQuestion(rate, bound) for bound in (0.002, 0.005) for rate in range(20, 10_020, 20)]
    assert len(questions) == 1000
    first = what_if(record, questions)
    assert json.dumps(plain(first)) == json.dumps(plain(what_if(record, questions)))
    cores = [answer.chosen.cores for answer in first.answers[500:] if answer.chosen is not None]
    assert cores == sorted(cores)


def test_a_tighter_bound_takes_more_cores(record: Size) -> None:
    tight, loose = what_if(record, [SizeQuestion(2000, bound) for bound in (0.001, 0.005)]).answers
    assert tight.chosen is not None
    assert loose.chosen is not None
    assert tight.chosen.cores > loose.chosen.cores


def test_throughput_is_not_answered_from_latencies_nor_the_other_way_round(stored: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="throughput was not measured"):
        size_from([stored], SizeQuestion(10))
    sweep = tmp_path / SWEEP_NAME
    sweep.write_bytes(encode(sweep_text(power_sweep())))
    with pytest.raises(InputError, match="a sweep measures throughput"):
        size_from([sweep], SizeQuestion(10, 0.005))


def test_a_sweep_answers_for_throughput(tmp_path: Path) -> None:
    sweep = tmp_path / SWEEP_NAME
    sweep.write_bytes(encode(sweep_text(power_sweep())))
    size = size_from([sweep], SizeQuestion(1.7e6), ())
    assert size.answer.chosen is not None
    assert (size.answer.chosen.cores, size.answer.chosen.threads_per_core) == (2, 2)
    assert size.answer.chosen.capacity.basis == "measured"


def serving_run(tmp_path: Path, cores: int, **changes: object) -> Path:
    """A run of the server scenario on so many cores, one instance on each."""
    processes = tuple(
        ProcessRecord(
            block, 0, 1, 1, 1.0, rss_peak_bytes=1 << 28, served=served_at(1000.0 * cores + block, cores, 0.005)
        )
        for block in range(6)
    )
    result = replace(
        records.inference(processes=processes, accuracy=None), scenario="server", instances=cores, batch_size=1
    )
    run = records.run(result)
    spec = replace(run.spec, p99_bound_s=0.005)
    placement = replace(run.placement, cores=cores, threads_per_core=1, node=0)
    run = replace(run, run_id=f"run-{cores}", spec=spec, placement=placement, **changes)  # type: ignore[arg-type]
    return write_run(run, tmp_path / "runs")


def test_runs_at_several_core_counts_are_one_curve(tmp_path: Path) -> None:
    paths = [serving_run(tmp_path, cores) for cores in (1, 2)]
    size = size_from(paths, SizeQuestion(1500, 0.005), ())
    assert [point.cores for point in size.series[0].points] == [1, 2]
    assert size.answer.chosen is not None
    assert size.answer.chosen.cores == 2
    assert size.answer.smaller is not None
    assert size.answer.smaller.enough is False


def test_records_of_two_machines_are_no_curve(tmp_path: Path) -> None:
    first = serving_run(tmp_path, 1)
    run = records.run()
    other = replace(run.fingerprint, **{next(iter(vars(run.fingerprint))): "0" * 64})
    second = serving_run(tmp_path, 2, fingerprint=other)
    with pytest.raises(EnvironmentMismatchError, match="another machine or software"):
        size_from([first, second], SizeQuestion(1500, 0.005))


class TestPlan:
    def test_three_partitions(self, stored: Path) -> None:
        size = size_from([stored], SizeQuestion(5000, 0.005, growth=0.1, headroom=0.2, spare=1))
        assert [plan.kind for plan in size.answer.plans] == list(PLAN_KINDS)
        dedicated, capped, uncapped = size.answer.plans
        assert size.answer.chosen is not None
        cores = size.answer.chosen.cores
        assert dedicated.entitlement is None
        assert dedicated.partitions == 2
        assert (dedicated.cores, capped.virtual_processors, uncapped.virtual_processors) == (cores, cores, cores)
        assert f"desired_procs={cores}," in dedicated.commands[0]
        assert "proc_mode=ded" in dedicated.commands[0]
        assert "sharing_mode=cap" in capped.commands[0]
        assert "uncap_weight" in uncapped.commands[0]
        assert dedicated.one_chip is True
        assert any("S1022" in name for name in dedicated.fits)
        assert dedicated.memory_bytes % (256 << 20) == 0

    def test_a_cap_below_a_short_bound_is_raised(self, stored: Path) -> None:
        size = size_from([stored], SizeQuestion(5000, 0.005))
        capped, uncapped = size.answer.plans[1:]
        assert capped.entitlement == capped.virtual_processors
        assert any("raised to" in note for note in capped.notes)
        assert uncapped.entitlement is not None
        assert uncapped.virtual_processors is not None
        assert uncapped.entitlement < uncapped.virtual_processors
        assert any("borrowed" in note for note in uncapped.notes)

    def test_busy_cores_by_the_time_of_requests(self, record: Size) -> None:
        chosen = record.answer.chosen
        assert chosen is not None
        busy = busy_cores(record, record.answer, chosen)
        capacity = chosen.capacity.value
        assert busy == pytest.approx(0.9 * chosen.cores * 5000 / capacity, rel=0.05)  # busy for 0.9 at capacity
        doubled = replace(chosen, threads_per_core=2, layout="per-thread", instances=2 * chosen.cores)
        assert busy_cores(record, record.answer, doubled) <= chosen.cores

    def test_memory_grows_with_the_instances(self, record: Size) -> None:
        chosen = record.answer.chosen
        assert chosen is not None
        many = replace(chosen, instances=4000)
        assert memory_bytes(record, many) > memory_bytes(record, chosen) >= 4 << 30


def test_what_a_stored_curve_must_not_be_printed_without(record: Size) -> None:
    """A curve of another kind of machine answers, and every page and line says what it is of."""
    assert "x86, not Power" not in view_of(record).marks
    assert "emulated" not in view_of(record).marks
    facts, dataset = record.facts, record.workload.dataset
    assert dataset is not None
    foreign = replace(
        record,
        facts=replace(
            facts,
            cpu=replace(facts.cpu, architecture="x86_64"),
            emulation=replace(facts.emulation, emulated=True),
        ),
        workload=replace(record.workload, dataset=replace(dataset, origin="synthetic")),
    )
    assert {"x86, not Power", "emulated", "synthetic data"} <= {*view_of(foreign).marks}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rate", "0"), "--rate '0' is not a rate above 0"),
        (("--rate", "fast"), "--rate 'fast' is not a rate"),
        (("--rate", "5k/s", "--p99", "0.005"), "--p99 '0.005' is not a duration"),
        (("--rate", "5k/s", "--growth", "-3%"), "--growth '-3%'"),
        (("--rate", "5k/s", "--confidence", "30"), "--confidence '30' is not between 50 and 100"),
        (("--rate", "5k/s", "--plan", "x"), "--plan: unknown value 'x'"),
        (("--p99", "5ms"), "What is the demand?"),
        (("--what-if", "rate=1,2"), "--what-if answers from a stored curve"),
        (("--what-if", "cores=1"), "--what-if 'cores=1'"),
        (("--rate", "5k/s", "--layouts", "odd"), "--layouts: unknown value 'odd'"),
    ],
)
def test_wrong_demands(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        CliRunner().invoke(app, ["size", *(() if "--what-if" in arguments else ("nsl-kdd-mlp",)), *arguments],
                           catch_exceptions=False, standalone_mode=False)  # fmt: skip
    assert message in caught.value.message
    assert caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_the_command_answers_again_and_prints_a_table(stored: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(app, ["size", "--from", str(stored), "--rate", "5 k/s", "--p99", "5 ms"])
    assert done.exit_code == 0
    assert "6 cores (6 instances) serve 5,000 req/s at p99 ≤ 5 ms" in done.output
    table = runner.invoke(app, ["size", "--from", str(stored), "--what-if", "rate=1k,5k,90k p99=2ms,5ms"])
    assert table.exit_code == 2
    assert table.output.count("\n") == 10, "a line each, and one per reason why there is no answer"
    assert "Refused" in table.output
    assert "5,000 req/s at p99 ≤ 2 ms and 1 more: the node has 12 cores" in table.output
    page = runner.invoke(app, ["report", str(stored)])
    assert page.exit_code == 0
    assert b"Capacity over cores" in (stored / "report.html").read_bytes()


def test_a_run_is_sized_with_its_workload_and_backend(tmp_path: Path) -> None:
    run = records.run(records.inference(accuracy=None))
    run = replace(run, spec=replace(run.spec, workloads=("nsl-kdd-mlp",), rows=500))
    path = write_run(run, tmp_path)
    spec = spec_of(str(path), RunSpec((), seed=7))
    assert (spec.workloads, spec.rows, spec.seed, spec.scenarios) == (("nsl-kdd-mlp",), 500, 7, None)
    assert spec.backends == (run.results[0].backend,)
    assert spec_of(str(path), RunSpec((), backends=("native",))).backends == ("native",)
    assert spec_of("nsl-kdd-mlp", RunSpec(())).workloads == ("nsl-kdd-mlp",)
    several = replace(run, run_id="several", spec=replace(run.spec, workloads=("a", "b")))
    with pytest.raises(InputError, match="a run of 2 workloads"):
        spec_of(str(write_run(several, tmp_path)), RunSpec(()))
    with pytest.raises(InputError, match="no record of a run in this directory"):
        spec_of(str(tmp_path), RunSpec(()))
