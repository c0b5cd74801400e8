"""The bootstrap of the average precision, and operating points, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, precision_score, recall_score

from harness.evaluation import bootstrap as resampling
from harness.evaluation.bootstrap import average_precision_interval, over_splits
from harness.evaluation.metrics import operating_points


def sample(seed: int, rows: int = 400, anomalies: int = 25) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    y = np.zeros(rows, dtype=np.int64)
    y[:anomalies] = 1
    return np.round(generator.normal(size=rows) + 1.2 * y, 1), y  # rounded, so that there are ties


def test_a_weighted_average_precision_is_scikit_learns():
    scores, y = sample(1)
    weight = np.random.default_rng(2).integers(0, 4, size=len(y)).astype(float)
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    found = resampling._average_precision(weight[order], y[order] == 1, ends)
    assert found == pytest.approx(average_precision_score(y, scores, sample_weight=weight))


def test_the_interval_holds_the_true_value_about_as_often_as_it_says():
    truth = np.mean([average_precision_score(y, s) for s, y in (sample(seed) for seed in range(1000, 1400))])
    intervals = [average_precision_interval(*sample(seed), resamples=200) for seed in range(100)]
    held = sum(low <= truth <= high for low, high in intervals)
    assert 85 <= held <= 100


def test_the_interval_over_splits_holds_the_true_value_where_that_of_their_spread_alone_does_not():
    """Detectors of one threshold on rows from two normal distributions; what they truly reach is known."""
    rng = np.random.default_rng(7)
    rows, tests, splits, shift = 100, 20, 5, 1.5
    held, naive, truths, intervals = 0, 0, [], []
    for _ in range(400):
        y = np.arange(rows) % 2
        x = rng.normal(size=rows) + shift * y
        values = []
        for _ in range(splits):
            order = rng.permutation(rows)
            test, train = order[:tests], order[tests:]
            cut = (x[train][y[train] == 1].mean() + x[train][y[train] == 0].mean()) / 2
            values.append(float(((x[test] > cut) == y[test]).mean()))
            truths.append((stats.norm.cdf(cut) + stats.norm.sf(cut, shift)) / 2)
        intervals.append((values, over_splits(values, tests / (rows - tests))))
    truth = np.mean(truths)
    for values, limits in intervals:
        half = stats.t.ppf(0.975, splits - 1) * np.std(values, ddof=1) / splits**0.5
        naive += abs(np.mean(values) - truth) <= half
        held += limits is not None and limits[0] <= truth <= limits[1]
    assert held >= 0.91 * len(intervals)
    assert naive <= 0.88 * len(intervals)


def test_an_interval_over_splits_is_that_of_the_formula_within_what_a_share_can_be():
    values, ratio = [0.81, 0.84, 0.79, 0.86], 0.25
    expected = stats.t.interval(0.95, 3, np.mean(values), np.std(values, ddof=1) * (1 / 4 + ratio) ** 0.5)
    assert over_splits(values, ratio) == pytest.approx(expected)
    assert over_splits([0.99, 1.0], ratio) == (pytest.approx(0.995 - 12.7062 * (5e-5 * 0.75) ** 0.5, abs=1e-6), 1.0)
    assert over_splits([0.9], ratio) is None
    assert over_splits([1.0, 1.0, 1.0], ratio) is None


def test_many_anomalies_or_one_kind_have_no_interval():
    scores, y = sample(1, rows=4000, anomalies=1500)
    assert average_precision_interval(scores, y) is None
    assert average_precision_interval(scores[:100], np.ones(100, dtype=int)) is None
    assert average_precision_interval(*sample(1, anomalies=4)) is None


def test_operating_points_are_chosen_on_validation_and_counted_on_test():
    validation, test = sample(3), sample(4)
    best, cheapest, target = operating_points(validation, test, missed_cost=10.0, target_recall=0.7)
    for point in (best, cheapest, target):
        flagged = test[0] > point.threshold
        assert point.precision == pytest.approx(precision_score(test[1], flagged))
        assert point.recall == pytest.approx(recall_score(test[1], flagged))
        assert point.cost == point.false_positive + 10.0 * point.false_negative
    assert recall_score(validation[1], validation[0] > target.threshold) >= 0.7

    def cost(threshold: float) -> float:
        flagged = validation[0] > threshold
        return (flagged & (validation[1] == 0)).sum() + 10.0 * (~flagged & (validation[1] == 1)).sum()

    assert cost(cheapest.threshold) == min(cost(cut) for cut in [-9.0, *np.unique(validation[0])])


def test_without_both_kinds_in_validation_there_is_no_point():
    scores, y = sample(5)
    assert operating_points((scores, np.zeros_like(y)), (scores, y), missed_cost=10.0, target_recall=0.7) == ()
