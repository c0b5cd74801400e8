"""The commands compare, gate, history and export on files: what they print, write and exit with."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer
from support.mutations import small_run
from support.records import evaluation, inference, run, seed_means
from typer.testing import CliRunner, Result

from harness.cli import compare, export, gate, history
from harness.errors import EnvironmentMismatchError, InputError, LparbenchError, MeasurementError
from harness.gates.remeasure import repeated
from harness.record.archive import opened
from harness.record.model import NoiseFloor, Run, Validity, Verdict
from harness.record.spec import RunSpec
from harness.record.store import load_run, write_run
from harness.runs import run as runs
from harness.runs.engine import Progress
from harness.workers.executor import Executor

app = typer.Typer()
for command in (compare.compare, gate.gate, history.history, export.export):
    app.command(command.__name__)(command)


def call(*arguments: str | Path) -> Result:
    """Run a command; what it raises for its user comes out as it is."""
    result = CliRunner().invoke(app, [str(one) for one in arguments], env={"COLUMNS": "200"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def stored(folder: Path, name: str, *, seed: int, slowdown: float = 1.0, **changes: Any) -> Path:
    return write_run(replace(small_run(name, seed=seed, slowdown=slowdown), **changes), folder)


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    """A baseline of three sessions of the same code."""
    path = tmp_path / "baseline.json"
    for session in range(3):
        created = f"2026-08-0{session + 1}T12:00:00Z"
        one = stored(tmp_path / "sessions", f"session-{session}", seed=10 + session, created=created)
        assert call("gate", path, "--update", "--candidate", one).exit_code == 0
    return path


def test_compare_says_what_is_slower_and_exits_with_1(tmp_path: Path) -> None:
    a, b = stored(tmp_path, "old", seed=1), stored(tmp_path, "new", seed=2, slowdown=1.2)
    result = call("compare", a, b)
    assert result.exit_code == 1
    assert "new is slower than old in 2 of 2 results, most in" in result.output
    named = call("compare", a, b, "--label", "SMT 2", "--label", "SMT 4")
    assert "SMT 4 is slower than SMT 2 in 2 of 2 results" in named.output
    assert "Regressed" in result.output
    assert "Nothing else differs." in result.output
    assert call("compare", b, a).exit_code == 0  # improved
    assert call("compare", a, b, "--margin", "60%").exit_code == 0  # does not matter


def test_compare_shows_what_became_less_accurate_and_what_is_missing(tmp_path: Path) -> None:
    a = stored(tmp_path, "old", seed=1)
    record = small_run("new", seed=2)
    worse = replace(record.results[0], accuracy=replace(evaluation(), metrics=seed_means({"auc_roc": 0.8})))
    b = write_run(replace(record, results=(worse,)), tmp_path)
    result = call("compare", a, b)
    assert result.exit_code == 1
    assert "; less accurate in mlp ROC-AUC; 1 result missing." in result.output
    assert "Accuracy is equivalent in 0 of 1 metric." in result.output
    assert "-0.149" in result.output
    assert "new has no autoencoder offline eager float32 batch 64" in result.output


def test_an_inconclusive_comparison_says_how_many_more_blocks(tmp_path: Path) -> None:
    a, b = stored(tmp_path, "old", seed=1), stored(tmp_path, "new", seed=2, slowdown=1.034)
    result = call("compare", a, b)
    assert result.exit_code == 2
    assert "more blocks would settle it" in result.output


def test_compare_prints_json_and_nothing_else(tmp_path: Path) -> None:
    runs = [stored(tmp_path, f"run-{i}", seed=i, slowdown=1 + i / 5) for i in range(3)]
    result = call("compare", *runs, "--json")
    document = json.loads(result.stdout)
    assert document["exit_code"] == result.exit_code == 1
    assert len(document["times"]) == 4
    ratios = {one["side"]: one["ratio"] for one in document["times"] if one["key"]["workload"] == "mlp"}
    assert ratios == {"run-1": pytest.approx(1.2, rel=0.03), "run-2": pytest.approx(1.4, rel=0.03)}
    assert all(one["ratio_ci_low"] < one["ratio"] < one["ratio_ci_high"] for one in document["times"])


class Page(HTMLParser):
    """Collects texts and tags, and whether they are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_escapes_names_and_is_the_same_every_time(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    runs = []
    for i in range(2):
        record = small_run(f"run-{i}", seed=i, slowdown=1 + i / 5)
        renamed = tuple(replace(one, workload=f"{one.workload} {hostile}") for one in record.results)
        fingerprint = replace(record.fingerprint, kernel=f"6.{i} {hostile}")
        runs.append(write_run(replace(record, results=renamed, fingerprint=fingerprint), tmp_path))
    pages = []
    for name in ("first.html", "second.html"):
        call("compare", *runs, "--html", tmp_path / name)
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1]
    page = Page(pages[0].decode())
    assert "script" not in page.tags
    assert "svg" in page.tags
    text = " ".join(page.texts)
    assert hostile in text
    assert "kernel release" in text
    assert "regressed" in text.lower()


def test_compare_refuses_what_is_meaningless(tmp_path: Path) -> None:
    a = stored(tmp_path, "a", seed=1)
    record = small_run("b", seed=2)
    b = write_run(replace(record, fingerprint=replace(record.fingerprint, arch="x86_64")), tmp_path)
    with pytest.raises(EnvironmentMismatchError, match="--allow-diff arch"):
        call("compare", a, b)
    assert call("compare", a, b, "--allow-diff", "arch").exit_code in (0, 2)


@pytest.mark.parametrize("text", ["", "0", "-3%", "nan", "inf", "3 percent", "2000%"])
def test_a_share_that_is_none_is_told_by_its_option(tmp_path: Path, text: str) -> None:
    a = stored(tmp_path, "a", seed=1)
    with pytest.raises(InputError, match="--margin"):
        call("compare", a, a, f"--margin={text}")


def test_the_gate_passes_unchanged_code_and_fails_slower_code_twice_seen(baseline: Path, tmp_path: Path) -> None:
    same = stored(tmp_path, "same", seed=30)
    slow = [stored(tmp_path, f"slow-{i}", seed=40 + i, slowdown=1.3) for i in range(2)]
    assert call("gate", baseline, "--candidate", same).exit_code == 0
    once = call("gate", baseline, "--candidate", slow[0])
    assert once.exit_code == 2
    assert "no second run has confirmed it" in once.output
    twice = call("gate", baseline, "--candidate", slow[0], "--candidate", slow[1])
    assert twice.exit_code == 1
    assert "slow-0 regressed in 2 results against session-2" in twice.output
    assert call("gate", baseline, "--candidate", slow[0], "--candidate", same).exit_code == 2


def test_the_gate_prints_json(baseline: Path, tmp_path: Path) -> None:
    result = call("gate", baseline, "--candidate", stored(tmp_path, "same", seed=30), "--json")
    document = json.loads(result.stdout)
    assert document["exit_code"] == 0
    assert {result["verdict"] for result in document["results"]} == {"passed"}
    assert [result["time"] is None for result in document["results"]] == [False, False, True, True]


def test_one_session_on_a_shared_machine_gates_nothing(tmp_path: Path) -> None:
    path, one = tmp_path / "b.json", stored(tmp_path, "one", seed=1)
    call("gate", path, "--update", "--candidate", one)
    result = call("gate", path, "--candidate", stored(tmp_path, "two", seed=2))
    assert result.exit_code == 2
    assert "3 sessions" in result.output


def test_another_machine_exits_with_3(baseline: Path, tmp_path: Path) -> None:
    record = small_run("other", seed=30)
    other = write_run(replace(record, fingerprint=replace(record.fingerprint, cpu="POWER11")), tmp_path)
    with pytest.raises(EnvironmentMismatchError) as raised:
        call("gate", baseline, "--candidate", other)
    assert raised.value.exit_code == 3
    assert call("gate", baseline, "--candidate", other, "--allow-diff", "cpu").exit_code == 0


def scripted(monkeypatch: pytest.MonkeyPatch, *measured: Run) -> list[RunSpec]:
    """Let runs give these records in turn; returns what was asked for."""
    specs: list[RunSpec] = []
    waiting = iter(measured)

    def run_once(spec: RunSpec, executor: Executor, progress: Progress, argv: tuple[str, ...] = ()) -> Run:
        specs.append(spec)
        return next(waiting)

    monkeypatch.setattr(runs, "run_once", run_once)
    return specs


def test_without_a_candidate_the_baselines_run_is_repeated(baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = small_run("any", seed=1).spec
    specs = scripted(monkeypatch, *(small_run(f"now-{i}", seed=50 + i, slowdown=1.3) for i in range(2)))
    assert call("gate", baseline).exit_code == 1
    assert specs == [replace(spec, blocks=12, budget_s=None, half_width=None)] * 2
    specs = scripted(monkeypatch, small_run("now", seed=60))
    assert call("gate", baseline).exit_code == 0
    assert len(specs) == 1
    scripted(monkeypatch, small_run("later", seed=61))
    assert "later, 4 sessions" in call("gate", baseline, "--update").output


def test_a_repeated_run_has_a_fixed_number_of_blocks_and_saves_nothing() -> None:
    spec = RunSpec(("nsl-kdd-mlp",), rows=1000, budget_s=60.0, half_width=0.02, save="/models")
    specs: list[RunSpec] = []
    repeated(spec, 12, lambda given: specs.append(given) or small_run("now", seed=1))
    assert specs == [RunSpec(("nsl-kdd-mlp",), rows=1000, blocks=12)]


def test_what_no_run_measured_is_not_repeated(baseline: Path) -> None:
    document = json.loads(baseline.read_text())
    del document["digest"]
    document["machines"][0]["spec"] = None
    baseline.write_text(json.dumps(document))
    with pytest.raises(InputError, match="does not say with which `lparbench run`"):
        call("gate", baseline)


def test_aa_tells_the_noise_of_this_machine(baseline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = stored(tmp_path, "one", seed=3)
    result = call("gate", baseline, "--aa", "--candidate", one)
    assert result.exit_code == 0
    assert "one against itself: changes below" in result.output
    document = json.loads(call("gate", baseline, "--aa", "--candidate", one, "--json").stdout)
    assert all(0 < row["noise_floor"] < 0.03 and row["pairs"] == 6 for row in document["results"])
    kept = load_run(one).tool.noise_floor
    assert kept == NoiseFloor(max(row["noise_floor"] for row in document["results"]), 6)
    assert "not measured: it takes a run against itself" not in (one / "report.html").read_text()
    with opened(str(tmp_path / "team.sqlite"), new=True) as archive:
        archive.add([one])
    result = call("gate", baseline, "--aa", "--candidate", f"{tmp_path}/team.sqlite#{load_run(one).run_id}")
    assert "The noise floor is not kept: a record of an archive stays as it is." in result.stderr


def test_aa_keeps_the_run_it_measures_with_its_floor(
    baseline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = scripted(monkeypatch, small_run("now", seed=4))
    result = call("gate", baseline, "--aa", "--out", tmp_path / "kept")
    assert result.exit_code == 0
    assert specs[0].blocks == 24
    record = load_run(tmp_path / "kept" / "now")
    assert 0 < record.tool.noise_floor.share < 0.03
    page = (tmp_path / "kept" / "now" / "report.html").read_text()
    assert "Noise floor of this machine" in page
    assert "with 6 blocks" in page


def test_wrong_use_of_the_gate_is_told(baseline: Path, tmp_path: Path) -> None:
    one = stored(tmp_path, "one", seed=3)
    for arguments in (
        ("gate", baseline, "--update", "--aa"),
        ("gate", baseline, *(["--candidate", one] * 21)),
        ("gate", baseline, "--update", *(["--candidate", one] * 2)),
        ("gate", baseline, "--aa", *(["--candidate", one] * 2)),
        ("gate", baseline, "--blocks", "6"),
        ("gate", tmp_path / "none.json"),
        ("gate", tmp_path / "none.json", "--update"),
    ):
        with pytest.raises(InputError):
            call(*arguments)


def test_a_record_given_as_baseline_is_called_a_record(tmp_path: Path) -> None:
    record = stored(tmp_path, "one", seed=3) / "run.json"
    for arguments in (("gate", record), ("gate", record, "--update", "--candidate", record)):
        with pytest.raises(InputError, match=r"run\.json is the record of a run") as error:
            call(*arguments)
        assert "under another name" in str(error.value.remedy)


def test_what_is_not_valid_becomes_no_baseline_and_keeps_the_old_one(baseline: Path, tmp_path: Path) -> None:
    before = baseline.read_bytes()
    record = small_run("few", seed=3)
    few = tuple(replace(one, processes=one.processes[:4]) for one in record.results)
    with pytest.raises(MeasurementError, match="nothing may be judged against"):
        call("gate", baseline, "--update", "--candidate", write_run(replace(record, results=few), tmp_path))
    assert baseline.read_bytes() == before


def test_history_finds_a_step_and_what_changed_with_it(tmp_path: Path) -> None:
    for i in range(16):
        record = small_run(f"run-{i:02d}", seed=i, slowdown=1.0 if i < 8 else 1.15)
        libraries = {"torch": "2.6" if i < 8 else "2.9"}
        fingerprint = replace(record.fingerprint, libraries=libraries)
        write_run(replace(record, created=f"2026-08-{i + 1:02d}T12:00:00Z", fingerprint=fingerprint), tmp_path)
    result = call("history", tmp_path)
    assert result.exit_code == 1
    assert "run-08" in result.output
    assert "slower from here on" in result.output
    assert "libraries.torch from 2.6 to 2.9" in result.output
    document = json.loads(call("history", tmp_path, "--json").stdout)
    assert [step["run"] for step in document["results"][0]["steps"]] == ["run-08"]
    page = tmp_path / "history.html"
    assert call("history", tmp_path, "--label", "lpar1", "--html", page).exit_code == 1
    assert b"lpar1 run-08" in page.read_bytes()
    assert call("history", tmp_path, "--html", "-").stdout.startswith("<!doctype html>")
    (tmp_path / "few").mkdir()
    lone = small_run("only", seed=1)
    failed = replace(lone.results[1], validity=Validity(Verdict.FAILED, ("killed",)))
    write_run(replace(lone, results=(lone.results[0], failed)), tmp_path / "few")
    few = call("history", tmp_path / "few")
    assert few.exit_code == 2
    assert "1 of the 6 valid runs" in few.output
    assert "no valid run" in few.output


def test_exports_go_to_a_file_or_to_standard_output(tmp_path: Path) -> None:
    record: Run = run(inference("w"))
    directory = write_run(record, tmp_path)
    assert call("export", directory).stdout.startswith("run_id,created,workload")
    assert call("export", directory, "-f", "openmetrics").stdout.endswith("# EOF\n")
    target = tmp_path / "now.json"
    said = json.loads(call("export", directory, "-f", "pytest-benchmark", "-o", target, "--json").stdout)
    assert said == {"format": "pytest-benchmark", "file": str(target), "bytes": target.stat().st_size}
    assert call("compare", target, directory).exit_code == 2  # a run against itself is no measurement
    with pytest.raises(InputError, match="needs --output"):
        call("export", directory, "--json")
    with pytest.raises(InputError, match="--tracking-uri"):
        call("export", directory, "-f", "mlflow")
    with pytest.raises(InputError, match="takes one run"):
        call("export", directory, directory)


def test_errors_are_of_the_kind_the_command_line_turns_into_one_line(tmp_path: Path) -> None:
    for arguments in (("compare", tmp_path, tmp_path), ("history", tmp_path), ("export", tmp_path)):
        with pytest.raises(LparbenchError):
            call(*arguments)
