"""What limited a trial: the generator, the server's fronts or its scorer, by what each process says that it took."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from harness.record.load_model import Limit, LoadResult, ProcessUse, Role
from harness.serving.metrics import ProcessTime

_BUSY = 0.9  # share of a trial from which an event loop, or the scoring, has no room left
_ANSWERED = 0.99
_SAMPLE = re.compile(
    r"^lparbench_process_(cpu_seconds_total|scoring_seconds_total|cpus)"
    r'\{process="([a-z0-9-]{1,40})"\} ([0-9.e+-]{1,30})$',
    re.MULTILINE,
)
_ROLES: Mapping[str, Role] = {"front": "front", "scorer": "scorer"}


def process_times(text: str) -> dict[str, ProcessTime]:
    """What each process has taken so far, out of ``GET /metrics``; nothing where another program answers."""
    values: dict[str, dict[str, float]] = {}
    for key, name, value in _SAMPLE.findall(text):
        try:
            values.setdefault(name, {})[key] = float(value)
        except ValueError:
            continue
    return {
        name: ProcessTime(int(each["cpus"]), each["cpu_seconds_total"], each["scoring_seconds_total"])
        for name, each in values.items()
        if len(each) == 3 and all(0 <= value < 1e12 for value in each.values())
    }


def uses(before: Mapping[str, ProcessTime], after: Mapping[str, ProcessTime], wall_s: float) -> tuple[ProcessUse, ...]:
    """What each process took within a trial of ``wall_s`` seconds."""
    processes = []
    for name, end in sorted(after.items()):
        start = before.get(name, ProcessTime(end.cpus, 0.0, 0.0))
        role: Role = _ROLES.get(name.partition("-")[0], "server")
        cpu_s, scoring_s = max(0.0, end.cpu_s - start.cpu_s), max(0.0, end.scoring_s - start.scoring_s)
        # A front's one loop can take one CPU; a scorer waits for the threads of the model.
        busiest = max(scoring_s, cpu_s / max(1, end.cpus)) if role == "scorer" else min(cpu_s, wall_s)
        processes.append(ProcessUse(name, role, end.cpus, cpu_s, scoring_s, busiest / wall_s if wall_s else 0.0))
    return tuple(processes)


def limited_by(result: LoadResult, lagged: bool, processes: Sequence[ProcessUse]) -> Limit:
    """What kept the rate from being higher, or the latency from being lower."""
    if lagged:
        return "generator"
    if result.achieved_per_s >= _ANSWERED * result.offered_per_s and result.met is not False:
        return "nothing"
    busiest = max(processes, key=lambda each: each.busy, default=None)
    if busiest is None or busiest.busy < _BUSY:
        return "unknown"
    if busiest.role == "server":
        return "scorer" if busiest.scoring_s > busiest.cpu_s / 2 else "front"
    return busiest.role
