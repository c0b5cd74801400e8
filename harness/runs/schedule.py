"""Which worker processes a run consists of, and in which order they go."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

_T = TypeVar("_T")

MIN_BLOCKS = 6  # fewer processes give no interval worth the name: research on A/A tests, README "How it measures"


@dataclass(frozen=True)
class Configuration:
    """What one worker process measures: a fitted workload through one backend in one dtype."""

    workload: str
    backend: str
    dtype: str
    scenarios: tuple[str, ...]


@dataclass(frozen=True)
class Slot:
    """One worker process of the schedule."""

    block: int
    order: int  # position within its block
    configuration: Configuration
    scenarios: tuple[str, ...]  # the configuration's, in this process's order
    seed: int


def schedule(configurations: Sequence[Configuration], *, blocks: int, seed: int) -> list[Slot]:
    """Blocks of one process per configuration; order within each block, and of scenarios in a process, shuffled.

    Shuffling keeps a drift of the machine (heat, neighbours) from falling on the same configuration every time. The
    order depends on ``seed`` and the block number alone, so an interrupted schedule can be recomputed.
    """
    return [slot for block in range(blocks) for slot in block_of(configurations, block=block, seed=seed)]


def block_of(configurations: Sequence[Configuration], *, block: int, seed: int) -> list[Slot]:
    """The slots of one block; see :func:`schedule`."""
    generator = random.Random(f"{seed}/{block}")  # noqa: S311 - order of measurements, not a secret
    slots = []
    for order, configuration in enumerate(_shuffled(configurations, generator)):
        scenarios = tuple(_shuffled(configuration.scenarios, generator))
        slots.append(Slot(block, order, configuration, scenarios, seed=generator.randrange(2**31)))
    return slots


def _shuffled(items: Sequence[_T], generator: random.Random) -> list[_T]:
    return generator.sample(list(items), len(items))
