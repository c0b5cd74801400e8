"""The A/A check: this machine compared with itself, to know what its noise alone looks like to a gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.compare.observations import Key, Side
from harness.errors import MeasurementError
from harness.gates.floors import self_ratios
from harness.measure.stats import noise_floor
from harness.measure.verdicts import DEFAULT_MARGIN, MIN_BLOCKS, Comparison, compare_verdict, false_alarm_share
from harness.record.model import NoiseFloor


@dataclass(frozen=True)
class SelfCheck:
    """What noise alone does to one key.

    Attributes:
        pairs: pairs of neighbouring blocks compared with each other.
        floor: relative effect that noise stays below in 95 % of comparisons over this many pairs.
        margin: the margin alarms were counted at: the user's, or the larger of 3 % and the floor.
        alarm_share: share of random assignments of the pairs that one run of the gate would suspect a regression in;
            the gate itself also asks for a second run.
        comparison: the verdict of one A/A comparison.
    """

    key: Key
    pairs: int
    floor: float
    margin: float
    alarm_share: float
    comparison: Comparison


def self_check(side: Side, *, seed: int, margin: float | None = None) -> tuple[SelfCheck, ...]:
    """Compare one run with itself, neighbouring blocks in pairs.

    Raises:
        MeasurementError: no result has the twelve blocks that make six pairs.
    """
    checks = []
    for key, observation in sorted(side.observations.items()):
        d = self_ratios(observation, seed=seed)
        if observation.problems or len(d) < MIN_BLOCKS:
            continue
        floor = noise_floor(d, seed=seed)
        used = max(DEFAULT_MARGIN, floor) if margin is None else margin
        share = false_alarm_share(d, used, seed=seed)
        checks.append(SelfCheck(key, len(d), floor, used, share, compare_verdict(d, used)))
    if not checks:
        raise MeasurementError(
            f"{side.name} has no valid result with {2 * MIN_BLOCKS} blocks, which {MIN_BLOCKS} pairs need.",
            remedy=f"Measure with --blocks {2 * MIN_BLOCKS} or more.",
        )
    return tuple(checks)


def noise_floor_record(checks: Sequence[SelfCheck]) -> NoiseFloor:
    """The machine's noise floor as a record keeps it: that of the noisiest result."""
    worst = max(checks, key=lambda check: check.floor)
    return NoiseFloor(worst.floor, worst.pairs)
