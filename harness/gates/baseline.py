"""Baselines: the times a gate compares with, the levels they lie on, and how far noise moves them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from harness.compare.observations import Count, Key, Observation, Side
from harness.decode import Check
from harness.errors import CheckFailedError, InputError, MeasurementError
from harness.measure.sessions import SessionNoise, session_noise
from harness.measure.stats import Array, log_ratios, noise_floor, t_quantile
from harness.measure.verdicts import DEFAULT_MARGIN, MIN_BLOCKS

MIN_SESSIONS = 3  # two sessions give one difference, which has no spread
_MAX_SESSIONS = 50
_LARGEST_EFFECT = 1e30  # as a number; a gate refuses far smaller ones
SEED = 1  # of sign flips and splits: the same files give the same answer
_STEP_CONFIDENCE = 0.99  # that an update of unchanged code asks for nothing, for all results together
_LOOK_BACK = 3  # sessions that a step may lie back when it is noticed: a small one needs several to stand out
_LEAST_NEIGHBOURS = 6  # sessions
_NAMED = 4  # results in one message
Effect = Annotated[float, Check("a number from 0", lambda effect: 0 <= effect <= _LARGEST_EFFECT)]


@dataclass(frozen=True)
class Floor:
    """The smallest relative effect that stands out from noise when comparing over ``blocks`` blocks per side."""

    effect: Effect
    blocks: Count


@dataclass(frozen=True)
class Session:
    """Centre of one earlier measurement: key -> seconds per call."""

    created: str
    centres: Mapping[Key, float]


@dataclass(frozen=True)
class Change:
    """One result whose level was changed on purpose.

    Attributes:
        effect: relative change, 0.1 is 10 % slower; None when the result is no longer measured.
        session: index of the first session of the new level.
    """

    key: Key
    effect: float | None
    session: Count

    def __str__(self) -> str:
        return f"{self.key}: " + ("no longer measured" if self.effect is None else f"{self.effect:+.1%}")


@dataclass(frozen=True)
class Accepted:
    """Changes of level that somebody accepted, and why."""

    created: str
    reason: str
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Level:
    """Where a result lies since its last accepted change: the mean of its log seconds over ``sessions``."""

    log: float
    sessions: int
    before: float | None = None  # the level left by the last accepted change


@dataclass(frozen=True)
class Baseline:
    """What a gate compares with, on one machine.

    Attributes:
        side: the times, accuracy and environment.
        floors: noise floor of each key, from the baseline's own blocks compared with each other.
        sessions: earlier measurements in the same environment, oldest first, this one last.
        accepted: changes of level, oldest first.
    """

    side: Side
    floors: Mapping[Key, Floor]
    sessions: tuple[Session, ...] = field(default_factory=tuple)
    accepted: tuple[Accepted, ...] = field(default_factory=tuple)

    def level(self, key: Key) -> Level:
        """The present level of a key."""
        levels, logs = self._levels(key), self.logs(key)
        known = ~np.isnan(logs)
        now, before = (logs[known & (levels == levels[-1] - back)] for back in (0, 1))
        return Level(float(now.mean()), len(now), float(before.mean()) if len(before) else None)

    def logs(self, key: Key) -> Array:
        """Log centres of a key, shape (sessions,), NaN where a session lacks it."""
        return np.log([session.centres.get(key, math.nan) for session in self.sessions])

    def noise(self, key: Key) -> SessionNoise | None:
        """How far a session's centre lies from its level; None when there are too few sessions to tell.

        No less than what the blocks of the last session vary by themselves.
        """
        if key not in self._noise:
            return None
        noise, seconds = self._noise[key], list(self.side.observations[key].seconds.values())
        within = float(np.std(np.log(seconds), ddof=1)) / math.sqrt(len(seconds))
        return replace(noise, sd=max(noise.sd, within))

    @cached_property
    def _noise(self) -> Mapping[Key, SessionNoise]:
        keys = sorted({key for session in self.sessions for key in session.centres})
        if len(self.sessions) < MIN_SESSIONS:
            return {}
        logs = np.array([self.logs(key) for key in keys])
        return dict(zip(keys, session_noise(logs, np.array([self._levels(key) for key in keys])) or (), strict=False))

    def _levels(self, key: Key) -> NDArray[np.int64]:
        starts = np.zeros(len(self.sessions), dtype=np.int64)
        for change in self._changes(key):
            starts[change.session] = change.session > 0
        return np.cumsum(starts)

    def _start(self, key: Key) -> int:
        return max((change.session for change in self._changes(key)), default=0)

    def _changes(self, key: Key) -> list[Change]:
        return [change for accepted in self.accepted for change in accepted.changes if change.key == key]


def self_ratios(observation: Observation, *, seed: int) -> Array:
    """Log ratios of a key against itself: neighbouring blocks paired, which of two is A drawn at random."""
    seconds = observation.seconds
    blocks = sorted(seconds)
    pairs = list(zip(blocks[::2], blocks[1::2], strict=False))
    swaps = np.random.default_rng(seed).random(len(pairs)) < 0.5
    first = [seconds[b if swap else a] for (a, b), swap in zip(pairs, swaps, strict=True)]
    second = [seconds[a if swap else b] for (a, b), swap in zip(pairs, swaps, strict=True)]
    return log_ratios(first, second) if pairs else np.zeros(0)


def make_baseline(
    side: Side, *, earlier: Baseline | None = None, seed: int = 0, accept: str | None = None, option: str = "--accept"
) -> Baseline:
    """A baseline from one measurement, with the sessions of an earlier baseline of the same environment.

    The noise floor needs at least two pairs of blocks; it is scaled from the pairs there are to the blocks a gate
    will compare.

    Args:
        side: the measurement.
        earlier: what it continues.
        seed: of the sign flips.
        accept: why results have left their level or are gone, and begin anew; None: they have not.
        option: how the user says so.

    Raises:
        MeasurementError: a result is not valid or has fewer than six blocks: nothing may be gated against it.
        CheckFailedError: results have left their level, or are gone, and nobody accepted that.
        InputError: there is nothing to accept, or this measurement is a session already.
    """
    bad = [f"{observation.key}: {why}" for observation, why in _unusable(side.observations.values())]
    if bad or not side.observations:
        raise MeasurementError(
            f"{side.name} cannot become a baseline: {' | '.join(bad) or 'it holds no results'}.",
            remedy=f"Measure again with at least {2 * MIN_BLOCKS} blocks on a quiet machine.",
        )
    floors = {key: _floor(observation, seed) for key, observation in side.observations.items()}
    centres = {
        key: float(np.exp(np.mean(np.log(list(observation.seconds.values())))))
        for key, observation in side.observations.items()
    }
    latest = Session(side.created, centres)
    if earlier is None or earlier.side.fingerprint != side.fingerprint:
        if accept is not None:
            raise InputError(
                f"{option}: {side.name} has no earlier session on this machine.", remedy="Update without it."
            )
        return Baseline(side, floors, (latest,))
    if latest in earlier.sessions:
        raise InputError(
            f"{side.name} is already a session of this baseline.", remedy="Measure again: each session is a new run."
        )
    changes = _changes(earlier, side.name, latest, accept, option)
    accepted = (*earlier.accepted, Accepted(side.created, accept, changes)) if accept and changes else earlier.accepted
    sessions = [
        replace(session, centres={key: value for key, value in session.centres.items() if key in centres})
        for session in (*earlier.sessions, latest)
    ]
    return _trimmed(Baseline(side, floors, tuple(sessions), accepted))


def _changes(earlier: Baseline, name: str, latest: Session, accept: str | None, option: str) -> tuple[Change, ...]:
    """What has left its level or is gone; raises unless that is accepted, or where there is nothing to accept."""
    if accept is not None and not accept.strip():
        raise InputError(f"{option} needs a reason.", remedy="Say in a few words why the times have changed.")
    known = [key for key in sorted(earlier.side.observations) if key in latest.centres]
    steps = [_step(earlier, key, math.log(latest.centres[key]), len(known)) for key in known]
    changes = [step for step in steps if step is not None]
    if accept is not None:
        seen = {change.key for change in changes}
        changes += [step for key in known if key not in seen and (step := _moved(earlier, key, latest)) is not None]
    gone = sorted(earlier.side.observations.keys() - latest.centres.keys())
    changes += [Change(key, None, len(earlier.sessions)) for key in gone]
    if changes and accept is None:
        listed = "; ".join(map(str, changes[:_NAMED])) + (f"; {rest} more" if (rest := len(changes[_NAMED:])) else "")
        raise CheckFailedError(
            f"{name} is not on the level of the baseline, which stays as it is: {listed}.",
            remedy=f'If the change is meant, accept it: {option} "REASON". If not, measure again.',
        )
    if accept is not None and not changes:
        raise InputError(f"{option}: no result of {name} has left its level.", remedy="Update without it.")
    return tuple(sorted(changes, key=lambda change: -abs(change.effect or 0)))


def _step(earlier: Baseline, key: Key, latest: float, family: int) -> Change | None:
    """The latest sessions of a key, up to three, where they lie beyond noise from those before."""
    noise, start = earlier.noise(key), earlier._start(key)
    if noise is None:
        return None
    logs = np.append(earlier.logs(key), latest)
    best: tuple[float, Change] | None = None
    estimates = [(noise.sd, noise.degrees), *_of_neighbours(logs[start:])]
    confidence = 1 - (1 - _STEP_CONFIDENCE) / (family * _LOOK_BACK * len(estimates))
    limit = min(t_quantile(confidence, degrees) * sd for sd, degrees in estimates)
    for back in range(1, _LOOK_BACK + 1):
        at = len(logs) - back
        old, new = (part[~np.isnan(part)] for part in (logs[start:at], logs[at:]))
        if at <= start or not len(old) or not len(new):
            continue
        shift = float(new.mean() - old.mean())
        size = abs(shift) / math.sqrt(1 / len(new) + 1 / len(old))
        if size > limit and abs(shift) > math.log1p(DEFAULT_MARGIN) and (best is None or size > best[0]):
            best = size, Change(key, math.expm1(shift), at)
    return None if best is None else best[1]


def _of_neighbours(logs: Array) -> list[tuple[float, float]]:
    """Noise and its degrees of freedom from the differences of neighbours, in which slow creep does not count as noise.

    Source: von Neumann et al. (1941), "The mean square successive difference".
    """
    known = logs[~np.isnan(logs)]
    if len(known) < _LEAST_NEIGHBOURS:
        return []
    return [(math.sqrt(float((np.diff(known) ** 2).mean()) / 2), 2 / 3 * (len(known) - 1))]


def _moved(earlier: Baseline, key: Key, latest: Session) -> Change | None:
    """A key that may have changed with the others: a step left in a level does more harm than a level begun anew."""
    level, noise = earlier.level(key), earlier.noise(key)
    shift = math.log(latest.centres[key]) - level.log
    sure = math.log1p(DEFAULT_MARGIN) if noise is None else noise.sd * math.sqrt(1 + 1 / level.sessions)
    return Change(key, math.expm1(shift), len(earlier.sessions)) if abs(shift) > sure else None


def _trimmed(baseline: Baseline) -> Baseline:
    """With the newest sessions only; the changes of level keep their places among them."""
    dropped = max(0, len(baseline.sessions) - _MAX_SESSIONS)
    if not dropped:
        return baseline
    accepted = tuple(
        replace(entry, changes=tuple(replace(c, session=max(0, c.session - dropped)) for c in entry.changes))
        for entry in baseline.accepted
    )
    return replace(baseline, sessions=baseline.sessions[dropped:], accepted=accepted)


def _unusable(observations: Iterable[Observation]) -> list[tuple[Observation, str]]:
    """Those that nothing may be gated against, and why."""
    return [
        (
            observation,
            "; ".join(map(str, observation.problems)) or f"{len(observation.seconds)} of at least {MIN_BLOCKS} blocks",
        )
        for observation in observations
        if observation.problems or len(observation.seconds) < MIN_BLOCKS
    ]


def _floor(observation: Observation, seed: int) -> Floor:
    d = self_ratios(observation, seed=seed)
    blocks = len(observation.seconds)
    # A mean over all blocks varies less than one over the pairs, which are half as many.
    scaled = math.expm1(math.log1p(noise_floor(d, seed=seed)) * math.sqrt(len(d) / blocks))
    return Floor(scaled, blocks)
