"""What runs are called in comparisons and histories, and differences that are one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.mutations import small_run

from harness.compare.compare import compare
from harness.compare.environment import Difference, grouped, refuse_separated
from harness.compare.inputs import load_side
from harness.compare.labels import load_runs, load_sides
from harness.compare.observations import Key, side_of
from harness.errors import EnvironmentMismatchError, InputError
from harness.record.model import Validity, Verdict
from harness.record.store import write_run
from harness.reporting.comparison_html import render_comparison
from harness.reporting.comparison_view import view_of

KEY = Key("mlp", "offline", "eager", "float32", 64)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same run in directories that somebody named."""
    folder = tmp_path_factory.mktemp("runs")
    directories = {}
    for seed, name in enumerate(("smt2", "smt4", "monday/run", "friday/run")):
        path = write_run(small_run(f"id-{seed}", seed=seed), folder / "made")
        path.parent.mkdir(exist_ok=True)
        target = folder / name
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
        directories[name] = target
    return directories


def test_a_run_is_called_as_its_directory_or_its_label(stored: dict[str, Path]) -> None:
    sides = load_sides([stored["smt2"], stored["smt4"] / "run.json"])
    assert [side.name for side in sides] == ["smt2", "smt4"]
    assert [side.run_id for side in sides] == ["id-0", "id-1"]
    assert [side.name for side in load_sides(list(stored.values())[:2], ["SMT 2", "SMT 4"])] == ["SMT 2", "SMT 4"]
    alike = load_sides([stored["monday/run"], stored["friday/run"]])
    assert [side.name for side in alike] == ["monday/run", "friday/run"]
    assert view_of(compare(sides)).sentences[0].startswith("smt4 ")


@pytest.mark.parametrize(
    ("labels", "message"), [(["a"], "1 label for 2 paths"), (["a", "b", "c"], "3 labels"), (["a", " "], "is empty")]
)
def test_labels_that_do_not_fit_are_refused(stored: dict[str, Path], labels: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_sides([stored["smt2"], stored["smt4"]], labels)


def test_a_folder_with_one_run_is_that_run_and_any_other_says_what_it_holds(
    stored: dict[str, Path], tmp_path: Path
) -> None:
    monday = stored["monday/run"].parent
    assert [side.name for side in load_sides([monday, stored["smt2"]])] == ["monday", "smt2"]
    with pytest.raises(InputError, match=r"holds 4 runs; a side is one run\.") as refused:
        load_side(monday.parent)
    assert f"lparbench compare {stored['friday/run']} " in str(refused.value)
    assert f"lparbench history {monday.parent}" in str(refused.value)
    for name in ("sweep.json", "design.json", "journal.jsonl"):
        (tmp_path / "sweeps/one").mkdir(parents=True, exist_ok=True)
        (tmp_path / "sweeps/one" / name).write_text("{}")
    with pytest.raises(InputError, match=r"sweeps holds 1 sweep; a side is one run\..*report .*sweeps/one"):
        load_side(tmp_path / "sweeps")


def test_a_fact_that_is_not_known_is_met_by_those_that_differ(stored: dict[str, Path]) -> None:
    """The whole list is seventy names long, most of which nobody has to allow."""
    sides = load_sides([stored["smt2"], stored["smt4"]])
    with pytest.raises(InputError, match=r"unknown fact 'blah'\. \d+ are known\. These differ in nothing"):
        compare(sides, allowed=["blah"])
    other = replace(sides[1], fingerprint={**sides[1].fingerprint, "kernel": "6.99", "arch": "s390x"})
    with pytest.raises(InputError, match=r"Did you mean 'cache'\? These differ in arch, kernel\."):
        compare([sides[0], other], allowed=["cach"])


def test_a_history_calls_runs_by_directory_below_the_label_of_their_folder(stored: dict[str, Path]) -> None:
    folder = stored["smt2"].parent
    assert sorted(side.name for side in load_runs([folder])) == ["run", "run", "smt2", "smt4"]
    assert {side.name for side in load_runs([stored["smt2"], stored["monday/run"]], ["old", "new"])} == {
        "old smt2",
        "new run",
    }


def test_one_more_cpu_is_one_difference() -> None:
    threads = (
        ("threads", 1, 2),
        ("cpus", (0,), (0, 1)),
        *((f"thread_environment.{name}", "1", "2") for name in "abcdef"),
    )
    differing = [Difference(name, a, b, "why", separates=False, rank=0, keys=(KEY,)) for name, a, b in threads]
    kernel = Difference("kernel", "6.1", "6.12", "why", separates=False, rank=1)
    packages = [Difference(f"libraries.{name}", "1", "2", "why", separates=False, rank=2) for name in "xy"]
    torch = Difference("libraries.torch", "1", "2", "why", separates=False, rank=2)
    groups = grouped([*differing, kernel, torch, *packages])
    assert [[fact.name for fact in group][:1] for group in groups] == [
        ["threads"], ["kernel"], ["libraries.torch"], ["libraries.x"],
    ]  # fmt: skip
    assert sum(map(len, groups)) == len(differing) + 4
    sides = [side_of(small_run(name, seed=seed)) for seed, name in enumerate("ab")]
    report = replace(compare(sides), differences={"b": (*differing, kernel, *packages)})
    lines = view_of(report).differences
    assert [(line.name, line.a, line.b) for line in lines] == [
        ("threads", "1", "2"), ("kernel", "6.1", "6.12"), ("libraries (x, y)", "1", "2"),
    ]  # fmt: skip
    assert lines[0].concerns.startswith("with it cpus and thread_environment; mlp offline")
    other = [replace(fact, separates=True) for fact in differing[1:]]  # as many threads on another CPU
    assert [[fact.name for fact in group][:1] for group in grouped(other)] == [["cpus"]]
    with pytest.raises(EnvironmentMismatchError) as refused:
        refuse_separated(other, ())
    assert refused.value.message.endswith(": cpus: [0] and [0, 1] (with it thread_environment).")
    assert str(refused.value.remedy).endswith(": --allow-diff cpus --allow-diff thread_environment")


def test_a_reason_is_said_once_and_what_cannot_be_judged_keeps_its_numbers() -> None:
    few = Validity(Verdict.INVALID, ("2 of at least 6 blocks.",))
    good, bad, other = small_run("good", seed=1), small_run("bad", seed=2, slowdown=1.1), small_run("other", seed=3)
    bad = replace(bad, results=tuple(replace(result, validity=few) for result in bad.results))
    view = view_of(compare([side_of(good), side_of(bad)]))
    (note,) = view.notes
    assert (note.results, "2 of at least 6 blocks" in note.text) == ("all results", True)
    assert [line.limits for line in view.times] == ["not judged"] * len(view.times)
    assert all(7 < float(line.change.split("\u00a0")[0]) < 13 for line in view.times)
    several = compare([side_of(good), side_of(bad), side_of(other)])
    shown = view_of(several)
    assert [status.word for status in shown.statuses] == ["Inconclusive", "Equivalent"]
    assert "all results of bad" in [note.results for note in shown.notes]
    assert render_comparison(several).decode().count("2 of at least 6 blocks") == 1


def test_a_history_calls_the_only_run_of_a_folder_as_the_folder(stored: dict[str, Path]) -> None:
    sides = load_runs([stored["monday/run"].parent, stored["smt2"]])
    assert {side.name for side in sides} == {"monday", "smt2"}
