"""What is timed of a fit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.detectors.registry import BUILT_IN, resolve
from harness.workers.fit import fit
from harness.workers.jobs import FitJob
from harness.workers.outcomes import FitOutcome
from harness.workload.files import find_workload

ROOT = Path(__file__).resolve().parents[2]
FIT = """
import sys
from harness.workers import fit
from harness.workers.jobs import FitJob
from harness.workload.files import find_workload

def instead(*arguments, **options):
    print(sys.argv[2] in sys.modules)
    sys.exit()

fit.fit_together = instead
fit.fit(FitJob(
    workload=find_workload(sys.argv[1]), protocol="clean", data_dir=None, seeds=(0,), trainer="torch", epochs=1,
    rows=600, threads=1, directory=".",
))
"""


@pytest.mark.parametrize(("workload", "library"), [("nsl-kdd-autoencoder", "torch"), ("kdd99-ocsvm", "sklearn.svm")])
def test_a_library_is_imported_before_the_fit_is_timed(workload: str, library: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FIT, workload, library],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT), "LPARBENCH_DATA": ""}, capture_output=True,
        text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.stdout == "True\n", done.stderr


def _fitted(workload: str, directory: Path, epochs: int | None = None) -> FitOutcome:
    outcome = fit(
        FitJob(
            workload=find_workload(workload), protocol="clean", data_dir=None, seeds=(0,), trainer="torch",
            epochs=epochs, rows=400, threads=1, directory=str(directory), synthetic="always",
        )
    )  # fmt: skip
    assert isinstance(outcome, FitOutcome)
    return outcome


def test_every_stage_of_a_training_is_limited(tmp_path: Path) -> None:
    outcome = _fitted("cicids2017-autoencoder-classifier", tmp_path, epochs=1)
    assert [bool(epoch.validation) for epoch in outcome.epochs] == [False, True]  # the autoencoder, then its head
    assert outcome.limits.epochs == 1


def test_every_number_of_epochs_is_that_of_a_stage() -> None:
    for name in BUILT_IN:
        detector = resolve(name, {})
        passes = {parameter for parameter in detector.get_params() if parameter.endswith("epochs")}
        assert passes - {"ramp_epochs"} <= set(detector.stages), name


def test_what_has_no_curve_of_validation_rows_says_why(tmp_path: Path) -> None:
    boosted = _fitted("nsl-kdd-gradient-boosting", tmp_path / "boosted", epochs=1)
    assert (len(boosted.epochs), boosted.epoch_unit, boosted.trains_on) == (100, "boosting round", ())
    assert (boosted.limits.epochs, boosted.validation_note) == (None, "")
    assert "no epochs" in _fitted("nsl-kdd-pca", tmp_path / "pca").validation_note
