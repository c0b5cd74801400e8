"""A detector on a data set of one's own: the fit job, the training scenario, and what the command line refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.cli.choices import entries_of, on_data
from harness.detectors import registry
from harness.detectors.export import prepare
from harness.errors import InputError
from harness.linalg import native
from harness.measure.causes import Watch
from harness.measure.clock import SystemClock, clock_cost_ns
from harness.measure.steady import PILOT_SAMPLES
from harness.platform.counters import ThreadCounters
from harness.runs.accuracy import accuracy_record
from harness.scenarios.series import Bench
from harness.scenarios.train import train_eager, train_native
from harness.training.context import FitContext
from harness.workers.baseline_detectors import references_job, score_references
from harness.workers.fit import fit
from harness.workers.jobs import FitJob
from harness.workload.files import load_workload


@pytest.fixture
def own_file(tmp_path: Path) -> str:
    """900 rows, a tenth of them of two anomalous kinds."""
    generator = np.random.default_rng(1)
    lines = ["bytes,proto,verdict"]
    for _ in range(900):
        bad = generator.random() < 0.1
        kind = ("scan", "flood")[generator.integers(2)] if bad else "benign"
        lines.append(f"{generator.normal() + 3 * bad:.4f},{('tcp', 'udp')[generator.integers(2)]},{kind}")
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"csv:{path}"


@pytest.mark.parametrize("reference", ["nsl-kdd-autoencoder", "sklearn.neighbors:LocalOutlierFactor"])
def test_a_workload_or_a_class_runs_on_a_file_of_ones_own(reference, own_file, tmp_path):
    (entry,) = on_data(entries_of([reference]), own_file, "verdict")
    assert entry.workload.name.startswith("mine-")
    assert entry.workload.published is None
    assert not entry.workload.accuracy.floor
    job = FitJob(
        entry.reference, "clean", None, (0,), "torch", 2, None, 1, str(tmp_path / "fit"), dataset=own_file,
        label="verdict",
    )  # fmt: skip
    payload = fit(job)
    assert payload["dataset"]["origin"] == "real"
    evaluation = payload["evaluations"][0]
    assert evaluation["auc_roc"] > 0.8
    assert set(evaluation["per_class"]) == {"benign", "scan", "flood"}
    assert set(payload["dataset"]["duplicates"]) == {"train", "test", "test_in_train"}
    references = score_references(references_job(entry.workload, "clean", None, None, 1))["references"]
    by_name = {one["name"]: one["metrics"] for one in references}
    assert by_name["gradient boosting"]["auc_roc"]["value"] > 0.9
    assert by_name["1-NN distance"]["accuracy"]["value"] > 0.7  # not everything is flagged


def test_what_does_not_go_together_is_refused(own_file):
    entries = entries_of(["nsl-kdd-mlp"])
    assert on_data(entries, None, None) == entries
    with pytest.raises(InputError, match="--dataset"):
        on_data(entries, None, "verdict")
    with pytest.raises(InputError, match="nslkdd"):
        on_data(entries, "nslkdd", None)


def test_a_label_column_that_is_not_there_is_told_with_those_that_are(own_file, tmp_path):
    job = FitJob(
        "nsl-kdd-mlp", "clean", None, (0,), "torch", 1, None, 1, str(tmp_path), dataset=own_file, label="class"
    )
    with pytest.raises(InputError, match="'class'") as caught:
        fit(job)
    assert "verdict" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("name", "rule"),
    [("egbad", "threshold"), ("egbad", "keep"), ("alad", "keep"), ("mlp", "threshold"), ("knn", "threshold")],
)
def test_a_fit_that_is_only_timed_needs_no_validation_labels(name, rule):
    X = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    detector = registry.resolve(name, {rule: "validation"})
    detector.fit(X, np.arange(200) % 2, context=FitContext(on_steps=lambda steps: False))
    with pytest.raises(InputError, match="validation split"):
        registry.resolve(name, {rule: "validation"}).fit(X, np.arange(200) % 2)


@pytest.mark.skipif(native.extension is None, reason="the native kernels are not built")
@pytest.mark.parametrize("name", ["mlp", "autoencoder", "vae"])
def test_the_native_trainer_goes_on_from_what_was_exported(name, tmp_path):
    generator = np.random.default_rng(0)
    X = generator.normal(size=(150, 6)).astype(np.float32)
    y = (np.arange(150) % 3 == 0).astype(np.int8)
    prepare(registry.resolve(name, {"epochs": 1, "batch_size": 64}).fit(X, y), tmp_path)
    clock = SystemClock()
    bench = Bench(clock, clock_cost_ns(clock), ThreadCounters(), Watch(), seconds=0.01)
    (series,) = train_native(tmp_path, X, y, 1, bench)
    assert len(series.durations_ns) >= PILOT_SAMPLES


@pytest.mark.parametrize("name", ["mlp", "autoencoder", "lstm"])
def test_training_on_few_rows_makes_a_series_all_the_same(name, tmp_path):
    generator = np.random.default_rng(0)
    X = generator.normal(size=(150, 6)).astype(np.float32)
    y = (np.arange(150) % 3 == 0).astype(np.int8)
    detector = registry.resolve(name, {"epochs": 1, "batch_size": 64})
    prepare(detector.fit(X, y), tmp_path)
    clock = SystemClock()
    bench = Bench(clock, clock_cost_ns(clock), ThreadCounters(), Watch(), seconds=0.01)
    (series,) = train_eager(tmp_path, X, y, 1, bench)
    assert len(series.durations_ns) >= PILOT_SAMPLES
    assert series.inner in (1, 2)


@pytest.mark.parametrize(
    ("epochs", "rows", "floor"), [(None, None, 0.1), (4, None, 0.1), (1, None, None), (None, 200, None)]
)
def test_a_floor_holds_for_the_whole_schedule_and_data_only(epochs, rows, floor, own_file, tmp_path):
    path = tmp_path / "short.toml"
    path.write_text(
        f'name = "short"\ntitle = "Short"\ndetector = "autoencoder"\ndataset = "{own_file}"\n'
        '[dataset_options]\nlabel = "verdict"\n[training]\nepochs = 2\nbatch_size = 64\nseeds = 1\n'
        '[inference]\nbatch_sizes = [1]\nbackends = ["eager"]\n'
        '[accuracy]\nmetric = "auc_roc"\n[accuracy.floor.clean]\nreal = 0.1\n',
        encoding="utf-8",
    )
    job = FitJob(str(path), "clean", None, (0,), "torch", epochs, rows, 1, str(tmp_path / "fit"))
    record = accuracy_record(load_workload(str(path)), "clean", fit(job))
    assert record["floor"] == floor
    assert record["limits"] == {"epochs": epochs if epochs == 1 else None, "rows": rows}
