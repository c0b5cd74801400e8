"""Baselines: the times a gate compares with, the levels they lie on, and how far noise moves them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from harness.compare.observations import Count, Key, Observation, Side
from harness.errors import CheckFailedError, InputError, MeasurementError
from harness.gates.floors import Floor, floors_of
from harness.gates.levels import Level, level_since
from harness.measure.sessions import Noise, session_noise
from harness.measure.stats import Array, t_quantile
from harness.measure.verdicts import DEFAULT_MARGIN, MIN_BLOCKS
from harness.wording import plural, signed

MIN_SESSIONS = 3  # two sessions give one difference, which has no spread
_MAX_SESSIONS = 50
SEED = 1  # of sign flips and splits: the same files give the same answer
_STEP_CONFIDENCE = 0.99  # that an update of unchanged code asks for nothing, for all results together
_LOOK_BACK = 3  # sessions that a step may lie back when it is noticed: a small one needs several to stand out
_LEAST_NEIGHBOURS = 6  # sessions
_STANDS_OUT = 3.0  # standard errors from which an accepted change is more than noise
_NAMED = 4  # results in one message
_REFUSED = 2  # reasons in one refusal, and results of each: a line that is read


@dataclass(frozen=True)
class Words:
    """How the user of a front end does what a message advises."""

    accept: str = "--accept"
    machine: str = "--machine"
    write: str = "lparbench gate BASELINE --update --candidate RUN"


COMMAND_LINE = Words()


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
        return f"{self.key}: " + ("no longer measured" if self.effect is None else f"{signed(100 * self.effect)} %")


@dataclass(frozen=True)
class Accepted:
    """Changes of level that somebody accepted, and why."""

    created: str
    reason: str
    changes: tuple[Change, ...]


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
        return self._present[key]

    @cached_property
    def _present(self) -> Mapping[Key, Level]:
        every = {change.session for entry in self.accepted for change in entry.changes}
        return {
            key: level_since(self.logs(key), self.sds.get(key), own := self._changes.get(key, []), [*every - {*own}])
            for key in self.keys
        }

    def pooled(self, others: Iterable[Baseline]) -> Baseline:
        """This baseline, its noise pooled with that of others as far as they were measured in the same sessions."""
        at = {session.created: index for index, session in enumerate(self.sessions)}
        centres, accepted = [dict(session.centres) for session in self.sessions], list(self.accepted)
        for other in others:
            places = [at.get(session.created) for session in other.sessions]
            if sum(place is not None for place in places) < MIN_SESSIONS:
                continue
            for place, session in zip(places, other.sessions, strict=True):
                if place is not None:
                    centres[place] = {**session.centres, **centres[place]}
            for entry in other.accepted:
                shared = [(c, [at for at in places[c.session :] if at is not None]) for c in entry.changes]
                moved = (replace(change, session=later[0]) for change, later in shared if later)
                accepted.append(replace(entry, changes=tuple(moved)))
        sessions = (replace(session, centres=those) for session, those in zip(self.sessions, centres, strict=True))
        return replace(self, sessions=tuple(sessions), accepted=tuple(accepted))

    def logs(self, key: Key) -> list[float]:
        """Log centres of a key by session, NaN where one lacks it."""
        return [math.log(session.centres.get(key, math.nan)) for session in self.sessions]

    @cached_property
    def keys(self) -> tuple[Key, ...]:
        """Of all results, sorted."""
        return tuple(sorted(self.side.observations))

    @cached_property
    def family(self) -> tuple[Key, ...]:
        """The keys, and after them those of the results that noise is pooled with; rows of :attr:`noise`."""
        return (*self.keys, *sorted({key for session in self.sessions for key in session.centres} - {*self.keys}))

    @cached_property
    def noise(self) -> Noise | None:
        """How far sessions lie from their level, a row per key; None when there are too few sessions to tell.

        No less than what the blocks of the last session vary by themselves.
        """
        if len(self.sessions) < MIN_SESSIONS:
            return None
        noise = session_noise(self._logs, np.cumsum(self._firm, axis=1))
        within = np.array([self.side.observations[key].log_error if key in self.keys else 0.0 for key in self.family])
        return None if noise is None else replace(noise, least=within)

    @cached_property
    def sds(self) -> Mapping[Key, float]:
        """Standard deviation of a session about its level; nothing when there are too few sessions to tell."""
        return {} if self.noise is None else dict(zip(self.keys, self.noise.sd.tolist(), strict=False))

    @cached_property
    def _logs(self) -> Array:
        """Log centres, shape (family, sessions)."""
        return np.array([self.logs(key) for key in self.family])

    @cached_property
    def _starts(self) -> NDArray[np.bool_]:
        """Where a level was begun anew, shape (family, sessions)."""
        starts = np.zeros((len(self.family), len(self.sessions)), dtype=np.bool_)
        for row, key in enumerate(self.family):
            starts[row, [change for change in self._changes.get(key, ()) if change > 0]] = True
        return starts

    @cached_property
    def _levels(self) -> NDArray[np.int64]:
        """Number of the level that each session of each key belongs to, shape (family, sessions)."""
        return np.cumsum(self._starts, axis=1)

    @cached_property
    def _firm(self) -> NDArray[np.bool_]:
        """The starts of levels without those that may be noise.

        What was accepted with others was chosen for standing out: if it does so no more, the sessions on either side
        look quieter than they are, and the first of the new level lies further off.
        """
        firm, noise = self._starts.copy(), session_noise(self._logs, self._levels) if self._starts.any() else None
        for row, sd in enumerate(() if noise is None else noise.sd.tolist()):
            for change in np.flatnonzero(firm[row]).tolist():
                firm[row, change] = _stands_out(self._logs[row], self._levels[row], change, sd)
        return firm

    def start(self, key: Key) -> int:
        """Index of the first session of the present level."""
        levels = self._levels[self.keys.index(key)]
        return int(np.argmax(levels == levels[-1]))

    @cached_property
    def _changes(self) -> Mapping[Key, list[int]]:
        """Sessions at which the level of a key changed."""
        changes: dict[Key, list[int]] = {}
        for change in (change for accepted in self.accepted for change in accepted.changes):
            changes.setdefault(change.key, []).append(change.session)
        return changes


def _stands_out(logs: Array, levels: NDArray[np.int64], change: int, sd: float) -> bool:
    """Whether the levels on both sides of a change differ by more than their noise."""
    sides = [logs[(levels == levels[at]) & ~np.isnan(logs)] for at in (change - 1, change)]
    if not all(len(side) for side in sides):
        return True
    error = sd * math.sqrt(sum(1 / len(side) for side in sides))
    return bool(abs(sides[0].mean() - sides[1].mean()) > _STANDS_OUT * error)


def make_baseline(
    side: Side,
    *,
    earlier: Baseline | None = None,
    seed: int = 0,
    accept: str | None = None,
    others: Collection[Baseline] = (),
    words: Words = COMMAND_LINE,
) -> Baseline:
    """A baseline from one measurement, with the sessions of an earlier baseline of the same environment.

    The noise floor needs at least two pairs of blocks; it is scaled from the pairs there are to the blocks a gate
    will compare.

    Args:
        side: the measurement.
        earlier: what it continues.
        seed: of the sign flips.
        accept: why results have left their level or are gone, and begin anew; None: they have not.
        others: whose noise is pooled with that of ``earlier``.
        words: how the user says so.

    Raises:
        MeasurementError: a result is not valid or has fewer than six blocks: nothing may be gated against it.
        CheckFailedError: results have left their level, or are gone, and nobody accepted that.
        InputError: there is nothing to accept, or this measurement is a session already.
    """
    bad = _unusable(side.observations.values())
    if bad or not side.observations:
        raise MeasurementError(
            f"nothing may be judged against {side.name}: {_reasons(bad) or 'it holds no results'}.",
            remedy=f"Measure again with at least {2 * MIN_BLOCKS} blocks on a quiet machine.",
        )
    floors = floors_of(side.observations, seed)
    centres = {key: math.exp(observation.log_centre) for key, observation in side.observations.items()}
    latest = Session(side.created, centres)
    if earlier is None or earlier.side.fingerprint != side.fingerprint:
        if accept is not None:
            raise InputError(
                f"{words.accept}: {side.name} has no earlier session on this machine.", remedy="Update without it."
            )
        return Baseline(side, floors, (latest,))
    if latest in earlier.sessions:
        raise InputError(
            f"{side.name} is already a session of this baseline.", remedy="Measure again: each session is a new run."
        )
    changes = _changes(earlier.pooled(others), side.name, latest, accept, words.accept)
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
    known = [key for key in earlier.keys if key in latest.centres]
    limits = _step_limits(earlier)
    steps = [_step(earlier, key, math.log(latest.centres[key]), limits[key]) for key in known if key in limits]
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


def _step_limits(earlier: Baseline) -> Mapping[Key, float]:
    """Standard deviations of a session times what a step must exceed; nothing where too little is known."""
    if earlier.noise is None:
        return {}
    return dict(zip(earlier.keys, earlier.noise.quantiles(_step_tail(len(earlier.family))).tolist(), strict=False))


def _step_tail(tests: int) -> float:
    return (1 - _STEP_CONFIDENCE) / (2 * tests * _LOOK_BACK)


def _step(earlier: Baseline, key: Key, latest: float, limit: float) -> Change | None:
    """The latest sessions of a key, up to three, where they lie beyond noise from those before."""
    start, family = earlier.start(key), len(earlier.family)
    logs = [*earlier.logs(key)[start:], latest]
    for sd, degrees in _of_neighbours(logs):
        limit = min(limit, t_quantile(1 - 2 * _step_tail(family), degrees) * sd)
    best: tuple[float, Change] | None = None
    for at in range(len(logs) - 1, max(0, len(logs) - 1 - _LOOK_BACK), -1):
        old, new = ([log for log in part if not math.isnan(log)] for part in (logs[:at], logs[at:]))
        if not old or not new:
            continue
        shift = fmean(new) - fmean(old)
        size = abs(shift) / math.sqrt(1 / len(new) + 1 / len(old))
        if size > limit and abs(shift) > math.log1p(DEFAULT_MARGIN) and (best is None or size > best[0]):
            best = size, Change(key, math.expm1(shift), start + at)
    return None if best is None else best[1]


def _of_neighbours(logs: Sequence[float]) -> list[tuple[float, float]]:
    """Noise and its degrees of freedom from the differences of neighbours, in which slow creep does not count as noise.

    Source: von Neumann et al. (1941), "The mean square successive difference".
    """
    known = [log for log in logs if not math.isnan(log)]
    if len(known) < _LEAST_NEIGHBOURS:
        return []
    return [(math.sqrt(float((np.diff(known) ** 2).mean()) / 2), 2 / 3 * (len(known) - 1))]


def _moved(earlier: Baseline, key: Key, latest: Session) -> Change | None:
    """A key that may have changed with the others: a step left in a level does more harm than a level begun anew."""
    level, sd = earlier.level(key), earlier.sds.get(key)
    shift = math.log(latest.centres[key]) - level.log
    sure = math.log1p(DEFAULT_MARGIN) if sd is None else sd * math.sqrt(1 + 1 / level.sessions)
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


def _reasons(unusable: Sequence[tuple[Observation, str]]) -> str:
    """Each reason once, with some of the results that it concerns; of many reasons the first ones."""
    concerned: dict[str, list[str]] = {}
    for observation, why in unusable:
        concerned.setdefault(why.rstrip("."), []).append(str(observation.key))
    shown = [f"{_first(keys)}: {why}" for why, keys in list(concerned.items())[:_REFUSED]]
    more = len(unusable) - sum(map(len, list(concerned.values())[:_REFUSED]))
    return " | ".join([*shown, *([f"{plural(more, 'more result')} for like reasons"] if more else [])])


def _first(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _REFUSED} more" if len(keys) > _REFUSED else ""
    return f"{', '.join(keys[:_REFUSED])}{more}"


def _unusable(observations: Iterable[Observation]) -> list[tuple[Observation, str]]:
    """Those that nothing may be gated against, and why."""
    return [
        (
            observation,
            "; ".join(map(str, observation.problems)) or _too_few(observation),
        )
        for observation in observations
        if observation.problems or len(observation.seconds) < MIN_BLOCKS
    ]


def _too_few(observation: Observation) -> str:
    """How many blocks there are, and why others do not count."""
    whys = "; ".join(dict.fromkeys(observation.unusable.values()))
    return f"{len(observation.seconds)} of at least {MIN_BLOCKS} blocks{f' ({whys})' if whys else ''}"
