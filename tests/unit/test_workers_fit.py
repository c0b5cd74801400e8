"""What is timed of a fit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
