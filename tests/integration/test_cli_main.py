"""The command as a shell sees it: exit codes, one-line errors, pipes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def lparbench(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LPARBENCH_DATA": "", "COLUMNS": "100"}
    command = [sys.executable, "-m", "harness", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=480, check=False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "--protcol", "clean"), ("--protcol", "--protocol")),
        (("run", "nsl-kdd-mpl"), ("nsl-kdd-mpl", "nsl-kdd-mlp")),
        (("run", "--backends", "egaer"), ("egaer", "eager")),
        (("run", "--protocol", "dirty"), ("dirty", "as-published")),
        (("run", "--suite", "slow"), ("slow", "quick")),
        (("run", "--data", "nowhere"), ("nowhere", "no such folder")),
        (("run", "--cores", "4096"), ("4096 cores", "Node")),
        (("run", "--out", "/proc/runs"), ("/proc/runs", "--out")),
        (("report", "nowhere"), ("nowhere", "no such file")),
        (("nonsense",), ("nonsense", "--help")),
    ],
)
def test_a_mistake_gives_one_clear_error_and_exit_code_4(
    arguments: tuple[str, ...], words: tuple[str, ...], tmp_path: Path
) -> None:
    done = lparbench(*arguments, cwd=tmp_path)
    assert done.returncode == 4, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("lparbench: error: ")
    assert "Traceback" not in done.stderr
    assert all(word in done.stderr for word in words), done.stderr


def test_a_broken_data_file_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "KDDTrain+.txt").write_text("1,2,3\n", encoding="utf-8")
    (data / "KDDTest+.txt").write_text("1,2,3\n", encoding="utf-8")
    done = lparbench("run", "nsl-kdd-mlp", "--data", "data", "--out", "runs", cwd=tmp_path)
    assert done.returncode == 4
    assert "KDDTrain+.txt" in done.stderr
    assert "line 1" in done.stderr
    assert list((tmp_path / "runs").iterdir()) == []


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    assert "Traceback" in lparbench("--debug", "report", "nowhere", cwd=tmp_path).stderr


def test_without_a_command_there_is_help(tmp_path: Path) -> None:
    done = lparbench(cwd=tmp_path)
    assert done.returncode == 4
    assert "doctor" in done.stdout
    assert done.stderr == ""


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "probe", "--json"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == b""


def test_help_does_not_load_the_heavy_libraries(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from harness.cli.main import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "heavy = {'torch', 'numpy', 'pandas', 'scipy', 'sklearn', 'matplotlib', 'onnxruntime', 'jinja2'}\n"
        "sys.exit(','.join(sorted(heavy & set(sys.modules))) or 0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
