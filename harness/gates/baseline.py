"""Baselines: the times a gate compares with, how far noise moves them, and the file they are kept in."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from harness.compare.observations import Key, Observation, Side
from harness.compare.shape import Reader, WrongShapeError, block_number, read_accuracy, read_key, read_unusable
from harness.errors import InputError, MeasurementError
from harness.measure.stats import Array, log_ratios, noise_floor, t_quantile
from harness.measure.verdicts import MIN_BLOCKS
from harness.record.codec import DIGEST, NotJsonError, check_digest, digest_of

SCHEMA_VERSION = 1
MIN_SESSIONS = 3  # two sessions give one difference, whose spread is anyone's guess
_MAX_SESSIONS = 50
_LARGEST_EFFECT = 1e30  # as a number; a gate refuses far smaller ones
_REMEDY = "Write it again with: lparbench gate BASELINE --update --candidate RUN"


@dataclass(frozen=True)
class Floor:
    """The smallest relative effect that stands out from noise when comparing over ``blocks`` blocks per side."""

    effect: float
    blocks: int


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
        logs = [math.log(one.centres[key]) for one in self.sessions if key in one.centres]
        if len(logs) < MIN_SESSIONS:
            return None
        return math.expm1(t_quantile(0.95, len(logs) - 1) * math.sqrt(2) * float(np.std(logs, ddof=1)))


def self_ratios(one: Observation, *, seed: int) -> Array:
    """Log ratios of a key against itself: neighbouring blocks paired, which of two is A drawn at random."""
    blocks = sorted(one.seconds)
    pairs = list(zip(blocks[::2], blocks[1::2], strict=False))
    swaps = np.random.default_rng(seed).random(len(pairs)) < 0.5
    first = [one.seconds[b if swap else a] for (a, b), swap in zip(pairs, swaps, strict=True)]
    second = [one.seconds[a if swap else b] for (a, b), swap in zip(pairs, swaps, strict=True)]
    return log_ratios(first, second) if pairs else np.zeros(0)


def make_baseline(side: Side, *, earlier: Baseline | None = None, seed: int = 0) -> Baseline:
    """A baseline from one measurement, with the sessions of an earlier baseline of the same environment.

    The noise floor needs at least two pairs of blocks; it is scaled from the pairs there are to the blocks a gate
    will compare.

    Raises:
        MeasurementError: a result is not valid or has fewer than six blocks: nothing may be gated against it.
    """
    bad = [f"{one.key}: {'; '.join(one.problems) or _too_few(one)}" for one in _unusable(side.observations.values())]
    if bad or not side.observations:
        raise MeasurementError(
            f"{side.name} cannot become a baseline: {' | '.join(bad) or 'it holds no results'}.",
            remedy=f"Measure again with at least {2 * MIN_BLOCKS} blocks on a quiet machine.",
        )
    floors = {key: _floor(one, seed) for key, one in side.observations.items()}
    centres = {
        key: float(np.exp(np.mean(np.log(list(one.seconds.values()))))) for key, one in side.observations.items()
    }
    kept = earlier.sessions if earlier is not None and earlier.side.fingerprint == side.fingerprint else ()
    sessions = (*kept, Session(side.created, centres))[-_MAX_SESSIONS:]
    return Baseline(side, floors, sessions)


def baseline_text(baseline: Baseline) -> str:
    """The baseline file: JSON, keys sorted, the same baseline giving the same bytes."""
    document = {
        "baseline_version": SCHEMA_VERSION,
        "name": baseline.side.name,
        "created": baseline.side.created,
        "argv": list(baseline.side.argv),
        "fingerprint": baseline.side.fingerprint,
        "accuracy": {workload: asdict(one) for workload, one in baseline.side.accuracy.items()},
        "results": [
            {
                "key": asdict(key),
                "seconds": {str(block): value for block, value in sorted(one.seconds.items())},
                "unusable": {str(block): why for block, why in sorted(one.unusable.items())},
                "conditions": one.conditions,
                "floor": asdict(baseline.floors[key]),
                "sessions": [
                    {"created": session.created, "centre_s": session.centres[key]}
                    for session in baseline.sessions
                    if key in session.centres
                ],
            }
            for key, one in sorted(baseline.side.observations.items())
        ],
    }
    return json.dumps({**document, DIGEST: digest_of(document)}, indent=1, sort_keys=True, allow_nan=False) + "\n"


def read_baseline(path: Path) -> Baseline:
    """Read a baseline file.

    Raises:
        InputError: there is no such file, or it is not a baseline of this version; names the key.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such baseline.", remedy=_REMEDY) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError, ValueError) as error:
        raise InputError(f"{path}: not a baseline: {error}.", remedy=_REMEDY) from None
    try:
        baseline = _baseline(Reader(document, ""))
        check_digest(document)  # last: what else is wrong tells more
    except (WrongShapeError, NotJsonError) as error:
        raise InputError(f"{path}: not a baseline of this version: {error}.", remedy=_REMEDY) from None
    return baseline


def _unusable(observations: Iterable[Observation]) -> list[Observation]:
    return [one for one in observations if one.problems or len(one.seconds) < MIN_BLOCKS]


def _too_few(one: Observation) -> str:
    return f"{len(one.seconds)} of at least {MIN_BLOCKS} blocks"


def _floor(one: Observation, seed: int) -> Floor:
    d = self_ratios(one, seed=seed)
    blocks = len(one.seconds)
    # A mean over all blocks varies less than one over the pairs, which are half as many.
    scaled = math.expm1(math.log1p(noise_floor(d, seed=seed)) * math.sqrt(len(d) / blocks))
    return Floor(scaled, blocks)


def _baseline(reader: Reader) -> Baseline:
    version = reader.get("baseline_version")
    if version.value != SCHEMA_VERSION:
        raise WrongShapeError(f"baseline_version: expected {SCHEMA_VERSION}, found {str(version.value)[:40]!r}")
    observations: dict[Key, Observation] = {}
    floors: dict[Key, Floor] = {}
    centres: dict[str, dict[Key, float]] = {}
    for result in reader.get("results").items():
        key = read_key(result.get("key"))
        if key in observations:
            raise WrongShapeError(f"{result.path}: the same key twice")
        seconds = {block_number(name, one.path): one.seconds() for name, one in result.get("seconds").fields().items()}
        conditions = {name: one.value for name, one in result.get("conditions").fields().items()}
        observations[key] = Observation(key, seconds, (), conditions, read_unusable(result))
        floor = result.get("floor")
        floors[key] = Floor(floor.get("effect").number(0, _LARGEST_EFFECT), floor.get("blocks").count())
        for session in result.get("sessions").items():
            centre = session.get("centre_s").seconds()
            centres.setdefault(session.get("created").text(), {})[key] = centre
    if not observations:
        raise WrongShapeError("results: it is empty")
    side = Side(
        name=reader.get("name").text(),
        created=reader.get("created").text(),
        fingerprint={name: one.value for name, one in reader.get("fingerprint").fields().items()},
        observations=observations,
        accuracy={workload: read_accuracy(one) for workload, one in reader.get("accuracy").fields().items()},
        argv=tuple(one.text() for one in reader.get("argv").items()),
    )
    sessions: Sequence[Session] = [Session(created, found) for created, found in sorted(centres.items())]
    return Baseline(side, floors, tuple(sessions))
