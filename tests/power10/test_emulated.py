"""The product on an emulated POWER10, and on an emulated POWER9 without MMA.

Scores must agree with x86-64 within ``TOLERANCE``: same data, seeds and order of rows, but another torch and OpenBLAS,
whose sums round differently; the difference grows over the training steps and may move single rows across a threshold.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import CPUS, OPENBLAS_KERNELS, Emulated

# Absolute, for figures in [0, 1]. Five rows of the 1,880 of the test slice are 0.0027.
TOLERANCE = 0.01
SCORES = ("auc_roc", "auc_pr", "accuracy", "f1")
BACKENDS = {"eager", "onnxruntime", "native"}


def _record(emulated: Emulated, name: str) -> tuple[dict[str, Any], Path]:
    outcome = emulated.jobs.outcome(name)
    runs = sorted(emulated.runs[name].glob("*/run.json"))
    assert len(runs) == 1, outcome.told()
    record = json.loads(runs[0].read_text())
    assert isinstance(record, dict)
    return record, runs[0].parent


@pytest.mark.parametrize("cpu", CPUS)
def test_doctor_tells_the_emulation_first(emulated, cpu, transcript):
    outcome = emulated.jobs.outcome(f"doctor-{cpu}")
    assert outcome.code == 1, outcome.told()
    report = json.loads(outcome.out)
    transcript.append(f"{cpu}: doctor ({outcome.seconds:.0f} s): {report['verdict']}")
    transcript.extend(f"  [{item['severity']}] {item['title']}" for item in report["findings"])
    assert report["findings"][0]["id"] == "emulated"
    assert report["findings"][0]["title"] == "The processor is emulated by qemu-user"
    # With MMA the libraries' kernels can be judged; without it there is nothing to judge.
    assert ("openblas-without-mma" in report["checked"]) == (cpu == "power10")
    assert ("openblas-without-mma" in report["not_applicable"]) == (cpu == "power9")


@pytest.mark.parametrize("cpu", CPUS)
def test_unit_tests_pass(emulated, cpu, transcript):
    outcome = emulated.jobs.outcome(f"unit-{cpu}")
    assert outcome.code == 0, outcome.told()
    summary = re.search(r"^=* ?([0-9]+ passed.*?)[ =]*$", outcome.out, re.MULTILINE)
    assert summary is not None, outcome.told()
    transcript.append(f"{cpu}: unit tests: {summary[1]}")


@pytest.mark.parametrize("cpu", CPUS)
def test_the_main_job_runs_with_both_backends_and_refuses_its_times(emulated, cpu, transcript):
    record, directory = _record(emulated, f"main-{cpu}")
    outcome = emulated.jobs.outcome(f"main-{cpu}")
    transcript.append(f"{cpu}: main job ({outcome.seconds:.0f} s, {emulated.how}):")
    transcript.extend(f"  {line}" for line in outcome.out.splitlines() if line.strip())
    assert outcome.code == 2, outcome.told()
    cpu_facts = record["facts"]["cpu"]
    assert cpu_facts["architecture"] == "ppc64le"
    assert cpu_facts["isa"]["mma"] is (cpu == "power10")
    assert record["facts"]["emulation"]["emulated"] is True
    kernels = {library["kernel"] for library in record["software"]["blas"] if library["name"] == "openblas"}
    assert kernels == {OPENBLAS_KERNELS[cpu]}
    assert {result["backend"] for result in record["results"]} == BACKENDS
    for result in record["results"]:
        assert result["validity"]["verdict"] == "timings_refused", result["validity"]
        assert all(metric["value"] is None for metric in result["metrics"].values())
    page = (directory / "report.html").read_text()
    assert "emulated" in page
    assert len(page) < 1_000_000


@pytest.mark.parametrize("cpu", CPUS)
def test_scores_agree_with_x86(emulated, cpu, transcript):
    there, here = (_scores(_record(emulated, name)[0]) for name in (f"main-{cpu}", "main-x86"))
    assert there.keys() == here.keys()
    assert len(there) == 2 * len(SCORES)
    for what, value in there.items():
        assert abs(value - here[what]) <= TOLERANCE, f"{what}: {value} emulated, {here[what]} on x86-64"
    farthest = max(abs(value - here[what]) for what, value in there.items())
    transcript.append(f"{cpu}: {len(there)} scores within {TOLERANCE} of x86-64, the farthest off by {farthest:.2g}")


def _scores(record: dict[str, Any]) -> dict[tuple[str, str], float]:
    """By workload: of the trained detector. How far each backend is from it is part of that result's verdict."""
    return {
        (result["workload"], score): result["accuracy"]["metrics"][score]["mean"]
        for result in record["results"]
        for score in SCORES
    }
