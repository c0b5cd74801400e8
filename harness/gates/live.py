"""Measuring for the gate: blocks of both sides until the answer is precise enough, never until it is significant."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Mapping

from harness.compare.compare import paired_ratios
from harness.compare.observations import Key
from harness.gates.baseline import make_baseline
from harness.gates.gate import BaselineSource, GateReport, GateVerdict, Pair, gate
from harness.gates.policy import Policy
from harness.measure.verdicts import BLOCK_STEP, DEFAULT_MARGIN, MAX_BLOCKS, MIN_BLOCKS, enough_precision

AddBlocks = Callable[[int], Pair]  # measures that many more blocks and gives all so far

# At a half-width of the whole margin, unchanged code passes two times in three; at half of it, in 98 of 100.
_WIDTH_SHARE = 0.5
_SECOND_WIDTH_SHARE = 0.25


def judge_live(begin: Callable[[], AddBlocks], keys: Collection[Key], policy: Policy, *, max_blocks: int) -> GateReport:
    """Judge two sides of the same blocks; what stays open after half of the blocks is looked at once more.

    The second look has a narrower width to reach and half the error, so that of forty unchanged results none is open.

    Args:
        begin: gives what measures blocks, one process per side and key in each, order shuffled; every time anew.
        keys: that count.
        policy: what the user asks.
        max_blocks: per pair, whatever the width.
    """
    first = min(max_blocks, max(MIN_BLOCKS, max_blocks // 2))

    def measured(add: AddBlocks, most: int, share: float, before: int = 0) -> Pair:
        start = max(before, min(MIN_BLOCKS, most))
        margins = _margins(add(start - before), keys, policy)
        return measure_enough(add, margins, max_blocks=most, width_share=share, measured=start)

    def judged(pair: Pair, looks: int) -> GateReport:
        return gate(
            make_baseline(pair[0]),
            pair,
            policy,
            source=BaselineSource.CONCURRENT,
            measure_again=lambda _: measured(begin(), first, _WIDTH_SHARE),
            looks=looks,
        )

    add = begin()
    pair = measured(add, first, _WIDTH_SHARE)
    report = judged(pair, 1)
    blocks = max(len(observation.seconds) + len(observation.unusable) for observation in pair[0].observations.values())
    if blocks >= max_blocks or all(result.verdict is not GateVerdict.INCONCLUSIVE for result in report.results):
        return report
    return judged(measured(add, max_blocks, _SECOND_WIDTH_SHARE, blocks), 2)


def _margins(pair: Pair, keys: Collection[Key], policy: Policy) -> dict[Key, float]:
    """The margins asked for results that take as long as the baseline's do."""
    margins = {}
    for key in keys:
        seconds = list(pair[0].observations[key].seconds.values()) if key in pair[0].observations else []
        margins[key] = policy.asked(key, statistics.geometric_mean(seconds)).share if seconds else DEFAULT_MARGIN
    return margins


def measure_enough(
    add_blocks: AddBlocks,
    margins: Mapping[Key, float],
    *,
    max_blocks: int = MAX_BLOCKS,
    out_of_time: Callable[[], bool] = lambda: False,
    width_share: float = _WIDTH_SHARE,
    measured: int = 0,
) -> Pair:
    """Six blocks, then two more at a time until every key's 95 % half-width is at most half its margin.

    Args:
        add_blocks: measures that many more blocks, one process per side and key in each, order shuffled, and gives
            all blocks so far.
        margins: the keys that count, with the margin each is judged by.
        max_blocks: stop here whatever the width.
        out_of_time: asked after every step; True ends the measuring.
        width_share: of the margin, to be reached by the half-width.
        measured: blocks there are already.
    """
    blocks = max(measured, min(MIN_BLOCKS, max_blocks))
    pair = add_blocks(blocks - measured)
    while blocks < max_blocks and not out_of_time() and not _precise(pair, margins, width_share):
        more = min(BLOCK_STEP, max_blocks - blocks)
        pair = add_blocks(more)
        blocks += more
    return pair


def _precise(pair: Pair, margins: Mapping[Key, float], share: float) -> bool:
    """Whether every key that can be judged at all is known closely enough; more blocks help no other."""
    known = {key: paired_ratios(*pair, key) for key in margins}
    return all(enough_precision(d, margins[key] * share) for key, d in known.items() if len(d))
