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


def test_what_is_open_is_measured_while_blocks_are_left() -> None:
    """The most cores there are reach the demand, or miss it, by a hair."""
    studies = [study(seed, share) for seed in range(8) for share in (0.985, 1.0, 1.015)]
    still_open = [each for each in studies if each.answer.verdict == "open"]
    assert still_open
    assert {each.ended_by for each in still_open} == {"blocks"}
