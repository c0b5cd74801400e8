"""What a test gives to be timed."""

from __future__ import annotations

import gc
import sys
import warnings
from typing import Any

import pytest

from harness.pytest_plugin.calls import awaited


def test_the_event_loop_of_a_coroutine_function_is_closed_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer() -> int:
        return 42

    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as many suites have it: what is left open fails a later test
        run = awaited(answer)
        assert run() == 42
        del run
        gc.collect()
    assert unraisable == []
