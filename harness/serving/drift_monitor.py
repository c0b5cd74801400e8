"""Drift of served rows and their scores from those of training, in windows; counts only, no row is kept for long.

Watched are each feature (population stability index), the scores (Kolmogorov and Smirnov's distance), the share flagged
and the shares of missing values (Fisher's exact test). Each has a bound for the size of the window, corrected for the
number of statistics; none is below what matters in practice, nor below the A/A floor: what the halves of the training
rows, in their order, differ by. Windows are taken as independent; traffic that repeats itself alarms more often.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from harness.datasets.gaps import Absent
from harness.evaluation import drift
from harness.evaluation.drift import Doubles, DriftReference, ScoreReference
from harness.serving.drift import FLAGGED, SCORES, DriftState, FeatureDrift, ScoreDrift, ShareDrift
from harness.serving.metrics import Histogram

PRACTICAL = 0.1  # of an index or a distance; of a share, in proportion to that of the reference
ALPHA = 0.01  # share of undrifted windows of which any statistic may be over
_CHUNK = 64  # rows counted at once
_FULL = 255  # chunks whose counts a byte holds
_PRESENT = np.float32(0.5)  # between 0, for a value that is there, and 1


@dataclass(frozen=True)
class Window:
    """The outcome of one window, statistic by statistic: `psi`, then scores, share flagged and missing values."""

    rows: int
    values: Doubles
    over: NDArray[np.bool_]

    def psi(self, features: int) -> Doubles:
        """Of each feature."""
        return self.values[:features]


class _Bounds:
    """Of all statistics, for windows of n rows.

    Attributes:
        low, high: what is outside is over.
        expected: of shares; of the others 0.
        floor: the A/A floor; NaN where it is not known.
    """

    def __init__(self, reference: DriftReference, absent: Absent | None, n: int) -> None:
        scores = reference.scores
        self.statistics = len(reference.edges) + (0 if scores is None else 2) + (0 if absent is None else len(absent))
        self.alpha = ALPHA / self.statistics
        self.low, self.high, self.expected, self.floor = (np.zeros(self.statistics) for _ in range(4))
        self._n, self._filled = n, 0
        bins = np.array([len(counts) for counts in reference.counts])
        trained = np.array([counts.sum() for counts in reference.counts], dtype=np.float64)
        features = slice(0, len(bins))
        self.floor[features] = np.nan if reference.first is None else self._feature_floors(reference, bins)
        noise = drift.index_bound(bins, n, trained, self.alpha)
        self.high[features] = np.fmax(np.maximum(PRACTICAL, noise), self.floor[features])
        self._filled = len(bins)
        if scores is not None:
            self._of_scores(scores)
        if absent is not None:
            for place in range(len(absent)):
                self._share(*absent.column(place))

    def _feature_floors(self, reference: DriftReference, bins: NDArray[np.int64]) -> Doubles:
        assert reference.first is not None
        pairs = zip(reference.counts, reference.first, strict=True)
        sides = [(first.astype(np.float64), (whole - first).astype(np.float64)) for whole, first in pairs]
        apart = np.array([drift.stability_index(*both) for both in sides])
        rows = np.maximum(1.0, [[side.sum() for side in both] for both in sides])
        noise = drift.index_bound(bins, rows[:, 0], rows[:, 1], self.alpha)
        return np.where(apart > noise, apart, 0.0)

    def _of_scores(self, scores: ScoreReference) -> None:
        whole, first = scores.counts.astype(np.float64), scores.first.astype(np.float64)
        m, half = whole.sum(), first.sum()
        floor = 0.0
        if 0 < half < m:
            apart = drift.distance(first, whole - first)
            floor = apart if apart > drift.distance_bound(half, m - half, self.alpha) else 0.0
        at = self._next(0.0, floor)
        self.high[at] = max(PRACTICAL, drift.distance_bound(self._n, m, self.alpha), floor)
        above = _above_threshold(scores)
        counts = [(int(side[above:].sum()), int(side.sum())) for side in (scores.counts, scores.first)]
        self._share(*counts)

    def _share(self, whole: tuple[int, int], first: tuple[int, int]) -> None:
        """Of so many of so many rows, and of the first half of them."""
        (count, rows), (count_1, rows_1) = whole, first
        count_2, rows_2 = count - count_1, rows - rows_1
        floor = 0.0
        if rows_1 and rows_2:
            low, high = _fitting(rows_1, count_2, rows_2, self.alpha)
            floor = 0.0 if low <= count_1 <= high else abs(count_1 / rows_1 - count_2 / rows_2)
        low, high = _fitting(self._n, count, rows, self.alpha)
        share = count / rows
        at = self._next(share, floor)
        half = 0.5 / self._n  # between the counts that fit and those that do not
        self.low[at] = min(low / self._n - half, share * (1 - PRACTICAL), share - floor)
        self.high[at] = max(high / self._n + half, share * (1 + PRACTICAL), share + floor)

    def _next(self, expected: float, floor: float) -> int:
        at = self._filled
        self._filled += 1
        self.expected[at], self.floor[at] = expected, floor
        return at


_fitting = lru_cache(maxsize=1024)(drift.count_bounds)  # most columns have the same: no missing value


def _above_threshold(scores: ScoreReference) -> int:
    """The first bin whose scores are flagged."""
    return int(np.searchsorted(scores.edges, np.float32(scores.threshold))) + 1


class DriftMonitor:
    """Windows of ``window`` rows against the reference; an alarm takes two in a row over for the same statistic.

    Args:
        reference: of the training rows.
        names: of the features.
        window: rows.
        columns: of raw rows, in which values may be missing.
        absent: how many were missing in training; None where that is not known, or none can be.
        scores: counts all scores; its bounds are the edges of the reference's.
    """

    def __init__(
        self, reference: DriftReference, names: tuple[str, ...], window: int, columns: tuple[str, ...] = (),
        absent: Absent | None = None, scores: Histogram | None = None,
    ) -> None:  # fmt: skip
        self.names, self.window = names, window
        self.windows, self.alarms = 0, 0
        self.last: Window | None = None
        self.alarming: tuple[str, ...] = ()
        self._missing_unknown = bool(columns) and absent is None
        self._columns = columns if absent is not None else ()
        self._scores, self._all_scores = reference.scores, scores
        flagged = () if reference.scores is None else (SCORES, FLAGGED)
        self._statistics = (*names, *flagged, *(f"missing {name}" for name in self._columns))
        self._bounds = _Bounds(reference, absent, window)
        cuts = [np.asarray(each, dtype=np.float32) for each in reference.edges]
        if reference.scores is not None:
            cuts.append(reference.scores.edges)
        cuts += [np.array([_PRESENT])] * len(self._columns)
        counts = [*reference.counts, *([] if reference.scores is None else [reference.scores.counts])]
        self._reference = np.zeros((len(cuts), max(map(len, cuts)) + 1))
        for index, each in enumerate(counts):
            self._reference[index, : len(each)] = each
        sizes = [len(each) for each in cuts]
        self._edges = np.concatenate(cuts)
        self._column = np.repeat(np.arange(len(cuts)), sizes)  # of each edge
        self._place = np.concatenate([np.arange(1, size + 1) for size in sizes])  # among those of its column
        self._counted = self._filled = self._added = 0
        self._chunk = np.zeros((min(_CHUNK, window), len(cuts)), dtype=np.float32)
        # The rows of a chunk lie side by side, so that to count them is to add bytes, without a sum.
        rows = len(self._chunk)
        self._across = np.empty((len(cuts), rows), dtype=np.float32)
        self._values = np.empty((len(self._edges), rows), dtype=np.float32)
        self._over = np.empty((len(self._edges), rows), dtype=np.bool_)
        self._counts = np.zeros((len(self._edges), rows), dtype=np.uint8)  # of chunks, by place in the chunk
        self._above = np.zeros(len(self._edges), dtype=np.int64)  # rows above each edge
        self._told = np.zeros(0 if scores is None else len(scores.counts), dtype=np.int64)  # of this window's scores

    def go_on(self, before: DriftState) -> None:
        """Count on from the windows of the process whose place this one takes; the one that was open is lost."""
        self.windows, self.alarms = self.windows + before.windows, self.alarms + before.alarms

    def state(self) -> DriftState:
        """What is known now."""
        last, d = self.last, len(self.names)
        scores_of, unwatched = None, []
        if self._scores is None:
            unwatched.append("scores, share flagged: the bundle keeps no reference of them; save it again")
        else:
            scores_of = "validation rows" if self._scores.held_out else "training rows"
        if self._missing_unknown:
            unwatched.append("missing values: the bundle keeps no reference of them; save it again")
        if np.isnan(self._bounds.floor).any():
            unwatched.append("A/A floor: the bundle does not keep it; save it again")
        if last is None:
            return DriftState(
                self.window, self.windows, self.alarms, (), {}, scores_of=scores_of, unwatched=tuple(unwatched)
            )
        floors = [None if floor != floor else floor for floor in self._bounds.floor.tolist()]
        features = {
            name: FeatureDrift(psi, bound, over, floor)
            for name, psi, bound, over, floor in zip(
                self.names, last.psi(d).tolist(), self._bounds.high[:d].tolist(), last.over[:d].tolist(), floors[:d],
                strict=True,
            )
        }  # fmt: skip
        scores = flagged = None
        at = d
        if self._scores is not None:
            floor = self._bounds.floor.item(d)
            scores = ScoreDrift(last.values.item(d), self._bounds.high.item(d), last.over.item(d), floor)
            flagged = self._share(d + 1)
            at += 2
        missing = {name: self._share(place) for place, name in enumerate(self._columns, at)}
        return DriftState(
            self.window, self.windows, self.alarms, self.alarming, features, scores, flagged, missing, scores_of,
            tuple(unwatched),
        )  # fmt: skip

    def _share(self, at: int) -> ShareDrift:
        assert self.last is not None
        bounds = self._bounds
        low, high = max(0.0, bounds.low.item(at)), min(1.0, bounds.high.item(at))
        over = self.last.over.item(at)
        return ShareDrift(self.last.values.item(at), bounds.expected.item(at), low, high, over, bounds.floor.item(at))

    def add(
        self, rows: NDArray[np.float32], scores: NDArray[np.float32] | None = None,
        missing: NDArray[np.bool_] | None = None,
    ) -> None:  # fmt: skip
        """Count rows (n, d), their scores (n,) and which raw values (n, columns) were missing, None for none."""
        start, d = 0, len(self.names)
        after = d + (self._scores is not None)
        while start < len(rows):
            room = min(len(self._chunk), self.window - self._counted) - self._filled
            part = rows[start : start + room]
            there = slice(self._filled, self._filled + len(part))
            self._chunk[there, :d] = part
            if self._scores is not None:
                assert scores is not None
                self._chunk[there, d] = scores[start : start + room]
            if self._columns:
                self._chunk[there, after:] = 0.0 if missing is None else missing[start : start + room]
            self._filled += len(part)
            start += len(part)
            if len(part) == room:
                self._count()

    def _count(self) -> None:
        self._across[:] = self._chunk.T
        np.take(self._across, self._column, axis=0, out=self._values, mode="clip")
        np.greater(self._values, self._edges[:, None], out=self._over)
        self._over[:, self._filled :] = False
        self._counts += self._over.view(np.uint8)
        if self._all_scores is not None:
            total = float(self._across[len(self.names), : self._filled].sum(dtype=np.float64))
            self._all_scores.total += total if np.isfinite(total) else 0.0
        self._added += 1
        if self._added == _FULL:
            self._sum_up()
        self._counted += self._filled
        self._filled = 0
        if self._counted == self.window:
            self._close()

    def catch_up(self) -> None:
        """Have all scores in the histogram."""
        if self._all_scores is not None:
            if self._filled:
                self._count()
            self._tell()

    def _tell(self) -> None:
        """Add to the histogram of all scores those of this window that it does not have."""
        self._sum_up()
        if self._all_scores is not None:
            d = len(self.names)
            above = self._above[self._column == d]
            counts = -np.diff(above, prepend=self._counted, append=0)
            new = (counts - self._told).tolist()
            self._all_scores.counts = [old + more for old, more in zip(self._all_scores.counts, new, strict=True)]
            self._told = counts

    def _sum_up(self) -> None:
        self._above += self._counts.sum(axis=1, dtype=np.int64)
        self._counts[:] = 0
        self._added = 0

    def _close(self) -> None:
        self._tell()
        at_least = np.zeros((len(self._reference), self._reference.shape[1] + 1))  # rows in each bin or a higher one
        at_least[:, 0] = self.window
        at_least[self._column, self._place] = self._above
        counts, d = at_least[:, :-1] - at_least[:, 1:], len(self.names)
        values = [drift.stability_index(counts[:d], self._reference[:d])]
        after = d
        if self._scores is not None:
            flagged = counts[d, _above_threshold(self._scores) :].sum() / self.window
            values.append(np.array([drift.distance(counts[d], self._reference[d]), flagged]))
            after += 1
        values.append(at_least[after:, 1] / self.window)
        together = np.concatenate(values)
        over = (together > self._bounds.high) | (together < self._bounds.low)
        twice = over & self.last.over if self.last is not None else np.zeros_like(over)
        self.alarming = tuple(np.array(self._statistics)[twice].tolist())
        self.alarms += bool(self.alarming)
        self.windows += 1
        self.last = Window(self.window, together, over)
        self._above[:] = 0
        self._told[:] = 0
        self._counted = 0
