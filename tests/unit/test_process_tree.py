"""Whatever ends a process, those that it started end too: children, their children, also in sessions of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harness.process_tree import child

PARENT = """
import os, subprocess, sys, time
from harness.process_tree import child, in_tree
SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
MIDDLE = ("import subprocess, sys, time\\n"
          "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\\n"
          "print(child.pid, flush=True)\\n"
          "{middle}")
middle = subprocess.Popen([sys.executable, "-c", MIDDLE], env=in_tree(os.environ), stdout=subprocess.PIPE, text=True)
with child(SLEEP) as own:
    print(own.pid, middle.pid, middle.stdout.readline().strip(), flush=True)
    {end}
"""
ENDS = ("KILL", "TERM", "in order", "by an error")


def gone(processes: list[psutil.Process], within_s: float) -> list[psutil.Process]:
    """Those that are still there after a while."""
    _, alive = psutil.wait_procs(processes, timeout=within_s)
    return [each for each in alive if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("middle", ["time.sleep(600)", "pass"])
def test_a_tree_ends_with_the_process_that_began_it(tmp_path: Path, end: str, middle: str) -> None:
    last = {"in order": "own.kill()", "by an error": "raise ValueError"}.get(end, "time.sleep(600)")
    text = PARENT.format(middle=middle, end=last)
    process = subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path
    )
    assert process.stdout is not None
    others = [psutil.Process(int(pid)) for pid in process.stdout.readline().split() if psutil.pid_exists(int(pid))]
    keepers = [each for each in psutil.process_iter(["cmdline"]) if str(process.pid) in (each.info["cmdline"] or ())]
    assert len(others) >= 2
    if end in ("KILL", "TERM"):
        process.send_signal(getattr(signal, f"SIG{end}"))
    process.wait(60)
    assert gone([*others, *keepers], 30) == []
    assert tmp_path.exists()


def test_an_outer_tree_holds_the_inner_ones(tmp_path: Path) -> None:
    """A command that runs a command of ours: when the outer one is killed, the inner one's workers end too."""
    inner = PARENT.format(middle="time.sleep(600)", end="time.sleep(600)")
    (tmp_path / "inner.py").write_text(inner)
    outer = (
        "import sys\nfrom harness.process_tree import child\n"
        f"with child([sys.executable, {str(tmp_path / 'inner.py')!r}]) as process:\n    process.wait()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", outer], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pids = [int(pid) for pid in process.stdout.readline().split()]
    tree = [psutil.Process(pid) for pid in pids] + psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait(60)
    assert gone(tree, 30) == []


def test_a_program_that_does_not_heed_is_killed(tmp_path: Path) -> None:
    mark = f"pathlib.Path({str(tmp_path / 'deaf')!r}).touch()"
    deaf = f"import signal, time, pathlib; signal.signal(15, signal.SIG_IGN); {mark}; time.sleep(600)"
    with child([sys.executable, "-c", deaf]) as process:
        while not (tmp_path / "deaf").exists():
            assert process.poll() is None
            time.sleep(0.01)
    assert process.returncode == -signal.SIGKILL


def test_the_age_of_a_process_is_known_to_a_tick() -> None:
    """What it cannot be: older than since before its start, younger than what it has slept."""
    code = "import time; from harness.process_tree import process_age_s; time.sleep(0.3); print(process_age_s())"
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0.3 <= float(done.stdout) <= time.monotonic() - began + 0.02
