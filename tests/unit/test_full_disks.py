"""A disk that fills is named, is not called a failure of what was measured, and leaves nothing empty."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from harness.errors import ExitCode, InputError, LparbenchError
from harness.record import store
from harness.workers.process import OUTPUT_FILE, WorkerProcess

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


def test_a_worker_that_met_a_full_disk_is_known_by_its_words(failed: WorkerProcess) -> None:
    assert failed.out_of_room() is None
    (failed.directory / OUTPUT_FILE).write_text("Traceback\nOSError: [Errno 28] No space left on device\n")
    assert failed.out_of_room() is not None


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
