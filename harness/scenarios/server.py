"""The server scenario: single-row requests arrive by themselves, in the process of the scorer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harness.measure.arrivals import serve_open_loop
from harness.measure.clock import Clock
from harness.record.model import Served
from harness.record.series import Series
from harness.scenarios.capacity import PATIENCE_S, Group, Trial, capacity
from harness.serving.arrival_trace import POISSON, Arrivals

_WARM_UP_S = 0.2
_WARM_UP_CALLS = 200
_SETTLED = 1.25  # times the time of a request after the search that it may have taken before


def server(
    call: Callable[[], object],
    clock: Clock,
    *,
    bound_s: float,
    seconds: float,
    seed: int,
    group: Group | None = None,
    arrivals: Arrivals = POISSON,
) -> tuple[list[Series], Served]:
    """The highest rate that meets the bound; see `harness.scenarios.capacity.capacity`.

    Args:
        call: serves one request of one row.
        clock: where time comes from.
        bound_s: on the 99th percentile of the latency.
        seconds: least duration of one trial.
        seed: of the arrivals.
        group: instances that serve at the same time.
        arrivals: how requests come.
    """

    def serve(rate: float, schedule: NDArray[np.int64]) -> Trial:
        served = serve_open_loop(call, schedule, clock=clock)
        # A server that is always busy falls ever further behind.
        busy = rate * float(served.services_ns.mean()) * 1e-9
        return Trial(served.latencies_ns, keeps_up=busy < 1)

    before_s = _service_s(call, clock)
    series, served = capacity(
        serve, clock, service_s=before_s, bound_s=bound_s, seconds=seconds, seed=seed, group=group, arrivals=arrivals
    )
    if served.rate is None:
        return series, served
    # What was still warming up during the search serves more afterwards than the search could see.
    return series, replace(served, settled=before_s <= _SETTLED * _service_s(call, clock))


def _service_s(call: Callable[[], object], clock: Clock) -> float:
    """Median time of a request after a warm-up."""
    services: list[int] = []
    started = clock.now_ns()
    while len(services) < _WARM_UP_CALLS or clock.now_ns() - started < _WARM_UP_S * 1e9:
        began = clock.now_ns()
        call()
        services.append(clock.now_ns() - began)
        if clock.now_ns() - started > PATIENCE_S * 1e9:
            break
    return float(np.median(services[len(services) // 2 :])) * 1e-9
