"""Drift of served rows from the training rows, feature by feature, in windows; counts only, no row is kept for long.

The population stability index Σ(p - q)·ln(p/q) of n rows against m without any drift is about χ²(B - 1)·(1/n + 1/m), so
a window alarms above the bound 0.1 of practice only where that is above the noise of its own size. Windows are taken as
independent; traffic that repeats itself alarms more often.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from harness.evaluation.drift import DriftReference

PRACTICAL = 0.1
ALPHA = 0.01  # share of undrifted windows that a rule of one window would let alarm
_CHUNK = 64  # rows counted at once
_FULL = 255  # chunks whose counts a byte holds
_SMOOTHING = 0.5  # of a count, so that an empty bin has a logarithm


@dataclass(frozen=True)
class Window:
    """The outcome of one window."""

    rows: int
    psi: NDArray[np.float64]  # of each feature
    over: NDArray[np.bool_]  # above its bound
    bound: NDArray[np.float64]


@dataclass(frozen=True)
class FeatureDrift:
    """A feature in the last window."""

    psi: float
    bound: float
    over: bool


@dataclass(frozen=True)
class DriftState:
    """What ``GET /drift`` says."""

    window_rows: int
    windows: int
    alarms: int
    drifted: tuple[str, ...]
    features: Mapping[str, FeatureDrift]
    note: str = "Windows are taken as independent; an alarm takes two in a row."

    @property
    def worst(self) -> float | None:
        """The largest index over its bound; None before the first window."""
        return max((each.psi / each.bound for each in self.features.values()), default=None)


def together(states: Sequence[DriftState]) -> DriftState:
    """Of several scorers, each with windows of its own: all alarms, and each feature where it drifted most."""
    features: dict[str, FeatureDrift] = {}
    for state in states:
        for name, each in state.features.items():
            if name not in features or each.psi / each.bound > features[name].psi / features[name].bound:
                features[name] = each
    return DriftState(
        window_rows=states[0].window_rows,
        windows=sum(state.windows for state in states),
        alarms=sum(state.alarms for state in states),
        drifted=tuple(dict.fromkeys(name for state in states for name in state.drifted)),
        features=features,
    )


def stability_index(counts: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """PSI over the last axis of counts per bin; bins that neither side has used do not count."""
    used = (counts + reference) > 0
    p = np.where(used, counts + _SMOOTHING, 0)
    q = np.where(used, reference + _SMOOTHING, 0)
    p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(used, (p - q) * np.log(p / q), 0)
    total: NDArray[np.float64] = terms.sum(-1)
    return total


class DriftMonitor:
    """Windows of ``window`` rows against the reference; an alarm takes two windows in a row over for one feature."""

    def __init__(self, reference: DriftReference, names: tuple[str, ...], window: int) -> None:
        from scipy.stats import chi2

        self.names, self.window = names, window
        self.windows, self.alarms = 0, 0
        self.last: Window | None = None
        self.alarming: tuple[str, ...] = ()
        edges = max(map(len, reference.edges))
        self._reference = np.zeros((len(names), edges + 1))
        for index, counts in enumerate(reference.counts):
            self._reference[index, : len(counts)] = counts
        self._edges = np.concatenate([np.asarray(cuts, dtype=np.float32) for cuts in reference.edges])
        sizes = [len(cuts) for cuts in reference.edges]
        self._feature = np.repeat(np.arange(len(names)), sizes)  # of each edge
        self._place = np.concatenate([np.arange(1, size + 1) for size in sizes])  # among those of its feature
        trained = self._reference.sum(1)
        bins = np.array([len(counts) for counts in reference.counts])
        noise = chi2.ppf(1 - ALPHA / len(names), np.maximum(bins - 1, 1)) * (1 / window + 1 / trained)
        self._bound = np.maximum(PRACTICAL, noise)
        self._counted = 0
        self._chunk = np.empty((min(_CHUNK, window), len(names)), dtype=np.float32)
        self._filled = 0
        # The rows of a chunk lie side by side, so that to count them is to add bytes, without a sum.
        rows = len(self._chunk)
        self._across = np.empty((len(names), rows), dtype=np.float32)
        self._values = np.empty((len(self._edges), rows), dtype=np.float32)
        self._over = np.empty((len(self._edges), rows), dtype=np.bool_)
        self._counts = np.zeros((len(self._edges), rows), dtype=np.uint8)  # of chunks, by place in the chunk
        self._added = 0
        self._above = np.zeros(len(self._edges), dtype=np.int64)  # rows above each edge

    def state(self) -> DriftState:
        """What is known now."""
        last = self.last
        features = {} if last is None else {
            name: FeatureDrift(psi, bound, bool(over))
            for name, psi, bound, over in zip(
                self.names, last.psi.tolist(), last.bound.tolist(), last.over.tolist(), strict=True
            )
        }  # fmt: skip
        return DriftState(self.window, self.windows, self.alarms, self.alarming, features)

    def add(self, rows: NDArray[np.float32]) -> None:
        """Count rows (n, d)."""
        start = 0
        while start < len(rows):
            room = min(len(self._chunk), self.window - self._counted) - self._filled
            part = rows[start : start + room]
            self._chunk[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            start += len(part)
            if len(part) == room:
                self._count()

    def _count(self) -> None:
        self._across[:] = self._chunk.T
        np.take(self._across, self._feature, axis=0, out=self._values, mode="clip")
        np.greater(self._values, self._edges[:, None], out=self._over)
        self._over[:, self._filled :] = False
        self._counts += self._over.view(np.uint8)
        self._added += 1
        if self._added == _FULL:
            self._sum_up()
        self._counted += self._filled
        self._filled = 0
        if self._counted == self.window:
            self._close()

    def _sum_up(self) -> None:
        self._above += self._counts.sum(axis=1, dtype=np.int64)
        self._counts[:] = 0
        self._added = 0

    def _close(self) -> None:
        self._sum_up()
        at_least = np.zeros((len(self.names), self._reference.shape[1] + 1))  # rows in each bin or a higher one
        at_least[:, 0] = self.window
        at_least[self._feature, self._place] = self._above
        psi = stability_index(at_least[:, :-1] - at_least[:, 1:], self._reference)
        over = psi > self._bound
        twice = over & self.last.over if self.last is not None else np.zeros_like(over)
        self.alarming = tuple(np.array(self.names)[twice].tolist())
        self.alarms += bool(self.alarming)
        self.windows += 1
        self.last = Window(self.window, psi, over, self._bound)
        self._above[:] = 0
        self._counted = 0
