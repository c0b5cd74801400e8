"""The load of the http scenario: ``python -m harness.workers.http_client CLIENT.json``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.decode import decode_json_file
from harness.measure.clock import SystemClock
from harness.record.model import Served
from harness.scenarios.capacity import Trial, capacity
from harness.serving.arrival_trace import arrivals_of
from harness.serving.bottleneck import process_times, uses
from harness.serving.generator import Sent, Target, generate
from harness.serving.load import allowed_lag_s, different_answers
from harness.serving.metrics import ProcessTime
from harness.serving.model import ServedModel
from harness.serving.payloads import made_rows, payloads
from harness.wording import plural
from harness.workers.http import ClientJob, ClientOutcome
from harness.workers.process import write_outcome

_CONNECTIONS = 16
_PATIENCE_S = 10.0
_ALONE = 300  # requests, one after the other
_ALONE_PER_S = 200.0


def search(job: ClientJob) -> ClientOutcome:
    """Search for the highest rate that meets the bound, every answer compared with the model's own."""
    model = ServedModel.open(Path(job.bundle), job.backend, 1)
    if model.encoder is None:
        note = "its model takes encoded rows only, and the route over HTTP takes raw ones"
        return ClientOutcome((), Served(None, job.bound_s, 0.0, 0, 0, {}, (), 1, note))
    bodies, expected = payloads(model, made_rows(model, job.seed))
    target, clock = Target("127.0.0.1", job.port), SystemClock()

    def sent(schedule: NDArray[np.int64]) -> Sent:
        return generate(target, bodies, schedule, connections=_CONNECTIONS, patience_s=_PATIENCE_S, clock=clock)

    def serve(rate: float, schedule: NDArray[np.int64]) -> Trial:  # noqa: ARG001 - the schedule has it
        outcome = sent(schedule)
        lag_s = float(np.percentile(outcome.lags_ns, 99)) * 1e-9
        wrong = different_answers(outcome.bodies, expected)
        answered = bool((outcome.statuses == 200).all())
        in_time = outcome.wall_ns - int(schedule[-1]) <= job.bound_s * 1e9
        return Trial(
            outcome.latencies_ns,
            keeps_up=answered and in_time,
            spoilt=f"{plural(wrong, 'answer')} not the detector's own" if wrong else None,
            disturbed=lag_s > allowed_lag_s(job.bound_s),
        )

    alone = sent((np.arange(_ALONE) * (1e9 / _ALONE_PER_S)).astype(np.int64))
    service_s = alone_s(alone)
    before = _processes(job.port)
    series, served = capacity(
        serve, clock, service_s=service_s, bound_s=job.bound_s, seconds=job.seconds, seed=job.seed,
        arrivals=arrivals_of(job.arrivals),
    )  # fmt: skip
    return ClientOutcome(tuple(series), replace(served, front_share=front_share(before, _processes(job.port))))


def alone_s(sent: Sent) -> float:
    """Seconds of a request that nothing delays, by the fastest tenth after a warm-up.

    Neither the generator's lag nor the waits of a machine with other work belong to it: where it exceeds the bound, no
    number of cores helps.
    """
    return float(np.percentile((sent.latencies_ns - sent.lags_ns)[len(sent.lags_ns) // 2 :], 10)) * 1e-9


def front_share(before: Mapping[str, ProcessTime], after: Mapping[str, ProcessTime]) -> float | None:
    """What a server's processes have spent outside the model, of their CPU time; None where they did not say."""
    spent = uses(before, after, 0.0)
    cpu_s, scoring_s = sum(each.cpu_s for each in spent), sum(each.scoring_s for each in spent)
    return min(1.0, max(0.0, 1.0 - scoring_s / cpu_s)) if cpu_s > 0 else None


def _processes(port: int) -> dict[str, ProcessTime]:
    connection = HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)
    try:
        connection.request("GET", "/metrics")
        return process_times(connection.getresponse().read().decode())
    except (OSError, HTTPException):
        return {}
    finally:
        connection.close()


if __name__ == "__main__":
    asked = decode_json_file(ClientJob, Path(sys.argv[1]))
    write_outcome(Path(asked.directory), search(asked))
