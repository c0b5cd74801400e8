"""A model bundle scores as the detector it was saved from, without torch, and is refused when a bit of it differs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.bundles import Saved, saved

from harness.detectors.export import Fitted, save_bundle
from harness.detectors.opening import fastest_backend, open_scorer
from harness.detectors.registry import resolve
from harness.errors import InputError, LparbenchError
from harness.evaluation.drift import DriftReference
from harness.linalg import chain
from harness.scoring import bundle as bundles
from harness.scoring.agreement import agreement
from harness.scoring.bundle import open_bundle
from harness.workers.fit import dataset_record

ROOT = Path(__file__).resolve().parents[2]
SYSTEMS = {
    "mlp": {"epochs": 1},
    "autoencoder": {"epochs": 1},
    "isolation-forest": {},
    "knn": {},
    "lstm": {"epochs": 1, "hidden": (8, 8)},
    "ft-transformer": {"epochs": 0, "pretraining_epochs": 0},
}


@pytest.fixture(scope="module")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    return saved(tmp_path_factory.mktemp("bundle") / "mlp", validation=0.2)


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_backend_of_a_bundle_agrees_with_the_detector(name: str, tmp_path: Path) -> None:
    options = {"rows": 200} if name == "ft-transformer" else {}
    kept = saved(tmp_path / "kept", name, SYSTEMS[name], "tabformer" if name == "lstm" else "nsl-kdd", **options)
    opened = open_bundle(kept.directory)
    rows = kept.data.test_x[:1000] if name != "ft-transformer" else kept.data.test_x[:70]
    expected = kept.detector.decision_function(rows)
    assert opened.artifacts.backends[-2:] == ("onnxruntime", "eager")
    for backend in opened.artifacts.backends:
        if backend == "native" and not chain.available():
            continue
        verdict = agreement(expected, open_scorer(kept.directory, backend).score(rows))
        assert verdict.within, f"{backend}: {verdict.sentence()}"
    np.testing.assert_array_equal(open_scorer(kept.directory, "eager").score(rows), expected)
    if name == "ft-transformer" and chain.available():
        assert fastest_backend(opened) == "native"
        assert not needs_torch(kept.directory, "native")
        with pytest.raises(InputError, match="no native form in int8"):
            open_scorer(kept.directory, "native", "int8")


def test_what_a_bundle_knows(mlp: Saved) -> None:
    opened = open_bundle(mlp.directory)
    manifest = opened.manifest
    assert manifest.features == mlp.data.feature_names
    assert manifest.columns == mlp.data.encoder.columns
    assert manifest.file_columns[-2:] == ("label", "difficulty")
    assert manifest.provenance.dataset.name == "nsl-kdd"
    assert manifest.provenance.parameters["epochs"] == 1
    scores = mlp.detector.decision_function(mlp.data.test_x)
    np.testing.assert_array_equal(opened.labels(scores), mlp.detector.predict(mlp.data.test_x) == 1)
    values = [level.value for level in manifest.levels]
    assert values == sorted(values)
    assert manifest.decision in manifest.levels
    by_hand = [sum(score > np.float32(value) for value in values) for score in scores]
    np.testing.assert_array_equal(opened.levels(scores), by_hand)


def test_no_row_and_no_pickle_is_in_a_bundle(mlp: Saved) -> None:
    opened = open_bundle(mlp.directory)
    for path in mlp.directory.glob("*.npz"):
        with np.load(path, allow_pickle=False) as arrays:
            assert not any(len(arrays[name].shape) and len(arrays[name]) == len(mlp.data.train_x) for name in arrays)
    counts = opened.drift.counts
    assert {int(column.sum()) for column in counts} == {len(mlp.data.train_x)}


def test_drift_counts_are_those_of_the_bins() -> None:
    X = np.random.default_rng(0).choice([0.0, 1.0, 2.5, 9.0], size=(500, 3)).astype(np.float32)
    made = DriftReference.of(X)
    stored = DriftReference.from_arrays(made.to_arrays())
    for column, edges, counts in zip(X.T, stored.edges, stored.counts, strict=True):
        bounds = np.concatenate([[-np.inf], edges, [np.inf]])
        by_hand = [((column > low) & (column <= high)).sum() for low, high in pairwise(bounds)]
        np.testing.assert_array_equal(counts, by_hand)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_anywhere_is_refused(mlp: Saved, tmp_path_factory: pytest.TempPathFactory, data) -> None:
    name = data.draw(st.sampled_from(sorted(path.name for path in mlp.directory.iterdir())))
    content = bytearray((mlp.directory / name).read_bytes())
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    copy = tmp_path_factory.mktemp("flipped") / "copy"
    shutil.copytree(mlp.directory, copy)
    (copy / name).write_bytes(bytes(content))
    with pytest.raises(InputError, match="is not the file that was saved"):
        open_bundle(copy)
    shutil.rmtree(copy)


@pytest.mark.parametrize("name", ["weights.npz", "SHA256SUMS", "manifest.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "longer"])
def test_a_missing_or_cut_file_is_refused(mlp: Saved, tmp_path: Path, name: str, damage: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(mlp.directory, copy)
    path = copy / name
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[:-5] if damage == "cut" else content + b"\n")
    with pytest.raises(InputError, match=f"{name}") as raised:
        open_bundle(copy)
    assert raised.value.remedy


def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(mlp: Saved, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(mlp.directory, copy)
    (copy / "weights.npz").unlink()
    os.mkfifo(copy / "weights.npz")
    with pytest.raises(InputError, match=r"weights\.npz is no file"):
        open_bundle(copy)


def test_another_format_and_what_is_no_bundle(mlp: Saved, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(mlp.directory, copy)
    document = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**document, "format": 99}))
    (copy / "SHA256SUMS").unlink()
    names = sorted(path.name for path in copy.iterdir())
    sums = subprocess.run(["sha256sum", *names], cwd=copy, capture_output=True, text=True, check=True).stdout
    (copy / "SHA256SUMS").write_text(sums)
    with pytest.raises(InputError, match="format 99; this version reads 1"):
        open_bundle(copy)
    for path, words in ((tmp_path, "is no model bundle"), (tmp_path / "nothing", "no such file or directory")):
        with pytest.raises(InputError, match=words):
            open_bundle(path)


def test_sha256sum_checks_a_bundle(mlp: Saved) -> None:
    done = subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=mlp.directory, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_a_foreign_object_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a program nor an ONNX graph"):
        saved(tmp_path / "kept", "sklearn.ensemble:IsolationForest", {"n_estimators": 3})
    assert list(tmp_path.iterdir()) == [], "written whole or not at all"
    with pytest.raises(InputError, match="no threshold"):
        save_bundle(resolve("mlp"), None, None, tmp_path / "kept")


def test_written_whole_or_not_at_all(mlp: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = Fitted("w", "clean", 0, dataset_record(mlp.data))
    with pytest.raises(InputError, match="exists already"):
        save_bundle(mlp.detector, mlp.data, fitted, mlp.directory)

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundles, "_sync", full)
    with pytest.raises(LparbenchError, match=r"No space left on device\. Nothing was left behind"):
        save_bundle(mlp.detector, mlp.data, fitted, tmp_path / "kept")
    assert list(tmp_path.iterdir()) == []


WITHOUT_TORCH = """
import json, sys
from pathlib import Path
import numpy as np
from harness.detectors.export import Fitted, save_bundle
from harness.detectors.opening import open_scorer
from harness.scoring.bundle import open_bundle
from harness.workers.fit import dataset_record
bundle = open_bundle(Path(sys.argv[1]))
rows = np.zeros((3, len(bundle.manifest.features)), dtype=np.float32)
scores = open_scorer(bundle.directory, sys.argv[2]).score(rows)
bundle.labels(scores), bundle.levels(scores)
print(json.dumps("torch" in sys.modules))
"""


@pytest.mark.parametrize("backend", ["onnxruntime", "native"])
def test_opens_and_scores_without_torch(mlp: Saved, backend: str) -> None:
    if backend == "native" and not chain.available():
        pytest.skip("the native kernels are not built here")
    assert not needs_torch(mlp.directory, backend)


def needs_torch(directory: Path, backend: str) -> bool:
    """Whether a process that opens a bundle and scores with it loads torch."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(directory), backend],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return bool(json.loads(done.stdout))


def test_a_bundle_runs_no_code_that_it_names(tmp_path, monkeypatch):
    """Its sums are right: whoever makes a bundle can compute them."""
    from types import SimpleNamespace

    from harness.detectors import registry
    from harness.detectors.opening import open_stream

    monkeypatch.setattr(registry, "load", lambda _directory: pytest.fail("it was run"))
    (tmp_path / "detector.json").write_text('{"detector": "os:system", "parameters": {"command": "true"}}')
    for steps, backend in ((None, "eager"), (4, None), (4, "eager")):
        crafted = SimpleNamespace(
            directory=tmp_path, manifest=SimpleNamespace(steps=steps), artifacts=SimpleNamespace(backends=("eager",))
        )
        with pytest.raises(InputError, match="os:system is code, which a bundle does not run"):
            open_stream(crafted, backend)
