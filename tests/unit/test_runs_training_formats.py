"""Training in bfloat16 next to float32: what is refused, what is fitted and measured, and what the report says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.sweeps import PLACEMENT, result_of

from harness.cli.choices import parse_train_dtypes
from harness.errors import InputError
from harness.evaluation.metrics import METRICS
from harness.linalg import native
from harness.record.model import Metric
from harness.record.spec import RunSpec
from harness.reporting.sections.variants import variant_tables
from harness.runs.accuracy import accuracy_record
from harness.runs.engine import Fit
from harness.runs.training_formats import check_processor, check_training_formats, lower_formats
from harness.runs.training_time import training_time
from harness.runs.work import _configurations
from harness.workers.fit import fit, fit_in_format
from harness.workers.jobs import FitJob
from harness.workers.outcomes import FitOutcome
from harness.workload.files import find_workload
from harness.workload.model import Inference, Settings, Training, Workload

SPEC = RunSpec(("small",), train_dtypes=("bfloat16",))
SMALL = Workload(
    "small", "Small", "bilstm", "nsl-kdd",
    clean=Settings(hyperparameters={"hidden": (16,), "heads": 2}, training=Training(epochs=2, batch_size=128, seeds=2)),
    inference=Inference(batch_sizes=(1, 64), backends=("eager", "native")),
)  # fmt: skip


@pytest.mark.parametrize(
    ("workload", "spec", "message"),
    [
        (find_workload("nsl-kdd-mlp"), SPEC, "mlp is not trained in bfloat16"),
        (replace(SMALL, detector="module:Class"), SPEC, "module:Class is not trained in bfloat16"),
        (find_workload("cicids2017-cnn-failing"), SPEC, "cnn is not trained in bfloat16"),
        (SMALL, replace(SPEC, ranks=2), "several ranks train in float32"),
        (SMALL, replace(SPEC, backends=("eager",)), "the native backend alone trains in bfloat16"),
    ],
)
def test_what_cannot_be_trained_so_is_refused(workload: Workload, spec: RunSpec, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        check_training_formats([SMALL, workload], spec)
    assert "--train-dtypes float32" in str(refused.value.remedy)
    check_training_formats([SMALL, workload], replace(spec, train_dtypes=("float32",)))


@pytest.mark.skipif(native.missing() is not None, reason="the native kernels are not built")
def test_a_processor_without_such_products_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    portable = native.select("portable")
    assert not portable.multiplies("bfloat16")
    monkeypatch.setattr(native, "select", lambda: portable)
    with pytest.raises(InputError, match="This processor has no bfloat16 products"):
        check_processor([SMALL], SPEC)
    check_processor([SMALL], replace(SPEC, train_dtypes=None))


def test_a_workload_has_formats_of_its_own_and_the_command_line_others() -> None:
    own = replace(SMALL, clean=replace(SMALL.clean, training=Training(dtypes=("float32", "bfloat16"))))
    assert lower_formats(own, RunSpec(("small",)), "clean") == ("bfloat16",)
    assert lower_formats(own, replace(SPEC, train_dtypes=("float32",)), "clean") == ()
    assert lower_formats(SMALL, replace(SPEC, train_dtypes=parse_train_dtypes("bfloat16,float32")), "clean") == (
        "bfloat16",
    )
    with pytest.raises(InputError, match="--train-dtypes"):
        parse_train_dtypes("int8")


@pytest.mark.skipif(native.missing() is not None, reason="the native kernels are not built")
def test_every_seed_is_trained_in_both_and_the_report_has_each_metric_and_the_rates(tmp_path: Path) -> None:
    job = FitJob(
        workload=SMALL, protocol="clean", data_dir=None, seeds=(0, 1), trainer="native", epochs=None, rows=900,
        threads=1, directory=str(tmp_path), synthetic="always",
    )  # fmt: skip
    trial = fit_in_format(replace(job, dtype="bfloat16"))
    outcome = fit(job)
    assert isinstance(outcome, FitOutcome)
    outcome = replace(outcome, training_formats=(trial,))
    assert all(found is not None for found in trial.evaluations)
    accuracy = accuracy_record(SMALL, "clean", outcome)
    (item,) = accuracy.training_formats
    assert set(item.metrics) == set(item.differences) == set(METRICS)
    found = item.differences["auc_roc"]
    assert 0 < abs(found.mean) < 0.02
    assert found.mean == pytest.approx(item.metrics["auc_roc"].mean - accuracy.metrics["auc_roc"].mean)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.mean < found.high

    fitted = Fit(SMALL, "clean", 2, tmp_path, result_of(outcome, PLACEMENT))
    measured = {(each.backend, each.dtype): each.scenarios for each in _configurations(fitted, RunSpec(("small",)))}
    assert measured[("native", "bfloat16")] == ("train",)
    assert "train" in measured[("native", "float32")]
    assert len(measured) == 3
    took = training_time(fitted, "native", "bfloat16", None)
    assert took is not None
    assert took.value == trial.seconds

    rates = {"float32": Metric(2e4, "rows/s", n=6), "bfloat16": Metric(3e4, "rows/s", n=6)}
    table = dict(variant_tables(accuracy, rates))["Trained in bfloat16"]
    assert table.head == ("Metric", "float32", "bfloat16", "Difference")
    assert [row[0] for row in table.rows][-1] == "training rate"
    assert len(table.rows) == len(METRICS) + 1
    assert table.rows[-1][-1] == "1.50 times"
    diverged = replace(outcome, training_formats=(replace(trial, evaluations=(None, trial.evaluations[1])),))
    (item,) = accuracy_record(SMALL, "clean", diverged).training_formats
    assert (item.diverged, item.metrics["f1"].n, item.differences["f1"].low) == (1, 1, None)
