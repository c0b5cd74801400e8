"""A model bundle is sized as it is: its own scores of rows made of its own columns, on a backend that it has."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.bundles import Saved, saved
from support.sizes import ServingExecutor
from support.sweeps import result_of
from test_sizing_session import SPEC, Progress, ask, law, machine

from harness.detectors.opening import open_scorer
from harness.errors import InputError
from harness.measure.clock import FakeClock
from harness.placement.model import Placement
from harness.record.size_model import Size
from harness.record.spec import RunSpec
from harness.reporting.size_view import view_of
from harness.scoring.bundle import is_bundle
from harness.sizing import session
from harness.sizing.subject import backend_of, spec_of
from harness.workers.jobs import FitJob, Job
from harness.workers.opened import MADE, opened
from harness.workers.outcomes import JobResult
from harness.workload.files import find_workload


class Opening(ServingExecutor):
    """Fits as a worker does; measures without a machine."""

    def run(self, job: Job, placement: Placement, *, timeout_s: float) -> JobResult:
        if isinstance(job, FitJob):
            self.fitted = job
            assert job.bundle is not None
            outcome = opened(job, Path(job.bundle))
            self.rows, self.scores = (np.load(Path(job.directory) / f"test_{name}.npy") for name in ("x", "scores"))
            self.scored_natively = open_scorer(Path(job.directory), "native").score(self.rows)
            self.behind_the_server = job.save is not None and is_bundle(Path(job.save))
            return result_of(outcome, placement)
        return super().run(job, placement, timeout_s=timeout_s)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    return saved(tmp_path_factory.mktemp("bundle") / "mlp")


@pytest.fixture(scope="module")
def sized(bundle: Saved, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Size, Opening]:
    folder = tmp_path_factory.mktemp("sized")
    root, executor = machine(folder / "tree", 4), Opening(law, noise=0.01)
    spec = spec_of(str(bundle.directory), replace(SPEC, workloads=(str(bundle.directory),)))
    directory = session.begin(spec, replace(ask(900), http=True), ("lparbench",), folder / "out", sysroot=root)
    record = session.proceed(directory, executor, Progress(), clock=FakeClock(), sysroot=root)
    return directory, record, executor


def test_what_is_measured_is_the_model_itself(bundle: Saved, sized: tuple[Path, Size, Opening]) -> None:
    _, record, executor = sized
    assert record.answer.verdict == "answered"
    assert record.workload.name == "nsl-kdd-mlp"
    assert {series.backend for series in record.series} == {"native"}
    assert executor.fitted.bundle == str(bundle.directory)
    assert executor.behind_the_server
    assert executor.rows.shape == (1000, bundle.data.test_x.shape[1])
    assert len({row.tobytes() for row in executor.rows}) > 900
    own = bundle.detector.decision_function(executor.rows)
    np.testing.assert_allclose(executor.scores, own, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(executor.scored_natively, executor.scores)


def test_its_rows_are_said_to_be_made(bundle: Saved, sized: tuple[Path, Size, Opening]) -> None:
    view = view_of(sized[1])
    assert f"Of the bundle {bundle.directory}: {MADE}" in view.marks
    assert sized[1].workload.dataset is not None
    assert MADE in sized[1].workload.dataset.notes


def test_a_bundle_of_another_content_is_refused(bundle: Saved, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(bundle.directory, broken)
    (broken / "weights.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"weights\.npz"):
        spec_of(str(broken), SPEC)


def test_the_fastest_backend_is_sized(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `serve` takes it; a workload that leaves it out, or a machine without it, is sized on the next."""
    workload = find_workload("nsl-kdd-autoencoder")
    plain = RunSpec(("nsl-kdd-autoencoder",))
    assert backend_of(workload, replace(plain, backends=("eager", "native"))) == "eager"
    assert backend_of(workload, plain) == "native"
    narrow = replace(workload.inference, backends=("eager", "onnxruntime"))
    assert backend_of(replace(workload, inference=narrow), plain) == "onnxruntime"
    monkeypatch.setattr("harness.linalg.chain.available", lambda dtype="float32": False)
    assert backend_of(workload, plain) == "onnxruntime"
