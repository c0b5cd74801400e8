"""Dataclasses of one sweep, as written to ``sweep.json`` (``results/schema/sweep-v2.json``).

Rates are in rows per second; shares in [0, 1]. ``None`` means "not known", never zero. The raw samples are in the
journal of the same directory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.platform.facts import Facts, LoadedSoftware
from harness.record.fields import Count, Identifier, Positive, PositiveCount, Share, Timestamp
from harness.record.model import DatasetRecord, Fingerprint, Metric, ProcessCounters, Tool, Validity
from harness.record.spec import Protocol

SWEEP_SCHEMA_VERSION: Literal[2] = 2


@dataclass(frozen=True)
class SweepProcess:
    """One measurement of a configuration: a process, or several instances that ran at the same time.

    Attributes:
        block: round over all configurations.
        rows_per_s: counted in the window in which all instances worked; None when it failed.
        rows_per_s_undisturbed: of the median undisturbed call, summed over instances; configurations are ranked by it.
        cpus: "0-3,8".
    """

    block: Count
    rows_per_s: Positive | None = None
    rows_per_s_undisturbed: Positive | None = None
    window_share: Share | None = None
    clean_share: Share | None = None
    steady: bool | None = None
    steal_share: Share | None = None
    cpus: str | None = None
    failure: str | None = None
    counters: ProcessCounters | None = None


@dataclass(frozen=True)
class SweepCell:
    """One configuration with what it gave.

    Attributes:
        memory_node: None is the node's own memory.
        cores: of all instances together.
        in_process_rows_per_s: of the http scenario, what the same process served without HTTP.
        http_share: what HTTP leaves of that, block by block.
    """

    id: Count
    workload: str
    backend: str
    dtype: str
    batch_size: PositiveCount
    node: Count | None
    memory_node: Count | None
    smt: PositiveCount
    threads_per_core: PositiveCount
    cores: PositiveCount
    instances: PositiveCount
    rows_per_s: Metric
    rows_per_s_undisturbed: Metric
    mean_inference_per_row_s: Metric
    validity: Validity
    processes: tuple[SweepProcess, ...]
    in_process_rows_per_s: Metric | None = None
    http_share: Metric | None = None


@dataclass(frozen=True)
class SweepRival:
    """A cell compared with the best; ``ratio`` is its undisturbed time per row over the best one's.

    The limits are those that decide ``standing``: one-sided at 95 %, corrected for the number of cells compared.

    Attributes:
        standing: not_distinguishable where more blocks would decide; not_judged where one of the two is not valid, or
            they have too few blocks in common.
    """

    cell: Count
    ratio: Positive
    ci_low: Positive | None
    ci_high: Positive | None
    standing: Literal["equivalent", "slower", "not_distinguishable", "not_judged"]


@dataclass(frozen=True)
class SweepBest:
    """The best cell of a workload, over all cells or over those with so many cores."""

    workload: str
    cores: Count | None  # None: over all
    cell: Count
    rivals: tuple[SweepRival, ...]  # the fastest first


@dataclass(frozen=True)
class SweepLoss:
    """A step from one cell to another at which throughput falls by more than the margin.

    ``ratio`` is of the undisturbed rates, to over start, with 95 % limits corrected for the number of steps.
    """

    kind: Literal["smt_cliff", "core_cliff", "numa_penalty"]
    start: Count
    to: Count
    ratio: Positive
    ci_low: Positive
    ci_high: Positive


FactorName = Literal["backend", "dtype", "batch_size", "smt", "threads_per_core", "cores", "place", "instances"]


@dataclass(frozen=True)
class SweepEffect:
    """Two levels of a factor compared over pairs of cells that are equal in all other factors.

    Attributes:
        factor: "smt" stands for the threads per core too where these are always as many.
        start: a cell that has the level of the best cell.
        to: a cell that has the other level and is equal to ``start`` in all else.
        pairs: how many there are; none: nothing can be concluded.
        ratio: of the undisturbed times per row, to over start, the geometric mean over pairs and blocks; limits as
            those of a rival, corrected for the number of effects of the workload. None without a pair.
    """

    workload: str
    factor: FactorName
    start: Count
    to: Count
    pairs: Count
    ratio: Positive | None = None
    ci_low: Positive | None = None
    ci_high: Positive | None = None
    standing: Literal["equivalent", "slower", "faster", "not_distinguishable", "not_judged"] = "not_judged"


@dataclass(frozen=True)
class SweepDesignRecord:
    """What the sweep was asked to do, and how far it came.

    Attributes:
        seed: of the order of everything.
        sessions: times it was begun or resumed.
        slots: measurements; one per cell and block.
    """

    blocks: PositiveCount
    seed: int
    series_seconds: float
    protocol: Protocol
    epochs: PositiveCount
    rows: PositiveCount | None
    sessions: Count
    slots: Count
    slots_done: Count


@dataclass(frozen=True)
class SweepWorkload:
    """A workload and its data; None where its training failed."""

    title: str
    dataset: DatasetRecord | None


@dataclass(frozen=True)
class Sweep:
    """One whole sweep.

    Attributes:
        method: how SMT levels are obtained.
        margin: relative change that matters.
        workloads: by name.
        skipped: why configurations were left out -> how many.
    """

    schema_version: Literal[2]
    sweep_id: Identifier
    created: Timestamp
    tool: Tool
    facts: Facts
    fingerprint: Fingerprint
    software: LoadedSoftware
    design: SweepDesignRecord
    method: Literal["switched", "affinity"]
    margin: Positive
    workloads: dict[str, SweepWorkload]
    cells: tuple[SweepCell, ...]
    skipped: dict[str, Count]
    best: tuple[SweepBest, ...]
    losses: tuple[SweepLoss, ...]
    effects: tuple[SweepEffect, ...] = ()
    notes: tuple[str, ...] = ()
