"""Measuring for the gate: blocks of both sides until the answer is precise enough, never until it is significant."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from harness.compare.compare import paired_ratios
from harness.compare.observations import Key
from harness.gates.gate import Pair
from harness.measure.verdicts import BLOCK_STEP, MAX_BLOCKS, MIN_BLOCKS, enough_precision

# At a half-width of the whole margin, unchanged code passes two times in three; at half of it, nearly always.
_WIDTH_SHARE = 0.5


def measure_enough(
    add_blocks: Callable[[int], Pair],
    margins: Mapping[Key, float],
    *,
    max_blocks: int = MAX_BLOCKS,
    out_of_time: Callable[[], bool] = lambda: False,
) -> Pair:
    """Six blocks, then two more at a time until every key's 95 % half-width is at most half its margin.

    Args:
        add_blocks: measures that many more blocks, one process per side and key in each, order shuffled, and gives
            all blocks so far.
        margins: the keys that count, with the margin each is judged by.
        max_blocks: stop here whatever the width.
        out_of_time: asked after every step; True ends the measuring.
    """
    blocks = min(MIN_BLOCKS, max_blocks)
    pair = add_blocks(blocks)
    while blocks < max_blocks and not out_of_time() and not _precise(pair, margins):
        more = min(BLOCK_STEP, max_blocks - blocks)
        pair = add_blocks(more)
        blocks += more
    return pair


def _precise(pair: Pair, margins: Mapping[Key, float]) -> bool:
    """Whether every key that can be judged at all is known closely enough; more blocks help no other."""
    known = {key: paired_ratios(*pair, key) for key in margins}
    return all(enough_precision(d, margins[key] * _WIDTH_SHARE) for key, d in known.items() if len(d))
