"""Exit codes of compare, gate and history for every format, whatever becomes of what they print."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from support.benchmark_files import processes

FORMATS = [(), ("--json",), *(("--format", name) for name in ("junit", "markdown", "github"))]


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two sides of which the second lacks a result: exit code 2."""
    folder = tmp_path_factory.mktemp("sides")
    a = processes(folder / "a", {f"t.py::{at}": 1e-3 for at in range(60)})
    b = processes(folder / "b", {f"t.py::{at}": 1e-3 for at in range(59)}, seed=1)
    return str(a), str(b)


def compare(*arguments: str, stdout: int, limit: int | None = None) -> subprocess.Popen[bytes]:
    def prepare() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "GITHUB"))}
    command = [sys.executable, "-B", "-m", "harness", "compare", *arguments]
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, preexec_fn=prepare, env=environment)


@pytest.mark.parametrize("options", FORMATS)
def test_a_reader_that_goes_away_changes_no_exit_code(sides: tuple[str, str], options: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = compare(*sides, *options, stdout=writer)
    os.close(writer)
    assert process.communicate(timeout=60)[1] == b""
    assert process.returncode == 2


@pytest.mark.parametrize("options", FORMATS)
def test_a_disk_that_is_full_is_no_verdict(sides: tuple[str, str], options: tuple[str, ...], tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as target:
        process = compare(*sides, *options, stdout=target.fileno(), limit=16)
        stderr = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 5
    assert "Traceback" not in stderr
    assert len(stderr.splitlines()) <= 2
