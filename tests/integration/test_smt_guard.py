"""A process that switched SMT is killed outright: the guard beside it puts the state back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.trees import LparSpec, NodeSpec, TreeSpec, build

from harness.placement.smt import set_level, smt_session
from harness.placement.smt_guard import guarded, restore_after_kill
from harness.placement.smt_state import load
from harness.platform.sysroot import SysRoot

_CHECKOUT = Path(__file__).parents[2]
SPEC = TreeSpec(nodes=(NodeSpec(0, cores=2),), smt_of_core={1: 2}, lpar=LparSpec())
SWITCHING = """
import sys, time
from harness.placement.smt import smt_session
from harness.placement.smt_guard import guarded
from harness.platform.sysroot import SysRoot
root = SysRoot(sys.argv[1])
with guarded(root), smt_session(root) as session:
    session.switch(1)
    print("switched", flush=True)
    time.sleep(60)
"""


def snapshot(root: Path) -> dict[str, bytes]:
    cpus = root / "sys/devices/system/cpu"
    return {str(path): path.read_bytes() for path in sorted(cpus.rglob("*")) if path.is_file()}


def await_snapshot(root: Path, wanted: dict[str, bytes]) -> None:
    deadline = time.monotonic() + 120
    while snapshot(root) != wanted:
        assert time.monotonic() < deadline, "the state before did not come back"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_state_before_comes_back_when_the_switching_process_dies(tmp_path: Path, number: signal.Signals) -> None:
    root = build(SPEC, tmp_path)
    before = snapshot(root)
    process = subprocess.Popen(
        [sys.executable, "-c", SWITCHING, str(root)],
        env={**os.environ, "PYTHONPATH": str(_CHECKOUT)},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"switched\n"
    assert snapshot(root) != before
    process.send_signal(number)
    process.wait(20)
    await_snapshot(root, before)
    assert not restore_after_kill(SysRoot(root))


def test_an_orderly_end_leaves_nothing_to_do_and_a_lasting_level_is_left_alone(tmp_path: Path) -> None:
    root = build(SPEC, tmp_path)
    sysroot = SysRoot(root)
    with guarded(sysroot), smt_session(sysroot) as session:
        session.switch(2)
    assert load(sysroot) is None
    set_level(sysroot, 4)
    assert not restore_after_kill(sysroot)
    assert load(sysroot) is not None
