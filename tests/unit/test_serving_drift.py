"""Drift windows: silent on rows like the training rows, whatever their number; loud on a shifted feature."""

from __future__ import annotations

import numpy as np
import pytest

from harness.evaluation.drift import DriftReference
from harness.serving.drift import DriftMonitor, stability_index

FEATURES = 41


def monitor(window: int, rng: np.random.Generator) -> DriftMonitor:
    train = rows(rng, 20_000)
    return DriftMonitor(DriftReference.of(train), tuple(f"f{i}" for i in range(FEATURES)), window)


def rows(rng: np.random.Generator, count: int) -> np.ndarray:
    """Half of the features mostly zeros, as those of network flows are."""
    x = rng.standard_normal((count, FEATURES)).astype(np.float32)
    x[:, ::2] *= rng.random((count, (FEATURES + 1) // 2)) < 0.2
    return x


@pytest.mark.parametrize(("window", "windows"), [(100, 1000), (500, 1000), (2000, 200)])
def test_an_undrifted_stream_alarms_in_at_most_one_window_of_a_hundred(window: int, windows: int) -> None:
    rng = np.random.default_rng(3)
    watch = monitor(window, rng)
    while watch.windows < windows:
        watch.add(rows(rng, 10 * window))
    assert watch.alarms <= windows // 100


def test_half_a_standard_deviation_in_one_feature_is_seen_within_two_windows() -> None:
    rng = np.random.default_rng(4)
    watch = monitor(2000, rng)
    shifted = rows(rng, 4000)
    shifted[:, 5] += 0.5
    watch.add(shifted)
    assert watch.windows == 2
    assert watch.alarming == ("f5",)


def test_a_window_counts_every_row_in_its_bin() -> None:
    rng = np.random.default_rng(7)
    window = 17_000  # more than a byte counts at every place of a chunk
    train, served = rows(rng, 20_000), rows(rng, window)
    served[:, 3] = train[:, 3].max() + 1
    reference = DriftReference.of(train)
    watch = DriftMonitor(reference, tuple(f"f{i}" for i in range(FEATURES)), window)
    watch.add(served)
    assert watch.last is not None
    for index, (edges, trained) in enumerate(zip(reference.edges, reference.counts, strict=True)):
        counts = np.bincount(np.searchsorted(edges, served[:, index]), minlength=len(trained))
        assert watch.last.psi[index] == pytest.approx(stability_index(counts.astype(float), trained.astype(float)))


def test_windows_do_not_depend_on_how_rows_come() -> None:
    rng = np.random.default_rng(5)
    stream = rows(rng, 3000)
    at_once, bits = monitor(700, np.random.default_rng(6)), monitor(700, np.random.default_rng(6))
    at_once.add(stream)
    start = 0
    for size in rng.integers(1, 130, 60):
        bits.add(stream[start : start + size])
        start += size
    bits.add(stream[start:])
    assert at_once.windows == bits.windows == 4
    assert at_once.last is not None
    assert bits.last is not None
    np.testing.assert_array_equal(at_once.last.psi, bits.last.psi)


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
