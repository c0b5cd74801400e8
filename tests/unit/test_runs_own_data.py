"""A detector on a data set of one's own: the fit job, the training scenario, and what the command line refuses."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics
from sklearn.neighbors import NearestNeighbors

from harness.datasets.base import load
from harness.detectors import registry
from harness.detectors.export import prepare
from harness.errors import InputError
from harness.linalg import native
from harness.measure.causes import Watch
from harness.measure.clock import SystemClock, clock_cost_ns
from harness.measure.steady import PILOT_SAMPLES
from harness.platform.counters import ThreadCounters
from harness.record.accuracy import TrainingLimits
from harness.record.spec import RunSpec
from harness.runs.accuracy import accuracy_record
from harness.runs.design import workloads_of
from harness.scenarios.series import Bench
from harness.scenarios.train import train_eager, train_native
from harness.training.context import FitContext
from harness.workers.baseline_detectors import baseline_job, score_baselines
from harness.workers.fit import _load, fit
from harness.workers.jobs import FitJob
from harness.workers.row_scores import SCORES_FILE


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


def job_of(name: str, directory: Path, **changes) -> FitJob:
    """The fit of a workload or class, on its own data set or another one."""
    dataset = {key: changes.pop(key) for key in ("dataset", "label") if key in changes}
    (workload,) = workloads_of(RunSpec((name,), data_dir=changes.get("data_dir"), **dataset))
    values = {
        "workload": workload, "protocol": "clean", "data_dir": None, "seeds": (0,), "trainer": "torch", "epochs": None,
        "rows": None, "threads": 1, "directory": str(directory),
    }  # fmt: skip
    return FitJob(**{**values, **changes})


@pytest.mark.parametrize("name", ["nsl-kdd-autoencoder", "sklearn.neighbors:LocalOutlierFactor"])
def test_a_workload_or_a_class_runs_on_a_file_of_ones_own(name, own_file, tmp_path):
    job = job_of(name, tmp_path / "fit", epochs=2, dataset=own_file, label="verdict")
    assert job.workload.name == f"mine-{name.rpartition(':')[2].lower()}"
    assert job.workload.published is None
    assert not job.workload.accuracy.floor
    outcome = fit(job)
    assert outcome.dataset.origin == "real"
    evaluation = outcome.evaluations[0]
    assert evaluation.auc_roc > 0.8
    assert set(evaluation.per_class) == {"benign", "scan", "flood"}
    assert set(outcome.dataset.duplicates) == {"train", "test", "test_in_train"}
    baselines = score_baselines(baseline_job(job.workload, "clean", None, None, 1))
    by_name = {detector.name: detector.metrics for detector in baselines.detectors}
    assert by_name["gradient boosting"]["auc_roc"].mean > 0.9
    assert by_name["1-NN distance"]["accuracy"].mean > 0.7  # not everything is flagged


def test_baselines_have_the_splits_of_the_detector(own_file, tmp_path):
    job = job_of("nsl-kdd-isolation-forest", tmp_path / "fit", dataset=own_file, label="verdict", seeds=(0, 1))
    outcome = score_baselines(baseline_job(job.workload, "clean", None, None, 1, seeds=2))
    (nearest,) = [each for each in outcome.detectors if each.name == "1-NN distance"]
    expected = []
    for number in (0, 1):
        data = _load(job, None if not number else int(_load(job).split_seed) + number)
        options = {"label": "verdict", "encoding": outcome.basis.encoding, "seed": data.split_seed}
        plain = load(own_file, options=options)
        np.testing.assert_array_equal(plain.test_y, data.test_y)  # the detector's own split
        distance, _ = NearestNeighbors(n_neighbors=1).fit(plain.train_x[plain.train_y == 0]).kneighbors(plain.test_x)
        expected.append(metrics.roc_auc_score(plain.test_y, distance[:, 0]))
    assert expected[0] != expected[1]
    found = nearest.metrics["auc_roc"]
    assert (found.n, found.mean, found.sd) == pytest.approx((2, np.mean(expected), np.std(expected, ddof=1)), abs=1e-6)


def test_the_file_of_scores_gives_the_figures_of_the_record(own_file, tmp_path):
    """By scikit-learn alone, from what the file holds."""
    job = job_of("nsl-kdd-gradient-boosting", tmp_path / "fit", dataset=own_file, label="verdict", scores=True)
    outcome = fit(job)
    with (tmp_path / "fit" / SCORES_FILE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    evaluation = outcome.evaluations[0]
    score, label, flagged, level = (
        np.array([float(row[name]) for row in rows]) for name in ("score", "label", "flagged", "level")
    )
    assert [int(row["row"]) for row in rows] == list(range(outcome.dataset.rows["test"]))
    assert metrics.roc_auc_score(label, score) == pytest.approx(evaluation.auc_roc, rel=1e-9)
    assert metrics.precision_score(label, flagged) == pytest.approx(evaluation.precision)
    assert metrics.recall_score(label, flagged) == pytest.approx(evaluation.recall)
    assert {row["class"] for row in rows if row["label"] == "1"} == {"scan", "flood"}
    cuts = np.unique([evaluation.threshold, *(point.threshold for point in outcome.operating_points)])
    assert level.tolist() == [sum(value > cut for cut in cuts) for value in score]
    fit(job_of("nsl-kdd-gradient-boosting", tmp_path / "other", dataset=own_file, label="verdict"))
    assert not (tmp_path / "other" / SCORES_FILE).exists()


def test_what_does_not_go_together_is_refused(own_file):
    with pytest.raises(InputError, match="--dataset"):
        workloads_of(RunSpec(("nsl-kdd-mlp",), label="verdict"))
    with pytest.raises(InputError, match="nslkdd"):
        workloads_of(RunSpec(("nsl-kdd-mlp",), dataset="nslkdd"))


def test_a_label_column_that_is_not_there_is_reported_with_those_that_are(own_file, tmp_path):
    with pytest.raises(InputError, match="'class'") as caught:
        fit(job_of("nsl-kdd-mlp", tmp_path, epochs=1, dataset=own_file, label="class"))
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
    job = job_of(str(path), tmp_path / "fit", epochs=epochs, rows=rows)
    accuracy = accuracy_record(job.workload, "clean", fit(job))
    assert accuracy.floor == floor
    assert accuracy.limits == TrainingLimits(epochs if epochs == 1 else None, rows)


@pytest.mark.parametrize(("prevalence", "headline"), [(0.2, "auc_roc"), (0.0499, "auc_pr"), (0.05, "auc_roc")])
def test_rare_anomalies_are_judged_by_precision_and_recall(prevalence, headline, own_file, tmp_path):
    job = job_of("sklearn.neighbors:LocalOutlierFactor", tmp_path / "fit", dataset=own_file, label="verdict")
    outcome = fit(job)
    first = replace(outcome.evaluations[0], prevalence=prevalence)
    accuracy = accuracy_record(job.workload, "clean", replace(outcome, evaluations=(first,)))
    assert accuracy.headline == headline
    assert accuracy.warnings == ()
    held = replace(job.workload, accuracy=replace(job.workload.accuracy, floor={"clean": {"real": 0.1}}))
    assert accuracy_record(held, "clean", replace(outcome, evaluations=(first,))).headline == "auc_roc"
    turned = replace(first, auc_roc=0.2, auc_roc_interval=(0.1, 0.3))
    (warning,) = accuracy_record(job.workload, "clean", replace(outcome, evaluations=(turned,))).warnings
    assert warning.startswith("Scores seem turned: the ROC-AUC is 0.200 [0.100, 0.300]")


def test_a_detector_that_learns_from_labels_is_refused_where_all_rows_are_normal(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "adbench").mkdir()
    np.savez(tmp_path / "adbench" / "odd.npz", X=rng.random((300, 3)), y=(np.arange(300) % 10 == 0).astype(int))
    for detector in ("sklearn.ensemble:RandomForestClassifier", "cicids2017-gradient-boosting"):
        job = job_of(detector, tmp_path / "fit", dataset="adbench:odd", data_dir=str(tmp_path))
        with pytest.raises(InputError, match="of both kinds; the 108 training rows of adbench:odd are all") as raised:
            fit(job)
        assert "train_rows" in (raised.value.remedy or "")


def test_warnings_about_the_data_reach_the_record(tmp_path):
    rows = [f"{row % 7},{int(row % 10 == 0)},{'attack' if row % 10 == 0 else 'normal'}" for row in range(400)]
    (tmp_path / "flows.csv").write_text("\n".join(["bytes,flag,label", *rows]) + "\n", encoding="utf-8")
    job = job_of("cicids2017-pca", tmp_path / "fit", dataset=f"csv:{tmp_path}/flows.csv", label="label")
    assert any("'flag' (ROC-AUC 1.000) alone separates the labels" in text for text in fit(job).dataset.warnings)


def test_every_seed_of_a_random_split_has_a_split_of_its_own(own_file, tmp_path):
    name = "sklearn.ensemble:IsolationForest"
    job = job_of(name, tmp_path / "fit", dataset=own_file, label="verdict", seeds=(0, 1, 2))
    outcome = fit(job)
    alone = fit(job_of(name, tmp_path / "one", dataset=own_file, label="verdict"))
    assert len(outcome.evaluations) == 3
    assert outcome.evaluations[0] == alone.evaluations[0]
    assert len({evaluation.auc_roc for evaluation in outcome.evaluations}) > 1
    assert any("split of its own" in note for note in outcome.dataset.notes)
    assert not any("split of its own" in note for note in alone.dataset.notes)
    assert any("one random split" in note for note in alone.dataset.notes)
    assert (outcome.splits, alone.splits) == (3, 1)
    accuracy = accuracy_record(job.workload, "clean", outcome)
    interval = accuracy.intervals["auc_roc"]
    assert 0.0 <= interval.low < accuracy.metrics["auc_roc"].mean < interval.high <= 1.0
    assert "over 3 random splits" in interval.method
    assert "auc_roc" not in accuracy_record(job.workload, "clean", alone).intervals
    options = {"label": "verdict"}
    for seed, evaluation in enumerate(outcome.evaluations, 42):
        data = load(own_file, options={**options, "seed": seed})
        assert data.split_seed == seed
        assert evaluation.prevalence == pytest.approx(data.prevalence)
