"""What is to be served is found where it is, and trained only where it is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import records

from harness.errors import InputError
from harness.record.spec import RunSpec
from harness.record.store import write_run
from harness.reporting.progress import Silence
from harness.runs import run as runs
from harness.runs.bundles import bundle_of
from harness.runs.design import workloads_of


def make(directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "SHA256SUMS").write_text("")
    return directory


def test_a_bundle_and_a_directory_of_one_are_taken_as_they_are(tmp_path: Path) -> None:
    kept = make(tmp_path / "models" / "a")
    assert bundle_of(RunSpec((str(kept),)), tmp_path, Silence()) == kept
    assert bundle_of(RunSpec((str(kept.parent),)), tmp_path, Silence()) == kept
    make(tmp_path / "models" / "b")
    with pytest.raises(InputError, match="bundles in it: a, b") as error:
        bundle_of(RunSpec((str(kept.parent),)), tmp_path, Silence())
    assert error.value.remedy
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="bundles in it: none"):
        bundle_of(RunSpec((str(tmp_path / "empty"),)), tmp_path, Silence())


def test_a_run_stands_for_the_bundle_that_it_kept(tmp_path: Path) -> None:
    kept = make(tmp_path / "models" / "nsl-kdd-autoencoder")
    make(tmp_path / "models" / "of another run")
    run = records.run(spec=records.spec(save=str(kept.parent)))
    assert bundle_of(RunSpec((str(write_run(run, tmp_path)),)), tmp_path, Silence()) == kept
    other = write_run(records.run(run_id="r-2"), tmp_path)
    with pytest.raises(InputError, match="this run kept no model bundle") as error:
        bundle_of(RunSpec((str(other),)), tmp_path, Silence())
    assert "--save" in (error.value.remedy or "")


def test_a_workload_is_trained_and_saved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[RunSpec] = []

    def run_once(spec: RunSpec, *_: object, check: bool) -> SimpleNamespace:
        asked.append(spec)
        make(Path(spec.save or "") / "nsl-kdd-mlp")
        return SimpleNamespace(results=())

    monkeypatch.setattr(runs, "run_once", run_once)
    for _ in range(2):
        assert bundle_of(RunSpec(("nsl-kdd-mlp",)), tmp_path / "kept", Silence()) == tmp_path / "kept" / "nsl-kdd-mlp"
    (spec,) = asked
    assert (spec.workloads, spec.scenarios, spec.seeds, spec.blocks) == (("nsl-kdd-mlp",), ("offline",), 1, 1)


@pytest.mark.parametrize(("there", "words"), [("nsl-kdd-mlp/a", "exists already"), ("", "kept: cannot be written")])
def test_a_place_where_no_bundle_can_be_kept_is_refused_before_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str, words: str
) -> None:
    kept = tmp_path / "kept"
    (kept / there).mkdir(parents=True) if there else kept.write_text("a file")
    monkeypatch.setattr(runs, "observed", None)
    with pytest.raises(InputError, match=words):
        runs.begin(RunSpec(("nsl-kdd-mlp",), synthetic=True, save=str(kept)), (), tmp_path / "out")
    assert list(tmp_path.iterdir()) == [kept]


def test_a_training_that_leaves_no_bundle_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = SimpleNamespace(validity=SimpleNamespace(reasons=("the fit failed: out of memory",)))
    monkeypatch.setattr(runs, "run_once", lambda *_, **__: SimpleNamespace(results=(result,)))
    with pytest.raises(InputError, match="could not be trained and saved: the fit failed: out of memory"):
        bundle_of(RunSpec(("nsl-kdd-mlp",)), tmp_path, Silence())


def test_a_name_that_is_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Unknown workload 'nsl-kdd-mpl'"):
        bundle_of(RunSpec(("nsl-kdd-mpl",)), tmp_path, Silence())


def test_each_choice_of_data_has_a_bundle_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[RunSpec] = []

    def run_once(spec: RunSpec, *_: object, check: bool) -> SimpleNamespace:
        trained.append(spec)
        make(Path(spec.save or "") / workloads_of(spec)[0].name)
        return SimpleNamespace(results=())

    monkeypatch.setattr(runs, "run_once", run_once)
    file = tmp_path / "own.csv"
    file.write_text("a,label\n1,0\n")
    own = RunSpec(("nsl-kdd-mlp",), dataset=f"csv:{file}", label="label")
    asked = [own, own, replace(own, dataset_options={"drop": ("a",)}), RunSpec(("nsl-kdd-mlp",), synthetic=True)]
    first, again, other, synthetic = (bundle_of(spec, tmp_path / "kept", Silence()) for spec in asked)
    assert first == again
    assert len({first, other, synthetic, tmp_path / "kept" / "nsl-kdd-mlp"}) == 4
    file.write_text("a,label\n1,0\n2,1\n")
    assert bundle_of(own, tmp_path / "kept", Silence()) not in (first, other)
    assert [spec.dataset_options for spec in trained] == [{}, {"drop": ("a",)}, {}, {}]
    with pytest.raises(InputError, match="is trained already"):
        bundle_of(replace(own, workloads=(str(first),)), tmp_path, Silence())
