"""Dataclasses of one run, as written to ``run.json`` (``results/schema/run-v1.json``).

Every time is in seconds, every size in bytes, every share in [0, 1]. ``None`` means "not known", never zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

SCHEMA_VERSION = 1


class Verdict(str, Enum):
    """Whether a result may be used, and if not, in which way it is unusable."""

    VALID = "valid"
    INVALID = "invalid"
    NO_STEADY_STATE = "no_steady_state"
    TIMINGS_REFUSED = "timings_refused"  # emulation: accuracy stands, times are not published
    FAILED = "failed"  # the worker died, hung, or ran out of memory


@dataclass(frozen=True)
class Validity:
    """A verdict and the reasons for it, one sentence each; VALID has none that invalidate, but may carry notes."""

    verdict: Verdict
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Metric:
    """One estimate over processes. ``n`` is the number of processes (or requests, or seeds) it rests on."""

    value: float | None
    unit: str
    ci_low: float | None = None
    ci_high: float | None = None
    n: int | None = None
    note: str | None = None  # why there is no value or no interval: "p99 needs 662 requests, 240 were made"


@dataclass(frozen=True)
class Series:
    """Raw samples of one timed thing inside one process."""

    name: str  # "epoch", "call"
    batch_size: int | None  # rows per call; None for training
    inner: int  # calls per sample; a duration is that of ``inner`` calls
    durations_ns: tuple[int, ...]
    flags: tuple[int, ...]  # measure.Cause bits per sample; empty when not flagged
    warmup: int  # leading samples cut as not yet steady
    steady: bool
    estimate_s: float | None  # median clean sample after warm-up, per call
    estimate_all_s: float | None  # median of all samples after warm-up, per call


@dataclass(frozen=True)
class Block:
    """One fresh worker process of one configuration."""

    index: int  # block number; a block holds one process of each configuration
    order: int  # position within the block's shuffled order
    seed: int
    pid: int | None
    wall_s: float | None
    rss_peak_bytes: int | None
    steal_share: float | None
    cpus_allowed: tuple[int, ...] | None
    cpus_sampled: tuple[int, ...] | None
    page_nodes: dict[str, int] | None  # NUMA node -> pages, from numa_maps
    series: tuple[Series, ...] = ()
    failure: str | None = None  # the cause, when the process did not finish
    details: dict[str, Any] = field(default_factory=dict)
    # Batch size (as text) -> rows per second, where that is not the batch over a series' median: the rate a server was
    # confirmed at, the sum over instances that ran at the same time.
    rates: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PlacementRecord:
    """Where a result ran, as asked for and as found afterwards."""

    nodes: tuple[int, ...]
    cpus: tuple[int, ...]
    threads: int
    threads_per_core: int
    smt: int | None
    memory_policy: str  # "bind:0", "default (set_mempolicy not permitted)"
    env: dict[str, str]
    verified: bool | None  # None: not checked because the worker failed
    mismatches: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetRecord:
    """What data a result rests on. ``verified`` is None when no digest is known for the files."""

    name: str
    origin: str  # "real" | "synthetic" | "unknown" (its loading failed)
    protocol: str  # "clean" | "as-published"
    sha256: dict[str, str]  # canonical file name -> digest of the uncompressed file
    verified: bool | None
    rows: dict[str, int]  # split -> rows
    features: int
    prevalence: float | None  # share of anomalies in the test split
    notes: tuple[str, ...] = ()
    # Rows equal to an earlier one of their split ("train", "test"), and test rows that training holds too
    # ("test_in_train"), by all features; empty where they were not counted.
    duplicates: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Published:
    """The figure of the source document, and in what its protocol differs from ours."""

    metric: str
    value: float
    source: str
    difference: str


@dataclass(frozen=True)
class Result:
    """One workload x scenario x backend x dtype."""

    workload: str
    detector: str
    dataset: DatasetRecord
    scenario: str  # "train" | "offline" | "single_stream" | "multi_stream" | "server"
    backend: str  # "eager" | "onnxruntime" | "native" | ...
    dtype: str
    batch_size: int | None  # of the headline metrics
    placement: PlacementRecord
    blocks: tuple[Block, ...]
    metrics: dict[str, Metric]  # headline batch size
    by_batch: dict[str, dict[str, Metric]]  # batch size (as text) -> metrics; empty when there is one
    accuracy: dict[str, Any] | None  # detectors.evaluation.Evaluation as JSON; shared by a workload's results
    published: Published | None
    share_of_peak: float | None
    validity: Validity
    title: str | None = None  # the workload's, for people: "Autoencoder, NSL-KDD"
    cache: str = "hot"  # "cold": what the caches held was evicted before each sample
    instances: int = 1  # processes that ran at the same time, each on its part of the placement


@dataclass(frozen=True)
class Roof:
    """One measured ceiling of the pinned set, with the theoretical one of its processor table beside it."""

    kind: str  # "compute" | "memory"
    name: str  # number format of a compute roof ("float32"); what is read of a memory roof ("node 0")
    rate: Metric  # FLOP/s, OP/s or B/s
    theoretical: float | None  # in the unit of ``rate``: ops per cycle x halves touched x clock
    ran_on: str | None  # instruction set or kernel that was really used


@dataclass(frozen=True)
class KernelRate:
    """What one kernel reaches."""

    name: str  # "batched GEMM 32x32x32, batch 256"
    backend: str
    dtype: str
    rate: Metric  # FLOP/s or OP/s
    operations_per_byte: float | None  # against memory traffic
    share_of_roof: float | None  # of the measured roof at its operations per byte
    ran_on: str | None


@dataclass(frozen=True)
class Roofline:
    """Ceilings of the pinned set and the kernels below them."""

    cpus: tuple[int, ...]
    roofs: tuple[Roof, ...]
    kernels: tuple[KernelRate, ...] = ()
    notes: tuple[str, ...] = ()  # such as the proof that MMA ran, or why none is possible


@dataclass(frozen=True)
class Run:
    """One whole run."""

    schema_version: int
    run_id: str
    created: str  # ISO 8601, UTC
    tool: dict[str, Any]  # name, version, argv, overhead of the timing loop
    facts: dict[str, Any]  # platform.facts.Facts as JSON
    fingerprint: dict[str, Any]  # the facts a comparison must agree on
    findings: tuple[dict[str, Any], ...]  # advice.finding.Finding as JSON
    software: dict[str, Any]
    plan: dict[str, Any]  # suite, protocol, seeds, blocks, seed, order, budget
    results: tuple[Result, ...]
    checks: dict[str, Any] = field(default_factory=dict)  # advice.finding.Report without its findings
    roofline: Roofline | None = None
