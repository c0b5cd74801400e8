"""Metrics against scikit-learn directly, and what may not depend on it: thinning, histograms, thresholds."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from harness.decode import encode
from harness.errors import InputError
from harness.evaluation import thresholds
from harness.evaluation.metrics import CURVE_POINTS, evaluate, over_seeds
from harness.evaluation.thresholds import Threshold
from harness.scoring.agreement import agreement


def scored(seed: int = 0, rows: int = 5000, shift: float = 1.5):
    generator = np.random.default_rng(seed)
    y = (generator.random(rows) < 0.2).astype(int)
    return (generator.normal(size=rows) + shift * y).astype(np.float32), y


def test_metrics_are_scikit_learns():
    scores, y = scored()
    found = evaluate(scores, y, Threshold(0.7, "fixed"))
    flagged = scores > np.float32(0.7)
    assert found.auc_roc == pytest.approx(metrics.roc_auc_score(y, scores), abs=1e-12)
    assert found.auc_pr == pytest.approx(metrics.average_precision_score(y, scores), abs=1e-12)
    assert found.f1 == metrics.f1_score(y, flagged)
    assert found.accuracy == metrics.accuracy_score(y, flagged)
    best = max(metrics.f1_score(y, scores >= cut) for cut in np.unique(scores)[::7])
    assert best - 1e-12 <= found.best_f1 <= best + 0.01
    assert found.best_f1 >= found.f1
    assert "best_f1" in found.oracle
    c = found.confusion
    assert c.true_positive + c.false_negative == y.sum()
    assert c.true_positive / (c.true_positive + c.false_positive) == found.precision
    assert found.prevalence == y.mean()


def test_recall_at_a_false_positive_rate_is_attainable():
    scores, y = scored()
    found = evaluate(scores, y, Threshold(0.0, "fixed"))
    for rate, recall in ((0.01, found.recall_at_fpr_1pct), (0.001, found.recall_at_fpr_01pct)):
        normal = np.sort(scores[y == 0])[::-1]
        allowed = int(np.floor(rate * len(normal)))
        assert recall == pytest.approx((scores[y == 1] > normal[allowed]).mean(), abs=1e-12)


def test_curves_are_short_and_true_to_the_area():
    scores, y = scored(rows=40_000)
    found = evaluate(scores, y, Threshold(0.0, "fixed"))
    assert len(found.roc) <= CURVE_POINTS
    assert len(found.pr) <= CURVE_POINTS
    assert found.roc[0] == (0.0, 0.0)
    assert found.roc[-1] == (1.0, 1.0)
    assert np.trapezoid([p[1] for p in found.roc], [p[0] for p in found.roc]) == pytest.approx(found.auc_roc, abs=2e-3)


def test_record_form_is_plain_json_and_repeats():
    scores, y = scored()
    names = np.where(y == 1, "dos", "normal")
    first = json.dumps(encode(evaluate(scores, y, Threshold(0.7, "fixed"), names)), allow_nan=False)
    assert first == json.dumps(encode(evaluate(scores, y, Threshold(0.7, "fixed"), names)), allow_nan=False)
    per_class = json.loads(first)["per_class"]
    assert set(per_class) == {"dos", "normal"}
    assert per_class["dos"]["flagged"] == pytest.approx(json.loads(first)["recall"])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["normal", "lognormal", "constant", "two", "outlier"]))
def test_histogram_holds_every_row(seed, kind):
    generator = np.random.default_rng(seed)
    y = np.arange(200) % 4 == 0
    scores = {
        "normal": generator.normal(size=200),
        "lognormal": generator.lognormal(sigma=4.0, size=200),
        "constant": np.full(200, 3.25),
        "two": (np.arange(200) % 2).astype(float),
        "outlier": np.concatenate([generator.random(199), [1e30]]),
    }[kind].astype(np.float32)
    shape = evaluate(scores, y.astype(int), Threshold(0.5, "fixed")).histogram
    assert sum(shape.normal) == 150
    assert sum(shape.anomaly) == 50
    assert len(shape.edges) == len(shape.normal) + 1
    assert all(b > a for a, b in zip(shape.edges, shape.edges[1:], strict=False))


def test_skewed_scores_get_a_logarithmic_axis():
    scores, y = scored()
    assert evaluate(scores, y, Threshold(0.0, "fixed")).histogram.scale == "linear"
    assert evaluate(np.exp(6 * scores), y, Threshold(0.0, "fixed")).histogram.scale == "log"


def test_summary_over_seeds():
    evaluations = [evaluate(*scored(seed), Threshold(0.7, "fixed")) for seed in range(3)]
    values = [item.f1 for item in evaluations]
    summary = over_seeds(values)
    assert (summary.mean, summary.sd) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    assert summary.n == 3
    assert over_seeds(values[:1]).sd is None
    with pytest.raises(InputError):
        over_seeds([])


@pytest.mark.parametrize(
    ("scores", "y", "message"),
    [
        ([0.1, np.nan], [0, 1], "not finite"),
        ([0.1, 0.2], [0, 0], "one kind of row"),
        ([0.1, 0.2, 0.3], [0, 1], "one of each per row"),
    ],
)
def test_unusable_scores(scores, y, message):
    with pytest.raises(InputError, match=message):
        evaluate(np.array(scores), np.array(y), Threshold(0.0, "fixed"))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 1)), min_size=2, max_size=60))
def test_best_f1_threshold_is_the_best_there_is(pairs):
    scores = np.array([value for value, _ in pairs], dtype=np.float32)
    y = np.array([label for _, label in pairs])
    if len(set(y.tolist())) < 2:
        with pytest.raises(InputError):
            thresholds.best_f1(scores, y)
        return
    chosen = thresholds.best_f1(scores, y)
    best = max(metrics.f1_score(y, scores >= cut) for cut in np.unique(scores))
    assert metrics.f1_score(y, scores > chosen.value) == pytest.approx(best)


def test_few_scores_near_zero_are_held_to_what_scores_typically_are():
    reference = np.array([2e-3, -1e-3, 3e-3], dtype=np.float32)
    other, typical = reference + np.float32(1e-6), np.array([0.5, -0.2, 0.3, 2e-3], dtype=np.float32)
    assert not agreement(reference, other).within
    assert agreement(reference, other, typical=typical).within
    assert not agreement(reference, reference + np.float32(1e-3), typical=typical).within


def test_agreement_allows_rounding_and_catches_a_wrong_layer():
    reference = np.random.default_rng(0).lognormal(sigma=2.0, size=1000).astype(np.float32)
    assert agreement(reference, reference * np.float32(1 + 1e-6)).within
    assert agreement(reference - reference, reference - reference).within
    wrong = reference.copy()
    wrong[17] *= 1.01
    found = agreement(reference, wrong)
    assert not found.within
    assert "DISAGREE" in found.sentence()
    assert not agreement(reference, np.full_like(reference, np.nan)).within
    with pytest.raises(InputError):
        agreement(reference, reference[:-1])
