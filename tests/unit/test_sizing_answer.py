"""Answers from capacity curves: what decides, what is marked, what is refused, and what must fail well."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import fmean, stdev

import numpy as np
import pytest
from support.sizes import LAW, bench_of, series_of

from harness.record.size_model import CapacityBlock, SizeQuestion
from harness.serving.generator import Sent
from harness.serving.metrics import ProcessTime
from harness.sizing.answer import answer
from harness.sizing.curves import at_bound, curve_of, model_of, usable_rate
from harness.sizing.usl import Usl
from harness.workers.http_client import alone_s, front_share


def law(cores: int) -> float:
    return float(LAW.rate(cores))


def ask(rate: float, **changes: float) -> SizeQuestion:
    return SizeQuestion(rate=rate, p99_s=0.005, **changes)


def test_the_interval_is_students_over_blocks_and_the_lower_limit_decides() -> None:
    series = series_of(law)
    capacity = curve_of(series).capacity(4, 0.95)
    logs = [math.log(block.capacity or 0) for block in series.points[2].blocks]
    error = stdev(logs) / math.sqrt(6)
    assert capacity is not None
    assert capacity.basis == "measured"
    assert capacity.blocks == 6
    assert capacity.low == pytest.approx(math.exp(fmean(logs) - 2.570582 * error))
    assert capacity.high == pytest.approx(math.exp(fmean(logs) + 2.570582 * error))
    assert capacity.floor == pytest.approx(math.exp(fmean(logs) - 2.015048 * error))
    below, above = (answer(bench_of(series), ask(capacity.floor * share)) for share in (0.9999, 1.0001))
    assert below.chosen is not None
    assert below.chosen.cores == 4
    assert above.chosen is not None
    assert above.chosen.cores > 4


def test_the_smallest_configuration_with_its_neighbours() -> None:
    result = answer(bench_of(series_of(law)), ask(3200))
    assert result.verdict == "answered"
    assert result.chosen is not None
    assert result.smaller is not None
    assert result.larger is not None
    assert (result.smaller.cores, result.chosen.cores, result.larger.cores) == (3, 4, 5)
    assert (result.smaller.enough, result.chosen.enough, result.larger.enough) == (False, True, True)
    assert [each.capacity.basis for each in (result.smaller, result.chosen, result.larger)] == [
        "interpolated", "measured", "interpolated"
    ]  # fmt: skip


def test_growth_and_headroom_multiply_the_demand() -> None:
    assert ask(1000, growth=0.3, headroom=0.2).need == pytest.approx(1560)
    result = answer(bench_of(series_of(law)), ask(2500, growth=0.2, headroom=0.1))
    assert result.chosen is not None
    assert result.chosen.cores == 4


def test_beyond_the_measured_cores_it_says_extrapolated_and_is_wider() -> None:
    bench = bench_of(series_of(law, (1, 2, 3, 4), noise=0.01))
    result = answer(bench, ask(5000))
    assert result.verdict == "extrapolated"
    assert result.chosen is not None
    assert result.chosen.capacity.basis == "extrapolated"
    assert result.chosen.cores > 4
    assert "--cores" in result.refused[0].measure
    curve = bench.curves[0]
    beyond, inside = curve.capacity(8, 0.95), curve.capacity(4, 0.95)
    assert beyond is not None
    assert inside is not None
    assert beyond.high / beyond.low > inside.high / inside.low * (1 + curve.lack_of_fit)
    assert curve.capacity(9, 0.95) is None  # more than twice


def test_nothing_is_said_beyond_the_node() -> None:
    """A true slope that drops at the node boundary must not be answered for from inside it."""
    result = answer(bench_of(series_of(law, (1, 2, 4, 6, 8)), node_cores=8), ask(9000))
    assert result.verdict == "refused"
    assert result.chosen is None
    assert "8 cores" in result.refused[0].why
    assert "a second node" in result.refused[0].why


def test_more_than_twice_the_measured_cores_is_refused() -> None:
    result = answer(bench_of(series_of(law, (1, 2, 3, 4)), node_cores=48), ask(15_000))
    assert result.verdict == "refused"
    assert "beyond 8 cores" in result.refused[0].why


def test_above_the_peak_no_number_of_cores_does() -> None:
    bent = Usl(0.05, 0.01, 1000.0)
    result = answer(
        bench_of(series_of(lambda n: float(bent.rate(n)), (1, 2, 4, 8, 12, 16), noise=0.005), node_cores=24), ask(9000)
    )
    assert result.verdict == "refused"
    assert "no number of cores does" in result.refused[0].why


def test_points_that_contradict_the_law_are_not_forced_onto_it() -> None:
    def stepped(cores: int) -> float:
        return 1000.0 * cores if cores <= 4 else 4000.0 + 100 * (cores - 4)

    curve = curve_of(series_of(stepped, (1, 2, 3, 4, 6, 8), noise=0.003))
    assert not curve.laws
    assert curve.note is not None
    assert "not a USL curve" in curve.note
    assert model_of(curve, 0.95).kind == "neighbours"
    between = curve.capacity(5, 0.95)
    assert between is not None
    assert between.low < 4100 < between.high * 1.01
    assert curve.capacity(10, 0.95) is None


def test_coverage_inside_the_range() -> None:
    """Within two standard errors of the stated 95 %, over 300 small studies; a large one is in tests/bench."""
    inside = 0
    for seed in range(300):
        capacity = curve_of(series_of(law, seed=seed)).capacity(6, 0.95)
        assert capacity is not None
        assert capacity.basis == "interpolated"
        inside += capacity.low <= law(6) <= capacity.high
    assert 0.92 <= inside / 300 <= 0.99


def test_borrowed_cycles_are_not_capacity() -> None:
    block = CapacityBlock(0, 1000.0, physical_cores=2.0)
    assert usable_rate(block, 0.5) == pytest.approx(250.0)
    assert usable_rate(block, 2.0) == 1000.0
    assert usable_rate(block, None) == 1000.0
    series = series_of(law, physical_cores=lambda cores: cores)
    free = answer(bench_of(series), ask(3200)).chosen
    held = answer(bench_of(series, entitled=1.0), ask(3200))
    assert free is not None
    assert free.cores == 4
    assert held.chosen is None


def test_another_bound_is_read_from_the_trials() -> None:
    block = CapacityBlock(0, 1000.0, trials=((500.0, 0.001), (800.0, 0.002), (1000.0, 0.005), (1200.0, 0.02)))
    assert at_bound(block, 0.005).capacity == 1000.0
    assert at_bound(block, 0.003).capacity == 800.0
    assert at_bound(block, 0.05).capacity == 1200.0
    assert at_bound(block, 0.0005).capacity is None
    assert at_bound(replace(block, trials=((500.0, 0.01), (600.0, 0.001))), 0.005).capacity is None  # above a miss
    spoilt = replace(block, trials=((300.0, 0.04), *block.trials, (1100.0, 0.004), (1150.0, 0.03)))
    assert at_bound(spoilt, 0.005).capacity == 1100.0  # a pause at 300
    lucky = replace(block, trials=(*block.trials, (1250.0, 0.03), (1300.0, 0.004)))
    assert at_bound(lucky, 0.005).capacity == 1000.0


def test_smt_levels_compete_and_sharing_is_named() -> None:
    single = series_of(law)
    double = series_of(lambda n: 1.4 * law(n), threads_per_core=2, layout="per-thread", service_s=0.0013, seed=2)
    result = answer(bench_of(single, double), ask(3500))
    assert result.chosen is not None
    assert (result.chosen.cores, result.chosen.threads_per_core, result.chosen.instances) == (3, 2, 6)
    result = answer(bench_of(single, double), ask(4500))
    assert result.chosen is not None
    assert result.chosen.cores == 4
    assert result.chosen.limited_by.startswith("SMT sharing: a request takes 1.44 times")


def test_what_limits_is_named() -> None:
    busy = answer(bench_of(series_of(law, service_s=0.00099)), ask(900)).chosen
    assert busy is not None
    assert busy.limited_by.startswith("the scorer")
    queueing = answer(bench_of(series_of(law, service_s=0.0005)), ask(900)).chosen
    assert queueing is not None
    assert queueing.limited_by.startswith("queueing")


@pytest.mark.parametrize(("share", "limit"), [(0.82, "the front: 82 % of the server's CPU time"), (0.3, "the scorer")])
def test_a_server_is_limited_by_where_its_time_goes(share: float, limit: str) -> None:
    series = series_of(law, service_s=0.00099)
    points = tuple(
        replace(point, blocks=tuple(replace(block, front_share=share) for block in point.blocks))
        for point in series.points
    )
    chosen = answer(bench_of(replace(series, points=points)), ask(900)).chosen
    assert chosen is not None
    assert chosen.limited_by.startswith(limit)


def test_what_a_server_spends_outside_the_model() -> None:
    before = {"server": ProcessTime(1, 2.0, 1.5)}
    assert front_share(before, {"server": ProcessTime(1, 6.0, 2.5)}) == pytest.approx(0.75)
    fronts = {"front-0": ProcessTime(1, 3.0, 0.0), "scorer-0": ProcessTime(1, 1.0, 1.0)}
    assert front_share({}, fronts) == pytest.approx(0.75)
    assert front_share(before, before) is None
    assert front_share({}, {}) is None


class TestFailsWell:
    def test_one_block_has_no_interval(self) -> None:
        result = answer(bench_of(series_of(law, blocks=1)), ask(900))
        assert result.verdict == "refused"
        assert "one block" in result.refused[0].why

    def test_few_blocks_leave_it_open(self) -> None:
        result = answer(bench_of(series_of(law, blocks=3, noise=0.001)), ask(900))
        assert result.verdict == "open"
        assert result.chosen is not None
        assert result.chosen.cores == 1
        assert "3 blocks" in result.refused[0].why

    def test_one_core_count_is_answered_for_itself_only(self) -> None:
        bench = bench_of(series_of(law, (2,)))
        inside, beyond = answer(bench, ask(1500)), answer(bench, ask(2500))
        assert inside.verdict == "answered"
        assert inside.chosen is not None
        assert inside.chosen.cores == 2
        assert beyond.verdict == "refused"

    @pytest.mark.parametrize("rate", [lambda n: 1000.0, lambda n: 1000.0 / n], ids=["flat", "falling"])
    def test_flat_and_falling(self, rate: object) -> None:
        bench = bench_of(series_of(rate, noise=0.01))  # type: ignore[arg-type]
        inside = answer(bench, ask(900))
        assert inside.chosen is not None
        assert inside.chosen.cores == 1
        assert answer(bench, ask(1500)).verdict == "refused"

    def test_noise_beyond_use_is_open(self) -> None:
        bench = bench_of(series_of(lambda n: 1000.0, (1,), noise=0.8), node_cores=2)
        capacity = bench.curves[0].capacity(1, 0.95)
        assert capacity is not None
        result = answer(bench, ask(0.95 * capacity.value))
        assert result.verdict in ("open", "refused")
        assert result.chosen is None or result.chosen.enough is None

    def test_all_points_equal_and_no_variance(self) -> None:
        result = answer(bench_of(series_of(lambda n: 1000.0, noise=0.0)), ask(900))
        assert result.verdict == "answered"
        assert result.chosen is not None
        assert result.chosen.capacity.low == pytest.approx(result.chosen.capacity.high)

    def test_below_the_smallest(self) -> None:
        result = answer(bench_of(series_of(law)), ask(1.0))
        assert result.chosen is not None
        assert result.chosen.cores == 1
        assert result.smaller is None

    def test_a_bound_below_one_request(self) -> None:
        result = answer(bench_of(series_of(law, service_s=0.007)), ask(100))
        assert result.verdict == "refused"
        assert result.refused[0].why == "one request alone takes 7 ms: no number of cores helps"

    @pytest.mark.parametrize("capacity", [None, float("nan"), float("inf")])
    def test_a_block_without_a_figure_is_left_out(self, capacity: float | None) -> None:
        series = series_of(law)
        point = series.points[2]
        broken = replace(point, blocks=(replace(point.blocks[0], capacity=capacity), *point.blocks[1:]))
        curve = curve_of(replace(series, points=(*series.points[:2], broken, series.points[3])))
        limits = curve.capacity(4, 0.95)
        assert limits is not None
        assert limits.blocks == 5

    def test_full_contention(self) -> None:
        serial = Usl(0.999, 0.0, 1000.0)
        result = answer(bench_of(series_of(lambda n: float(serial.rate(n)), noise=0.002)), ask(1100))
        assert result.verdict == "refused"

    def test_no_coherency_does_not_scale_without_limit(self) -> None:
        result = answer(bench_of(series_of(lambda n: 1000.0 * n, noise=0.01), node_cores=64), ask(30_000))
        assert result.verdict == "refused"
        assert "beyond 16 cores" in result.refused[0].why

    def test_three_core_counts_are_not_extrapolated(self) -> None:
        result = answer(bench_of(series_of(law, (1, 2, 3))), ask(3500))
        assert result.verdict == "refused"


def test_the_same_curve_gives_the_same_answer() -> None:
    series = series_of(law)
    assert answer(bench_of(series), ask(3200)) == answer(bench_of(series), ask(3200))
    assert np.isfinite(list(curve_of(series).logs[4].values())).all()


def test_what_a_busy_machine_adds_to_a_request_is_not_the_time_of_the_request() -> None:
    """A generator that gets a sixth of its CPU is half a second late; that is no reason to say that no core helps."""
    lags = np.linspace(0, 1.2e9, 300).astype(np.int64)
    latencies = lags + np.where(np.arange(300) % 3, 40_000_000, 300_000)
    assert alone_s(Sent(latencies, lags, np.full(300, 200, np.int16), (), 0)) == pytest.approx(3e-4)
