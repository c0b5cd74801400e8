"""What a comparison may be called, and when to stop measuring for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike

from harness.measure.stats import Array, PairedEffect, equivalence_p, holm, paired_effect, t_quantile, wilcoxon_p

MIN_BLOCKS = 6
MAX_BLOCKS = 60
BLOCK_STEP = 2
DEFAULT_MARGIN = 0.03
ALPHA = 0.05
_UNREACHABLE = 1000  # nobody measures more blocks than this to settle one comparison
NO_SPREAD = 1e-9  # of logs: real timings, and ratios of them, vary by more than this


class CompareVerdict(str, Enum):
    """The four answers a comparison can have."""

    REGRESSED = "regressed"
    IMPROVED = "improved"
    EQUIVALENT = "equivalent"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Comparison:
    """A verdict with what it rests on.

    Attributes:
        verdict: the answer.
        margin: relative change that matters, e.g. 0.03.
        effect: None when there were too few blocks to estimate one.
        change_p: p of the t-test that the effect lies beyond the margin, two-sided, adjusted within the family.
        equivalence_p: p of the equivalence test, adjusted within the family.
        rank_p: p of the signed-rank test of the hypothesis the t-test decided on; None when it decided nothing.
        not_worse_p: p of the one-sided tests that B is slower by less than the margin, the larger of the t-test's and
            the signed-rank test's; not adjusted, because "none of them is worse" needs each of its parts anyway
            (Berger 1982, intersection-union tests).
        more_blocks: blocks still needed for an answer at the present effect and spread; 0 when there is an answer, None
            when the effect is so close to the margin that no realistic number settles it.
        note: why it is inconclusive; None otherwise.
    """

    verdict: CompareVerdict
    margin: float
    effect: PairedEffect | None = None
    change_p: float | None = None
    equivalence_p: float | None = None
    rank_p: float | None = None
    not_worse_p: float | None = None
    more_blocks: int | None = 0
    note: str | None = None


def compare_verdict(d: ArrayLike, margin: float) -> Comparison:
    """Judge log ratios ``d`` of B against A, shape (k,), positive meaning worse; see :func:`compare_family`."""
    return compare_family([d], [margin])[0]


def compare_family(family: Sequence[ArrayLike], margins: Sequence[float]) -> list[Comparison]:
    """Judge several comparisons together, each with its own margin.

    One of them is regressed when the lower limit of the two-sided 95 % t interval lies above log(1 + margin), improved
    when the upper one lies below -log(1 + margin), equivalent when the 90 % interval lies inside (TOST), and else
    inconclusive. Alarms and reassurances are two families, each with its p-values adjusted by Holm's method. A verdict
    that the signed-rank test of the same hypothesis does not share, one from fewer than six blocks, and one from log
    ratios that do not vary at all (then they are no measurement) are inconclusive.

    Args:
        family: per comparison, one log ratio per block; positive is worse.
        margins: per comparison, the relative change that matters, > 0.
    """
    if len(family) != len(margins):
        raise ValueError(f"{len(family)} comparisons but {len(margins)} margins")
    if not all(0 < margin < math.inf for margin in margins):
        raise ValueError(f"margins must be positive and finite, got {margins}")
    series = [np.asarray(d, dtype=np.float64) for d in family]
    change = [_change_p(d, margin) if judgeable(d) else 1.0 for d, margin in zip(series, margins, strict=True)]
    same = [equivalence_p(d, margin) if judgeable(d) else 1.0 for d, margin in zip(series, margins, strict=True)]
    adjusted = zip(series, margins, holm(change), holm(same), strict=True)
    return [_judge(d, margin, change_p, same_p) for d, margin, change_p, same_p in adjusted]


def enough_precision(d: ArrayLike, margin: float) -> bool:
    """The stopping rule: start with six blocks, add two at a time, stop at a 95 % half-width of log(1 + margin).

    Width, never significance: stopping at the first significant look multiplies false alarms.
    """
    values = np.asarray(d, dtype=np.float64)
    return len(values) >= MIN_BLOCKS and _half_width(paired_effect(values), 0.95) <= math.log1p(margin)


def false_alarm_share(d: ArrayLike, margin: float, *, seed: int, flips: int = 1000) -> float:
    """Share of random sign flips of A/A log ratios ``d``, shape (k,), whose lower 95 % limit clears the margin.

    How often this machine, as it was while ``d`` was measured, would make one run of the gate suspect a regression that
    is not there.
    """
    values = np.asarray(d, dtype=np.float64)
    k = len(values)
    flipped = values * np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), size=(flips, k))
    half = t_quantile(0.95, k - 1) * flipped.std(axis=1, ddof=1) / math.sqrt(k)
    return float(np.mean(flipped.mean(axis=1) - half > math.log1p(margin)))


def _judge(d: Array, margin: float, change_p: float, same_p: float) -> Comparison:
    count = len(d)
    effect = paired_effect(d) if count >= 2 else None
    inconclusive = CompareVerdict.INCONCLUSIVE
    if effect is None or count < MIN_BLOCKS:
        note = f"{count} {'block' if count == 1 else 'blocks'}, at least {MIN_BLOCKS} are needed"
        return Comparison(inconclusive, margin, effect, more_blocks=MIN_BLOCKS - count, note=note)
    if effect.sd < NO_SPREAD:
        note = "the ratios of all blocks are identical, which no measurement gives"
        return Comparison(inconclusive, margin, effect, more_blocks=None, note=note)
    not_worse_p = _not_worse_p(d, effect, margin)

    def judged(verdict: CompareVerdict, rank_p: float | None, more: int | None, note: str | None) -> Comparison:
        return Comparison(verdict, margin, effect, change_p, same_p, rank_p, not_worse_p, more, note)

    if change_p <= ALPHA:
        verdict = CompareVerdict.REGRESSED if effect.mean > 0 else CompareVerdict.IMPROVED
        rank_p, level = wilcoxon_p(np.sign(effect.mean) * d, math.log1p(margin)), ALPHA / 2
    elif same_p <= ALPHA:
        verdict = CompareVerdict.EQUIVALENT
        rank_p, level = max(wilcoxon_p(sign * d, -math.log1p(margin)) for sign in (1, -1)), ALPHA
    else:
        return judged(inconclusive, None, _more_blocks(effect, margin), "the interval spans the margin")
    if rank_p > level:
        note = f"the t-test says {verdict.value}, the signed-rank test does not (p = {rank_p:.2g})"
        return judged(inconclusive, rank_p, BLOCK_STEP, note)
    return judged(verdict, rank_p, 0, None)


def judgeable(d: Array) -> bool:
    """Whether the log ratios of one comparison are many enough, and differ enough, for a test."""
    return len(d) >= MIN_BLOCKS and paired_effect(d).sd >= NO_SPREAD


def _change_p(d: Array, margin: float) -> float:
    """Two-sided p that the mean lies beyond the margin; <= 0.05 exactly when the 95 % interval does."""
    from scipy.special import stdtr

    effect = paired_effect(d)
    beyond = abs(effect.mean) - math.log1p(margin)
    return min(1.0, 2 * float(stdtr(effect.blocks - 1, -beyond * math.sqrt(effect.blocks) / effect.sd)))


def _not_worse_p(d: Array, effect: PairedEffect, margin: float) -> float:
    from scipy.special import stdtr

    limit = math.log1p(margin)
    t = (limit - effect.mean) * math.sqrt(effect.blocks) / effect.sd
    return max(float(stdtr(effect.blocks - 1, -t)), wilcoxon_p(-d, -limit))


def _half_width(effect: PairedEffect, confidence: float, blocks: int | None = None) -> float:
    k = blocks or effect.blocks
    return t_quantile(confidence, k - 1) * effect.sd / math.sqrt(k)


def _more_blocks(effect: PairedEffect, margin: float) -> int | None:
    distance = abs(effect.mean) - math.log1p(margin)
    confidence = 0.95 if distance > 0 else 0.90  # beyond the margin: a change; inside: equivalence
    for more in range(BLOCK_STEP, _UNREACHABLE, BLOCK_STEP):
        if _half_width(effect, confidence, effect.blocks + more) <= abs(distance):
            return more
    return None
