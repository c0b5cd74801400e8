"""Commands that are killed leave no process and no file; tests/bench/random_kills.py kills all of them 200 times."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "bench" / "random_kills.py"


@pytest.mark.parametrize("command", ["import", "smt"])
def test_what_is_killed_leaves_nothing(command: str) -> None:
    done = subprocess.run([sys.executable, SCRIPT, "2", "5", command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("2 kills, ")
