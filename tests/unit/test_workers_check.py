"""The check before anything is measured: somebody else's class is built and own files are read, in a worker."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from support.sweeps import PLACEMENT

from harness.datasets import pipeline
from harness.detectors import room
from harness.errors import InputError
from harness.placement.model import Placement
from harness.record.spec import RunSpec
from harness.runs.design import workloads_of
from harness.runs.preflight import checked_by_worker
from harness.sweeps import session
from harness.sweeps.session import Levels
from harness.workers.check import check
from harness.workers.jobs import CheckJob, Job
from harness.workers.outcomes import CheckOutcome, JobResult, WorkerReport

OWN = """
class ZScore:
    def __init__(self, width=1.0):
        self.width = width
    def fit(self, X):
        return self
    def decision_function(self, X):
        return X[:, 0] / self.width
class Mute:
    def fit(self, X):
        return self
"""


class InProcess:
    """Does check jobs here, and notes them; with another outcome where one is given."""

    def __init__(self, test_rows: dict[str, int] | None = None) -> None:
        self.jobs: list[CheckJob] = []
        self.test_rows = test_rows

    def run(self, job: Job, placement: Placement, *, timeout_s: float) -> JobResult:
        assert isinstance(job, CheckJob)
        self.jobs.append(job)
        outcome = check(job) if self.test_rows is None else CheckOutcome(self.test_rows)
        return JobResult((WorkerReport(outcome, 0.1, 1, None),), None, 1, 0.1)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "owncheck.py").write_text(OWN)
    rows = "".join(f"{number * 17 % 301},{number % 5},{int(number % 4 == 0)}\n" for number in range(300))
    (tmp_path / "fraud.csv").write_text(f"amount,hour,label\n{rows}")
    return tmp_path


def asked(workload: str, **spec: object) -> dict[str, int]:
    asked = RunSpec((workload,), **spec)
    return dict(checked_by_worker(workloads_of(asked), asked, InProcess(), PLACEMENT, own_only=True))


@pytest.mark.parametrize(
    ("workload", "spec", "message"),
    [
        ("owncheck:Zscore", {}, "Did you mean owncheck:ZScore?"),
        ("owncheck:ZScore(widht=2)", {}, "unknown parameter 'widht'. Did you mean 'width'?"),
        ("owncheck:Mute", {}, "gives no score"),
        ("nosuchmodule:ZScore", {}, "importing 'nosuchmodule' failed"),
        ("sklearn.ensemble:IsolationForest(n_estimators='x', max_leaves=3)", {}, "unknown parameter 'max_leaves'"),
        ("owncheck:ZScore", {"dataset": "csv:fraud.csv", "label": "lable"}, "Did you mean 'label'?"),
        ("nsl-kdd-mlp", {"dataset": "csv:fraud.csv"}, "option 'label' must name its label column"),
        ("nsl-kdd-mlp", {"dataset": "csv:fraud.csv", "label": "hour"}, "normal"),
    ],
)
def test_what_only_a_worker_can_see_is_refused_before_anything_else(
    workload: str, spec: dict[str, object], message: str, here: Path
) -> None:
    with pytest.raises(InputError) as caught:
        asked(workload, **spec)
    assert message in str(caught.value)


def test_what_is_usable_passes_and_its_test_rows_are_known(here: Path) -> None:
    own = asked("owncheck:ZScore(width=2.0)", dataset="csv:fraud.csv", label="label", rows=100)
    assert list(own.values()) == [60]
    assert asked("owncheck:ZScore", synthetic=True) == {}


def test_large_files_and_the_publishers_are_left_to_the_fit(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.runs.preflight._READ_AT_ONCE", 10)
    executor = InProcess()
    spec = RunSpec(("owncheck:ZScore",), dataset="csv:fraud.csv", label="no such")
    assert checked_by_worker(workloads_of(spec), spec, executor, PLACEMENT, own_only=True) == {}
    assert [job.read for job in executor.jobs] == [()]
    shipped = RunSpec(("nsl-kdd-mlp",), synthetic=True)
    assert checked_by_worker(workloads_of(shipped), shipped, executor, PLACEMENT, own_only=True) == {}
    assert len(executor.jobs) == 1, "there is nothing of the user's to look at"


@pytest.mark.parametrize(
    ("rows", "test_rows", "batches", "chosen"),
    [
        (2000, 5000, None, 2000),
        (None, 5000, None, 4096),
        (None, 90, None, 90),
        (None, 40, None, 40),
        (None, 5000, (64, 5000), (64, 5000)),
        (None, 5000, (64, 5001), "--batch 5001: a batch cannot be larger than the test rows, 5,000"),
        (None, 22544, (22545,), "the test rows, 22,544 at most here"),
        (2000, 5000, (2001,), "2,000 at most here. Give --batch 2000 or less, or more --rows."),
    ],
)
def test_batches_of_a_sweep_fit_the_test_rows(
    rows: int | None, test_rows: int, batches: tuple[int, ...] | None, chosen: object, tmp_path: Path
) -> None:
    for name in ("KDDTrain+.txt", "KDDTest+.txt"):
        (tmp_path / name).write_text("1\n" * 22544)
    out = tmp_path / "out"
    out.mkdir()
    executor = InProcess({"nsl-kdd-mlp": test_rows})
    levels = Levels(batch_sizes=batches, cores=(1,), threads_per_core=(1,), smt=(1,))
    spec = RunSpec(("nsl-kdd-mlp",), data_dir=str(tmp_path), rows=rows)
    if isinstance(chosen, str):
        with pytest.raises(InputError) as caught:
            session.begin(spec, levels, 0.03, ("lparbench",), out, executor)
        assert chosen in str(caught.value)
        assert list(out.iterdir()) == []
        assert len(executor.jobs) == (test_rows < max(batches or ()) <= 22544 and rows is None), "known without reading"
        return
    directory = session.begin(spec, levels, 0.03, ("lparbench",), out, executor)
    design = session.read_design(directory)
    assert design.grid is not None
    sizes = sorted({size for each in design.grid.configurations for size in each.batch_sizes})
    assert sizes == (list(chosen) if isinstance(chosen, tuple) else [chosen])


def test_what_cannot_be_saved_is_said_before_it_is_trained(here: Path) -> None:
    with pytest.raises(InputError, match="--save: owncheck:ZScore cannot be saved as a bundle"):
        asked("owncheck:ZScore", dataset="csv:fraud.csv", label="label", save="bundles")


def test_a_file_in_an_archive_is_checked_as_others_are(here: Path) -> None:
    with zipfile.ZipFile(here / "two.zip", "w") as archive:
        for name in ("a.csv", "b.csv"):
            archive.writestr(name, (here / "fraud.csv").read_text())
    assert asked("nsl-kdd-isolation-forest", dataset="csv:two.zip/b.csv", label="label")


def test_detectors_that_need_labels_are_refused_rows_of_one_kind(here: Path) -> None:
    (here / "test.csv").write_text((here / "fraud.csv").read_text())
    normal = [line for line in (here / "fraud.csv").read_text().splitlines() if not line.endswith(",1")]
    (here / "normal.csv").write_text("\n".join(normal) + "\n")
    files = {"dataset": "csv:normal.csv", "label": "label", "dataset_options": {"test_files": "test.csv"}}
    with pytest.raises(
        InputError, match=r"mlp learns from labelled rows of both kinds; the .* are all normal"
    ) as raised:
        asked("nsl-kdd-mlp", **files)
    assert (raised.value.remedy or "").startswith("Take a detector that learns from normal rows")
    assert asked("nsl-kdd-isolation-forest", **files)


def test_a_fit_without_memory_for_its_matrix_is_refused_before_anything(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "".join(f"v{number % 40},{number % 7},{int(number % 5 == 0)}\n" for number in range(300))
    (here / "wide.csv").write_text(f"kind,hour,label\n{rows}")
    monkeypatch.setattr(pipeline, "_CODED_SHARE", 1e-9)
    monkeypatch.setattr(room, "free_bytes", lambda: 1 << 14)
    assert asked("nsl-kdd-isolation-forest", dataset="csv:wide.csv", label="label")
    with pytest.raises(InputError, match=r"owncheck:ZScore is fitted on a matrix of \d+ rows and 41 features, which"):
        asked("owncheck:ZScore", dataset="csv:wide.csv", label="label")


def test_the_rows_of_a_stand_in_are_known_without_making_it(tmp_path: Path) -> None:
    executor = InProcess()
    levels = Levels(cores=(1,), threads_per_core=(1,), smt=(1,))
    for rows, largest in ((None, 4096), (600, 600)):
        spec = RunSpec(("nsl-kdd-mlp",), synthetic=True, rows=rows)
        design = session.read_design(session.begin(spec, levels, 0.03, ("lparbench",), tmp_path, executor))
        assert design.grid is not None
        assert {size for each in design.grid.configurations for size in each.batch_sizes} == {largest}
    assert executor.jobs == []
    with pytest.raises(InputError, match="the test rows, 22,544 at most here"):
        session.begin(RunSpec(("nsl-kdd-mlp",), synthetic=True), Levels(batch_sizes=(22545,)), 0.03, (), tmp_path)
