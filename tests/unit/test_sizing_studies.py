"""A small version of the 1,000 simulated studies in tests/bench: the same code, and bounds that 60 of them can hold."""

from __future__ import annotations

from support.sizing_studies import figures, study


def test_sixty_studies() -> None:
    result = figures([study(seed) for seed in range(60)])
    assert result.answered >= 40
    assert result.meets >= 0.95
    assert result.too_many <= 0.10
    assert 0.90 <= result.coverage <= 0.99
    assert result.unmarked == 0
