"""``lparbench smt`` as a command, on a synthetic tree."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from support.trees import LparSpec, NodeSpec, TreeSpec, build

_CHECKOUT = Path(__file__).parents[2]
SPEC = TreeSpec(nodes=(NodeSpec(0, cores=3),), smt_of_core={1: 2}, lpar=LparSpec())


def _argv(*words: str) -> list[str]:
    return [sys.executable, "-m", "harness", "smt", *words]


def _smt(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_argv(*words), cwd=_CHECKOUT, capture_output=True, text=True, check=False, timeout=480)


def _snapshot(root: Path) -> dict[str, bytes]:
    cpus = root / "sys/devices/system/cpu"
    return {str(path): path.read_bytes() for path in sorted(cpus.rglob("*")) if path.is_file()}


def test_show_set_restore(tmp_path):
    root = build(SPEC, tmp_path)
    before = _snapshot(root)
    shown = json.loads(_smt("show", "--sysroot", str(root), "--json").stdout)
    assert shown == {
        "online": 8,
        "max": 8,
        "mixed": True,
        "cores_by_threads": {"2": 1, "8": 2},
        "control": "on",
        "method": "switched",
        "saved": False,
    }
    assert _smt("set", "2", "--sysroot", str(root)).returncode == 0
    assert (root / "sys/devices/system/cpu/cpu2/online").read_text() == "0\n"
    assert "waits to be restored: lparbench smt restore" in _smt("show", "--sysroot", str(root)).stdout
    assert _smt("restore", "--sysroot", str(root)).stdout == "The state before is back.\n"
    assert _snapshot(root) == before
    assert _smt("restore", "--sysroot", str(root)).stdout == "There is nothing to restore.\n"


def test_a_level_for_one_command_gives_its_exit_code_and_goes_away_with_it(tmp_path):
    root = build(SPEC, tmp_path)
    before = _snapshot(root)
    script = f"import sys; sys.exit(40 + int(open({str(root / 'sys/devices/system/cpu/cpu4/online')!r}).read()))"
    done = _smt("set", "4", "--sysroot", str(root), "--", sys.executable, "-c", script)
    assert done.returncode == 40  # CPU 4 was offline while it ran
    assert done.stderr == "SMT 4 (switched)\n"
    assert _snapshot(root) == before
    missing = _smt("set", "4", "--sysroot", str(root), "--", "no-such-program")
    assert missing.returncode == 4
    assert "no-such-program: No such file or directory" in missing.stderr
    assert _snapshot(root) == before


def test_sigterm_ends_the_command_first_and_then_puts_back(tmp_path):
    root = build(SPEC, tmp_path)
    before = _snapshot(root)
    note = tmp_path / "pid"
    script = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    argv = _argv("set", "4", "--sysroot", str(root), "--", sys.executable, "-c", script)
    process = subprocess.Popen(argv, cwd=_CHECKOUT, stderr=subprocess.PIPE)
    while not (note.exists() and note.read_text()):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=480)
    assert process.returncode > 128
    assert _snapshot(root) == before
    try:
        os.kill(int(note.read_text()), 0)
    except ProcessLookupError:
        return
    raise AssertionError("the command outlived its level")


def test_sigkill_ends_the_command_too_and_the_state_before_comes_back(tmp_path):
    root = build(SPEC, tmp_path)
    before = _snapshot(root)
    note = tmp_path / "pid"
    script = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    argv = _argv("set", "4", "--sysroot", str(root), "--", sys.executable, "-c", script)
    process = subprocess.Popen(argv, cwd=_CHECKOUT, stderr=subprocess.DEVNULL)
    while not (note.exists() and note.read_text()):
        time.sleep(0.02)
    assert _snapshot(root) != before
    process.kill()
    process.wait()
    for _ in range(6000):
        if _snapshot(root) == before and not Path("/proc", note.read_text()).exists():
            return
        time.sleep(0.02)
    raise AssertionError("the command outlived its level, or the level the command")


def test_restore_names_what_somebody_else_switched_and_obeys_force(tmp_path):
    root = build(SPEC, tmp_path)
    where = ("--sysroot", str(root))
    before = _snapshot(root)
    assert _smt("set", "2", *where).returncode == 0
    (root / "sys/devices/system/cpu/cpu1/online").write_text("0\n")
    refused = _smt("restore", *where)
    assert refused.returncode == 5
    assert "was not restored: CPU 1 is offline." in refused.stderr
    assert _smt("restore", "--force", "--leave", *where).returncode == 4
    assert _smt("restore", "--force", *where).stdout == "The state before is back.\n"
    assert _snapshot(root) == before


def test_a_wrong_level_is_one_line_and_exit_code_4(tmp_path):
    root = build(SPEC, tmp_path)
    done = _smt("set", "16", "--sysroot", str(root))
    assert done.returncode == 4
    assert done.stderr.splitlines() == ["lparbench: error: SMT 16: the cores have 8 threads.", "  Expected 1 to 8."]


def test_help_shows_an_example():
    for command in ((), ("show",), ("set",), ("restore",)):
        assert "Example" in _smt(*command, "--help").stdout
