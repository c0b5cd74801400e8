"""Which cell of a factorial is best, and where a step between cells costs throughput. Pure: rates in, verdicts out."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

import numpy as np

from harness.measure.stats import (
    Array,
    Interval,
    equivalence_p,
    holm,
    interval_over_processes,
    log_ratios,
    paired_effect,
)
from harness.measure.verdicts import ALPHA, DEFAULT_MARGIN, CompareVerdict, Comparison, compare_family, judgeable

K = TypeVar("K", bound=Hashable)
Rates = Mapping[int, float]  # block number -> rate of that block's process; higher is better


class Standing(str, Enum):
    """How a cell compares with the best one."""

    EQUIVALENT = "equivalent"  # a tie: the difference is shown to lie inside the margin
    SLOWER = "slower"
    UNDECIDED = "undecided"  # neither is shown; more blocks would settle it


@dataclass(frozen=True)
class Rival(Generic[K]):
    """A cell compared with the best.

    Attributes:
        cell: which.
        ratio: the best one's rate over this one's with 95 % limits; limits are None from a single common block.
        standing: tied, beaten, or neither shown.
    """

    cell: K
    ratio: Interval
    standing: Standing


@dataclass(frozen=True)
class Best(Generic[K]):
    """The cell of the highest rate.

    Attributes:
        cell: which.
        rate: over its processes.
        rivals: the other cells, the fastest first.
    """

    cell: K
    rate: Interval
    rivals: tuple[Rival[K], ...]

    def standing(self, standing: Standing) -> tuple[Rival[K], ...]:
        """The rivals that stand so, the fastest first."""
        return tuple(rival for rival in self.rivals if rival.standing is standing)


@dataclass(frozen=True)
class Step(Generic[K]):
    """One cell against another of the same block; the effect is of the time: positive means ``to`` is slower."""

    start: K
    to: K
    comparison: Comparison

    @property
    def is_loss(self) -> bool:
        """Whether ``to`` is slower by more than the margin."""
        return self.comparison.verdict is CompareVerdict.REGRESSED


def best_cell(rates: Mapping[K, Rates], *, margin: float = DEFAULT_MARGIN) -> Best[K] | None:
    """The cell of the highest geometric mean rate, and how the others compare with it.

    Every other cell is compared with it over the blocks both have, by paired t-tests on the log rates. It is equivalent
    when the two one-sided tests against the margin say so at 0.05, adjusted over the other cells by Holm's method; else
    slower when the one-sided p-value, times the number of other cells, is at most 0.05; else undecided, as all are with
    fewer than six blocks in common. So the cell that is truly best is the one found or one that is not slower in at
    least 95 % of sweeps.

    Args:
        rates: by cell; a cell without any is left out.
        margin: relative difference that does not matter.

    Returns:
        None when no cell has a rate.

    Source: constrained multiple comparisons with the best, Hsu (1984), with Bonferroni's bound in place of Dunnett's
    quantile, because the cells need not vary equally.
    """
    intervals = {cell: interval_over_processes(list(by_block.values())) for cell, by_block in rates.items() if by_block}
    if not intervals:
        return None
    best = max(intervals, key=lambda cell: intervals[cell].centre)
    others = sorted((cell for cell in intervals if cell != best), key=lambda cell: -intervals[cell].centre)
    ratios = [_log_ratios(rates[cell], rates[best]) for cell in others]
    same = holm([equivalence_p(d, margin) if judgeable(d) else 1.0 for d in ratios])
    rivals = tuple(
        Rival(cell, _ratio(d, intervals[best], intervals[cell]), _standing(d, same_p, len(others)))
        for cell, d, same_p in zip(others, ratios, same, strict=True)
    )
    return Best(best, intervals[best], rivals)


def steps(pairs: Sequence[tuple[K, K]], rates: Mapping[K, Rates], *, margin: float = DEFAULT_MARGIN) -> list[Step[K]]:
    """Judge pairs of cells as one family, each over the blocks both cells have.

    Args:
        pairs: (start, to); a pair of which a cell has no rate is left out.
        rates: by cell.
        margin: relative change that matters.
    """
    known = [(start, to) for start, to in pairs if rates.get(start) and rates.get(to)]
    judged = compare_family([_log_ratios(rates[to], rates[start]) for start, to in known], [margin] * len(known))
    return [Step(start, to, comparison) for (start, to), comparison in zip(known, judged, strict=True)]


def cliffs(chains: Sequence[Sequence[K]], rates: Mapping[K, Rates], *, margin: float = DEFAULT_MARGIN) -> list[Step[K]]:
    """Steps along chains at which the throughput falls by more than the margin.

    Args:
        chains: cells that differ only in the number of threads per core, in ascending order of it.
        rates: by cell.
        margin: a smaller fall does not matter.
    """
    pairs = [(chain[at], chain[at + 1]) for chain in chains for at in range(len(chain) - 1)]
    return [step for step in steps(pairs, rates, margin=margin) if step.is_loss]


def penalties(
    groups: Sequence[Sequence[K]], rates: Mapping[K, Rates], *, margin: float = DEFAULT_MARGIN
) -> list[Step[K]]:
    """Cells that are slower by more than the margin than the fastest of their group.

    Args:
        groups: cells that differ only in where they run and where their memory is.
        rates: by cell.
        margin: a smaller difference does not matter.
    """
    pairs = []
    for group in groups:
        known = [cell for cell in group if rates.get(cell)]
        if len(known) > 1:
            fastest = max(known, key=lambda cell: interval_over_processes(list(rates[cell].values())).centre)
            pairs += [(fastest, cell) for cell in known if cell != fastest]
    return [step for step in steps(pairs, rates, margin=margin) if step.is_loss]


def _log_ratios(a: Rates, b: Rates) -> Array:
    """log(b / a) over the blocks both have; empty when there are none."""
    common = sorted(a.keys() & b.keys())
    if not common:
        return np.zeros(0)
    return log_ratios([a[block] for block in common], [b[block] for block in common])


def _standing(d: Array, same_p: float, others: int) -> Standing:
    if same_p <= ALPHA:
        return Standing.EQUIVALENT
    return Standing.SLOWER if judgeable(d) and _slower_p(d) * others <= ALPHA else Standing.UNDECIDED


def _slower_p(d: Array) -> float:
    """One-sided p of the t-test that the mean log ratio is above zero."""
    from scipy.special import stdtr

    effect = paired_effect(d)
    return float(stdtr(effect.blocks - 1, -effect.mean * math.sqrt(effect.blocks) / effect.sd))


def _ratio(d: Array, best: Interval, other: Interval) -> Interval:
    if not len(d):  # no block in common: the ratio of the centres is all there is
        return Interval(best.centre / other.centre, None, None, 0)
    return interval_over_processes(np.exp(d))
