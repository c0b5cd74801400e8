"""Baselines: the times a gate compares with, how far noise moves them, and the file they are kept in."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import InputError, MeasurementError
from harness.gates.observations import Accuracy, AccuracyFigure, Key, Observation, Side
from harness.measure.stats import Array, log_ratios, noise_floor, t_quantile
from harness.measure.verdicts import MIN_BLOCKS

SCHEMA_VERSION = 1
MIN_SESSIONS = 3  # two sessions give one difference, whose spread is anyone's guess
_MAX_SESSIONS = 50
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
        "fingerprint": baseline.side.fingerprint,
        "accuracy": {workload: asdict(one) for workload, one in baseline.side.accuracy.items()},
        "results": [
            {
                "key": asdict(key),
                "seconds": {str(block): value for block, value in sorted(one.seconds.items())},
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
    return json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n"


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
        return _baseline(_Reader(document, ""))
    except _WrongShapeError as error:
        raise InputError(f"{path}: not a baseline of this version: {error}.", remedy=_REMEDY) from None


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


class _WrongShapeError(ValueError):
    """A value in a baseline file that is not what it has to be."""


class _Reader:
    """A JSON value with its path, read strictly."""

    def __init__(self, value: Any, path: str) -> None:
        self.value, self.path = value, path

    def fields(self) -> dict[str, _Reader]:
        if not isinstance(self.value, dict):
            raise self._wrong("an object")
        return {key: _Reader(item, f"{self.path}.{key}" if self.path else key) for key, item in self.value.items()}

    def get(self, key: str) -> _Reader:
        fields = self.fields()
        if key not in fields:
            raise _WrongShapeError(f"{self.path or 'the file'}: no {key!r}")
        return fields[key]

    def items(self) -> list[_Reader]:
        if not isinstance(self.value, list):
            raise self._wrong("a list")
        return [_Reader(item, f"{self.path}[{index}]") for index, item in enumerate(self.value)]

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self._wrong("a text")
        return self.value

    def count(self) -> int:
        if not isinstance(self.value, int) or isinstance(self.value, bool) or not 0 <= self.value < 2**63:
            raise self._wrong("a count")
        return self.value

    def number(self, low: float, high: float) -> float:
        if not isinstance(self.value, int | float) or isinstance(self.value, bool) or not low <= self.value <= high:
            raise self._wrong(f"a number from {low:g} to {high:g}")
        return float(self.value)

    def _wrong(self, expected: str) -> _WrongShapeError:
        return _WrongShapeError(f"{self.path or 'the file'}: expected {expected}, found {str(self.value)[:40]!r}")


_SHORTEST_S, _LONGEST_S = 1e-12, 1e9


def _baseline(reader: _Reader) -> Baseline:
    version = reader.get("baseline_version")
    if version.value != SCHEMA_VERSION:
        raise _WrongShapeError(f"baseline_version: expected {SCHEMA_VERSION}, found {str(version.value)[:40]!r}")
    observations: dict[Key, Observation] = {}
    floors: dict[Key, Floor] = {}
    centres: dict[str, dict[Key, float]] = {}
    for result in reader.get("results").items():
        key = _key(result.get("key"))
        if key in observations:
            raise _WrongShapeError(f"{result.path}: the same key twice")
        seconds = {
            _block_number(name, one): one.number(_SHORTEST_S, _LONGEST_S)
            for name, one in result.get("seconds").fields().items()
        }
        conditions = {name: one.value for name, one in result.get("conditions").fields().items()}
        observations[key] = Observation(key, seconds, (), conditions)
        floor = result.get("floor")
        floors[key] = Floor(floor.get("effect").number(0, 1e6), floor.get("blocks").count())
        for session in result.get("sessions").items():
            centre = session.get("centre_s").number(_SHORTEST_S, _LONGEST_S)
            centres.setdefault(session.get("created").text(), {})[key] = centre
    if not observations:
        raise _WrongShapeError("results: it is empty")
    side = Side(
        name=reader.get("name").text(),
        created=reader.get("created").text(),
        fingerprint={name: one.value for name, one in reader.get("fingerprint").fields().items()},
        observations=observations,
        accuracy={workload: _accuracy(one) for workload, one in reader.get("accuracy").fields().items()},
    )
    sessions: Sequence[Session] = [Session(created, found) for created, found in sorted(centres.items())]
    return Baseline(side, floors, tuple(sessions))


def _key(reader: _Reader) -> Key:
    return Key(
        workload=reader.get("workload").text(),
        scenario=reader.get("scenario").text(),
        backend=reader.get("backend").text(),
        dtype=reader.get("dtype").text(),
        batch_size=reader.get("batch_size").count(),
        layout=reader.get("layout").text(),
    )


def _block_number(name: str, reader: _Reader) -> int:
    if not name.isascii() or not name.isdigit() or len(name) > 9:
        raise _WrongShapeError(f"{reader.path}: expected a block number, found {name[:40]!r}")
    return int(name)


def _accuracy(reader: _Reader) -> Accuracy:
    headline = reader.get("headline")
    return Accuracy(
        headline=None if headline.value is None else headline.text(),
        metrics={name: _figure(one) for name, one in reader.get("metrics").fields().items()},
    )


def _figure(reader: _Reader) -> AccuracyFigure:
    sd, n = reader.get("sd"), reader.get("n").count()
    if n < 1:
        raise _WrongShapeError(f"{reader.path}.n: expected at least 1")
    mean = reader.get("mean").number(-1e6, 1e6)
    return AccuracyFigure(mean, None if sd.value is None or n < 2 else sd.number(0, 1e6), n)
