"""Physical cores as ``lparstat`` reckons them, entitlement, and the dispatch window."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.platform.purr import Clock, consumption, read
from harness.platform.sysroot import SysRoot
from harness.sizing.partition import cap_objection, entitlement, longest_pause_s

M = 1_000_000


def test_lparstat_arithmetic() -> None:
    used = consumption(Clock(0, 0), Clock(1024 * M, 512 * M), entitled=0.25)
    assert used is not None
    assert (used.physical_cores, used.entitled_share) == (0.5, 2.0)
    assert used.busy_cores is None
    assert used.frequency_ratio is None


def test_busy_and_frequency() -> None:
    used = consumption(Clock(0, 0, idle=0, spurr=0), Clock(1000, 800, idle=300, spurr=720))
    assert used is not None
    assert (used.busy_cores, used.frequency_ratio) == (0.5, pytest.approx(0.9))


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (Clock(1000, 400, idle=500), 0.0),  # more idle than the total: two files, read one after the other
        (Clock(1000, 400, idle=50), None),  # idle went back
    ],
)
def test_counters_that_disagree(after: Clock, expected: float | None) -> None:
    used = consumption(Clock(0, 0, idle=100), after)
    assert used is not None
    assert used.busy_cores == expected
    assert used.physical_cores == pytest.approx(0.4)


@pytest.mark.parametrize("after", [Clock(0, 10), Clock(1000, -5), Clock(-1, 10)])
def test_counters_that_stand_still_or_go_back(after: Clock) -> None:
    assert consumption(Clock(0, 0), after) is None


def test_entitlement_is_rounded_up_and_has_a_least() -> None:
    assert entitlement(1.0, 0.2, 2) == 1.2
    assert entitlement(1.001, 0.0, 2) == 1.01
    assert entitlement(0.01, 0.0, 4) == 0.2
    assert entitlement(0.07, 0.0, 1) == 0.07


def test_a_cap_and_a_latency_bound() -> None:
    assert longest_pause_s(0.5, 1) == pytest.approx(0.005)
    assert longest_pause_s(2.0, 2) == 0
    assert cap_objection(0.005, 2.0, 2) is None
    assert cap_objection(0.020, 1.0, 2) is None
    assert cap_objection(None, 1.0, 2) is None
    objection = cap_objection(0.005, 1.0, 2)
    assert objection is not None
    assert "may pause 5.0 ms" in objection
    assert "dedicated" in objection


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lparcfg 1.9\npurr=512000000\ntbr=1024000000\n", Clock(1024 * M, 512 * M)),
        ("lparcfg 1.9\npurr=512000000\n", None),  # an old kernel
        ("lparcfg 1.9\npurr=x\ntbr=1\n", None),
        (None, None),
    ],
)
def test_the_counters_of_a_partition(text: str | None, expected: Clock | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "proc/ppc64").mkdir(parents=True)
        (tmp_path / "proc/ppc64/lparcfg").write_text(text, encoding="utf-8")
    assert read(SysRoot(tmp_path)) == expected


def test_without_counters_nothing_is_consumed() -> None:
    assert consumption(None, Clock(1, 1)) is None
    assert consumption(Clock(1, 1), None) is None
