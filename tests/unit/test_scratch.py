"""What processes leave when they are killed, and that the next one removes it, and nothing that a living one needs."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from harness.record.files import write_file
from harness.scratch import aside, one_at_a_time, scratch

KILLED = """
import os, pathlib, signal, sys
from harness.scratch import aside, scratch
with scratch("test") as directory, aside(pathlib.Path(sys.argv[1]) / "file") as file, \\
     aside(pathlib.Path(sys.argv[1]) / "folder", directory=True) as folder:
    (directory / "within").mkdir()
    (folder / "content").write_text("x")
    print(directory, file, folder, flush=True)
    {end}
"""


def left_by(tmp_path: Path, end: str) -> tuple[subprocess.Popen[str], list[Path]]:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED.format(end=end), tmp_path], stdout=subprocess.PIPE, stdin=subprocess.PIPE,
        text=True, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert process.stdout is not None
    return process, [Path(name) for name in process.stdout.readline().split()]


@pytest.fixture(autouse=True)
def own_tmpdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_what_a_killed_process_left_goes_when_the_next_one_is_made(tmp_path: Path) -> None:
    process, (directory, file, folder) = left_by(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    assert process.wait(60) == -signal.SIGKILL
    assert (directory / "within").is_dir()
    assert file.exists()
    assert (folder / "content").exists()
    with scratch("other") as own:
        assert own.is_dir()
        assert not directory.exists()
    write_file(tmp_path / "page.html", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_what_a_living_process_needs_stays(tmp_path: Path) -> None:
    process, (directory, file, folder) = left_by(tmp_path, "sys.stdin.read()")
    try:
        with scratch("other"), aside(tmp_path / "other"):
            assert (directory / "within").is_dir()
            assert file.exists()
            assert (folder / "content").exists()
    finally:
        process.communicate(timeout=60)
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_somebody_elses_stay(tmp_path: Path) -> None:
    kept = [".bashrc", ".page.0123", "lparbench-results", f".{'0' * 32}"]
    for name in kept:
        (tmp_path / name).write_text("mine")
    (tmp_path / f".link.{'0' * 32}").symlink_to(tmp_path / ".bashrc")
    with scratch("test"), aside(tmp_path / "file"):
        pass
    assert {path.name for path in tmp_path.iterdir()} >= set(kept)
    assert (tmp_path / ".bashrc").read_text() == "mine"


def test_what_a_child_needs_is_where_its_parent_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LPARBENCH_SCRATCH", str(tmp_path / "own"))
    (tmp_path / "own").mkdir()
    with scratch("test") as directory:
        assert directory.parent == tmp_path / "own"


def test_writers_of_a_file_wait_for_their_turn(tmp_path: Path) -> None:
    """Each adds one to what it read; nothing is lost, in a folder that is not there yet, and no lock is left."""
    file = tmp_path / "folder" / "number"

    def add() -> None:
        with one_at_a_time(file):
            number = int(file.read_text()) if file.exists() else 0
            time.sleep(0.002)
            file.write_text(str(number + 1))

    threads = [threading.Thread(target=add) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert file.read_text() == "16"
    assert list(file.parent.iterdir()) == [file]


def test_where_there_are_no_locks_files_are_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refused)
    with one_at_a_time(tmp_path / "file"):
        (tmp_path / "file").write_text("1")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
