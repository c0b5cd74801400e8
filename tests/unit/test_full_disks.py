"""A disk that fills is named, is not called a failure of what was measured, and leaves nothing empty."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from support.commands import exit_code
from support.loads import load_record
from support.mutations import small_run
from support.records import facts
from support.sizes import sized_record
from support.sweeps import ScriptedExecutor, design_of, setting

from harness.cli import base_head
from harness.cli.load import _write
from harness.compare.observations import side_of
from harness.errors import ExitCode, InputError, LparbenchError
from harness.gates.baseline_file import update_baseline
from harness.gates.files import Inputs, update_file
from harness.placement.model import Placement
from harness.record import store
from harness.record.files import unwritable
from harness.record.spec import RunSpec
from harness.reporting.progress import Silence
from harness.runs.design import write_design
from harness.runs.journal import SessionEntry, open_journal
from harness.runs.run import execute, resume, run_once
from harness.scratch import SCRATCH_VARIABLE
from harness.serving.cards import written
from harness.workers.jobs import BaselineJob, Job, MeasureJob
from harness.workers.outcomes import JobResult
from harness.workers.process import OUTPUT_FILE, WorkerProcess, no_room

_Usage = namedtuple("_Usage", "total used free")


@pytest.fixture
def failed(tmp_path: Path) -> WorkerProcess:
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"])
    process.wait(60)
    (tmp_path / OUTPUT_FILE).write_text("")
    return WorkerProcess(process, tmp_path, 0)


@pytest.mark.parametrize("full", ["of --out", "of TMPDIR"])
def test_a_worker_on_a_full_disk_names_the_place(
    failed: WorkerProcess, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, full: str
) -> None:
    temporary = tmp_path_factory.mktemp("tmp")
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    place = failed.directory if full == "of --out" else temporary
    monkeypatch.setattr(shutil, "disk_usage", lambda path: _Usage(1 << 40, 0, 0 if Path(path) == place else 1 << 40))
    error = failed.out_of_room()
    assert error is not None
    assert error.exit_code is ExitCode.TOOL_FAILED
    assert str(place) in error.message
    assert full in error.message
    assert "--resume" in str(error)


def test_a_disk_below_that_of_temporary_files_is_not_taken_for_it(
    failed: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = failed.directory.parent
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setattr("harness.workers.process._disk", hash)
    free = {temporary: 1 << 40, failed.directory: 0}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: _Usage(1 << 40, 0, free[Path(path)]))
    assert f"{failed.directory}: no space left on the disk of --out." in str(failed.out_of_room())


def test_a_worker_that_met_a_full_disk_is_known_by_its_words(failed: WorkerProcess) -> None:
    assert failed.out_of_room() is None
    (failed.directory / OUTPUT_FILE).write_text("Traceback\nOSError: [Errno 28] No space left on device\n")
    assert failed.out_of_room() is not None
    refused = unwritable("/models/mlp", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "Make room.")
    (failed.directory / OUTPUT_FILE).write_text(f"Traceback\nharness.errors.LparbenchError: {refused}\n")
    assert str(failed.out_of_room()).startswith("/models/mlp: no space left on its disk.")


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, LparbenchError), (errno.EROFS, InputError)])
def test_an_output_directory_that_cannot_be_written_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[LparbenchError]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(LparbenchError, match=os.strerror(number)) as refused:
        store.check_writable(tmp_path / "a" / "b")
    assert type(refused.value) is kind
    assert list(tmp_path.iterdir()) == []


class _Fills(ScriptedExecutor):
    """A disk that is full when the second block is measured; there is room again later."""

    def __init__(self) -> None:
        super().__init__(lambda job, placement: 1e6)
        self.room = False

    def run(self, job: Job, placement: Placement, *, timeout_s: float) -> JobResult:
        if isinstance(job, MeasureJob) and len(self.measured) == 1 and not self.room:
            raise LparbenchError("/tmp: no space left on the disk of TMPDIR.", remedy="Make room.")
        if isinstance(job, BaselineJob):
            return JobResult((), "not asked for", 1, 0.5)
        return super().run(job, placement, timeout_s=timeout_s)


def test_a_run_that_a_gate_measures_outlives_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its journal is moved out of the scratch directory, and ``run --resume`` completes the record."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    executor = _Fills()
    spec = RunSpec(("nsl-kdd-mlp",), rows=500, blocks=3, backends=("eager",), scenarios=("offline",), synthetic=True)
    with pytest.raises(LparbenchError, match=r"TMPDIR.*run --resume .*--candidate") as full:
        run_once(spec, executor, Silence())
    assert full.value.exit_code is ExitCode.TOOL_FAILED
    (kept,) = tmp_path.iterdir()
    executor.room = True
    monkeypatch.setattr("harness.runs.assemble._accuracy", lambda *_: None)  # a scripted fit has none
    record = execute(resume(kept), executor, Silence())
    assert len(executor.measured) == 3
    assert [len(result.processes) for result in record.results] == [3]


def test_a_measured_session_outlives_a_baseline_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise unwritable(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "Make room.")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    path, run = tmp_path / "baseline.json", small_run("first", seed=1)
    update_baseline(path, side_of(run))
    before = path.read_bytes()
    measured = Inputs(path, (), lambda _: small_run("second", seed=2))
    monkeypatch.setattr("harness.gates.baseline_file.write_file", full)
    with pytest.raises(LparbenchError, match="--update --candidate") as refused:
        update_file(measured, None)
    monkeypatch.undo()
    assert refused.value.exit_code is ExitCode.TOOL_FAILED
    assert path.read_bytes() == before
    (kept,) = (tmp_path / "tmp").iterdir()
    assert len(update_file(Inputs(path, (kept,), measured.measure), None).sessions) == 2


@pytest.mark.parametrize("printed", ["error: unable to write file a\nfatal: no", "fatal: No space left on device"])
def test_a_worktree_that_finds_no_room_is_no_wrong_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str
) -> None:
    def git(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess((), 128, "", printed)

    monkeypatch.setattr(base_head.subprocess, "run", git)
    with pytest.raises(LparbenchError, match="set TMPDIR to another disk") as full:
        base_head._git(tmp_path, "worktree", "add")
    assert full.value.exit_code is ExitCode.TOOL_FAILED


def test_the_disk_of_another_process_scratch_is_called_that_of_tmpdir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It chose the directory when there was room; this process was given another one since."""
    (tmp_path / "scratch").mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path / "scratch"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: _Usage(1, 0, 0 if path.name == "scratch" else 1 << 40))
    assert "scratch: no space left on the disk of TMPDIR." in str(no_room(tmp_path / "scratch"))


def _full(place: Path) -> LparbenchError:
    return unwritable(place, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "Make room.")


def test_a_load_test_outlives_an_output_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *_: object, **__: object) -> None:
        raise _full(path)

    record = load_record()
    content = store.encode(store.load_text(record))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr("harness.record.files.write_output", full)
    with pytest.raises(LparbenchError, match=r"load\.json: cannot be written.*lparbench report ") as refused:
        _write(record, content, tmp_path / "load.json", None, ())
    assert refused.value.exit_code is ExitCode.TOOL_FAILED
    (kept,) = (tmp_path / "tmp").iterdir()
    assert str(refused.value).endswith(str(kept))
    assert store.load_load_test(kept) == record
    monkeypatch.setattr("tempfile.tempdir", str(kept / store.LOAD_NAME))  # no folder: nothing can be kept there
    with pytest.raises(LparbenchError, match="Make room"):
        _write(record, content, None, tmp_path / "page.html", ())


def test_cards_outlive_a_state_file_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(path: Path) -> int:
        if path.parent == tmp_path:
            raise _full(path)
        path.write_bytes(b"cards")
        return 3

    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    with pytest.raises(LparbenchError, match="The cards are kept") as refused:
        written(write, tmp_path / "my cards")
    assert refused.value.exit_code is ExitCode.TOOL_FAILED
    assert subprocess.run(shlex.split(str(refused.value.remedy).partition("then: ")[2])).returncode == 0
    assert (tmp_path / "my cards").read_bytes() == b"cards"
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(LparbenchError, match="Make room") as refused:
        written(write, tmp_path / "my cards")


def test_a_sizing_whose_record_cannot_be_written_says_how_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, *_: object, **__: object) -> None:
        raise _full(path)

    design = design_of((setting(),), facts())
    write_design(design, tmp_path)
    with open_journal(tmp_path) as journal:
        journal.note(SessionEntry(design.created))
    record = sized_record(tmp_path / "sized")
    monkeypatch.setattr("harness.sizing.session.begin", lambda *_, **__: tmp_path)
    monkeypatch.setattr("harness.sizing.session.proceed", lambda *_, **__: record)
    monkeypatch.setattr("harness.record.files.write_file", full)
    assert exit_code("size", "nsl-kdd-mlp", "--rate", "10/s") == ExitCode.TOOL_FAILED
    stderr = capsys.readouterr().err
    assert f"Resume: lparbench size --resume {tmp_path}" in stderr
    assert "size.json: cannot be written: No space left" in stderr
