"""Simulated machines for gates: process times with known noise, so that false alarms and power can be counted."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np

from harness.compare.observations import Key, Observation, Side
from harness.errors import CheckFailedError, ExitCode
from harness.gates.baseline import Baseline, make_baseline
from harness.gates.gate import BaselineSource, GateReport, Pair, gate
from harness.gates.live import measure_enough
from harness.gates.policy import Policy

FINGERPRINT = {"arch": "ppc64le", "cpu": "POWER10", "lpar_dedicated": False}
KEYS = tuple(Key(f"workload-{index}", "offline", "eager", "float32", 64) for index in range(3))

Noise = Callable[[np.random.Generator, int, int], np.ndarray]


def quiet(rng: np.random.Generator, first: int, blocks: int) -> np.ndarray:
    """Processes differ by 2 %."""
    return rng.normal(0, 0.02, (2, blocks))


def between_processes(rng: np.random.Generator, first: int, blocks: int) -> np.ndarray:
    """A large effect per process (layout, hash seed): mostly small, sometimes 25 %, on either side alike."""
    slow = rng.random((2, blocks)) < 0.2
    return rng.normal(0, 0.05, (2, blocks)) + np.where(slow, 0.22, 0.0)


def drifting(rng: np.random.Generator, first: int, blocks: int) -> np.ndarray:
    """The machine slows down by 2 % a block, with a wave on top; both sides meet it, one a little later."""
    block = np.arange(first, first + blocks)
    later = rng.random(blocks) < 0.5  # which side goes first is shuffled
    when = np.vstack([block + 0.5 * later, block + 0.5 * ~later])
    return 0.02 * when + 0.1 * np.sin(when / 3) + rng.normal(0, 0.03, (2, blocks))


def bursts(rng: np.random.Generator, first: int, blocks: int) -> np.ndarray:
    """Neighbours take the processors in bursts: heavy tails, most of it shared by a block, some of it not."""
    shared = np.abs(rng.standard_t(2, blocks)) * 0.05
    return shared + np.abs(rng.standard_t(3, (2, blocks))) * 0.03


REGIMES: dict[str, Noise] = {
    "quiet": quiet,
    "between processes": between_processes,
    "drifting": drifting,
    "bursts": bursts,
}


@dataclass
class Machine:
    """Measures a baseline and a candidate that is slower by ``effect``, block by block."""

    noise: Noise
    rng: np.random.Generator
    effect: float = 0.0
    clock: int = 0

    def series(self) -> Callable[[int], Pair]:
        """A new series of blocks: each call adds some and gives all so far."""
        logs = {key: np.zeros((2, 0)) for key in KEYS}

        def add(blocks: int) -> Pair:
            for key in KEYS:
                logs[key] = np.hstack([logs[key], self.noise(self.rng, self.clock, blocks)])
            self.clock += blocks
            slower = math.log1p(self.effect)
            return (
                side("baseline", {key: logs[key][0] for key in KEYS}),
                side("candidate", {key: logs[key][1] + slower for key in KEYS}),
            )

        return add


def side(name: str, logs: dict[Key, np.ndarray]) -> Side:
    """A side whose processes took exp(log) milliseconds."""
    observations = {
        key: Observation(key, dict(enumerate((1e-3 * np.exp(values)).tolist()))) for key, values in logs.items()
    }
    return Side(name, "2026-08-01T12:00:00Z", FINGERPRINT, observations)


def simulated_gate(regime: str, seed: int, *, effect: float = 0.0, max_blocks: int = 60) -> GateReport:
    """One whole live gate: baseline with its floor, blocks until precise, and a second run if there is a suspicion."""
    rng = np.random.default_rng(seed)
    machine = Machine(REGIMES[regime], rng)
    baseline = make_baseline(machine.series()(24)[0], seed=seed)
    machine.effect = effect

    def measure(_: Collection[Key] = ()) -> Pair:
        margins = {key: max(0.03, baseline.floors[key].effect) for key in KEYS}
        return measure_enough(machine.series(), margins, max_blocks=max_blocks)

    return gate(baseline, measure(), Policy(), source=BaselineSource.CONCURRENT, measure_again=measure)


def count_codes(regime: str, gates: int, *, effect: float = 0.0, first_seed: int = 0) -> dict[ExitCode, int]:
    """How many of ``gates`` simulated gates ended in each exit code."""
    codes = [simulated_gate(regime, first_seed + index, effect=effect).exit_code for index in range(gates)]
    return {code: codes.count(code) for code in ExitCode}


def stored_baseline(
    rng: np.random.Generator, *, sessions: int, day_sd: float, blocks: int = 12
) -> tuple[Baseline, Side]:
    """A baseline of several sessions and a candidate of a further one, all the same code; days differ by ``day_sd``."""
    baseline: Baseline | None = None
    for session in range(sessions + 1):
        day = rng.normal(0, day_sd)
        measured = side(f"session-{session}", {key: day + rng.normal(0, 0.01, blocks) for key in KEYS})
        measured = replace(measured, created=f"2026-08-{session + 1:02d}T12:00:00Z")
        if session < sessions:
            with contextlib.suppress(CheckFailedError):  # a day that the baseline does not take
                baseline = make_baseline(measured, earlier=baseline, seed=session)
    assert baseline is not None
    return baseline, measured
