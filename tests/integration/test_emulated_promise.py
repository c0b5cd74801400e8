"""A test of an emulated machine that cannot be had: skipped with a reason, or failed where the machine is promised."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.debian import PROMISE

CHECKOUT = Path(__file__).resolve().parents[2]
TESTS = """
import pytest
from support.debian import Unavailable

@pytest.fixture(scope="session")
def machine():
    try:
        raise Unavailable("no mirror can be reached")
    except Unavailable as reason:
        pytest.skip(str(reason))

def test_machine(machine): ...
def test_tool(): pytest.skip("not installed: a-compiler")
def test_that_ran(transcript): transcript.append("power10: probe agrees with lscpu")
@pytest.mark.xfail
def test_expected_to_fail(): assert False
"""


@pytest.mark.parametrize(
    ("promise", "code", "counts"), [("", 0, "1 passed, 2 skipped, 1 xfailed"), ("required", 1, "")]
)
def test_nothing_is_skipped_where_the_machine_is_promised(tmp_path, promise, code, counts):
    (tmp_path / "conftest.py").write_text("from support.emulated import *\n")
    (tmp_path / "test_it.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:lparbench", "."]
    env = {**os.environ, PROMISE: promise, "PYTHONPATH": str(CHECKOUT / "tests"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout
    assert "power10: probe agrees with lscpu" in done.stdout
    for reason in ("no mirror can be reached", "not installed: a-compiler"):
        assert f"NOT RUN: {reason}" in done.stdout
    if promise:
        assert "1 failed, 1 passed, 1 xfailed, 1 error" in done.stdout
        assert f"{PROMISE}=required promises root and packages, but this did not run: no mirror" in done.stdout
    else:
        assert counts in done.stdout
