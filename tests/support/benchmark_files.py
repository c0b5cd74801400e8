"""Files in the shape that pytest-benchmark writes, of processes whose times are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

MACHINE = {
    "node": "ci", "machine": "ppc64le", "system": "Linux", "release": "5.14.0", "python_version": "3.11.7",
    "python_implementation": "CPython", "cpu": {"brand_raw": "POWER10", "count": 32},
}  # fmt: skip


def saved_file(
    seconds: dict[str, float], *, machine: dict[str, Any] | None = None, commit: str | None = None, day: int = 1,
    hour: int = 12, timer: str = "perf_counter", extra: dict[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    stamp = f"2026-08-{day:02d}T{hour:02d}:00:00+00:00"
    benchmarks = [
        {"fullname": name, "name": name, "extra_info": extra or {}, "options": {"timer": timer}, "stats": {"median": s}}
        for name, s in seconds.items()
    ]
    commit_info = {"id": commit, "time": stamp, "dirty": False}
    machine_info = {**MACHINE, **(machine or {})}
    return {"machine_info": machine_info, "commit_info": commit_info, "benchmarks": benchmarks, "datetime": stamp}


def write(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def processes(
    folder: Path,
    names: dict[str, float],
    *,
    seed: int = 0,
    change: Callable[[dict[str, Any]], None] = lambda document: None,
    **more: Any,
) -> Path:
    """Six files of one process each."""
    rng = np.random.default_rng(seed)
    for process in range(6):
        levels = {name: level * float(np.exp(rng.normal(0, 0.005))) for name, level in names.items()}
        document = saved_file(levels, **more)
        change(document)
        write(folder / f"{process}.json", document)
    return folder
