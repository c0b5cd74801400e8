"""Noise floors: the smallest effect that blocks of one measurement tell from noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from harness.compare.observations import Count, Key, Observation
from harness.decode import Check
from harness.measure.stats import Array, noise_floors

_LARGEST_EFFECT = 1e30  # as a number; a gate refuses far smaller ones
Effect = Annotated[float, Check("a number from 0", lambda effect: 0 <= effect <= _LARGEST_EFFECT)]


@dataclass(frozen=True)
class Floor:
    """The smallest relative effect that stands out from noise when comparing over ``blocks`` blocks per side."""

    effect: Effect
    blocks: Count


def self_ratios(observation: Observation, *, seed: int) -> Array:
    """Log ratios of a key against itself: neighbouring blocks paired, which of two is A drawn at random."""
    return np.asarray(_self_ratios([observation], seed)[0])


def _self_ratios(observations: Sequence[Observation], seed: int) -> Array:
    """The same for several with as many blocks, shape (observations, pairs)."""
    logs = np.log([[seconds for _, seconds in sorted(each.seconds.items())] for each in observations])
    pairs = logs.shape[1] // 2
    signs = np.where(np.random.default_rng(seed).random(pairs) < 0.5, -1.0, 1.0)
    return np.asarray((logs[:, 1 : 2 * pairs : 2] - logs[:, : 2 * pairs : 2]) * signs)


def floors_of(observations: Mapping[Key, Observation], seed: int) -> dict[Key, Floor]:
    """The noise floor of every key, scaled from the pairs there are to the blocks a gate will compare."""
    by_blocks: dict[int, list[Observation]] = {}
    for observation in observations.values():
        by_blocks.setdefault(len(observation.seconds), []).append(observation)
    floors: dict[Key, Floor] = {}
    for blocks, alike in by_blocks.items():
        ratios = _self_ratios(alike, seed)
        # A mean over all blocks varies less than one over the pairs, which are half as many.
        effects = np.expm1(np.log1p(noise_floors(ratios, seed=seed)) * math.sqrt(ratios.shape[1] / blocks))
        floors |= {each.key: Floor(effect, blocks) for each, effect in zip(alike, effects.tolist(), strict=True)}
    return floors
