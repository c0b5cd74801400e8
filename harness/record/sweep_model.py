"""Dataclasses of one sweep, as written to ``sweep.json`` (``results/schema/sweep-v1.json``).

Rates are in rows per second; shares in [0, 1]. ``None`` means "not known", never zero. The raw samples are in the
journal beside the record.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from harness.record.model import Metric, Validity

SWEEP_SCHEMA_VERSION = 1


@dataclass(frozen=True)
class SweepProcess:
    """One measurement of a cell: a process, or several instances that ran at the same time."""

    block: int
    rows_per_s: float | None  # of the median undisturbed sample, summed over instances; None when it failed
    rows_per_s_counted: float | None  # counted in the window in which all instances worked
    window_share: float | None
    clean_share: float | None
    steady: bool | None
    steal_share: float | None
    cpus: str | None  # "0-3,8"
    failure: str | None = None


@dataclass(frozen=True)
class SweepCell:
    """One setting with what it gave."""

    id: int
    workload: str
    backend: str
    dtype: str
    batch_size: int
    node: int | None
    memory_node: int | None  # None: the node's own memory
    smt: int
    threads_per_core: int
    cores: int  # of all instances together
    instances: int
    rows_per_s: Metric
    rows_per_s_counted: Metric
    validity: Validity
    processes: tuple[SweepProcess, ...]


@dataclass(frozen=True)
class SweepRival:
    """A cell beside the best; ``ratio`` is the best one's rate over its."""

    cell: int
    ratio: float
    ci_low: float | None
    ci_high: float | None
    standing: str  # "equivalent" (a tie within the margin) | "slower" | "undecided" (more blocks would tell)


@dataclass(frozen=True)
class SweepBest:
    """The best cell of a workload, over all cells or over those with so many cores."""

    workload: str
    cores: int | None  # None: over all
    cell: int
    rivals: tuple[SweepRival, ...]  # the fastest first


@dataclass(frozen=True)
class SweepLoss:
    """A step from one cell to another at which throughput falls by more than the margin; ``ratio`` is to over start."""

    kind: str  # "smt_cliff" | "core_cliff" | "numa_penalty"
    start: int
    to: int
    ratio: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True)
class Sweep:
    """One whole sweep."""

    schema_version: int
    sweep_id: str
    created: str  # ISO 8601, UTC
    tool: dict[str, Any]  # name, version, argv
    facts: dict[str, Any]
    fingerprint: dict[str, Any]
    software: dict[str, Any]
    plan: dict[str, Any]  # blocks, seed, series_seconds, protocol, epochs, rows, sessions
    method: str  # "switched" | "affinity": how SMT levels were had
    margin: float  # relative change that matters
    workloads: dict[str, dict[str, Any]]  # name -> title, dataset
    cells: tuple[SweepCell, ...]
    skipped: dict[str, int]  # why settings were left out -> how many
    best: tuple[SweepBest, ...]
    losses: tuple[SweepLoss, ...]
    notes: tuple[str, ...] = field(default=())
