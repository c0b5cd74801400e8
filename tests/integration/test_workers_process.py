"""Worker processes: what they hand back, how their death is put in words, and that nothing of them is left."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.errors import InputError
from harness.placement.model import MemoryBinding, Placement
from harness.workers.process import OUTCOME_FILE, read_outcome, worker_process, write_outcome


@dataclass(frozen=True)
class Answer:
    pid: int
    seconds: tuple[float, ...]


@pytest.fixture
def placement() -> Placement:
    cpu = min(os.sched_getaffinity(0))
    return Placement((cpu,), None, (), (), MemoryBinding(), 1, 1, 1, {"OMP_NUM_THREADS": "1"})


def python(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_an_outcome_comes_back_whole_or_not_at_all(tmp_path: Path) -> None:
    assert read_outcome(tmp_path, Answer) is None
    write_outcome(tmp_path, Answer(3, (0.5, 1)))
    assert read_outcome(tmp_path, Answer) == Answer(3, (0.5, 1.0))
    assert [path.name for path in tmp_path.iterdir()] == [OUTCOME_FILE]
    (tmp_path / OUTCOME_FILE).write_text('{"pid": 3}')
    with pytest.raises(InputError, match=r"outcome\.json: seconds is missing"):
        read_outcome(tmp_path, Answer)


def test_it_runs_pinned_with_the_package_on_its_path(tmp_path: Path, placement: Placement) -> None:
    text = (
        "import os, pathlib\n"
        "from harness.workers.process import write_outcome\n"
        "write_outcome(pathlib.Path.cwd(), {'cpus': sorted(os.sched_getaffinity(0)), 'x': os.environ.get('X')})\n"
    )
    with worker_process(python(text), tmp_path, placement, cwd=tmp_path, environment={"X": "y"}) as worker:
        assert worker.wait(60) == 0, (tmp_path / "output.txt").read_text()
    assert read_outcome(tmp_path, dict[str, Any]) == {"cpus": list(placement.cpus), "x": "y"}


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("print('first'); print('no space left'); raise SystemExit(3)", "exited with status 3: no space left"),
        ("raise SystemExit(3)", "exited with status 3: no output"),
        ("raise MemoryError('of 8 GB')", "out of memory: MemoryError: of 8 GB"),
        ("import os; os.kill(os.getpid(), 9)", "killed by signal 9 (SIGKILL)"),
    ],
)
def test_the_cause_of_death(tmp_path: Path, placement: Placement, text: str, cause: str) -> None:
    with worker_process(python(text), tmp_path, placement) as worker:
        status = worker.wait(60)
    assert worker.cause_of_death(status, 60) == cause


def test_more_lines_of_its_output_can_be_quoted(tmp_path: Path, placement: Placement) -> None:
    with worker_process(python("print('a\\nb\\nc'); raise SystemExit(1)"), tmp_path, placement) as worker:
        status = worker.wait(60)
    assert worker.cause_of_death(status, 60, lines=2) == "exited with status 1: b / c"


def test_descendants_in_sessions_of_their_own_end_with_it(tmp_path: Path, placement: Placement) -> None:
    text = (
        "import pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        f"pathlib.Path({str(tmp_path / 'child')!r}).write_text(str(child.pid) + '\\n')\n"
        "time.sleep(600)\n"
    )
    with worker_process(python(text), tmp_path, placement) as worker:
        while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text().endswith("\n"):
            assert worker.status() is None
            time.sleep(0.02)
        child = psutil.Process(int((tmp_path / "child").read_text()))
        assert worker.wait(0.1) is None
        assert worker.cause_of_death(None, 0.1).startswith("hung")
    assert not psutil.pid_exists(worker.pid)
    _, alive = psutil.wait_procs([child], timeout=60)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
