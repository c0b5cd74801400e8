"""Which cell of a factorial is best, and where a step between cells costs throughput. Pure: rates in, verdicts out."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

import numpy as np

from harness.measure.stats import Array, Interval, interval_over_processes, log_ratios
from harness.measure.verdicts import ALPHA, DEFAULT_MARGIN, CompareVerdict, Comparison, compare_family, judgeable

K = TypeVar("K", bound=Hashable)
Rates = Mapping[int, float]  # block number -> rate of that block's process; higher is better


class Standing(str, Enum):
    """How a cell compares with the best one, or a level of a factor with another; the limits of its ratio say it."""

    EQUIVALENT = "equivalent"  # a tie: both limits lie inside the margin
    SLOWER = "slower"
    FASTER = "faster"
    NOT_DISTINGUISHABLE = "not_distinguishable"  # none of these is shown; more blocks would settle it
    NOT_JUDGED = "not_judged"  # too few blocks in common for a test


@dataclass(frozen=True)
class Rival(Generic[K]):
    """A cell compared with the best.

    Attributes:
        cell: which.
        ratio: the best one's rate over this one's with the limits that ``standing`` rests on; they are None from a
            single common block.
        standing: tied, beaten, neither shown, or not judged.
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
    """One cell against another of the same block.

    Attributes:
        ratio: time of ``to`` over that of ``start``, with limits corrected for the number of steps.
        is_loss: whether ``to`` is slower by more than the margin: the verdict says so and the lower limit shows it.
    """

    start: K
    to: K
    comparison: Comparison
    ratio: Interval
    is_loss: bool


@dataclass(frozen=True)
class Contrast(Generic[K]):
    """Two levels of a factor over pairs of cells equal in all else; ``ratio`` is of the times, to over start."""

    start: K  # of the first pair
    to: K
    pairs: int
    ratio: Interval
    standing: Standing


def best_cell(rates: Mapping[K, Rates], *, margin: float = DEFAULT_MARGIN) -> Best[K] | None:
    """The cell of the highest geometric mean rate, and how the others compare with it.

    Every other cell is compared with it over the blocks both have, by paired t limits on the log rates: one-sided at
    95 %, corrected for the number of other cells by Bonferroni's inequality. It is equivalent when both limits lie
    inside the margin, else slower when the lower one lies above 1, else not distinguishable. With fewer than six blocks
    in common it is not judged. So the cell that is truly best is the one found or one that is not slower in at least
    95 % of sweeps, and the limits that are printed are those that decide.

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
    confidence = _confidence(len(others))
    rivals = []
    for cell, d in zip(others, ratios, strict=True):
        ratio = _ratio(d, intervals[best], intervals[cell], confidence)
        rivals.append(Rival(cell, ratio, _standing(d, ratio, margin)))
    return Best(best, intervals[best], tuple(rivals))


def steps(pairs: Sequence[tuple[K, K]], rates: Mapping[K, Rates], *, margin: float = DEFAULT_MARGIN) -> list[Step[K]]:
    """Judge pairs of cells as one family, each over the blocks both cells have.

    Args:
        pairs: (start, to); a pair of which a cell has no rate is left out.
        rates: by cell.
        margin: relative change that matters.
    """
    known = [(start, to) for start, to in pairs if rates.get(start) and rates.get(to)]
    ratios = [_log_ratios(rates[to], rates[start]) for start, to in known]
    judged = compare_family(ratios, [margin] * len(known))
    confidence = 1 - ALPHA / max(1, len(known))
    judged_steps = []
    for (start, to), d, comparison in zip(known, ratios, judged, strict=True):
        ratio = interval_over_processes(np.exp(d), confidence=confidence) if len(d) else Interval(1.0, None, None, 0)
        beyond = ratio.low is not None and ratio.low > 1 + margin
        judged_steps.append(
            Step(start, to, comparison, ratio, comparison.verdict is CompareVerdict.REGRESSED and beyond)
        )
    return judged_steps


def contrasts(
    levels: Sequence[Sequence[tuple[K, K]]], rates: Mapping[K, Rates], *, margin: float = DEFAULT_MARGIN
) -> list[Contrast[K]]:
    """Compare two levels of a factor at a time, over matched pairs: cells that are equal in all other factors.

    The effect is the mean of the pairs' log ratios of times in a block, over the blocks in which every pair has both.
    Limits are one-sided at 95 %, corrected for the number of contrasts by Bonferroni's inequality, and decide the
    standing of ``to``.

    Args:
        levels: per contrast, its pairs (start, to); one without a pair, or without a common block, is left out.
        rates: by cell.
        margin: relative difference that does not matter.

    Source: main effects of a factorial in randomised blocks, Montgomery, Design and Analysis of Experiments, ch. 5.
    """
    known = []
    for pairs in levels:
        rated = [pair for pair in pairs if all(rates.get(cell) for cell in pair)]
        common = set.intersection(*(set(rates[cell]) for pair in rated for cell in pair)) if rated else set()
        if common:
            by_pair = [
                _log_ratios(*({at: rates[cell][at] for at in common} for cell in (to, start))) for start, to in rated
            ]
            known.append((rated, np.mean(by_pair, axis=0)))
    confidence = _confidence(len(known))
    compared = []
    for pairs, d in known:
        ratio = interval_over_processes(np.exp(d), confidence=confidence)
        compared.append(Contrast(*pairs[0], len(pairs), ratio, _standing(d, ratio, margin)))
    return compared


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


def _confidence(comparisons: int) -> float:
    """Of a two-sided interval each of whose limits is wrong in 5 % of families of so many comparisons, at most."""
    return 1 - 2 * ALPHA / max(1, comparisons)


def _standing(d: Array, ratio: Interval, margin: float) -> Standing:
    if not judgeable(d) or ratio.low is None or ratio.high is None:
        return Standing.NOT_JUDGED
    if ratio.low > 1 / (1 + margin) and ratio.high < 1 + margin:
        return Standing.EQUIVALENT
    if ratio.low > 1:
        return Standing.SLOWER
    return Standing.FASTER if ratio.high < 1 else Standing.NOT_DISTINGUISHABLE


def _ratio(d: Array, best: Interval, other: Interval, confidence: float) -> Interval:
    if not len(d):  # no block in common: the ratio of the centres is all there is
        return Interval(best.centre / other.centre, None, None, 0)
    return interval_over_processes(np.exp(d), confidence=confidence)
