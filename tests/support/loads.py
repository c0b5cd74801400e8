"""Load tests without a server: outcomes made from a queue whose answers are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from support.queueing import lindley_latencies
from support.records import facts

from harness.record.load_model import (
    LoadedServer,
    LoadRecord,
    LoadSpec,
    ProcessUse,
    SearchRecord,
    TraceRecord,
)
from harness.record.model import Tool
from harness.serving.generator import Sent
from harness.serving.load import judge, schedule

SPEC = LoadSpec("http://127.0.0.1:8000", 1000.0, 10.0, 64, "constant", 0, p99_bound_s=0.005)


def stalled(spec: LoadSpec = SPEC, failed: int = 0) -> tuple[Sent, Any]:
    """1,000/s for 10 s, 0.2 ms of service and a standstill of half a second; the last of ``failed`` get 503."""
    times = schedule(spec)
    services = np.full(len(times), 200_000)
    services[len(times) * 2 // 5] += 500_000_000
    latencies = lindley_latencies(times, services)
    statuses = np.full(len(times), 200, dtype=np.int16)
    statuses[len(times) - failed :] = 503
    sent = Sent(latencies, np.full(len(times), 20_000), statuses, ({},), int(times[-1] + latencies[-1]))
    return sent, times


def load_record(text: str = "nsl-kdd-autoencoder", failed: int = 40, **changes: Any) -> LoadRecord:
    """A load test of a server of three processes, with a search and recorded arrivals; ``text`` is what others say."""
    sent, times = stalled(failed=failed)
    result = replace(
        judge(sent, SPEC, times, None, ()),
        limited_by="front",
        checked=True,
        processes=(
            ProcessUse("front-0", "front", 1, 9.6, 0.0, 0.96),
            ProcessUse("front-1", "front", 1, 3.2, 0.0, 0.32),
            ProcessUse("scorer-0", "scorer", 2, 1.1, 0.8, 0.08),
        ),
    )
    record = LoadRecord(
        schema_version=1,
        load_id="20260801T120000Z-load-3f2a1b",
        created="2026-08-01T12:00:00Z",
        tool=Tool("lparbench", "0.1.0", ("lparbench", "load", text)),
        facts=facts(),
        spec=SPEC,
        generator_cpus=(7,),
        server=LoadedServer(text, "native", (0, 1, 2, 3), "lean", "lparbench", "uvloop", "orjson"),
        rows="synthetic",
        result=result,
        search=SearchRecord(
            1000.0,
            940.0,
            1060.0,
            0.8,
            0.78,
            0.82,
            (1300.0, 1200.0, 1250.0, 1260.0),
            ((200.0, 0.16, True), (4000.0, 3.26, False), (1000.0, 0.8, True)),
            2,
            undecided=False,
            missed_anyway=0.12,
        ),
        trace=TraceRecord(text, "0" * 64, 4000, 12.5, 3.1),
    )
    return replace(record, **changes)
