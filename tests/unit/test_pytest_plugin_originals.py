"""What a test has replaced in the standard library is set aside while the gate works, and put back whole."""

from __future__ import annotations

import colorsys
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path, PosixPath

import pytest

from harness.pytest_plugin.originals import Originals

NAMES = ("json.dumps", "time.time", "subprocess.Popen", "builtins.open", "pathlib.Path.exists", "os.name")


def refused(*_: object, **__: object) -> None:
    raise AssertionError("not while this test runs")


@pytest.fixture
def originals() -> Originals:
    known = Originals()
    known.learn()
    return known


def test_nothing_is_replaced_where_a_test_replaces_nothing(
    originals: Originals, monkeypatch: pytest.MonkeyPatch
) -> None:
    random.seed(1)
    monkeypatch.setenv("ADDED_BY_A_TEST", "1")
    assert not originals.patches(), str(originals.patches())


def test_what_is_replaced_is_set_aside_and_put_back(originals: Originals) -> None:
    own = (json.dumps, time.time, subprocess.Popen, open)
    environ, seen = dict(os.environ), {}
    with pytest.MonkeyPatch.context() as patch:
        for name in NAMES:
            patch.setattr(name, refused)
        patch.setattr(PosixPath, "read_text", refused, raising=False)  # which it inherits
        patch.setattr("sys.executable", "/nowhere")
        patch.setitem(sys.modules, "decimal", None)
        for name in environ:
            patch.delenv(name)
        patches = originals.patches()
        with patches.aside():
            seen["own"] = (json.dumps, time.time, subprocess.Popen, open) == own
            seen["class"] = Path(__file__).exists() and "read_text" in PosixPath(__file__).read_text()
            seen["process"] = os.name == "posix" and subprocess.call([sys.executable, "-c", "import decimal"]) == 0
            seen["modules"] = sys.modules["decimal"] is not None
            seen["environment"] = {name for name in environ if name not in os.environ} == {"PYTEST_CURRENT_TEST"}
            with patches.back():
                seen["back"] = json.dumps is Path.exists is PosixPath.read_text is refused and not os.environ
                seen["reader"] = patches.reader(lambda: json.dumps is own[0])()
            seen["aside"] = json.dumps is own[0]
        seen["after"] = json.dumps is Path.exists is PosixPath.read_text is refused and not os.environ
        seen["text"] = sys.executable == "/nowhere" and os.name is refused and sys.modules["decimal"] is None
    assert [what for what, right in seen.items() if not right] == []
    assert len(seen) == 10
    assert str(patches).endswith(" and others")


def test_modules_that_are_imported_later_are_known_to_the_next_test(
    originals: Originals, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Originals()
    monkeypatch.setattr(colorsys, "rgb_to_hsv", len)
    late.learn()
    assert not late.patches()
    assert str(originals.patches()) == "colorsys.rgb_to_hsv"


def test_what_is_set_for_the_whole_process_is_set_aside_and_put_back(originals: Originals) -> None:
    """Limits, handlers, a timer that is running, blocked signals and the mask of modes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = {name: signal.getsignal(name) for name in (signal.SIGCHLD, signal.SIGALRM)}
    mask, modes = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1}), os.umask(0o777)
    seen = {}
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, refused)
        signal.setitimer(signal.ITIMER_REAL, 600.0)
        patches = originals.patches()
        with patches.aside():
            seen["limit"] = resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)
            seen["process"] = subprocess.call([sys.executable, "-c", ""]) == 0
            seen["mask"] = signal.SIGUSR1 not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
            seen["timer"] = signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
            with patches.back():
                seen["back"] = resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 3
                seen["ignored"] = signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN
                seen["armed"] = signal.getitimer(signal.ITIMER_REAL)[0] > 0
        seen["after"] = resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 3 and os.umask(0o777) == 0o777
        seen["running"] = signal.getsignal(signal.SIGALRM) is refused and signal.getitimer(signal.ITIMER_REAL)[0] > 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.umask(modes)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for name, handler in before.items():
            signal.signal(name, handler)
    assert [what for what, right in seen.items() if not right] == []
    assert len(seen) == 9
    assert not originals.patches()
