"""Dataclasses of one run, as written to ``run.json`` (``results/schema/run-v2.json``).

Every time is in seconds, every size in bytes, every share in [0, 1]. ``None`` means "not known", never zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from harness.advice.finding import Finding, NotChecked
from harness.measure.overhead import Overhead
from harness.placement.model import Placement
from harness.platform.facts import Facts, LoadedSoftware, Smt
from harness.platform.parse import format_cpulist
from harness.record.accuracy import Accuracy
from harness.record.fields import Count, Identifier, NotNegative, Positive, PositiveCount, Sha256, Share, Timestamp
from harness.record.series import Series
from harness.record.spec import Protocol, RunSpec, Scenario, StoppingRecord

SCHEMA_VERSION: Literal[2] = 2


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
    n: Count | None = None
    note: str | None = None  # why there is no value or no interval: "p99 needs 662 requests, 240 were made"


@dataclass(frozen=True)
class MemoryPolicy:
    """Where memory was taken from; ``reason`` says why the nodes were not bound to."""

    policy: Literal["bind", "default"]
    nodes: tuple[Count, ...] = ()
    reason: str | None = None  # "set_mempolicy not permitted: Operation not permitted"

    def __str__(self) -> str:
        if self.policy == "bind":
            return f"bind:{format_cpulist(self.nodes)}"
        return self.policy if self.reason is None else f"{self.policy} ({self.reason})"


@dataclass(frozen=True)
class ConcurrentRate:
    """What instances that ran at the same time reached with one batch size.

    Attributes:
        rows_per_s: sum over the instances of the rows they completed in the window, per second of it.
        rows_per_s_min, rows_per_s_max: of a single instance.
        rows_per_s_undisturbed: sum over the instances of the rate of each one's median undisturbed sample in it.
        window_s: time in which all of them were at work.
        window_share: of the time from the first start to the last completion.
    """

    batch_size: PositiveCount
    rows_per_s: NotNegative
    rows_per_s_min: NotNegative
    rows_per_s_max: NotNegative
    rows_per_s_undisturbed: NotNegative
    window_s: NotNegative
    window_share: Share


@dataclass(frozen=True)
class Served:
    """What one process of the server or the http scenario reached.

    Attributes:
        rate: requests per second at which half of the trials meet the bound that do not miss it at any rate; None
            without an answer.
        bound_s: on the 99th percentile of the latency, which counts from the scheduled arrival.
        service_s: median time of one request alone.
        confirmations: trials that had to meet the bound after the search, in records of before: their rate is the
            highest at which a search and so many trials after it met the bound.
        requests: of the trial next to ``rate`` that met the bound.
        latencies: name of a percentile -> that of this trial, in seconds; None where the requests do not allow it.
        tried: every rate tried, in order, with whether it met the bound.
        tried_p99_s: the 99th percentile at each of them; None where the requests do not allow it.
        kept_every: every n-th latency of this trial is kept.
        note: why there is no rate.
        front_share: of the server's CPU time during the search, what was spent outside the model; None in process.
        settled: whether a request alone took as long before the search as after it, in process.
        rate_low, rate_high: ends of the interval of 95 % of this process's rate.
        missed_anyway: share of the trials that miss the bound at any rate, because machine or server paused.
    """

    rate: NotNegative | None
    bound_s: NotNegative
    service_s: NotNegative
    confirmations: Count
    requests: Count
    latencies: dict[str, float | None]
    tried: tuple[tuple[float, bool], ...]
    kept_every: PositiveCount
    note: str | None = None
    tried_p99_s: tuple[float | None, ...] = ()
    front_share: Share | None = None
    settled: bool = True
    rate_low: NotNegative | None = None
    rate_high: NotNegative | None = None
    missed_anyway: Share | None = None

    @property
    def meets(self) -> str:
        """How the rate meets the bound, which is what it means."""
        if self.confirmations:
            return f"each confirmed {self.confirmations} times"
        return "at which half of the trials meet it"


@dataclass(frozen=True)
class ProcessCounters:
    """Counters of a process over a scenario, warm-up included; of several instances, of all of them.

    Attributes:
        values: by event, of user code: instructions, cycles, cache_misses, node_loads and node_load_misses (loads from
            memory, and those that another node answered), page_faults, migrations.
        missing: events that were not counted, and why.
        physical_cores: consumed by the partition meanwhile, by its PURR.
        entitled_share: that over the entitlement; above 1 the capacity was borrowed.
        frequency_ratio: effective over nominal clock of the CPUs in use, by SPURR and PURR.
    """

    values: dict[str, NotNegative]
    missing: dict[str, str]
    physical_cores: NotNegative | None = None
    entitled_share: NotNegative | None = None
    frequency_ratio: NotNegative | None = None


@dataclass(frozen=True)
class ProcessRecord:
    """One fresh worker process of one configuration, or several instances that ran at the same time.

    Attributes:
        block: number of the round over all configurations that it belongs to.
        order: its position in the shuffled order of the block.
        random_state: of the order of its rows and of its arrivals.
        page_nodes: NUMA node -> pages, from numa_maps.
        failure: the cause, when it did not finish.
        instances: CPUs of each of several instances.
        concurrent: rates of several instances, by ascending batch size.
        served: of the server and http scenarios.
        counters: where the run was asked for them.
    """

    block: Count
    order: Count
    random_state: Count
    pid: Count | None = None
    wall_s: NotNegative | None = None
    rss_peak_bytes: Count | None = None
    steal_share: Share | None = None
    cpus_allowed: tuple[Count, ...] | None = None
    cpus_sampled: tuple[Count, ...] | None = None
    page_nodes: dict[Count, Count] | None = None
    memory_policy: MemoryPolicy | None = None
    series: tuple[Series, ...] = ()
    failure: str | None = None
    instances: tuple[tuple[Count, ...], ...] = ()
    concurrent: tuple[ConcurrentRate, ...] = ()
    served: Served | None = None
    counters: ProcessCounters | None = None

    def rate_together(self, batch_size: int) -> ConcurrentRate | None:
        """The rates of its instances with one batch size; None where it is a single process."""
        return next((rate for rate in self.concurrent if rate.batch_size == batch_size), None)


@dataclass(frozen=True)
class PlacementRecord:
    """Where a result ran, as asked for and as observed afterwards."""

    nodes: tuple[Count, ...]
    cpus: tuple[Count, ...]
    threads: Count
    threads_per_core: Count
    smt: Count | None
    memory_policy: MemoryPolicy
    env: dict[str, str]
    verified: bool | None  # None: not checked because the worker failed
    mismatches: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetRecord:
    """What data a result rests on. ``verified`` is None when no digest is known for the files."""

    name: str
    origin: Literal["real", "synthetic", "unknown"]  # "unknown": its loading failed
    protocol: Protocol
    sha256: dict[str, Sha256]  # canonical file name -> digest of the uncompressed file
    verified: bool | None
    rows: dict[str, Count]  # split -> rows
    features: Count
    prevalence: Share | None  # share of anomalies in the test split
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()  # why accuracy on it is worth less than it looks
    # Rows equal to an earlier one of their split ("train", "test"), and test rows that training holds too
    # ("test_in_train"), by all features; empty where they were not counted.
    duplicates: dict[str, Count] = field(default_factory=dict)


@dataclass(frozen=True)
class Published:
    """The figure of the source document, and in what its protocol differs from ours."""

    metric: str
    value: float
    source: str
    difference: str


@dataclass(frozen=True)
class Result:
    """One workload x scenario x backend x dtype.

    Attributes:
        backend: "eager", "onnxruntime", "native", ...
        dtype: number format: float32, bfloat16 or int8.
        batch_size: of the headline metrics.
        processes: in the order of their blocks.
        metrics: of the headline batch size. ``rows_per_s`` counts every call after warm-up over the elapsed time,
            ``rows_per_s_undisturbed`` is the batch over the median undisturbed call; for training the same two with
            ``train_`` before them.
        by_batch: batch size -> metrics; empty when there is one.
        accuracy: shared by the results of a workload.
        share_of_peak: of the measured compute roof, by ``rows_per_s_undisturbed``.
        title: of the workload, for people: "Autoencoder, NSL-KDD".
        cache: "cold": what the caches held was evicted before each sample.
        instances: processes that ran at the same time, each on its part of the placement.
    """

    workload: str
    detector: str
    dataset: DatasetRecord
    scenario: Scenario
    backend: str
    dtype: str
    batch_size: PositiveCount | None
    placement: PlacementRecord
    processes: tuple[ProcessRecord, ...]
    metrics: dict[str, Metric]
    by_batch: dict[PositiveCount, dict[str, Metric]]
    accuracy: Accuracy | None
    published: Published | None
    share_of_peak: NotNegative | None
    validity: Validity
    title: str | None = None
    cache: Literal["hot", "cold"] = "hot"
    instances: PositiveCount = 1


@dataclass(frozen=True)
class Roof:
    """One measured ceiling of the pinned set, with the theoretical one of its processor table."""

    kind: Literal["compute", "memory"]
    name: str  # number format of a compute roof ("float32"); what is read of a memory roof ("node 0")
    rate: Metric  # FLOP/s, OP/s or B/s
    theoretical: Positive | None  # in the unit of ``rate``: ops per cycle x halves touched x clock
    ran_on: str | None  # instruction set or kernel that was really used


@dataclass(frozen=True)
class KernelRate:
    """What one kernel reaches."""

    name: str  # "batched GEMM 32x32x32, batch 256"
    backend: str
    dtype: str
    rate: Metric  # FLOP/s or OP/s
    operations_per_byte: Positive | None  # against memory traffic
    share_of_roof: NotNegative | None  # of the measured roof at its operations per byte
    ran_on: str | None


@dataclass(frozen=True)
class Roofline:
    """Ceilings of the pinned set and the kernels below them."""

    cpus: tuple[Count, ...]
    roofs: tuple[Roof, ...]
    kernels: tuple[KernelRate, ...] = ()
    notes: tuple[str, ...] = ()  # such as the proof that MMA ran, or why none is possible


@dataclass(frozen=True)
class NoiseFloor:
    """The smallest change that can be told from noise, from a run compared with itself over so many pairs of blocks."""

    share: NotNegative
    blocks: Count


@dataclass(frozen=True)
class Tool:
    """What wrote the record: the command that reproduces it, and the cost of its timing loop where it was measured."""

    name: str
    version: str
    argv: tuple[str, ...] = ()
    overhead: Overhead | None = None
    noise_floor: NoiseFloor | None = None


@dataclass(frozen=True)
class Checks:
    """Which rules stand behind the findings."""

    checked: tuple[str, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()
    not_applicable: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fingerprint:
    """The facts that two runs must share before their times may be compared.

    Clock readings, load and memory (which a hypervisor moves at will) are left out; kernel and library versions are in,
    because an update is what a gate is asked about.
    """

    arch: str | None = None
    cpu: str | None = None
    generation: str | None = None
    mode: str | None = None
    machine: str | None = None
    smt: Smt | None = None
    cpus_online: tuple[Count, ...] = ()
    page_size_bytes: Count | None = None
    kernel: str | None = None
    hypervisor: str | None = None
    lpar_dedicated: bool | None = None
    lpar_capped: bool | None = None
    lpar_entitled_capacity: float | None = None
    lpar_virtual_processors: Count | None = None
    cpu_quota: float | None = None
    emulated: bool | None = None
    libraries: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One whole run.

    Attributes:
        run_id: time of its start in UTC, and four random digits.
        tool: what wrote it.
        facts: of the machine, as ``lparbench probe --json`` prints them.
        fingerprint: those that must be the same where times are compared.
        findings: about the layout of the machine.
        software: libraries and kernels that were really loaded.
        spec: what was asked for.
        placement: where it was to run.
        stopping: why measuring ended.
        results: in the order of the report.
        checks: rules behind the findings.
    """

    schema_version: Literal[2]
    run_id: Identifier
    created: Timestamp
    tool: Tool
    facts: Facts
    fingerprint: Fingerprint
    findings: tuple[Finding, ...]
    software: LoadedSoftware
    spec: RunSpec
    placement: Placement
    stopping: StoppingRecord
    results: tuple[Result, ...]
    checks: Checks = field(default_factory=Checks)
    roofline: Roofline | None = None
