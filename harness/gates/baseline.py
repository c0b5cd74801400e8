"""Baselines: the times a gate compares with, how far noise moves them, and the file they are kept in."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from harness.compare.observations import Accuracy, ByBlock, Count, Facts, Key, Observation, Seconds, Side
from harness.decode import Check, decode, encode, read_json
from harness.errors import InputError, MeasurementError
from harness.measure.stats import Array, log_ratios, noise_floor, t_quantile
from harness.measure.verdicts import MIN_BLOCKS
from harness.record.codec import DIGEST, DigestError, check_digest, digest_of
from harness.record.spec import RunSpec
from harness.record.store import encode as to_bytes
from harness.record.store import write_file

MIN_SESSIONS = 3  # two sessions give one difference, which has no spread
_VERSION: Literal[2] = 2
_MAX_SESSIONS = 50
_LARGEST_EFFECT = 1e30  # as a number; a gate refuses far smaller ones
SEED = 1  # of sign flips and splits: the same files give the same answer
Effect = Annotated[float, Check("a number from 0", lambda effect: 0 <= effect <= _LARGEST_EFFECT)]
_REMEDY = "Write it again with: lparbench gate BASELINE --update --candidate RUN"


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
class Baseline:
    """What a gate compares with.

    Attributes:
        side: the times, accuracy and environment.
        floors: noise floor of each key, from the baseline's own blocks compared with each other.
        sessions: earlier measurements in the same environment, oldest first, this one last.
    """

    side: Side
    floors: Mapping[Key, Floor]
    sessions: tuple[Session, ...] = field(default_factory=tuple)

    def between_sessions(self, key: Key) -> float | None:
        """Relative difference that two sessions of the same code stay below in 95 % of cases; None when not known.

        From the spread of the session centres on the log scale, as a t limit of the difference of two.
        """
        logs = [math.log(session.centres[key]) for session in self.sessions if key in session.centres]
        if len(logs) < MIN_SESSIONS:
            return None
        return math.expm1(t_quantile(0.95, len(logs) - 1) * math.sqrt(2) * float(np.std(logs, ddof=1)))


@dataclass(frozen=True)
class _StoredSession:
    created: str
    centre_s: Seconds


@dataclass(frozen=True)
class _StoredResult:
    """One key in the file."""

    key: Key
    seconds: Annotated[Mapping[int, Seconds], ByBlock]
    unusable: Annotated[Mapping[int, str], ByBlock]
    conditions: Facts
    floor: Floor
    sessions: tuple[_StoredSession, ...]


@dataclass(frozen=True)
class _File:
    """The file, but for its digest."""

    baseline_version: Literal[2]
    name: str
    created: str
    spec: RunSpec | None
    fingerprint: Facts
    accuracy: Mapping[str, Accuracy]
    results: Annotated[tuple[_StoredResult, ...], Check("at least one result", bool)]


def self_ratios(observation: Observation, *, seed: int) -> Array:
    """Log ratios of a key against itself: neighbouring blocks paired, which of two is A drawn at random."""
    seconds = observation.seconds
    blocks = sorted(seconds)
    pairs = list(zip(blocks[::2], blocks[1::2], strict=False))
    swaps = np.random.default_rng(seed).random(len(pairs)) < 0.5
    first = [seconds[b if swap else a] for (a, b), swap in zip(pairs, swaps, strict=True)]
    second = [seconds[a if swap else b] for (a, b), swap in zip(pairs, swaps, strict=True)]
    return log_ratios(first, second) if pairs else np.zeros(0)


def make_baseline(side: Side, *, earlier: Baseline | None = None, seed: int = 0) -> Baseline:
    """A baseline from one measurement, with the sessions of an earlier baseline of the same environment.

    The noise floor needs at least two pairs of blocks; it is scaled from the pairs there are to the blocks a gate
    will compare.

    Raises:
        MeasurementError: a result is not valid or has fewer than six blocks: nothing may be gated against it.
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
    kept = earlier.sessions if earlier is not None and earlier.side.fingerprint == side.fingerprint else ()
    sessions = (*kept, Session(side.created, centres))[-_MAX_SESSIONS:]
    return Baseline(side, floors, sessions)


def update_baseline(path: Path, side: Side) -> Baseline:
    """Write the baseline file of ``side``, a further session where there is a file of the same environment.

    Raises:
        InputError: the file that is there is not a baseline.
        MeasurementError: see :func:`make_baseline`.
    """
    earlier = read_baseline(path) if path.exists() else None
    baseline = make_baseline(side, earlier=earlier, seed=SEED)
    write_file(path, to_bytes(baseline_text(baseline)))
    return baseline


def baseline_text(baseline: Baseline) -> str:
    """The baseline file: JSON, keys sorted, the same baseline giving the same bytes."""
    side = baseline.side
    results = tuple(
        _StoredResult(
            key=key,
            seconds=observation.seconds,
            unusable=observation.unusable,
            conditions=observation.conditions,
            floor=baseline.floors[key],
            sessions=tuple(
                _StoredSession(session.created, session.centres[key])
                for session in baseline.sessions
                if key in session.centres
            ),
        )
        for key, observation in sorted(side.observations.items())
    )
    file = _File(_VERSION, side.name, side.created, side.spec, side.fingerprint, side.accuracy, results)
    document: dict[str, object] = encode(file)
    return json.dumps({**document, DIGEST: digest_of(document)}, indent=1, sort_keys=True, allow_nan=False) + "\n"


def read_baseline(path: Path) -> Baseline:
    """Read a baseline file.

    Raises:
        InputError: there is no such file, or it is not a baseline of this version; names the key.
    """
    if not path.exists():
        raise InputError(f"{path}: no such baseline.", remedy=_REMEDY)
    try:
        document = decode(dict[str, object], read_json(path), str(path))
        content = {key: value for key, value in document.items() if key != DIGEST}
        baseline = _baseline(decode(_File, content, str(path)), str(path))
        check_digest(document)  # last: what else is wrong tells more
    except InputError as error:
        raise InputError(f"not a baseline of this version: {error.message}", remedy=_REMEDY) from None
    except DigestError as error:
        raise InputError(f"{path}: not a baseline of this version: {error}.", remedy=_REMEDY) from None
    return baseline


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


def _too_few(observation: Observation) -> str:
    return f"{len(observation.seconds)} of at least {MIN_BLOCKS} blocks"


def _floor(observation: Observation, seed: int) -> Floor:
    d = self_ratios(observation, seed=seed)
    blocks = len(observation.seconds)
    # A mean over all blocks varies less than one over the pairs, which are half as many.
    scaled = math.expm1(math.log1p(noise_floor(d, seed=seed)) * math.sqrt(len(d) / blocks))
    return Floor(scaled, blocks)


def _baseline(file: _File, where: str) -> Baseline:
    observations: dict[Key, Observation] = {}
    floors: dict[Key, Floor] = {}
    centres: dict[str, dict[Key, float]] = {}
    for index, result in enumerate(file.results):
        key = result.key
        if key in observations:
            raise InputError(f"{where}: results[{index}].key: the same key twice.")
        observations[key] = Observation(key, result.seconds, (), result.conditions, result.unusable)
        floors[key] = result.floor
        for session in result.sessions:
            centres.setdefault(session.created, {})[key] = session.centre_s
    side = Side(file.name, file.created, file.fingerprint, observations, file.accuracy, file.spec)
    sessions = (Session(created, of_session) for created, of_session in sorted(centres.items()))
    return Baseline(side, floors, tuple(sessions))
