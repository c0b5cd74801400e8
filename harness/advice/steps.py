"""A bound on the work of one evaluation: loops in loops over a large machine would never end."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

from harness.advice.logic import Unknown

N = TypeVar("N")

MAX_STEPS = 1_000_000  # of the loops of one evaluation; a rule takes some per CPU
_left: ContextVar[list[int] | None] = ContextVar("left", default=None)


class _TooManyStepsError(Exception):
    """An evaluation took more steps than it may."""


def count_step() -> None:
    """One step of a loop is about to be taken."""
    left = _left.get()
    if left is not None:
        left[0] -= 1
        if left[0] < 0:
            raise _TooManyStepsError


def within_steps(evaluate: Callable[[N], Any], path: str) -> Callable[[N], Any]:
    """The evaluator under the bound; beyond it, the value of ``path`` is unknown."""

    def run(names: N) -> Any:
        token = _left.set([MAX_STEPS])
        try:
            return evaluate(names)
        except _TooManyStepsError:
            return Unknown(frozenset({f"{path} within {MAX_STEPS:,} steps"}))
        finally:
            _left.reset(token)

    return run
