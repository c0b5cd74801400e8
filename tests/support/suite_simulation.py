"""Simulated suites for gates on stored sessions: their noise is known, so that alarms and power can be counted."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np

from harness.compare.observations import Key, Observation, Side
from harness.errors import CheckFailedError, ExitCode, InputError
from harness.gates.baseline import Baseline, make_baseline
from harness.gates.gate import BaselineSource, GateReport, GateVerdict, gate
from harness.gates.policy import Policy

FINGERPRINT = {"arch": "ppc64le", "cpu": "POWER10", "lpar_dedicated": False}
SIZE = 40
KEYS = tuple(Key(f"suite.py::test_{number:02d}", "pytest-benchmark", "", "", 0) for number in range(SIZE))
BLOCKS, WITHIN = 6, 0.01

# Of one suite: deviation of every benchmark in a session, shape (SIZE,), log scale.
Session = Callable[[np.random.Generator], np.ndarray]
Regime = Callable[[np.random.Generator], Session]


def even(rng: np.random.Generator) -> Session:
    """Every benchmark moves by 2 % from session to session, each by itself."""
    return lambda rng: rng.normal(0, 0.02, SIZE)


def shared(rng: np.random.Generator) -> Session:
    """The machine as a whole moves by 1 %, and every benchmark by 1.5 % more."""
    return lambda rng: rng.normal(0, 0.01) + rng.normal(0, 0.015, SIZE)


def uneven(rng: np.random.Generator) -> Session:
    """Some benchmarks are three times as noisy as others."""
    spread = 0.02 * np.exp(rng.normal(0, 0.5, SIZE))
    return lambda rng: rng.normal(0, 1, SIZE) * spread


def bursts(rng: np.random.Generator) -> Session:
    """Heavy tails: now and then one is far off."""
    return lambda rng: rng.standard_t(3, SIZE) * (0.02 / math.sqrt(3))


REGIMES: dict[str, Regime] = {"even": even, "shared": shared, "uneven": uneven, "bursts": bursts}


@dataclass
class Suite:
    """Forty benchmarks measured session after session; ``level`` is where each lies, log scale."""

    rng: np.random.Generator
    deviation: Session
    level: np.ndarray
    day: int = 0

    def session(self, slower: np.ndarray | float = 0.0) -> Side:
        """One further session, slower than the level by ``slower`` on the log scale."""
        self.day += 1
        centres = self.level + self.deviation(self.rng) + slower
        logs = centres[:, None] + self.rng.normal(0, WITHIN, (SIZE, BLOCKS))
        observations = {
            key: Observation(key, dict(enumerate((1e-3 * np.exp(values)).tolist())))
            for key, values in zip(KEYS, logs, strict=True)
        }
        return Side(f"session-{self.day}", f"day {self.day:03d}", FINGERPRINT, observations)

    def change(self, slower: np.ndarray | float) -> None:
        """The code changes for good."""
        self.level = self.level + slower


def in_one(effect: float, number: int) -> np.ndarray:
    """A slowdown of one benchmark."""
    return np.where(np.arange(SIZE) == number, math.log1p(effect), 0.0)


def suite_with_baseline(regime: str, seed: int, *, changes: int, sessions: int = 3) -> tuple[Suite, Baseline]:
    """A suite and its baseline of some sessions per level, with accepted changes of +10 % in every fourth between."""
    rng = np.random.default_rng(seed)
    suite = Suite(rng, REGIMES[regime](rng), np.zeros(SIZE))
    baseline = make_baseline(suite.session())
    for change in range(changes + 1):
        if change:
            suite.change(np.where(np.arange(SIZE) % 4 == change % 4, math.log1p(0.1), 0.0))
            baseline = make_baseline(suite.session(), earlier=baseline, accept=f"change {change}")
        for _ in range(sessions - 1):
            baseline = updated(suite, baseline)
    return suite, baseline


def updated(suite: Suite, baseline: Baseline) -> Baseline:
    """A further session; one that stands out is measured again, and what stands out twice is accepted."""
    for accept in (None, None, "twice seen"):
        with contextlib.suppress(CheckFailedError, InputError):
            return make_baseline(suite.session(), earlier=baseline, accept=accept)
    return baseline


def judge(suite: Suite, baseline: Baseline, slower: np.ndarray | float = 0.0) -> GateReport:
    """Gate a candidate in a fresh session, and in further ones what stays open."""

    def measured(keys: Collection[Key] = KEYS) -> tuple[Side, Side]:
        session = suite.session(slower)
        return baseline.side, replace(session, observations={key: session.observations[key] for key in keys})

    return gate(baseline, measured(), Policy(), source=BaselineSource.STORED, measure_again=measured)


def count(
    regime: str, suites: int, slower: Callable[[int], np.ndarray | float], *, changes: int, first: int = 0
) -> Counter[str]:
    """How many suites ended in each exit code, and how many slower results were found, by name.

    ``slower`` gives the slowdown on the log scale by number of the suite; ``first`` is the seed of the first.
    """
    counts: Counter[str] = Counter()
    for number in range(suites):
        suite, baseline = suite_with_baseline(regime, first + number, changes=changes)
        effect = np.broadcast_to(slower(number), (SIZE,))
        report = judge(suite, baseline, effect)
        counts[ExitCode(report.exit_code).name] += 1
        for result, size in zip(report.results, effect, strict=True):
            counts["slower"] += int(size > 0)
            counts["found"] += int(size > 0 and result.verdict is GateVerdict.REGRESSED)
            counts["wrong"] += int(size == 0 and result.verdict is GateVerdict.REGRESSED)
    return counts
