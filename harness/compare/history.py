"""Steps in the history of many runs: found by a change-point library, kept only when they are certain and matter."""

from __future__ import annotations

import datetime
import importlib
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.compare.environment import Difference, differences
from harness.compare.facts import Facts, conflicts, merged
from harness.compare.matching import matched
from harness.compare.observations import Commit, Key, Observation, Side
from harness.errors import ExitCode, InputError
from harness.measure.stats import Array, interval_over_processes
from harness.measure.verdicts import DEFAULT_MARGIN

MIN_RUNS = 6
_MIN_SEGMENT = 3  # runs on either side of a step
_WINDOW = 30  # runs of a segment that count for its level
_ALPHA = 0.001
_SEARCHES_PER_RUN = 3.0
_EXACT = 10.0  # of series that repeat exactly: how far the smallest change stands out from noise
_MACHINE = ("arch", "system", "machine", "cpu", "python_implementation")  # times of two of these are two series


@dataclass(frozen=True)
class Point:
    """One run: its centre over processes, in seconds per call or the unit of its history."""

    run: str
    created: str
    seconds: float
    commit: Commit | None = None


@dataclass(frozen=True)
class Step:
    """A lasting change between two neighbouring runs.

    Attributes:
        at: position in the history of the first run after the step.
        ratio: level after over level before; above 1 is slower.
        p: of Welch's t-test of the two levels.
        differences: what changed in the environment between the two neighbouring runs.
        accepted: why somebody accepted it; None when nobody did.
    """

    at: int
    ratio: float
    p: float
    differences: tuple[Difference, ...]
    accepted: str | None = None


@dataclass(frozen=True)
class AcceptedStep:
    """A change of level that a baseline says was meant.

    Attributes:
        slower: its direction.
        after, until: when the last session before it and the first after it were made.
        facts: what is known of the machine.
    """

    key: Key
    reason: str
    slower: bool
    after: str
    until: str
    facts: Facts


@dataclass(frozen=True)
class History:
    """All valid runs of one key on one machine, oldest first, and the steps in them.

    Attributes:
        note: why no steps were looked for; None when they were.
        machine: what is known of the machine, where the runs are of several.
        unit: of the values; empty where it is not known.
    """

    key: Key
    points: tuple[Point, ...]
    steps: tuple[Step, ...]
    note: str | None = None
    machine: str = ""
    unit: str = "s"


def history(
    sides: Sequence[Side], *, margin: float = DEFAULT_MARGIN, accepted: Sequence[AcceptedStep] = ()
) -> tuple[History, ...]:
    """Find the steps of every key on every machine over many runs.

    Candidates come from PELT on the log centres (ruptures). A step is kept when Welch's t-test of the levels on its two
    sides, over at most 30 runs each, gives p < 0.001 and the levels differ by more than ``margin``: no run is ever
    judged against the last one alone.

    Args:
        sides: the runs.
        margin: relative step that matters.
        accepted: steps that are meant, which are marked.

    Source: Killick, Fearnhead & Eckley (2012), PELT; acceptance rule of Fleming et al. (Hunter), arXiv 2301.03034.

    Raises:
        InputError: the change-point library is not installed.
    """
    by_commit = all(side.commit is not None and side.commit.time for side in sides)
    ordered = sorted(sides, key=lambda side: (_moment(side, by_commit=by_commit), _moment(side), side.name))
    machines = _by_machine(ordered)
    histories = []
    for machine, of_machine in machines:
        latest = of_machine[-1]
        aligned = [matched(latest, side) for side in of_machine]  # under the names of today
        written = {step.key: Observation(step.key, {}) for step in accepted}
        names = dict(zip(written, matched(latest, Side("", "", {}, written)).observations, strict=True))
        facts = {name: latest.fingerprint.get(name) for name in _MACHINE}
        for key in sorted(set().union(*(side.observations for side in aligned))):
            of_key = _of_key(key, aligned, margin)
            meant = [step for step in accepted if names[step.key] == key and not conflicts(step.facts, facts)]
            steps = tuple(replace(step, accepted=_reason(step, of_key.points, meant)) for step in of_key.steps)
            histories.append(replace(of_key, steps=steps, machine=machine if len(machines) > 1 else ""))
    return tuple(sorted(histories, key=lambda history: (history.key, history.machine)))


def history_exit_code(histories: Sequence[History]) -> ExitCode:
    """1 when the last step of something made it slower and nobody accepted it, else 2 with too few runs, else 0."""
    last = [history.steps[-1] for history in histories if history.steps]
    slower = any(step.ratio > 1 and step.accepted is None for step in last)
    return ExitCode.judged(failed=slower, inconclusive=all(history.note for history in histories))


def _reason(step: Step, points: Sequence[Point], accepted: Sequence[AcceptedStep]) -> str | None:
    """Why a step was accepted; it is found as closely as the runs tell, one run more or less."""
    moments = [_seconds(point.created) for point in points]
    for meant in accepted:
        first = next((at for at, moment in enumerate(moments) if moment > _seconds(meant.after)), len(points))
        last = next((at for at, moment in enumerate(moments) if moment >= _seconds(meant.until)), len(points))
        if first - 1 <= step.at <= last + 1 and meant.slower == (step.ratio > 1):
            return meant.reason
    return None


def _moment(side: Side, *, by_commit: bool = False) -> tuple[float, str]:
    """When the run was made, or the commit where that is asked for: in seconds, and as it is written."""
    written = side.commit.time if by_commit and side.commit is not None else side.created
    return _seconds(written), written


def _seconds(written: str) -> float:
    """A time in ISO 8601 in seconds; 0 where it is none."""
    try:
        moment = datetime.datetime.fromisoformat(written.replace("Z", "+00:00"))
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)).timestamp()


def _by_machine(sides: Sequence[Side]) -> list[tuple[str, list[Side]]]:
    """The runs of each machine with its name; a fact that a run does not know parts it from nothing."""
    machines: list[tuple[Facts, list[Side]]] = []
    for side in sides:
        facts = {name: side.fingerprint.get(name) for name in _MACHINE}
        for index, (known, members) in enumerate(machines):
            if not conflicts(known, facts):
                machines[index] = (merged(facts, known), [*members, side])
                break
        else:
            machines.append((facts, [side]))
    differing = [name for name in _MACHINE if len({str(known[name]) for known, _ in machines}) > 1]
    return [(", ".join(str(known[name] or "not known") for name in differing), members) for known, members in machines]


def _of_key(key: Key, sides: Sequence[Side], margin: float) -> History:
    used = [side for side in sides if key in side.observations and not side.observations[key].problems]
    used = [side for side in used if side.observations[key].seconds]
    points = tuple(Point(side.name, side.created, _centre(side, key), side.commit) for side in used)
    unit = used[-1].observations[key].unit if used else "s"
    if len(points) < MIN_RUNS:
        note = f"{len(points)} of the {MIN_RUNS} valid runs that distinguish a step from noise"
        return History(key, points, (), note, unit=unit)
    logs = np.log([point.seconds for point in points])
    steps = _steps(logs, margin)
    return History(
        key,
        points,
        tuple(Step(at, ratio, p, differences(used[at - 1], used[at])) for at, ratio, p in steps),
        unit=unit,
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
    """Spread of neighbouring differences, which a step hardly changes: robust, in units of one standard deviation.

    Where most runs repeat the one before exactly (a coarse clock, a count of bytes), the smallest change there is
    stands for it.
    """
    gaps = np.diff(logs)
    spread = float(np.median(np.abs(gaps - np.median(gaps)))) / 0.6745 / math.sqrt(2)
    changes = np.abs(gaps[gaps != 0])
    return spread or (float(changes.min()) / _EXACT if len(changes) else 0.0)


def _judge(before: Array, after: Array) -> tuple[float, float]:
    from scipy.stats import ttest_ind

    near_before, near_after = before[-_WINDOW:], after[:_WINDOW]
    ratio = math.exp(float(near_after.mean() - near_before.mean()))
    if np.ptp(near_before) == np.ptp(near_after) == 0:  # exact counts: any change is one
        return ratio, 0.0 if ratio != 1 else 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # values of one level that are equal but for rounding
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
