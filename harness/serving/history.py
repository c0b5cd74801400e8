"""What a server did of late, in steps of equal length: rate, latency, levels, drift. Bounded; nothing of a request."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from harness.serving.metrics import Metrics

STEP_S = 5.0
KEPT = 360  # steps: half an hour


@dataclass(frozen=True)
class Step:
    """What happened in a step.

    Attributes:
        at_s: its end, since the start.
        answered_per_s: requests with a status below 400.
        refused_per_s: the others.
        p50_s, p99_s: from the last byte of a request to its answer, within a bucket interpolated; None without any.
        levels: rows by level.
        drift: the largest stability index of the last window over its bound; None before the first window.
    """

    at_s: float
    answered_per_s: float
    refused_per_s: float
    p50_s: float | None
    p99_s: float | None
    levels: dict[str, int]
    drift: float | None


class History:
    """Steps of a server's counters, from what they are at the start on."""

    def __init__(self, metrics: Metrics) -> None:
        self.steps: deque[Step] = deque(maxlen=KEPT)
        self._at = 0.0
        self._answered, self._refused = _answers(metrics)
        self._latencies = list(metrics.request_s.counts)
        self._levels = Counter(metrics.decisions)

    def sample(self, metrics: Metrics, at_s: float, drift: float | None) -> None:
        """Close a step at ``at_s`` seconds since the start."""
        seconds = at_s - self._at
        if seconds <= 0:
            return
        answered, refused = _answers(metrics)
        counts = metrics.request_s.counts
        latencies = [now - before for now, before in zip(counts, self._latencies, strict=True)]
        levels = {name: count - self._levels[name] for name, count in metrics.decisions.items()}
        bounds = metrics.request_s.bounds
        self.steps.append(
            Step(
                at_s, (answered - self._answered) / seconds, (refused - self._refused) / seconds,
                quantile(bounds, latencies, 0.5), quantile(bounds, latencies, 0.99), levels, drift,
            )
        )  # fmt: skip
        self._at, self._answered, self._refused = at_s, answered, refused
        self._latencies, self._levels = list(counts), Counter(metrics.decisions)


def _answers(metrics: Metrics) -> tuple[int, int]:
    answered = sum(count for (_, status), count in metrics.requests.items() if status < 400)
    return answered, sum(metrics.requests.values()) - answered


def quantile(bounds: tuple[float, ...], counts: list[int], share: float) -> float | None:
    """Of a histogram's counts, the last of which are above all bounds and taken for the highest bound."""
    total = sum(counts)
    if not total:
        return None
    wanted, below = share * total, 0
    for index, count in enumerate(counts):
        if count and below + count >= wanted:
            low = bounds[index - 1] if index else 0.0
            high = bounds[min(index, len(bounds) - 1)]
            return low + (high - low) * (wanted - below) / count
        below += count
    return bounds[-1]
