"""Judges a candidate against the levels of stored sessions, with the noise that sessions of one level have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harness.compare.compare import TimeComparison
from harness.compare.observations import Key, Observation, Side
from harness.gates.baseline import Baseline
from harness.gates.levels import Level, centres
from harness.gates.policy import Asked
from harness.measure.sessions import Noise
from harness.measure.stats import Array, Interval, PairedEffect, interval_over_processes
from harness.measure.verdicts import MIN_BLOCKS, NO_SPREAD, CompareVerdict, Comparison
from harness.wording import percentage, some_of

LARGEST_DEFAULT_MARGIN = 0.20  # nobody who named no margin means to let more than this pass
MOST_RUNS = 20  # of what stays open; the level's own error, which they leave, then prevails
_SETTLED = 3  # sessions before which a level that was accepted as faster may have been a chance
_OPEN = 0.02  # share of suites of unchanged code that are left open
_ALARMS = 0.0001  # share of suites of unchanged code that a look fails before the last
_LAST_ALARMS = 0.003  # the same for the last, to which most is left: it knows most
_FURTHER_LOOK = 0.05  # tail of a result's noise in which it is looked at again
_WORTH_A_LOOK, _MISSED = 0.1, 0.1  # or in which a slowdown that a noisy result may hide is not unlikely
_AGREES = 0.055  # tail in which the mean of all runs but the slowest must lie too
_MOST_SHARED = 3.5  # standard deviations that all results of a run may move together as noise
_MOST_LOST = 1 / 3  # blocks without a time
_MOST_SESSIONS = 50  # that anybody would measure


@dataclass(frozen=True)
class Look:
    """A result after one or more runs of the candidate.

    Attributes:
        time: the comparison; its verdict is EQUIVALENT or IMPROVED where the result passes.
        unsettled: whether another run may change it.
        why: what keeps it from an answer; None when there is one.
    """

    time: TimeComparison
    unsettled: bool = False
    why: str | None = None


@dataclass(frozen=True)
class _Suite:
    """What the results of the candidate are judged with: one row per result, on the log scale.

    Attributes:
        noise: of one session.
        family: results of the baseline.
        asked: the margins asked for.
        levels: that they are compared with.
        shifts: of each run to the level, shape (results, runs), NaN where a run lacks the result: the first lacks none.
        alike: how far the runs repeat each other, 0 for runs as different as sessions of other days.
    """

    noise: Noise
    family: int
    asked: Sequence[Asked]
    levels: Sequence[Level]
    shifts: Array
    alike: float

    @cached_property
    def mean(self) -> Array:
        """Mean shift of the runs."""
        return np.asarray(np.nanmean(self.shifts, axis=1))

    @cached_property
    def rest(self) -> Array:
        """Mean shift of the runs but for the slowest."""
        return np.asarray(
            (np.nansum(self.shifts, axis=1) - np.nanmax(self.shifts, axis=1)) / np.maximum(1, self.runs - 1)
        )

    @cached_property
    def runs(self) -> NDArray[np.int64]:
        """Of the candidate that have the result."""
        return np.asarray(self._has.sum(axis=1))

    @cached_property
    def _has(self) -> NDArray[np.bool_]:
        return np.asarray(~np.isnan(self.shifts))

    def error(self, runs: NDArray[np.int64]) -> Array:
        """Standard error of the mean over so many runs, in standard deviations of a session."""
        sessions = np.array([level.sessions for level in self.levels])
        return np.asarray(np.sqrt(self.alike + (1 - self.alike) / runs + 1 / sessions))

    def beyond(self, tail: float) -> Array:
        """Shift that noise exceeds with this probability."""
        return np.asarray(self.noise.quantiles(tail) * self.error(self.runs))

    def chance(self, shift: Array, runs: NDArray[np.int64]) -> Array:
        """Probability that noise gives such a mean of so many runs, but for what all results share and others show.

        Over all places where the level may lie; 1 where the mean is no slower than the level.
        """
        rows, chances = np.flatnonzero(shift > 0), np.ones(len(shift))
        if not len(rows):
            return chances
        levels, sds = [self.levels[row] for row in rows.tolist()], self.noise.sd[rows].tolist()
        places = list(map(centres, levels, sds))
        most = max(len(place.logs) for place in places)
        logs, sessions, probability = (
            np.array([np.pad(values, (0, most - len(values)), constant_values=fill) for values in each])
            for each, fill in zip(zip(*places, strict=True), (0.0, 1.0, 0.0), strict=True)
        )
        away = (shift[rows] + np.array([level.log for level in levels]))[:, None] - logs
        error = np.sqrt(self.alike + (1 - self.alike) / runs[rows, None] + 1 / sessions)
        left = self.noise.shared_most * np.sqrt(1 - self._over_runs(self._shown))
        tails = self.noise.only(rows).tails(away / error, shared=left[rows])
        chances[rows] = (probability * tails).sum(axis=1)
        return chances

    @cached_property
    def shared(self) -> Array:
        """How much slower the runs are in all results alike, as far as that may be noise."""
        moved = self._over_runs(np.median(np.nan_to_num(self.shifts), axis=0) * self._shown)
        return np.asarray(np.clip(moved, 0, _MOST_SHARED * self.noise.shared_most * self.error(self.runs)))

    @cached_property
    def _shown(self) -> Array:
        """Share of the variance that all results have in common which the others of a run show, shape (runs,).

        None where a run has but some: they were chosen for being slow.
        """
        shared, others = self.noise.shared_most**2, len(self.levels) - 1
        share = shared / (shared + self.noise.typical**2 / others) if shared and others else 0.0
        return np.where(self._has.all(axis=0), share, 0.0)

    def _over_runs(self, values: Array) -> Array:
        """Mean over the runs of each result of what they have, shape (results,)."""
        return np.asarray(self._has @ values / self.runs)

    @cached_property
    def shares(self) -> Array:
        """The margins asked for."""
        return np.array([asked.share for asked in self.asked])

    @cached_property
    def half(self) -> Array:
        """Half the width of a 95 % interval of the mean."""
        return self.beyond(0.025)

    @cached_property
    def half90(self) -> Array:
        """Half the width of a 90 % interval of the mean."""
        return self.beyond(0.05)

    @cached_property
    def floor(self) -> Array:
        """Effect that noise stays below, in the whole family."""
        return np.expm1(np.minimum(700.0, self.beyond(_OPEN / self.family)))

    @cached_property
    def margin(self) -> Array:
        """What is judged with: the margin asked for; that of nobody's naming no less than noise, up to a limit."""
        named = np.array([asked.named for asked in self.asked])
        raised = np.maximum(self.shares, np.minimum(self.floor, LARGEST_DEFAULT_MARGIN))
        return np.where(named, self.shares, raised)

    @cached_property
    def measurable(self) -> NDArray[np.bool_]:
        """Whether the margin can be shown to hold here."""
        return np.asarray(self.floor <= self.margin)

    @cached_property
    def passes_below(self) -> Array:
        """Shift up to which it passes: certain to be within the margin, or no more than noise where that is."""
        limit = np.log1p(self.margin)
        certain = limit - self.half90
        return np.where(self.measurable, np.maximum(certain, np.minimum(limit, np.log1p(self.floor))), certain)

    @cached_property
    def alarms(self) -> Array:
        """Probability with which noise alone may pass for a regression of a result at this look."""
        return np.asarray(np.where(self.runs < MOST_RUNS, _ALARMS, _LAST_ALARMS) / self.family)

    @cached_property
    def regressed(self) -> NDArray[np.bool_]:
        """Whether it has surely got slower, by more than what was asked."""
        own = self.mean - self.shared
        certain = self.chance(own - np.log1p(self.shares), self.runs) <= 0.025
        return np.asarray(certain & (self.chance(own, self.runs) <= self.alarms))

    @cached_property
    def suspect(self) -> NDArray[np.bool_]:
        """What another run may show to have got slower."""
        unlikely = np.minimum(self.beyond(_FURTHER_LOOK), math.log1p(_WORTH_A_LOOK) - self.beyond(_MISSED))
        return np.asarray(self.mean - self.shared > np.maximum(np.log1p(self.shares), unlikely))

    @cached_property
    def agree(self) -> NDArray[np.bool_]:
        """Whether more than one run shows it."""
        return np.asarray(self.chance(self.rest - self.shared, np.maximum(1, self.runs - 1)) <= _AGREES)

    @cached_property
    def held(self) -> NDArray[np.bool_]:
        """Whether it may be no slower than before a new level that is faster, which too few sessions have shown."""
        own = self.mean - self.shared - np.array([_held(level) for level in self.levels])
        return np.asarray(self.chance(own, self.runs) > self.alarms)

    def judged(self, row: int) -> tuple[CompareVerdict, bool, str | None]:
        """The verdict on one result, whether to ask another run, and why there is none."""
        mean, limit, regressed, runs = self.mean[row], self.passes_below[row], self.regressed[row], self.runs[row]
        open_, suspect = CompareVerdict.INCONCLUSIVE, bool(self.suspect[row])
        if runs > 1 and regressed and self.agree[row]:
            level = self.levels[row]
            if self.held[row]:
                return open_, False, f"its new level rests on {level.sessions} of {_SETTLED} sessions"
            return CompareVerdict.REGRESSED, False, None
        if mean <= limit:
            improved = mean + self.half[row] < -math.log1p(self.margin[row])
            return (CompareVerdict.IMPROVED if improved else CompareVerdict.EQUIVALENT), suspect, None
        if not self.measurable[row] and (not regressed or runs > 1):
            return open_, suspect, self._unmeasurable(row)
        if runs == 1:
            return open_, True, "no second run has confirmed it"
        if regressed:
            return open_, True, "a second run does not confirm it" if runs == 2 else "its runs do not agree"
        return open_, True, f"{runs} runs leave it too close to the margin"

    def effect(self, row: int, blocks: int) -> PairedEffect:
        """The change with its limits."""
        mean, half, half90 = (float(values[row]) for values in (self.mean, self.half, self.half90))
        sd = float(self.noise.sd[row])
        return PairedEffect(mean, sd, mean - half, mean + half, mean - half90, mean + half90, blocks)

    def _unmeasurable(self, row: int) -> str:
        floor, margin = (percentage(float(values[row]), 1) for values in (self.floor, self.margin))
        more = self._sessions(row)
        remedy = "" if more is None else f"; about {more} sessions in the baseline would do"
        if self.asked[row].named:
            return f"a margin of {margin} is not measurable here: the noise floor is {floor}{remedy}"
        return f"this machine is too noisy to gate on: the noise floor is {floor}, margin {margin}{remedy}"

    def _sessions(self, row: int) -> int | None:
        """That the level needs for a margin to be measurable with the most runs there may be."""
        left = (math.log1p(self.margin[row]) / self.noise.quantiles(_OPEN / self.family)[row]) ** 2 - 1 / MOST_RUNS
        count = math.ceil(1 / left) if left > 1 / _MOST_SESSIONS else None
        return count if count is not None and count > self.levels[row].sessions else None


def look(baseline: Baseline, asked: Mapping[Key, Asked], candidates: Sequence[Side]) -> dict[Key, Look]:
    """Judge all results of the first run of the candidate, each with all runs that have it.

    Args:
        baseline: with at least three sessions.
        asked: margin of every result.
        candidates: its runs; later ones may have but some results.
    """
    looks: dict[Key, Look] = {}
    common = [key for key in baseline.keys if key in candidates[0].observations]
    levels = {key: baseline.level(key) for key in common}
    runs = {key: [side.observations.get(key) for side in candidates] for key in common}
    for key in common:
        problems = tuple(text for observation in runs[key] if observation for text in _problems(observation))
        if problems:
            note = "; ".join(dict.fromkeys(problems))
            nothing = Comparison(CompareVerdict.INCONCLUSIVE, asked[key].share, more_blocks=None, note=note)
            a = Interval(math.exp(levels[key].log), None, None, levels[key].sessions)
            looks[key] = Look(TimeComparison(key, candidates[0].name, a, None, nothing, problems), why=note)
    keys = [key for key in common if key not in looks]
    if not keys:
        return looks
    suite = _suite(baseline, keys, asked, [runs[key] for key in keys], levels)
    for row, key in enumerate(keys):
        verdict, unsettled, why = suite.judged(row)
        seconds = [value for observation in runs[key] if observation for value in observation.seconds.values()]
        effect = suite.effect(row, len(seconds))
        comparison = Comparison(verdict, float(suite.margin[row]), effect, more_blocks=None, note=why)
        a = Interval(math.exp(levels[key].log), None, None, levels[key].sessions)
        time = TimeComparison(key, candidates[0].name, a, interval_over_processes(seconds), comparison)
        looks[key] = Look(time, unsettled, why)
    return looks


def _suite(
    baseline: Baseline,
    keys: Sequence[Key],
    asked: Mapping[Key, Asked],
    runs: Sequence[Sequence[Observation | None]],
    levels: Mapping[Key, Level],
) -> _Suite:
    noise = baseline.noise
    assert noise is not None
    centres = np.array([[each.log_centre if each else math.nan for each in results] for results in runs])
    squares, degrees = _within(centres)
    least = np.array([max(each.log_error for each in results if each) for results in runs])
    row_of = {key: row for row, key in enumerate(baseline.family)}
    return _Suite(
        noise=noise.of([row_of[key] for key in keys], squares, degrees, least),
        family=len(baseline.family),
        asked=[asked[key] for key in keys],
        levels=[levels[key] for key in keys],
        shifts=centres - np.array([[levels[key].log] for key in keys]),
        alike=_alike(noise, float(squares.sum()), float(degrees.sum())),
    )


def _within(centres: Array) -> tuple[Array, Array]:
    """Squared deviations of the runs from their mean, and degrees of freedom, without what all share; per result."""
    runs = (~np.isnan(centres)).sum(axis=1)
    own, share = centres - np.nanmean(centres, axis=1, keepdims=True), 1.0
    if len(centres) > 1 and (runs == centres.shape[1]).all():
        own, share = own - own.mean(axis=0), 1 - 1 / len(centres)
    return np.asarray(np.nansum(own**2, axis=1)), np.asarray((runs - 1) * share)


def _alike(noise: Noise, squares: float, degrees: float) -> float:
    """How far runs repeat each other, beyond chance: those of one day may differ less than those of several."""
    if not degrees:
        return 0.0
    before, known = float(noise.squares.sum()), float(noise.degrees.sum())
    ratio = (squares / degrees) / max(before / known, np.finfo(float).tiny)
    return min(1.0, max(0.0, 1 - ratio * (1 + math.sqrt(2 / degrees + 2 / known))))


def _held(level: Level) -> float:
    """How far a new level lies below the one before while too few sessions have shown it."""
    if level.before is None or level.sessions >= _SETTLED:
        return 0.0
    return max(0.0, level.before - level.log)


def _problems(observation: Observation) -> list[str]:
    """Why the times of a session may not be judged."""
    if observation.problems:
        return [f"B: {problem}" for problem in observation.problems]
    blocks, lost = len(observation.seconds), len(observation.unusable)
    if lost > _MOST_LOST * (blocks + lost):
        reasons = "; ".join(dict.fromkeys(observation.unusable.values()))
        return [f"{some_of(lost, blocks + lost, 'block')} without a time: {reasons}"]
    if blocks < MIN_BLOCKS:
        return [f"{blocks} {'block' if blocks == 1 else 'blocks'}, at least {MIN_BLOCKS} are needed"]
    logs = [math.log(value) for value in observation.seconds.values()]
    if max(logs) - min(logs) < NO_SPREAD:
        return ["all processes of one side took exactly the same time, which no measurement gives"]
    return []
