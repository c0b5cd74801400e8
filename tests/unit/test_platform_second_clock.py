"""A clock that somebody changed is seen by a second one, and makes what it timed invalid."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.measure.clock import SystemClock
from harness.measure.validity import Evidence, Reason, invalidities
from harness.platform.counters import StealMeter
from harness.platform.second_clock import ClockWatch, Elapsed
from harness.platform.sysroot import SysRoot

FAST = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *t) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    const int status = real(id, t);
    if (id != CLOCK_MONOTONIC && id != CLOCK_REALTIME) return status;
    static long long began[2];
    const long long now = t->tv_sec * 1000000000LL + t->tv_nsec;
    if (!began[id]) began[id] = now;
    const long long ns = began[id] + (now - began[id]) * FACTOR_ABOVE / FACTOR_BELOW;
    t->tv_sec = ns / 1000000000, t->tv_nsec = ns % 1000000000;
    return status;
}
"""
WATCHED = """
from harness.platform.second_clock import ClockWatch
watch = ClockWatch()
kernel = lambda: float(open("/proc/uptime").read().split()[0])
began = kernel()
while kernel() < began + 0.4:
    pass
print(watch.elapsed().disagreement)
"""


def watched(tmp_path: Path, above: int, below: int) -> str:
    """What the second clock says in a process whose clock is changed by a factor."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    (tmp_path / "fast.c").write_text(FAST)
    factors = (f"-DFACTOR_ABOVE={above}", f"-DFACTOR_BELOW={below}")
    subprocess.run(["gcc", "-shared", "-fPIC", *factors, "fast.c", "-o", "fast.so", "-ldl"], cwd=tmp_path, check=True)
    environment = {**os.environ, "LD_PRELOAD": str(tmp_path / "fast.so")}
    done = subprocess.run([sys.executable, "-c", WATCHED], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(("above", "below"), [(10, 1), (1, 10), (3, 2)])
def test_a_changed_clock_is_seen(tmp_path: Path, above: int, below: int) -> None:
    assert watched(tmp_path, above, below).startswith("the clock that times says that ")


def test_an_honest_clock_is_not_suspected(tmp_path: Path) -> None:
    assert watched(tmp_path, 1, 1) == "None"


@pytest.mark.parametrize(
    ("timing_s", "kernel_s", "agree"),
    [(1.0, 1.0, True), (1.04, 1.0, True), (0.03, 0.0, True), (100.0, 104.0, True), (1.2, 1.0, False), (7.0, 0.7, False),
     (0.7, 7.0, False), (100.0, 90.0, False)],
)  # fmt: skip
def test_how_far_they_may_be_apart(timing_s: float, kernel_s: float, agree: bool) -> None:
    assert (Elapsed(timing_s, kernel_s).disagreement is None) is agree


def test_where_the_uptime_is_hidden_nothing_is_said(tmp_path: Path) -> None:
    for content in (None, "", "soon"):
        (tmp_path / "proc").mkdir(exist_ok=True)
        if content is not None:
            (tmp_path / "proc" / "uptime").write_text(content)
        assert ClockWatch(SysRoot(tmp_path)).elapsed() is None


def test_a_result_under_a_changed_clock_is_invalid() -> None:
    text = Elapsed(7.0, 0.7).disagreement
    (broken,) = invalidities(Evidence(blocks=6, clock_mismatch=text))
    assert broken.reason is Reason.CLOCK
    assert broken.text == "the clock that times says that 7.00 s passed, the kernel's uptime 0.70 s"


def test_clocks_that_a_test_stops_are_not_those_that_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns"):
        monkeypatch.setattr(time, name, lambda: 0)
    watch, steal = ClockWatch(), StealMeter(SysRoot(), (0,))
    began = SystemClock.now_ns()
    while SystemClock.now_ns() < began + 2_000_000:
        pass
    elapsed = watch.elapsed()
    assert elapsed is None or elapsed.timing_s >= 0.002
    assert (steal.share() or 0.0) < 1000
