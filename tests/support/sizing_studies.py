"""Sizing studies on simulated machines whose capacity is known: is the answer enough, and not too much?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.record.model import Validity, Verdict
from harness.record.size_model import CapacityBlock, CapacityPoint, CapacitySeries, SizeAnswer, SizeQuestion
from harness.sizing.answer import Bench, answer
from harness.sizing.choice import Setting, coarse, next_block
from harness.sizing.curves import Curve, curve_of
from harness.sizing.usl import Usl

NOISE = 0.03
BLOCKS = 6
_VALID = Validity(Verdict.VALID)


@dataclass(frozen=True)
class Machine:
    """A node with a true law; beyond it a second node adds only ``step`` of the law's gain."""

    law: Usl
    node_cores: int
    step: float

    def rate(self, cores: int) -> float:
        inside = float(self.law.rate(min(cores, self.node_cores)))
        if cores <= self.node_cores:
            return inside
        return inside + self.step * (float(self.law.rate(cores)) - inside)


@dataclass(frozen=True)
class Study:
    """One study: the question, its answer and the truth."""

    machine: Machine
    need: float
    answer: SizeAnswer
    measured: int
    covered: tuple[bool, ...]  # of the intervals between and at the measured cores, six blocks of each
    chosen_covered: bool | None
    ended_by: str

    @property
    def least(self) -> int | None:
        """The fewest cores of the node that truly meet the need."""
        counts = range(1, self.machine.node_cores + 1)
        return next((cores for cores in counts if self.machine.rate(cores) >= self.need), None)

    @property
    def meets(self) -> bool | None:
        """Whether the recommended cores truly meet the need; None without a recommendation."""
        if self.answer.verdict != "answered" or self.answer.chosen is None:
            return None
        return self.machine.rate(self.answer.chosen.cores) >= self.need

    @property
    def too_many(self) -> bool | None:
        """Whether more than one core too many is recommended."""
        if self.answer.verdict != "answered" or self.answer.chosen is None:
            return None
        return self.least is not None and self.answer.chosen.cores > self.least + 1

    @property
    def unmarked(self) -> bool:
        """Whether something outside what was measured is answered without the word for it."""
        chosen = self.answer.chosen
        if chosen is None:
            return self.answer.verdict != "refused"
        return chosen.cores > self.machine.node_cores or (
            chosen.capacity.basis == "extrapolated" and self.answer.verdict != "extrapolated"
        )


def machine(generator: np.random.Generator) -> Machine:
    """A random law; a third of them have no coherency at all."""
    bent = generator.random() < 2 / 3
    beta = float(10 ** generator.uniform(-5, -2.7)) if bent else 0.0
    law = Usl(float(generator.uniform(0, 0.08)), beta, float(10 ** generator.uniform(1, 5)))
    return Machine(law, int(generator.choice([4, 6, 8, 10, 12, 16, 24])), float(generator.uniform(0.2, 0.9)))


def study(seed: int, share: float | None = None) -> Study:
    """Size one random machine for a random demand, or for a share of its most, block by block as the command does."""
    generator = np.random.default_rng(seed)
    simulated = machine(generator)
    most = max(simulated.rate(cores) for cores in range(1, simulated.node_cores + 1))
    question = SizeQuestion((share or float(generator.uniform(0.03, 1.1))) * most, 0.005)
    settings = [Setting(cores, 1, "per-core") for cores in range(1, simulated.node_cores + 1)]
    blocks: dict[int, list[CapacityBlock]] = {}
    done = 0
    while True:
        bench = Bench((_curve(blocks),), simulated.node_cores, 0.005)
        choice = next_block(bench, question, settings, done)
        if choice.ended_by is not None:
            break
        for setting in sorted(choice.settings, key=lambda each: each.cores):
            _measure(simulated, generator, blocks, setting.cores, done)
        done += 1
    result = answer(bench, question)
    chosen = result.chosen
    truth = None if chosen is None else simulated.rate(chosen.cores)
    inside = None if chosen is None or truth is None else chosen.capacity.low <= truth <= chosen.capacity.high
    measured = sum(len(each) for each in blocks.values())
    return Study(
        simulated, question.need, result, measured, _coverage(simulated, generator, settings), inside, choice.ended_by
    )


def _coverage(simulated: Machine, generator: np.random.Generator, settings: Sequence[Setting]) -> tuple[bool, ...]:
    blocks: dict[int, list[CapacityBlock]] = {}
    for block in range(BLOCKS):
        for setting in sorted(coarse(settings), key=lambda each: each.cores):
            _measure(simulated, generator, blocks, setting.cores, block)
    curve = _curve(blocks)
    inside = []
    for cores in range(1, simulated.node_cores + 1):
        capacity = curve.capacity(cores, 0.95)
        if capacity is not None:
            inside.append(capacity.low <= simulated.rate(cores) <= capacity.high)
    return tuple(inside)


def _measure(
    simulated: Machine, generator: np.random.Generator, blocks: dict[int, list[CapacityBlock]], cores: int, block: int
) -> None:
    rate = simulated.rate(cores) * math.exp(float(generator.normal(0, NOISE)))
    blocks.setdefault(cores, []).append(CapacityBlock(block, rate))


def _curve(blocks: dict[int, list[CapacityBlock]]) -> Curve:
    points = tuple(CapacityPoint(cores, cores, tuple(those), _VALID) for cores, those in sorted(blocks.items()))
    return curve_of(CapacitySeries(1, "per-core", 0, "native", "float32", points))


@dataclass(frozen=True)
class Figures:
    """Shares over many studies."""

    studies: int
    answered: int
    meets: float
    too_many: float
    coverage: float
    chosen_coverage: float
    unmarked: int
    measurements: float


def figures(studies: Sequence[Study]) -> Figures:
    """Shares of the answered studies, and of all intervals."""
    answered = [each for each in studies if each.meets is not None]
    covered = [inside for each in studies for inside in each.covered]
    chosen = [each.chosen_covered for each in answered if each.chosen_covered is not None]
    return Figures(
        len(studies),
        len(answered),
        sum(bool(each.meets) for each in answered) / len(answered),
        sum(bool(each.too_many) for each in answered) / len(answered),
        sum(covered) / len(covered),
        sum(chosen) / len(chosen),
        sum(each.unmarked for each in studies),
        sum(each.measured for each in studies) / len(studies),
    )
