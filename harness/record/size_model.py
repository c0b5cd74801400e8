"""Dataclasses of one sizing, as written to ``size.json`` (``results/schema/size-v1.json``).

Rates are requests per second where a latency bound was asked for, rows per second otherwise. ``None`` means "not
known", never zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from harness.platform.facts import Facts, LoadedSoftware
from harness.record.fields import Count, Identifier, NotNegative, Positive, PositiveCount, Share, Timestamp
from harness.record.model import DatasetRecord, Fingerprint, Tool, Validity

SIZE_SCHEMA_VERSION: Literal[1] = 1
Basis = Literal["measured", "interpolated", "extrapolated"]
Layout = Literal["per-core", "per-thread", "single"]
LAYOUTS: tuple[Layout, ...] = ("per-core", "per-thread", "single")
PlanKind = Literal["dedicated", "shared capped", "shared uncapped"]
PLAN_KINDS: tuple[PlanKind, ...] = ("dedicated", "shared capped", "shared uncapped")


@dataclass(frozen=True)
class SizeQuestion:
    """What is to be served.

    Attributes:
        p99_s: bound on the 99th percentile of the latency; None for throughput.
        growth, headroom: shares added to the rate.
        confidence: one-sided, with which the capacity has to reach the need.
        spare: further partitions of the same size, for one that fails.
    """

    rate: Positive
    p99_s: Positive | None = None
    growth: NotNegative = 0.0
    headroom: NotNegative = 0.0
    confidence: Share = 0.95
    spare: Count = 0

    @property
    def need(self) -> float:
        """Capacity that is wanted."""
        return self.rate * (1 + self.growth) * (1 + self.headroom)

    @property
    def unit(self) -> str:
        """Of the rate, the need and every capacity: requests where their latency is bounded, else rows."""
        return "rows/s" if self.p99_s is None else "req/s"


@dataclass(frozen=True)
class CapacityBlock:
    """One fresh process, or several at once, at one setting.

    Attributes:
        capacity: highest rate that met the bound; None when it failed or no rate did.
        service_s: median time of one request alone, of the slowest instance.
        p50_s, p99_s: of the latency at that rate.
        trials: each rate tried with its 99th percentile, in order.
        physical_cores: that the partition consumed meanwhile, from PURR.
        peak_bytes: memory of all processes.
        note: why there is no capacity.
        front_share: of the server's CPU time, what was spent outside the model; None in process.
        frequency_ratio: effective over nominal clock meanwhile, from SPURR and PURR; None where it is not counted.
    """

    block: Count
    capacity: Positive | None
    service_s: Positive | None = None
    p50_s: Positive | None = None
    p99_s: Positive | None = None
    trials: tuple[tuple[float, float], ...] = ()
    physical_cores: NotNegative | None = None
    steal_share: Share | None = None
    peak_bytes: Count | None = None
    note: str | None = None
    front_share: Share | None = None
    frequency_ratio: Positive | None = None


@dataclass(frozen=True)
class CapacityPoint:
    """A number of cores with what each block gave there."""

    cores: PositiveCount
    instances: PositiveCount
    blocks: tuple[CapacityBlock, ...]
    validity: Validity


@dataclass(frozen=True)
class CapacitySeries:
    """Capacity over cores with everything else the same.

    Attributes:
        layout: how instances share the cores: one on each, one on each thread, or one on all.
    """

    threads_per_core: PositiveCount
    layout: Layout
    node: Count | None
    backend: str
    dtype: str
    points: tuple[CapacityPoint, ...]


@dataclass(frozen=True)
class Capacity:
    """What a configuration serves.

    Attributes:
        low, high: two-sided limits.
        floor: one-sided lower limit, which decides.
        blocks: that it rests on.
    """

    value: Positive
    low: Positive
    high: Positive
    floor: Positive
    blocks: Count
    basis: Basis


@dataclass(frozen=True)
class MemoryUse:
    """What a configuration takes from memory when it serves its capacity.

    Attributes:
        bytes_per_row: of a request: the row and its score, and the weights where they do not stay in cache.
        share: of the measured bandwidth of the node; None where that was not measured.
        working_set_bytes: weights of the instances, per core.
        cache_bytes: of the last level, per core that is used.
    """

    bytes_per_row: Positive
    share: NotNegative | None
    working_set_bytes: Positive
    cache_bytes: Positive

    @property
    def cached(self) -> bool:
        """Whether the weights stay in cache."""
        return self.working_set_bytes <= self.cache_bytes


@dataclass(frozen=True)
class SizedConfiguration:
    """A number of cores and how they are used, against the need.

    Attributes:
        enough: whether the one-sided limits say so; None where they leave it open.
        limited_by: what keeps it from serving more.
        memory: None where the weights that a request reads, or the caches, are not known.
    """

    cores: PositiveCount
    threads_per_core: PositiveCount
    layout: Layout
    instances: PositiveCount
    node: Count | None
    capacity: Capacity
    enough: bool | None
    limited_by: str
    memory: MemoryUse | None = None


@dataclass(frozen=True)
class SizeRefusal:
    """What is not answered, why, and what to measure instead."""

    what: str
    why: str
    measure: str


@dataclass(frozen=True)
class ScalingModel:
    """What stands between the measured core counts of a series.

    Attributes:
        kind: the law fitted to each block, a line between neighbours, or nothing.
        alpha, beta, gamma: value, low and high over the blocks; None without the law.
        lack_of_fit: largest relative distance of a point from the mean curve.
    """

    threads_per_core: PositiveCount
    layout: Layout
    kind: Literal["usl", "neighbours", "none"]
    alpha: tuple[float, float, float] | None
    beta: tuple[float, float, float] | None
    gamma: tuple[float, float, float] | None
    lack_of_fit: NotNegative | None
    note: str | None = None


@dataclass(frozen=True)
class PartitionPlan:
    """One way to make the partition.

    Attributes:
        virtual_processors: None for a dedicated partition.
        entitlement: processing units; None for a dedicated partition.
        memory_rule: where the memory comes from.
        fits: machines of the table with a chip that holds it, by model.
        commands: for the HMC and, after them, inside the partition.
    """

    kind: PlanKind
    partitions: PositiveCount
    cores: PositiveCount
    virtual_processors: PositiveCount | None
    entitlement: Positive | None
    threads_per_core: PositiveCount
    instances: PositiveCount
    threads_per_instance: PositiveCount
    memory_bytes: PositiveCount
    memory_rule: str
    one_chip: bool | None
    fits: tuple[str, ...]
    commands: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class SizeRoof:
    """What one core of the machine that was measured reaches, and the memory of its node for all of its cores."""

    operations_per_s: Positive
    bytes_per_s: Positive
    node_bytes_per_s: Positive | None = None


@dataclass(frozen=True)
class Projection:
    """Bounds of a configuration's rate on a machine that is not here.

    Attributes:
        enough: whether the bounds decide; None where the need lies between them.
        assumptions: that they rest on.
    """

    mtm: str
    machine: str
    cores: PositiveCount
    threads_per_core: PositiveCount
    low: Positive
    high: Positive
    enough: bool | None
    assumptions: tuple[str, ...]


@dataclass(frozen=True)
class SizeAnswer:
    """The answer to one question.

    Attributes:
        verdict: answered from measured cores; extrapolated; open: more blocks would decide; refused.
        smaller, larger: neighbours of the chosen configuration.
    """

    question: SizeQuestion
    verdict: Literal["answered", "extrapolated", "open", "refused"]
    chosen: SizedConfiguration | None
    smaller: SizedConfiguration | None
    larger: SizedConfiguration | None
    refused: tuple[SizeRefusal, ...]
    plans: tuple[PartitionPlan, ...] = ()
    projection: Projection | None = None


@dataclass(frozen=True)
class SizedWorkload:
    """What was measured, and what one row of it costs.

    Attributes:
        operations_per_row: multiplications and additions; None where it is not a matter of dense layers.
        detector: its name in the product, or ``module:Class``.
        weights: numbers that every call reads, however many rows it scores; None where that is not known.
    """

    name: str
    title: str
    dataset: DatasetRecord | None
    operations_per_row: Positive | None = None
    detector: str | None = None
    weights: Count | None = None


@dataclass(frozen=True)
class SizeDesign:
    """What was measured, and how far it came.

    Attributes:
        p99_s: the bound that capacities were measured at; None for throughput.
        ended_by: what ended the measuring.
        batch_size: rows per call of a throughput.
        arrivals: of requests: "poisson", "constant", or the file of recorded ones.
    """

    scenario: Literal["server", "http", "offline"]
    p99_s: Positive | None
    series_seconds: Positive
    blocks: Count
    seed: int
    budget_s: Positive | None
    ended_by: Literal["decided", "budget", "blocks", "stored"]
    batch_size: PositiveCount | None = None
    arrivals: str = "poisson"


@dataclass(frozen=True)
class Size:
    """One whole sizing.

    Attributes:
        node_cores: usable cores of the node that was measured.
        not_covered: what the intervals say nothing about.
    """

    schema_version: Literal[1]
    size_id: Identifier
    created: Timestamp
    tool: Tool
    facts: Facts
    fingerprint: Fingerprint
    software: LoadedSoftware
    workload: SizedWorkload
    design: SizeDesign
    node_cores: PositiveCount
    series: tuple[CapacitySeries, ...]
    models: tuple[ScalingModel, ...]
    answer: SizeAnswer
    not_covered: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())
    roof: SizeRoof | None = None
