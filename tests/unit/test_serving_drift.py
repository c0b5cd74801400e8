"""Drift windows: silent on rows like the training rows, whatever their number; loud on what has changed."""

from __future__ import annotations

import numpy as np
import pytest
from support.drift import COLUMNS, NAMES, Served, monitor, reference, served, windows_over

from harness.datasets.gaps import Absent
from harness.decode import decode, encode
from harness.evaluation.drift import DriftReference, ScoreReference, count_bounds, distance_bound, stability_index
from harness.serving.drift import DriftState, ShareDrift, together
from harness.serving.drift_monitor import DriftMonitor
from harness.serving.metrics import Histogram


@pytest.mark.parametrize(("window", "windows"), [(100, 1000), (500, 1000), (2000, 200)])
def test_an_undrifted_stream_alarms_in_at_most_one_window_of_a_hundred(window: int, windows: int) -> None:
    rng = np.random.default_rng(3)
    watch = monitor(window, rng)
    assert windows_over(watch, rng, windows) <= windows // 100  # of all statistics together
    assert watch.alarms <= windows // 100
    assert watch.windows == windows


def _shifted(part: Served) -> Served:
    part.rows[:, 5] += 0.5
    return part


def _higher(part: Served) -> Served:
    return part._replace(scores=part.scores * np.float32(1.5))


def _flagged(part: Served) -> Served:
    part.scores[::20] += 1000
    return part


def _holes(part: Served) -> Served:
    part.missing[::50, 0] = True
    return part


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (_shifted, ("f5",)),
        (_higher, ("scores", "share flagged")),
        (_flagged, ("share flagged",)),
        (_holes, ("missing c0",)),
    ],
)
def test_what_has_changed_is_seen_within_two_windows(change: object, seen: tuple[str, ...]) -> None:
    rng = np.random.default_rng(4)  # a shift of half a standard deviation among them
    watch = monitor(2000, rng)
    watch.add(*change(served(rng, 4000)))  # type: ignore[operator]
    assert watch.windows == 2
    assert watch.alarming == seen
    state = watch.state()
    assert state.worst is not None
    assert state.worst > 1
    over = {(sample.name, sample.statistic) for sample in state.samples() if sample.of_bound > 1}
    assert over == {(sample.name, sample.statistic) for sample in state.samples() if sample.over}
    assert len(over) == len(seen)


def test_a_window_counts_every_row_in_its_bin() -> None:
    rng = np.random.default_rng(7)
    window = 17_000  # more than a byte counts at every place of a chunk
    train, later = served(rng, 20_000).rows, served(rng, window).rows
    later[:, 3] = train[:, 3].max() + 1
    reference = DriftReference.of(train)
    watch = DriftMonitor(reference, NAMES, window)
    watch.add(later)
    assert watch.last is not None
    for index, (edges, trained) in enumerate(zip(reference.edges, reference.counts, strict=True)):
        counts = np.bincount(np.searchsorted(edges, later[:, index]), minlength=len(trained))
        assert watch.last.values[index] == pytest.approx(stability_index(counts.astype(float), trained.astype(float)))


def test_windows_do_not_depend_on_how_rows_come() -> None:
    rng = np.random.default_rng(5)
    stream = served(rng, 3000)
    at_once, bits = monitor(700, np.random.default_rng(6)), monitor(700, np.random.default_rng(6))
    at_once.add(*stream)
    start = 0
    for size in (*rng.integers(1, 130, 60).tolist(), 3000):
        bits.add(*(part[start : start + size] for part in stream))
        start += size
    assert at_once.windows == bits.windows == 4
    assert at_once.state() == bits.state()


def test_the_histogram_has_every_score_at_any_moment() -> None:
    rng = np.random.default_rng(8)
    watched = reference(served(rng, 5000), served(rng, 5000))
    assert watched.scores is not None
    histogram = Histogram(tuple(watched.scores.edges.tolist()))
    watch = DriftMonitor(watched, NAMES, 700, scores=histogram)
    stream, start = served(rng, 3000), 0
    for size in (5, 64, 1, 690, 1400, 840):
        watch.add(stream.rows[start : start + size], stream.scores[start : start + size])
        start += size
        watch.catch_up()
        watch.catch_up()  # adds nothing
        expected = Histogram(histogram.bounds)
        expected.add_all(stream.scores[:start].tolist())
        assert histogram.counts == expected.counts
        assert histogram.total == pytest.approx(expected.total)


def test_what_training_itself_drifts_by_is_no_drift() -> None:
    rng = np.random.default_rng(9)
    train, held_out, stream = (served(rng, count) for count in (20_000, 4000, 4000))
    train.rows[10_000:, 5] += 0.8  # the later half
    held_out.scores[2000:] *= np.float32(1.5)
    train.missing[10_000:, 1] = rng.random(10_000) < 0.05
    stream.rows[:, 5] += 0.5
    stream.scores[:] *= np.float32(1.4)
    stream.missing[:, 1] = rng.random(4000) < 0.05
    absent = Absent.of(train.missing.T, 20_000)
    watched = reference(train, held_out)
    watch = DriftMonitor(watched, NAMES, 2000, COLUMNS, absent)
    watch.add(*stream)
    state = watch.state()
    assert watch.alarming == ()
    assert state.features["f5"].floor == state.features["f5"].bound > 0.1
    assert state.features["f7"].floor == 0.0
    assert state.scores is not None
    assert state.scores.floor == state.scores.bound > 0.1
    assert state.missing["c1"].floor == pytest.approx(0.05, abs=0.01)


def test_a_bundle_of_before_has_its_features_watched_and_says_what_is_not() -> None:
    rng = np.random.default_rng(10)
    arrays = DriftReference.of(served(rng, 5000).rows).to_arrays()
    del arrays["first"]
    watch = DriftMonitor(DriftReference.from_arrays(arrays), NAMES, 500, COLUMNS)
    watch.add(*_shifted(served(rng, 1000)))
    state = watch.state()
    assert state.drifted == ("f5",)
    assert (state.scores, state.flagged, dict(state.missing)) == (None, None, {})
    assert [each.partition(":")[0] for each in state.unwatched] == [
        "scores, share flagged",
        "missing values",
        "A/A floor",
    ]


def test_references_and_states_survive_a_file() -> None:
    rng = np.random.default_rng(11)
    before = reference(served(rng, 5000), served(rng, 900))
    after = DriftReference.from_arrays(before.to_arrays())
    assert after.first is not None
    assert before.first is not None
    for one, other in zip(before.first, after.first, strict=True):
        np.testing.assert_array_equal(one, other)
    assert before.scores is not None
    assert after.scores is not None
    assert encode(vars(before.scores) | {"edges": 0, "counts": 0, "first": 0}) == encode(
        vars(after.scores) | {"edges": 0, "counts": 0, "first": 0}
    )
    arrays = before.to_arrays()
    arrays["scores.threshold"] = np.asarray(-1.0)
    with pytest.raises(ValueError, match="do not fit"):
        DriftReference.from_arrays(arrays)
    watch = monitor(500, rng)
    watch.add(*served(rng, 1000))
    state = watch.state()
    assert decode(DriftState, encode(state), "x") == state


def test_of_several_scorers_each_statistic_is_where_it_drifted_most() -> None:
    rng = np.random.default_rng(12)
    quiet, shifted, high = (monitor(500, np.random.default_rng(13)) for _ in range(3))
    quiet.add(*served(rng, 1000))
    shifted.add(*_shifted(served(rng, 1000)))
    high.add(*_higher(served(rng, 1000)))
    both = together([quiet.state(), shifted.state(), high.state()])
    assert (both.windows, both.alarms) == (6, 2)
    assert set(both.drifted) == {"f5", "scores", "share flagged"}
    assert both.features["f5"] == shifted.state().features["f5"]
    assert (both.scores, both.flagged) == (high.state().scores, high.state().flagged)
    assert both.missing.keys() == set(COLUMNS)


def test_counts_that_fit_are_those_of_fishers_test() -> None:
    from scipy.stats import fisher_exact

    for n, count, m in ((100, 0, 300), (100, 15, 300), (500, 4000, 4000), (40, 1, 7)):
        low, high = count_bounds(n, count, m, 0.01)

        def rare(own: int, side: str, n: int = n, count: int = count, m: int = m) -> bool:
            return bool(fisher_exact([[own, n - own], [count, m - count]], side).pvalue <= 0.005)

        assert not rare(low, "less")
        assert not rare(high, "greater")
        assert low == 0 or rare(low - 1, "less")
        assert high == n or rare(high + 1, "greater")


def test_a_share_that_cannot_fall_does_not_drift_by_falling() -> None:
    low = ShareDrift(0.0, 0.003, 0.0, 0.01, over=False, floor=0.0)
    assert low.of_bound == 0
    (sample,) = DriftState(100, 1, 0, (), {}, flagged=low).samples()
    assert sample.bound == 0.01  # the one that can be passed
    assert ShareDrift(0.02, 0.03, 0.01, 0.05, over=False, floor=0.0).of_bound == pytest.approx(0.5)


def test_the_distance_of_two_samples_is_seldom_over_its_bound() -> None:
    from scipy.stats import ks_2samp

    rng = np.random.default_rng(14)
    over = 0
    for _ in range(400):
        n, m = rng.random(100), rng.random(400)
        over += ks_2samp(n, m).statistic > distance_bound(100, 400, 0.05)
    assert over <= 20 + 13  # five percent, and three standard deviations
    edges = ScoreReference.of(rng.random(400).astype(np.float32), 2.0, held_out=False).edges
    assert edges[-1] == 2.0  # no score was flagged


def test_the_index_is_the_sum_of_the_formula() -> None:
    counts, reference = np.array([10.0, 20.0, 70.0]), np.array([300.0, 300.0, 400.0])
    p, q = (counts + 0.5) / (counts + 0.5).sum(), (reference + 0.5) / (reference + 0.5).sum()
    assert stability_index(counts, reference) == pytest.approx(((p - q) * np.log(p / q)).sum())
    assert stability_index(reference, reference) == 0


def test_without_drift_the_index_is_as_large_as_theory_says() -> None:
    rng = np.random.default_rng(7)
    for n, mean in ((500, 0.0180), (2000, 0.0045)):  # (B - 1)/n with ten bins and a large reference
        counts = rng.multinomial(n, [0.1] * 10, size=4000).astype(float)
        assert stability_index(counts, np.full(10, 1e7)).mean() == pytest.approx(mean, rel=0.05)
