"""What a run is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.placement.plan import Plan
from harness.platform.facts import Facts
from harness.scenarios.workload import Protocol, Workload


@dataclass(frozen=True)
class Entry:
    """One workload of a run: the name or path its worker processes load it by, and the workload."""

    reference: str
    workload: Workload


@dataclass(frozen=True)
class Request:
    """One run as the user asked for it, defaults filled in."""

    entries: tuple[Entry, ...]
    suite: str | None
    protocol: Protocol
    data_dir: Path | None
    backends: tuple[str, ...] | None  # None: each workload's own
    seeds: int | None  # None: each workload's own
    epochs: int | None
    rows: int | None
    blocks: int
    series_seconds: float
    cores: int
    threads_per_core: int
    node: int | None
    seed: int  # of the order of everything
    argv: tuple[str, ...]  # the command that reproduces the run


@dataclass(frozen=True)
class Surroundings:
    """What the machine was found to be before the run, and where on it the run goes."""

    facts: Facts
    findings: tuple[dict[str, Any], ...]
    checks: dict[str, Any]  # which rules were decided, and which could not be
    plan: Plan
