"""Extreme and damaged files through what reads them; ``tests/bench/extreme_files.py`` tries thousands of each kind."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.extreme_forms import FORMS
from support.extremes import KINDS, Tally

ALL = {**KINDS, **FORMS}


@pytest.mark.parametrize("kind", ALL)
def test_no_file_raises_or_looks_like_a_regression(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    @settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(first=st.integers(0, 1 << 20))
    def tried(first: int) -> None:
        tally = Tally()
        ALL[kind](range(first, first + 8), tmp_path_factory.mktemp("files"), tally)
        assert tally.taken + tally.refused == 8, tally.complaints

    tried()
