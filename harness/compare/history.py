"""Steps in the history of many runs: found by a change-point library, kept only when they are certain and matter."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.compare.environment import Difference, differences
from harness.compare.observations import Key, Side
from harness.errors import ExitCode, InputError
from harness.measure.stats import Array, interval_over_processes
from harness.measure.verdicts import DEFAULT_MARGIN

MIN_RUNS = 6
_MIN_SEGMENT = 3  # runs on either side of a step
_WINDOW = 30  # runs of a segment that count for its level
_ALPHA = 0.001
_SEARCHES_PER_RUN = 3.0


@dataclass(frozen=True)
class Point:
    """One run: its centre over processes, in seconds per call."""

    run: str
    created: str
    seconds: float


@dataclass(frozen=True)
class Step:
    """A lasting change between two neighbouring runs.

    Attributes:
        at: position in the history of the first run after the step.
        ratio: level after over level before; above 1 is slower.
        p: of Welch's t-test of the two levels.
        differences: what changed in the environment between the two neighbouring runs.
    """

    at: int
    ratio: float
    p: float
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class History:
    """All valid runs of one key, oldest first, and the steps in them.

    ``note`` says why no steps were looked for; None when they were.
    """

    key: Key
    points: tuple[Point, ...]
    steps: tuple[Step, ...]
    note: str | None = None


def history(sides: Sequence[Side], *, margin: float = DEFAULT_MARGIN) -> tuple[History, ...]:
    """Find the steps of every key over many runs.

    Candidates come from PELT on the log centres (ruptures). A step is kept when Welch's t-test of the levels on its two
    sides, over at most 30 runs each, gives p < 0.001 and the levels differ by more than ``margin``: no run is ever
    judged against the last one alone.

    Source: Killick, Fearnhead & Eckley (2012), PELT; acceptance rule of Fleming et al. (Hunter), arXiv 2301.03034.

    Raises:
        InputError: the change-point library is not installed.
    """
    ordered = sorted(sides, key=lambda side: (side.created, side.name))
    keys = sorted(set().union(*(side.observations for side in ordered))) if ordered else []
    return tuple(_of_key(key, ordered, margin) for key in keys)


def history_exit_code(histories: Sequence[History]) -> ExitCode:
    """1 when the last step of something made it slower, else 2 when nothing has enough runs, else 0."""
    slower = any(history.steps and history.steps[-1].ratio > 1 for history in histories)
    return ExitCode.judged(failed=slower, inconclusive=all(history.note for history in histories))


def _of_key(key: Key, sides: Sequence[Side], margin: float) -> History:
    used = [side for side in sides if key in side.observations and not side.observations[key].problems]
    used = [side for side in used if side.observations[key].seconds]
    points = tuple(Point(side.name, side.created, _centre(side, key)) for side in used)
    if len(points) < MIN_RUNS:
        return History(key, points, (), f"{len(points)} of the {MIN_RUNS} valid runs that tell a step from noise")
    logs = np.log([point.seconds for point in points])
    steps = _steps(logs, margin)
    return History(
        key,
        points,
        tuple(Step(at, ratio, p, differences(used[at - 1], used[at])) for at, ratio, p in steps),
    )


def _centre(side: Side, key: Key) -> float:
    return interval_over_processes(list(side.observations[key].seconds.values())).centre


def _steps(logs: Array, margin: float) -> list[tuple[int, float, float]]:
    """Position, ratio and p of every accepted step; the least certain candidate is dropped until all are accepted."""
    inner = _candidates(logs)
    while inner:
        bounds = [0, *inner, len(logs)]
        judged = [
            _judge(logs[bounds[i] : bounds[i + 1]], logs[bounds[i + 1] : bounds[i + 2]]) for i in range(len(inner))
        ]
        worst = max(range(len(inner)), key=lambda i: (judged[i][1], -abs(math.log(judged[i][0]))))
        small = [i for i, (ratio, _) in enumerate(judged) if abs(math.log(ratio)) <= math.log1p(margin)]
        if judged[worst][1] >= _ALPHA:
            del inner[worst]
        elif small:
            del inner[small[0]]
        else:
            return [(at, ratio, p) for at, (ratio, p) in zip(inner, judged, strict=True)]
    return []


def _candidates(logs: Array) -> list[int]:
    noise = _noise(logs)
    if noise == 0:
        return []
    search = _ruptures().Pelt(model="l2", min_size=_MIN_SEGMENT, jump=1).fit(logs.reshape(-1, 1) / noise)
    return [int(end) for end in search.predict(pen=_SEARCHES_PER_RUN * math.log(len(logs)))][:-1]


def _noise(logs: Array) -> float:
    """Spread of neighbouring differences, which a step hardly changes: robust, in units of one standard deviation."""
    gaps = np.diff(logs)
    return float(np.median(np.abs(gaps - np.median(gaps)))) / 0.6745 / math.sqrt(2)


def _judge(before: Array, after: Array) -> tuple[float, float]:
    from scipy.stats import ttest_ind

    near_before, near_after = before[-_WINDOW:], after[:_WINDOW]
    ratio = math.exp(float(near_after.mean() - near_before.mean()))
    p = float(ttest_ind(near_before, near_after, equal_var=False).pvalue)
    return ratio, p if math.isfinite(p) else 1.0


def _ruptures() -> Any:
    try:
        return importlib.import_module("ruptures")
    except ImportError:
        raise InputError(
            "Finding steps needs the change-point library ruptures, which is not installed.",
            remedy="Install it with: pip install 'lparbench[history]'",
        ) from None
