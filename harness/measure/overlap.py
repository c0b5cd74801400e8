"""Throughput of several instances at once, counted only while all of them were working."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class InstanceTrace:
    """One instance on the clock that all share.

    Attributes:
        began_ns: when it began.
        completed_ns: when its samples were done, ascending.
        weight: requests that one sample stands for.
    """

    began_ns: int
    completed_ns: NDArray[np.int64]
    weight: int = 1


@dataclass(frozen=True)
class OverlapThroughput:
    """Requests per second in the window in which every instance was active.

    Attributes:
        total: sum over instances.
        least, most: of a single instance.
        window_s: length of the window; 0 when the instances never ran together, and the rates are then 0.
        window_share: window over the time from the first start to the last completion.
    """

    total: float
    least: float
    most: float
    window_s: float
    window_share: float


def overlap_throughput(instances: Sequence[InstanceTrace]) -> OverlapThroughput:
    """Count requests completed after the last start and up to the first instance's last completion.

    The tail in which a slow instance has the machine to itself would flatter the sum.
    """
    if not instances or any(not len(trace.completed_ns) for trace in instances):
        raise ValueError("every instance needs at least one completed request")
    opens = max(trace.began_ns for trace in instances)
    closes = min(int(trace.completed_ns[-1]) for trace in instances)
    span = max(int(trace.completed_ns[-1]) for trace in instances) - min(trace.began_ns for trace in instances)
    if closes <= opens:
        return OverlapThroughput(0.0, 0.0, 0.0, 0.0, 0.0)
    seconds = (closes - opens) * 1e-9
    rates = [
        trace.weight * int(np.sum((trace.completed_ns > opens) & (trace.completed_ns <= closes))) / seconds
        for trace in instances
    ]
    return OverlapThroughput(sum(rates), min(rates), max(rates), seconds, (closes - opens) / span)
