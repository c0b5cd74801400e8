"""The command as a shell sees it: exit codes, one-line errors, pipes."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.signals import heeded, without_hangup

from harness import __version__
from harness.cli.main import main
from harness.platform.parse import cpu_list

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
        (("run", "nsl-kdd-pca", "--data", "."), ("KDDTrain+.txt, KDDTest+.txt not found", "--synthetic")),
        (("run", "nsl-kdd-pca", "--dataset", "odds:thyriod"), ("thyriod.mat not found", "--synthetic")),
        (("run", "--cores", "4096"), ("4,096 cores", "Node")),
        (("run", "--out", "/proc/runs"), ("/proc/runs", "--out")),
        (("report", "nowhere"), ("nowhere", "no such file")),
        (("nonsense",), ("nonsense", "--help")),
    ],
)
def test_a_mistake_gives_one_clear_error_and_exit_code_4(
    arguments: tuple[str, ...],
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LPARBENCH_DATA", "")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main([*arguments])
    stdout, stderr = capfd.readouterr()
    assert stop.value.code == 4, stderr
    assert stdout == ""
    assert stderr.startswith("lparbench: error: ")
    assert "Traceback" not in stderr
    assert all(word in stderr for word in words), stderr


def test_a_broken_data_file_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "KDDTrain+.txt").write_text("1,2,3\n", encoding="utf-8")
    (data / "KDDTest+.txt").write_text("1,2,3\n", encoding="utf-8")
    done = lparbench("run", "nsl-kdd-mlp", "--data", "data", "--out", "runs", cwd=tmp_path)
    assert done.returncode == 4
    assert "KDDTrain+.txt" in done.stderr
    assert "line 1" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("arguments", [("--debug", "report", "nowhere"), ("report", "nowhere", "--debug")])
def test_debug_shows_the_traceback_before_and_after_the_command(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = lparbench(*arguments, cwd=tmp_path)
    assert done.returncode == 4
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(("group", "command"), [((), "doctor"), (("smt",), "restore"), (("data",), "import")])
def test_without_a_command_there_is_help_once(group: tuple[str, ...], command: str, tmp_path: Path) -> None:
    done = lparbench(*group, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("Usage:") == 1
    assert command in done.stdout
    assert done.stdout == lparbench(*group, "--help", cwd=tmp_path).stdout


def test_the_version_has_a_short_option(tmp_path: Path) -> None:
    short, long = (lparbench(option, cwd=tmp_path).stdout for option in ("-V", "--version"))
    assert short == long == f"lparbench {__version__}\n"


def test_a_program_runs_in_its_place(tmp_path: Path) -> None:
    plan = json.loads(lparbench("place", "--json", cwd=tmp_path).stdout)
    script = "grep -E 'SigIgn|Cpus_allowed_list' /proc/self/status; echo $OMP_PLACES; exit 7"
    done = lparbench("place", "--", "sh", "-c", script, cwd=tmp_path)
    assert done.returncode == 7, done.stderr
    ignored, allowed, places = done.stdout.splitlines()
    assert cpu_list(allowed.split()[1]) == tuple(plan["cpus"])
    assert places == plan["env"]["OMP_PLACES"]
    assert not int(ignored.split()[1], 16) >> (signal.SIGPIPE - 1) & 1  # Python ignores it, a program must not
    gone = lparbench("place", "--", "no-such-program", cwd=tmp_path)
    assert (gone.returncode, "no-such-program: cannot be started" in gone.stderr) == (4, True)
    both = lparbench("place", "--json", "--", "true", cwd=tmp_path)
    assert (both.returncode, "exclude each other" in both.stderr) == (4, True)


# A command whose use case is replaced: what follows the import is the body of `probe`.
REPLACED = """
import os, sys, time
import harness.platform.probe as rooms
from harness.cli.main import main
def probe(root):
    {body}
rooms.probe = probe
main()
"""


def _uncovered(limit: int | None) -> dict[str, str]:
    """The environment; where files may not grow, without the measuring of coverage, which writes one at the end."""
    return {name: value for name, value in os.environ.items() if limit is None or not name.startswith("COV")}


def replaced(
    body: str, *arguments: str, limit: int | None = None, signals: Callable[[], None] = heeded, **options: Any
) -> subprocess.Popen[str]:
    """``lparbench probe`` with another body, in a process of its own; ``limit``: bytes that a file may have."""

    def prepare() -> None:
        signals()
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.Popen(
        [sys.executable, "-c", REPLACED.format(body=body), "probe", *arguments],
        env={**_uncovered(limit), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=prepare,
        **{"stdout": subprocess.PIPE, **options},
    )


BUG = "raise TypeError('two\\nlines')"


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_a_bug_is_one_line_and_never_looks_like_a_result(arguments: tuple[str, ...]) -> None:
    stdout, stderr = (process := replaced(BUG, *arguments)).communicate(timeout=60)
    assert process.returncode == 5
    assert stdout == ""
    (line,) = stderr.splitlines()
    assert line.startswith("lparbench failed: TypeError: two lines")
    assert "This is a defect" in line
    assert "--debug" in line


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise MemoryError", "out of memory"),
        ("raise EOFError('gone')", "EOFError: gone"),
        ("raise BrokenPipeError(32, 'Broken pipe')", "BrokenPipeError"),
        ("sys.exit('gave up')", "gave up"),
    ],
)
def test_no_way_to_fail_is_taken_for_a_regression_or_an_interrupt(body: str, words: str) -> None:
    process = replaced(body)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 5
    assert words in stderr
    assert "Traceback" not in stderr


def test_debug_shows_the_traceback_of_a_bug() -> None:
    _, stderr = (process := replaced(BUG, "--debug")).communicate(timeout=60)
    assert process.returncode == 5
    assert "Traceback" in stderr
    assert "in probe" in stderr


def test_a_full_disk_under_a_command_is_the_tools_failure(tmp_path: Path) -> None:
    body = f"open({str(tmp_path / 'big')!r}, 'wb').write(bytes(1 << 20))"
    process = replaced(body, limit=4096)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 5
    assert "File too large" in stderr
    assert "Traceback" not in stderr


@pytest.mark.parametrize(("size", "limit"), [(100_000, 4096), (100, 10)])  # fails at once; at the last flush
@pytest.mark.parametrize("end", ["raise SystemExit(0)", "import typer; raise typer.Exit(0)", "raise ValueError"])
def test_a_full_disk_under_standard_output_is_the_tools_failure(
    size: int, limit: int, end: str, tmp_path: Path
) -> None:
    with (tmp_path / "out").open("w") as stdout:
        process = replaced(f"print('x' * {size}); {end}", limit=limit, stdout=stdout)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 5
    (line,) = stderr.splitlines()
    assert line.startswith("lparbench failed: ")
    assert ("File too large" in line) is (size > limit + 10_000 or "ValueError" not in end)


@pytest.mark.parametrize(
    ("number", "word"),
    [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated"), (signal.SIGHUP, "hung up")],
)
def test_a_signal_gives_128_and_its_number(number: signal.Signals, word: str) -> None:
    process = replaced("print('ready', flush=True); time.sleep(60)")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert stderr == f"lparbench: {word}\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_within_a_finaliser_is_not_lost(number: signal.Signals) -> None:
    """Python drops what is raised there, and the command would go on as if nothing had come."""
    finaliser = f"lambda _: __import__('signal').raise_signal({int(number)})"
    process = replaced(f"type('Dying', (), {{'__del__': {finaliser}}})(); time.sleep(60)")
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert len(stderr.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_within_a_bare_except_is_not_lost(number: signal.Signals) -> None:
    """Some libraries try an import and take whatever comes of it for its absence."""
    swallowing = f"try:\n __import__('signal').raise_signal({int(number)})\nexcept:\n pass"
    process = replaced(f"exec({swallowing!r}); time.sleep(60)")
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert len(stderr.splitlines()) == 1


def test_a_command_below_nohup_outlives_the_terminal() -> None:
    body = "print('ready', flush=True); print(sys.stdin.readline(), end=''); sys.exit(0)"
    process = replaced(body, signals=without_hangup, stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    stdout, stderr = process.communicate("done\n", timeout=60)
    assert (process.returncode, stdout, stderr) == (0, "done\n", "")


@pytest.mark.parametrize("code", [0, 1, 2])
@pytest.mark.parametrize("redirection", ["| head -c 10", ">&-", "2>&- >&-"])
def test_the_exit_code_survives_a_reader_that_goes_away(redirection: str, code: int, tmp_path: Path) -> None:
    body = f"print('x' * 1_000_000); import typer; raise typer.Exit({code})"
    program = tmp_path / "program.py"
    program.write_text(REPLACED.format(body=body), encoding="utf-8")
    script = f"set -o pipefail; {sys.executable} {program} probe {redirection}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code
    assert done.stderr == ""


@pytest.mark.parametrize("code", [0, 1])
def test_a_pipe_closed_before_the_first_write_is_no_error(code: int) -> None:
    process = replaced(f"sys.stdin.read(); print('x' * 1_000_000); sys.exit({code})", stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stdin.close()
    assert process.wait(60) == code
    assert process.stderr.read() == ""


def test_help_does_not_load_the_heavy_libraries(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from harness.cli.main import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "heavy = {'torch', 'numpy', 'pandas', 'scipy', 'sklearn', 'matplotlib', 'onnxruntime', 'jinja2', 'rich'}\n"
        "sys.exit(','.join(sorted(heavy & set(sys.modules))) or 0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_help_cuts_no_summary_and_keeps_to_the_width(tmp_path: Path) -> None:
    for command in ((), ("run",), ("data",)):
        text = lparbench(*command, "--help", cwd=tmp_path).stdout
        assert "..." not in text.replace("]...", "")
        assert max(map(len, text.splitlines())) <= 100
    panels = lparbench("--help", cwd=tmp_path).stdout
    assert (
        panels.index("The main job:")
        < panels.index("  run ")
        < panels.index("This machine:")
        < panels.index("  probe ")
    )


COMPLETE = """
eval "$(lparbench --show-completion bash)"
complete -p lparbench >&2
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_lparbench_completion lparbench
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("swe",), ["sweep"]),
        (("data", "li"), ["list"]),
        (("run", "nsl-kdd-auto"), ["nsl-kdd-autoencoder", "nsl-kdd-autoencoder-wide"]),
        (("run", "--suite", ""), ["full", "quick", "seeds"]),
        (("run", "--dataset", "cic"), ["cic-ids2018", "cicids2017"]),
        (("data", "get", "nsl"), ["nsl-kdd"]),
        (("run", "--scenarios", "offline,s"), ["offline,server", "offline,single_stream"]),
        (("sweep", "--backends", "native,e"), ["native,eager"]),
        (("sweep", "--dtypes", "int8,bf"), ["int8,bfloat16"]),
        (("run", "--protocol", "a"), ["as-published"]),
        (("run", "--cach"), ["--cache"]),
    ],
)
def test_bash_completes(words: tuple[str, ...], expected: list[str], tmp_path: Path) -> None:
    program = tmp_path / "bin" / "lparbench"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m harness "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{program.parent}:{os.environ['PATH']}"}
    command = ["bash", "--norc", "-c", COMPLETE, "bash", "lparbench", *words]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert sorted(done.stdout.split()) == expected
    assert "-F _lparbench_completion lparbench" in done.stderr


def test_completion_loads_no_heavy_library() -> None:
    program = (
        "import sys\n"
        "from harness.cli import completion as c\n"
        "for complete in (c.workloads, c.suites, c.datasets, c.protocols, c.scenarios, c.backends, c.dtypes):\n"
        "    assert complete(''), complete\n"
        "sys.exit(','.join({'torch', 'numpy', 'pandas', 'sklearn', 'rich'} & set(sys.modules)) or 0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
