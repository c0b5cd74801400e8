"""What is measured, and in which order: every configuration once per block, each time in a fresh process."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from harness.record.spec import Scenario
from harness.wording import count, plural

_T = TypeVar("_T")


@dataclass(frozen=True)
class Configuration:
    """What one process measures: a fitted workload through one backend in one number format, at one place.

    Attributes:
        batch_sizes: of the offline scenario; the last is the headline.
        cores: in use, of all instances together.
        threads_per_core: in use on each.
        instances: processes at once, which divide the cores.
        node: NUMA node to run on; None for the best, or on a kernel without NUMA.
        memory_node: node to take memory from; None for ``node``, or the nearest that has some.
        smt: threads online per core, switched to where that is permitted; None for what there is.
    """

    workload: str
    backend: str
    dtype: str
    scenarios: tuple[Scenario, ...]
    batch_sizes: tuple[int, ...] = ()
    cores: int = 1
    threads_per_core: int = 1
    instances: int = 1
    node: int | None = None
    memory_node: int | None = None
    smt: int | None = None

    @property
    def threads(self) -> int:
        """Threads in use, of all instances together."""
        return self.cores * self.threads_per_core

    @property
    def location(self) -> str:
        """``node 0``, ``node 0, memory of node 1``."""
        if self.node is None:
            return "the machine"
        return f"node {self.node}" + ("" if self.memory_node is None else f", memory of node {self.memory_node}")

    def describe(self) -> str:
        """The configuration in the words of a sweep's page, what is most often varied first."""
        return ", ".join(
            [
                self.backend,
                self.dtype,
                *([f"batch {count(self.batch_sizes[-1])}"] if self.batch_sizes else []),
                *([] if self.smt is None else [f"SMT {self.smt}"]),
                plural(self.cores, "core"),
                *([plural(self.threads_per_core, "thread") + " per core"] if self.threads_per_core > 1 else []),
                self.location,
                *([plural(self.instances, "instance")] if self.instances > 1 else []),
            ]
        )


@dataclass(frozen=True)
class Slot:
    """One measurement of one configuration.

    Attributes:
        order: position within its block.
        configuration: index into the configurations.
        scenarios: the configuration's, in this process's order.
    """

    block: int
    order: int
    configuration: int
    scenarios: tuple[Scenario, ...]
    seed: int

    @property
    def name(self) -> str:
        """Unique among the slots, and a file name."""
        return f"{self.block}-{self.configuration}"


def block_of(configurations: Sequence[Configuration], *, block: int, seed: int) -> tuple[Slot, ...]:
    """One slot per configuration, in an order that depends on ``seed`` and the block alone.

    Shuffling keeps a drift of the machine (heat, neighbours) from falling on the same configuration every time. SMT
    levels are gone through in random order, and all configurations of a level together: a switch takes seconds, during
    which the whole machine changes. The scenarios of a process are shuffled too.
    """
    generator = random.Random(f"{seed}/{block}")  # noqa: S311 - order of measurements, not a secret
    indexes: list[int] = []
    for level in _shuffled(sorted({each.smt or 0 for each in configurations}), generator):
        of_level = [index for index, each in enumerate(configurations) if (each.smt or 0) == level]
        indexes += _shuffled(of_level, generator)
    slots = []
    for order, index in enumerate(indexes):
        scenarios = tuple(_shuffled(configurations[index].scenarios, generator))
        slots.append(Slot(block, order, index, scenarios, seed=generator.randrange(2**31)))
    return tuple(slots)


def _shuffled(items: Sequence[_T], generator: random.Random) -> list[_T]:
    return generator.sample(list(items), len(items))
