"""Closed-loop inference: offline (as many rows as a call takes), single_stream (one) and multi_stream (eight).

Source of the names and of the eight: MLPerf Inference. Rows go round so that no call scores the rows of the one before
it, and stay in memory, so a hot cache is what is measured, unless the bench evicts the caches before each sample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from harness.record.series import Series
from harness.scenarios.series import Bench, batch_series, request_series

Score = Callable[[NDArray[np.float32]], NDArray[np.float32]]

QUERY_ROWS = 8  # of a multi-stream query
_MOST_VIEWS = 4096  # enough different rows; a view of each is kept so that slicing is not timed


def offline(score: Score, rows: NDArray[np.float32], batch_sizes: Sequence[int], bench: Bench) -> list[Series]:
    """One series per batch size, each with ``batch_size`` rows per call.

    Args:
        score: maps rows (n, d) to scores (n,).
        rows: the rows to score, (m, d); a batch size above m is left out.
        batch_sizes: rows per call.
        bench: what to time with.
    """
    return [
        batch_series("call", round_robin(score, rows, size), size, bench) for size in batch_sizes if size <= len(rows)
    ]


def single_stream(score: Score, rows: NDArray[np.float32], bench: Bench) -> list[Series]:
    """One series of single-row requests, the next one sent when the last has been answered."""
    return [request_series("call", round_robin(score, rows, 1), 1, bench)]


def multi_stream(score: Score, rows: NDArray[np.float32], bench: Bench) -> list[Series]:
    """One series of queries of eight rows each, the next one sent when the last has been answered.

    Args:
        score: maps rows (n, d) to scores (n,).
        rows: the rows to score, (m, d); there is no series for fewer than eight.
        bench: what to time with.
    """
    if len(rows) < QUERY_ROWS:
        return []
    return [request_series("call", round_robin(score, rows, QUERY_ROWS), QUERY_ROWS, bench)]


def round_robin(score: Score, rows: NDArray[np.float32], size: int) -> Callable[[], object]:
    """A call that scores the next ``size`` rows each time, from the first again after the last."""
    starts = range(0, len(rows) - size + 1, size)[:_MOST_VIEWS]
    batches = cycle([rows[start : start + size] for start in starts])
    return lambda: score(next(batches))
