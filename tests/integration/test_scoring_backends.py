"""Exported detectors score alike on every backend, without torch where none is needed, on the CPUs they were given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.detectors import registry
from harness.detectors.export import prepare
from harness.detectors.opening import open_scorer
from harness.errors import InputError
from harness.linalg import chain
from harness.linalg.ort_options import affinities
from harness.scoring.agreement import agreement
from harness.scoring.artifacts import read
from harness.scoring.backend_compile import as_function, missing_compiler

ROOT = Path(__file__).resolve().parents[2]
GAN = {"epochs": 1, "batch_size": 500, "learning_rate": 1e-3, "ema_decay": 0.5}
DETECTORS = {
    "mlp": {"epochs": 1},
    "egbad": GAN,
    "egbad by features": {**GAN, "score_by": "feature-matching"},
    "alad": GAN,
    "alad by logits": {**GAN, "score_by": "logits"},
    "alad by l1": {**GAN, "score_by": "l1"},
    "alad by l2": {**GAN, "score_by": "l2"},
    "anogan": {**GAN, "search_steps": 15},
    "anogan by cross-entropy": {**GAN, "search_steps": 15, "score_by": "cross-entropy"},
    "autoencoder": {"epochs": 1},
    "dagmm": {"epochs": 2, "batch_size": 500, "code": 2},
    "dagmm variational": {"epochs": 2, "batch_size": 500, "objective": "variational"},
    "dsebm": {"epochs": 1, "batch_size": 500},
    "dsebm by reconstruction": {"epochs": 1, "batch_size": 500, "score_by": "reconstruction"},
    "ocsvm": {"max_samples": 500},
    "bilstm": {"epochs": 1, "hidden": (32, 16, 16), "heads": 4},
    "cnn": {"epochs": 1, "channels": 8},
    "autoencoder-classifier": {"epochs": 1, "pretraining_epochs": 0},
    "ft-transformer": {"epochs": 0, "pretraining_epochs": 0},
    "ft-transformer of rtdl": {"epochs": 0, "pretraining_epochs": 0, "preset": "rtdl-default", "categorical": [3]},
    "lstm": {"epochs": 1, "batch_size": 500},
    "xgboost": {"n_estimators": 20},
    "fraud-ensemble": {"epochs": 1, "batch_size": 500, "n_estimators": 20},
    "vae": {"epochs": 1},
    "vae of pixels": {"epochs": 1, "output": "sigmoid"},
    "isolation-forest": {"n_estimators": 20},
    "knn": {"max_samples": 1000},
    "pca": {},
    "gradient-boosting": {"max_iter": 10},
}


@pytest.fixture(scope="module")
def rows():
    generator = np.random.default_rng(2)
    X = generator.normal(size=(9000, 41)).astype(np.float32)
    X[::97] *= 30.0
    return X, (generator.random(9000) < 0.3).astype(int)


@pytest.fixture(scope="module", params=DETECTORS)
def exported(request, rows, tmp_path_factory):
    directory = tmp_path_factory.mktemp("exported")
    detector = registry.resolve(request.param.partition(" ")[0], DETECTORS[request.param]).fit(*rows)
    prepare(detector, directory)
    return detector, directory


@pytest.fixture(scope="module")
def exported_mlp(rows, tmp_path_factory):
    directory = tmp_path_factory.mktemp("mlp")
    prepare(registry.resolve("mlp", {"epochs": 1}).fit(*rows), directory)
    return directory


@pytest.mark.parametrize("backend", ["eager", "onnxruntime"])
@pytest.mark.parametrize("batch", [1, 7, 300])
def test_backends_agree_at_any_batch_size(exported, rows, backend, batch):
    detector, directory = exported
    X = rows[0][:batch]
    scores = open_scorer(directory, backend).score(X)
    assert scores.dtype == np.float32
    assert scores.shape == (batch,)
    found = agreement(detector.decision_function(X), scores)
    assert found.within, found.sentence()


def test_what_is_refused_before_a_fit_is_what_no_fit_has(exported):
    detector, directory = exported
    scoring = read(directory)
    assert {*scoring.backends, *scoring.unavailable} <= {*registry.possible_backends(detector.identity())}


@pytest.mark.skipif(not chain.available(), reason="the native kernels are not built here")
@pytest.mark.parametrize("batch", [1, 7, 300])
def test_native_agrees_at_any_batch_size(exported, rows, batch):
    detector, directory = exported
    if "native" not in read(directory).backends:
        pytest.skip("no dense net")
    X = rows[0][:batch]
    found = agreement(detector.decision_function(X), open_scorer(directory, "native").score(X))
    assert found.within, found.sentence()


def test_onnxruntime_quantises_what_it_multiplies(exported_mlp, rows):
    X = np.delete(rows[0][:500], slice(None, None, 97), axis=0)  # its one scale per call does not stand outliers
    full, lower = (open_scorer(exported_mlp, "onnxruntime", dtype).score(X) for dtype in ("float32", "int8"))
    assert not np.array_equal(full, lower)
    assert agreement(full, lower, "int8").within


def test_a_missing_compiler_is_said_with_its_remedy(rows, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    missing_compiler.cache_clear()
    try:
        made = prepare(registry.resolve("mlp", {"epochs": 1}).fit(*rows), tmp_path)
        assert "compile" not in made.backends
        assert "Install g++" in made.unavailable["compile"]
        with pytest.raises(InputError, match="cannot run on backend compile"):
            open_scorer(tmp_path, "compile")
    finally:
        missing_compiler.cache_clear()


def test_the_function_to_compile_is_the_program(exported, rows):
    detector, directory = exported
    artifacts = read(directory)
    if "compile" not in artifacts.backends:
        return
    found = as_function(artifacts.program())(torch.from_numpy(rows[0][:100])).numpy()
    verdict = agreement(detector.decision_function(rows[0][:100]), found)
    assert verdict.within, verdict.sentence()


def test_more_rows_than_one_call_takes(exported_mlp, rows):
    whole = open_scorer(exported_mlp, "onnxruntime").score(rows[0])
    assert whole.shape == (9000,)
    assert agreement(open_scorer(exported_mlp, "eager").score(rows[0]), whole).within


def run(script: str, *arguments: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
        capture_output=True, text=True, timeout=480, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


LOADED_BY = """
import json, sys
from pathlib import Path
import numpy as np
from harness.detectors.opening import open_scorer
open_scorer(Path(sys.argv[1]), sys.argv[2]).score(np.zeros((3, 41), dtype=np.float32))
print(json.dumps({"loaded": [name for name in ("torch", "sklearn", "pandas", "onnx") if name in sys.modules]}))
"""


def test_onnxruntime_needs_nothing_else(exported_mlp):
    assert run(LOADED_BY, str(exported_mlp), "onnxruntime") == {"loaded": []}


def test_an_object_of_somebody_else_needs_no_torch_that_it_does_not_load(tmp_path):
    detector = registry.resolve("support.misbehaving:Sound").fit(np.ones((8, 41), dtype=np.float32))
    prepare(detector, tmp_path)
    assert run(LOADED_BY, str(tmp_path), "eager") == {"loaded": []}


PINNED = """
import json, os, sys
from pathlib import Path
cpus = {int(cpu) for cpu in sys.argv[2].split(",")}
os.sched_setaffinity(0, cpus)
import numpy as np
from harness.detectors.opening import open_scorer
scorer = open_scorer(Path(sys.argv[1]), sys.argv[3], threads=len(cpus))
rows = np.zeros((4096, 41), dtype=np.float32)
for _ in range(20):
    scorer.score(rows)
tasks = {int(task) for task in os.listdir("/proc/self/task")}
masks = [sorted(os.sched_getaffinity(task)) for task in tasks - {os.getpid()}]
print(json.dumps({"outside": [mask for mask in masks if not set(mask) <= cpus], "widths": [len(m) for m in masks]}))
"""


@pytest.mark.parametrize("backend", ["onnxruntime", "native"])
@pytest.mark.parametrize("width", [1, 2])
def test_threads_stay_on_the_mask_and_leave_the_caller_a_cpu(exported_mlp, width, backend):
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < width:
        pytest.skip(f"needs {width} CPUs")
    chosen = allowed[-width:]  # not CPU 0 first, where a wrong 0-based numbering would hide
    found = run(PINNED, str(exported_mlp), ",".join(str(cpu) for cpu in chosen), backend)
    assert found["outside"] == []
    assert found["widths"].count(1) >= width - 1


def test_affinity_string_counts_from_one_and_leaves_a_cpu_to_the_caller():
    assert affinities((8, 9, 12, 13), 4) == "10;13;14"
    assert affinities((8, 9, 12, 13), 2) == "10"
    with pytest.raises(InputError, match="may run on 2 CPUs only"):
        affinities((0, 1), 3)


def test_a_foreign_object_runs_eager_and_says_so_elsewhere(rows, tmp_path):
    X, y = rows
    detector = registry.resolve("sklearn.ensemble:IsolationForest", {"n_estimators": 5}).fit(X, y)
    assert prepare(detector, tmp_path).backends == ("eager",)
    np.testing.assert_array_equal(open_scorer(tmp_path, "eager").score(X), detector.decision_function(X))
    with pytest.raises(InputError, match="cannot run on backend onnxruntime"):
        open_scorer(tmp_path, "onnxruntime")


def test_wrong_requests(exported_mlp, tmp_path):
    directory = exported_mlp
    for arguments, message in [
        ({"backend": "cuda"}, "Unknown backend"),
        ({"backend": "eager", "dtype": "int8"}, "no dtype"),
        ({"backend": "eager", "threads": 0}, "expected 1 or more"),
    ]:
        with pytest.raises(InputError, match=message):
            open_scorer(directory, **arguments)
    with pytest.raises(InputError, match="missing or broken"):
        open_scorer(tmp_path, "eager")
    with pytest.raises(InputError, match="not fitted"):
        prepare(registry.resolve("mlp"), tmp_path)


def test_a_damaged_graph_is_one_clear_error(rows, tmp_path):
    detector = registry.resolve("mlp", {"epochs": 1}).fit(rows[0][:200], rows[1][:200])
    prepare(detector, tmp_path)
    (tmp_path / "scorer.onnx").write_bytes(b"\x00\x01")
    with pytest.raises(InputError, match="ONNX Runtime cannot open"):
        open_scorer(tmp_path, "onnxruntime")
