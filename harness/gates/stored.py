"""Judges a candidate against the level of stored sessions, with the noise that sessions of one level have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.compare.compare import TimeComparison
from harness.compare.observations import Key, Observation, Side
from harness.gates.baseline import Baseline, Level
from harness.gates.policy import Asked
from harness.measure.sessions import SessionNoise
from harness.measure.stats import Interval, PairedEffect, interval_over_processes, t_quantile
from harness.measure.verdicts import MIN_BLOCKS, NO_SPREAD, CompareVerdict, Comparison

LARGEST_DEFAULT_MARGIN = 0.20  # nobody who named no margin means to let more than this pass
_SETTLED = 3  # sessions before which a level that was accepted as faster may have been a chance
_OPEN = 0.02  # share of suites of unchanged code that are left open
_ALARMS = 0.003  # share of suites of unchanged code that two sessions may fail
_SECOND_LOOK = 2.5  # standard errors from which a first session is looked at again
_AGREES = 2.0  # standard errors that the second must show by itself
_OWN_CONFIDENCE = 0.95  # that a result's own sessions give, whatever the others say
_LEAST_OWN_DEGREES = 2
_MOST_LOST = 1 / 3  # blocks without a time


@dataclass(frozen=True)
class Look:
    """A result after one or two sessions of the candidate.

    Attributes:
        time: the comparison; its verdict is EQUIVALENT or IMPROVED where the result passes.
        unsettled: whether a second session should be asked.
        why: what keeps it from an answer; None when there is one.
    """

    time: TimeComparison
    unsettled: bool = False
    why: str | None = None


@dataclass(frozen=True)
class _Case:
    """What one result is judged with."""

    level: Level
    noise: SessionNoise
    asked: Asked
    family: int
    shifts: tuple[float, ...]  # log ratio to the level of each session of the candidate

    @property
    def error(self) -> float:
        """Standard error of the mean shift."""
        return self.noise.sd * math.sqrt(1 / len(self.shifts) + 1 / self.level.sessions)

    def quantile(self, alarms: float) -> float:
        """One-sided, for a family of which ``alarms`` go beyond."""
        return t_quantile(1 - 2 * alarms, self.noise.degrees)

    @property
    def held(self) -> float:
        """How far a new level lies below the one before while too few sessions have shown it."""
        before = self.level.before
        return max(0.0, before - self.level.log) if before is not None and self.level.sessions < _SETTLED else 0.0

    @property
    def floor(self) -> float:
        """Effect that noise stays below, in the whole family."""
        return math.expm1(min(700.0, self.quantile(_OPEN / self.family) * self.error))

    @property
    def margin(self) -> float:
        """What it is judged with: the margin asked for; that of nobody's naming no less than noise, up to a limit."""
        if self.asked.named:
            return self.asked.share
        return max(self.asked.share, min(self.floor, LARGEST_DEFAULT_MARGIN))

    @property
    def unmeasurable(self) -> str | None:
        """Why the margin cannot be shown to hold here."""
        if self.floor <= self.margin:
            return None
        if self.asked.named:
            return f"a margin of {self.margin:.1%} is not measurable here: the noise floor is {self.floor:.1%}"
        return f"this machine is too noisy to gate on: the noise floor is {self.floor:.1%}, margin {self.margin:.1%}"

    @property
    def passes_below(self) -> float:
        """Log ratio up to which it passes: certain to be within the margin, or no more than noise where that is."""
        limit = math.log1p(self.margin)
        certain = limit - self.quantile(0.05) * self.error
        return certain if self.unmeasurable else max(certain, min(limit, math.log1p(self.floor)))

    @property
    def regresses_above(self) -> float:
        """Log ratio of two sessions from which it has surely got slower by more than what was asked."""
        certain = math.log1p(self.asked.share) + self.quantile(0.025) * self.error
        return max(certain, self.quantile(_ALARMS / self.family) * self.error)

    @property
    def beyond_own(self) -> bool:
        """Whether the two sessions stand out from the noise of this result alone too."""
        first, second = self.shifts
        degrees = self.noise.own_degrees + 1
        if degrees < _LEAST_OWN_DEGREES:
            return True
        sd = math.sqrt((self.noise.own_squares + (first - second) ** 2 / 2) / degrees)
        error = sd * math.sqrt(1 / 2 + 1 / self.level.sessions)
        return (first + second) / 2 > t_quantile(2 * _OWN_CONFIDENCE - 1, degrees) * error


def look(baseline: Baseline, key: Key, asked: Asked, candidates: Sequence[Side]) -> Look | None:
    """Judge one result; None where the candidate does not have it.

    Args:
        baseline: with at least three sessions.
        key: the result.
        asked: its margin.
        candidates: one session, or two that must agree.
    """
    if any(key not in side.observations for side in candidates):
        return None
    observations = [side.observations[key] for side in candidates]
    level, noise = baseline.level(key), baseline.noise(key)
    assert noise is not None
    a = Interval(math.exp(level.log), None, None, level.sessions)
    problems = [text for observation in observations for text in _problems(observation)]
    if problems:
        note = "; ".join(dict.fromkeys(problems))
        nothing = Comparison(CompareVerdict.INCONCLUSIVE, asked.share, more_blocks=None, note=note)
        return Look(TimeComparison(key, candidates[0].name, a, None, nothing, tuple(problems)), why=note)
    shifts = tuple(float(np.mean(np.log(list(item.seconds.values())))) - level.log for item in observations)
    case = _Case(level, _at_least(noise, observations), asked, len(baseline.side.observations), shifts)
    verdict, unsettled, why = _judged(case)
    b = interval_over_processes([value for item in observations for value in item.seconds.values()])
    comparison = Comparison(verdict, case.margin, _effect(case, observations), more_blocks=None, note=why)
    return Look(TimeComparison(key, candidates[0].name, a, b, comparison), unsettled, why)


def _judged(case: _Case) -> tuple[CompareVerdict, bool, str | None]:
    """The verdict, whether to ask a second session, and why there is none."""
    mean, limit = sum(case.shifts) / len(case.shifts), case.passes_below
    if len(case.shifts) == 1:
        unsettled = mean > min(limit, max(math.log1p(case.asked.share), _SECOND_LOOK * case.error))
        if mean <= limit:
            return _within(mean, case), unsettled, None
        if case.unmeasurable and mean <= case.regresses_above:
            return CompareVerdict.INCONCLUSIVE, unsettled, case.unmeasurable
        return CompareVerdict.INCONCLUSIVE, True, "no second run has confirmed it"
    single = case.noise.sd * math.sqrt(1 + 1 / case.level.sessions)
    if mean > case.regresses_above:
        if mean <= case.regresses_above + case.held:
            return CompareVerdict.INCONCLUSIVE, False, f"its new level rests on {case.level.sessions} of 3 sessions"
        if min(case.shifts) > _AGREES * single and case.beyond_own:
            return CompareVerdict.REGRESSED, False, None
        return CompareVerdict.INCONCLUSIVE, False, "a second run does not confirm it"
    if mean <= limit:
        return _within(mean, case), False, None
    return CompareVerdict.INCONCLUSIVE, False, case.unmeasurable or "two runs leave it too close to the margin"


def _within(mean: float, case: _Case) -> CompareVerdict:
    improved = mean + case.quantile(0.025) * case.error < -math.log1p(case.margin)
    return CompareVerdict.IMPROVED if improved else CompareVerdict.EQUIVALENT


def _at_least(noise: SessionNoise, observations: Sequence[Observation]) -> SessionNoise:
    """Noise no less than what the blocks of the candidate vary by themselves."""
    logs = [np.log(list(item.seconds.values())) for item in observations]
    within = max(float(values.std(ddof=1)) / math.sqrt(len(values)) for values in logs)
    return SessionNoise(max(noise.sd, within), noise.degrees, noise.own_squares, noise.own_degrees)


def _effect(case: _Case, observations: Sequence[Observation]) -> PairedEffect:
    mean = sum(case.shifts) / len(case.shifts)
    half, half90 = case.quantile(0.025) * case.error, case.quantile(0.05) * case.error
    blocks = sum(len(item.seconds) for item in observations)
    return PairedEffect(mean, case.noise.sd, mean - half, mean + half, mean - half90, mean + half90, blocks)


def _problems(observation: Observation) -> list[str]:
    """Why the times of a session may not be judged."""
    if observation.problems:
        return [f"B: {problem}" for problem in observation.problems]
    blocks, lost = len(observation.seconds), len(observation.unusable)
    if lost > _MOST_LOST * (blocks + lost):
        reasons = "; ".join(dict.fromkeys(observation.unusable.values()))
        return [f"{lost} of {blocks + lost} blocks give no time: {reasons}"]
    if blocks < MIN_BLOCKS:
        return [f"{blocks} {'block' if blocks == 1 else 'blocks'}, at least {MIN_BLOCKS} are needed"]
    if np.ptp(np.log(list(observation.seconds.values()))) < NO_SPREAD:
        return ["all processes of one side took exactly the same time, which no measurement gives"]
    return []
