"""What must hold of measuring and judging for any input."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.queueing import lindley_latencies

from harness.compare.observations import Accuracy, AccuracyFigure, Key, Observation, Side
from harness.gates.baseline import make_baseline
from harness.gates.baseline_file import baseline_text, read_baseline
from harness.measure.arrivals import serve_open_loop
from harness.measure.clock import FakeClock
from harness.measure.percentiles import percentile, requests_needed
from harness.measure.sampling import Limits, Samples, collect_each
from harness.measure.stats import holm, paired_effect
from harness.measure.verdicts import CompareVerdict, compare_verdict
from harness.platform.counters import CounterReading

OPPOSITE = {
    CompareVerdict.REGRESSED: CompareVerdict.IMPROVED,
    CompareVerdict.IMPROVED: CompareVerdict.REGRESSED,
    CompareVerdict.EQUIVALENT: CompareVerdict.EQUIVALENT,
    CompareVerdict.INCONCLUSIVE: CompareVerdict.INCONCLUSIVE,
}
ratios = st.lists(st.floats(-1, 1), min_size=6, max_size=20)
durations = st.lists(st.integers(0, 5_000_000), min_size=1, max_size=60)


class Counting:
    """Counters that show a preemption from time to time."""

    def __init__(self, preempted: list[bool]) -> None:
        self._steps = iter(np.cumsum(preempted).tolist())
        self._last = 0

    def read(self) -> CounterReading:
        self._last = next(self._steps, self._last)
        return CounterReading(self._last, 0, 0)


@settings(deadline=None, max_examples=40)
@given(d=ratios, margin=st.floats(0.001, 0.5))
def test_swapping_the_sides_swaps_the_verdict(d: list[float], margin: float) -> None:
    there, back = compare_verdict(d, margin), compare_verdict([-one for one in d], margin)
    assert back.verdict is OPPOSITE[there.verdict]
    assert there.effect is not None
    assert back.effect is not None
    assert back.effect.mean == pytest.approx(-there.effect.mean)
    assert back.effect.low == pytest.approx(-there.effect.high)


@settings(deadline=None, max_examples=40)
@given(d=ratios, margin=st.floats(0.001, 0.5))
def test_a_wider_margin_never_turns_equivalent_into_a_change(d: list[float], margin: float) -> None:
    narrow, wide = compare_verdict(d, margin).verdict, compare_verdict(d, 2 * margin).verdict
    if narrow is CompareVerdict.EQUIVALENT:
        assert wide not in (CompareVerdict.REGRESSED, CompareVerdict.IMPROVED)


@given(d=ratios)
def test_the_interval_holds_its_centre(d: list[float]) -> None:
    effect = paired_effect(d)
    assert effect.low <= effect.low90 <= effect.mean <= effect.high90 <= effect.high


@given(p=st.lists(st.floats(0, 1), max_size=20))
def test_holm_only_ever_raises_and_keeps_the_order(p: list[float]) -> None:
    adjusted = holm(p)
    assert all(one <= other <= 1 for one, other in zip(p, adjusted, strict=True))
    order = sorted(range(len(p)), key=lambda index: p[index])
    assert [adjusted[index] for index in order] == sorted(adjusted)


@given(
    values=st.lists(st.integers(1, 10**12), min_size=1, max_size=1500),
    percent=st.sampled_from([50.0, 90.0, 95.0, 99.0]),
)
def test_a_percentile_is_a_measured_latency_no_lower_than_the_plain_quantile(values: list[int], percent: float) -> None:
    found = percentile(Samples(np.array(values), np.zeros(len(values), np.uint8), 1, 0), percent)
    if len(values) < requests_needed(percent):
        assert found.value_s is None
        assert found.note is not None
    else:
        assert found.value_s is not None
        assert round(found.value_s * 1e9) in values
        assert found.value_s * 1e9 >= np.quantile(values, percent / 100, method="lower") * (1 - 1e-9)


@given(services=durations, gaps=durations)
def test_open_loop_latencies_are_lindleys_and_never_below_the_service(services: list[int], gaps: list[int]) -> None:
    n = min(len(services), len(gaps))
    schedule = np.cumsum(gaps[:n])
    clock = FakeClock()
    served = serve_open_loop(clock.work(services[:n]), schedule, clock=clock)
    assert served.latencies_ns.tolist() == lindley_latencies(schedule, services[:n]).tolist()
    assert (served.latencies_ns >= served.services_ns).all()


@given(work=durations, preempted=st.lists(st.booleans(), max_size=80))
def test_every_call_is_kept_with_its_duration_whatever_disturbed_it(work: list[int], preempted: list[bool]) -> None:
    clock = FakeClock()
    samples = collect_each(clock.work(work), clock=clock, counters=Counting(preempted), limits=Limits(len(work)))
    assert samples.durations_ns.tolist() == work
    assert samples.wall_ns == sum(work)
    if not any(preempted):
        assert samples.clean.all()


names = st.text(max_size=12)
times = st.floats(1e-9, 1e6)


@st.composite
def sides(draw: st.DrawFn) -> Side:
    keys = draw(
        st.lists(st.builds(Key, names, names, names, names, st.integers(0, 2**40), names), min_size=1, unique=True)
    )
    found = {}
    for key in keys:
        seconds = dict(enumerate(draw(st.lists(times, min_size=6, max_size=9))))
        found[key] = Observation(
            key, seconds, (), {"cpus": tuple(draw(st.lists(st.integers(0, 999), max_size=3)))}, {99: "lost"}
        )
    figure = AccuracyFigure(draw(st.floats(0, 1)), draw(st.floats(0, 1)), 5)
    return Side(
        draw(names), "2026-08-01T12:00:00Z", {draw(names): None}, found, {draw(names): Accuracy("a", {"a": figure})}
    )


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=50
)
@given(side=sides())
def test_a_baseline_is_read_as_it_was_written(side: Side, tmp_path: Path) -> None:
    baseline = make_baseline(side)
    path = tmp_path / "baseline.json"
    path.write_bytes(baseline_text(baseline).encode("utf-8", "backslashreplace"))
    again = read_baseline(path)
    assert again == baseline
    assert all(math.isfinite(floor.effect) for floor in again.floors.values())
