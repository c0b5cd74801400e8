"""Inside a worker process: times one function and leaves its samples for the test's own process."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

OUTCOME_FILE = "outcome.json"
REQUEST_FILE = "request.json"


def measure(directory: Path, side: str, functions: Mapping[str, Callable[[], object]]) -> None:
    """Time the function of ``side`` as the request in ``directory`` says, and write the outcome beside it."""
    from harness.measure.causes import Watch
    from harness.measure.clock import SystemClock, clock_cost_ns
    from harness.placement.verify import observe
    from harness.platform.counters import ThreadCounters, steal_ns
    from harness.platform.sysroot import SysRoot
    from harness.scenarios.series import Bench, batch_series

    request: dict[str, Any] = json.loads((directory / REQUEST_FILE).read_text(encoding="utf-8"))
    clock = SystemClock()
    read_steal = partial(steal_ns, SysRoot("/"), tuple(request["cpus"]))
    bench = Bench(clock, clock_cost_ns(clock), ThreadCounters(), Watch(steal_ns=read_steal), request["seconds"])
    began, stolen_before = clock.now_ns(), read_steal()
    series = batch_series("call", functions[side], None, bench)
    wall_ns, stolen_after = clock.now_ns() - began, read_steal()
    stolen = None if stolen_before is None or stolen_after is None else stolen_after - stolen_before
    outcome = {
        "series": asdict(series),
        "steal_share": None if stolen is None else stolen / wall_ns / max(1, len(request["cpus"])),
        "wall_s": wall_ns * 1e-9,
        "observation": observe().to_json(),
    }
    aside = directory / f"{OUTCOME_FILE}.part"
    aside.write_text(json.dumps(outcome), encoding="utf-8")
    aside.replace(directory / OUTCOME_FILE)
