"""Builds run records of every kind a reader may meet: each figure is made up, each record holds to the schema."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.advice.finding import Evidence, Finding, NotChecked, Severity
from harness.measure.overhead import Overhead
from harness.placement.model import MemoryBinding, Placement
from harness.platform.facts import (
    BlasLibrary,
    Core,
    CpuFacts,
    EmulationFacts,
    Facts,
    KernelFacts,
    LoadedSoftware,
    LoadFacts,
    LparFacts,
    MachineFacts,
    MemoryFacts,
    Package,
    Smt,
    Topology,
)
from harness.platform.nodes import Node
from harness.record.accuracy import (
    Accuracy,
    BaselineBasis,
    ClassRecall,
    Confusion,
    Epochs,
    FailedBaseline,
    Histogram,
    OperatingPoint,
    PrecisionRecallCurve,
    RocCurve,
    ScoredBaseline,
    ScoredBaselines,
    ScoreInterval,
    SeedMean,
    TrainingLimits,
)
from harness.record.model import (
    SCHEMA_VERSION,
    Checks,
    DatasetRecord,
    KernelRate,
    MemoryPolicy,
    Metric,
    PlacementRecord,
    ProcessCounters,
    ProcessRecord,
    Published,
    Result,
    Roof,
    Roofline,
    Run,
    Tool,
    Validity,
    Verdict,
)
from harness.record.series import Series
from harness.record.spec import RunSpec, StoppingRecord
from harness.runs.fingerprint import fingerprint

TITLES = {"nsl-kdd-autoencoder": "Autoencoder, NSL-KDD", "nsl-kdd-mlp": "MLP, NSL-KDD"}
BATCHES = (1, 64, 1024, 8192)


def topology(
    *,
    nodes: int = 2,
    cores_per_node: int = 4,
    smt: int = 8,
    online_smt: int | None = None,
    memoryless: tuple[int, ...] = (),
) -> Topology:
    """Cores of a machine; ``online_smt`` threads of each core are online."""
    online = smt if online_smt is None else online_smt
    cores, members = [], []
    for node in range(nodes):
        node_cpus: list[int] = []
        for core in range(cores_per_node):
            identifier = node * cores_per_node + core
            present = tuple(identifier * smt + thread for thread in range(smt))
            on = present[:online]
            node_cpus += on
            split = tuple(tuple(c for c in on if (c - present[0]) % 2 == half) for half in (0, 1))
            cores.append(
                Core(identifier, identifier, node, package=node, die=None, cpus=on, cpus_present=present,
                     halves=split if smt == 8 else (on,))
            )  # fmt: skip
        memory = 0 if node in memoryless else 256 << 30
        distances = {other: 10 if other == node else 40 for other in range(nodes)}
        members.append(Node(node, tuple(node_cpus), memory, None, distances))
    cpus = tuple(sorted(cpu for core in cores for cpu in core.cpus))
    return Topology(cpus, (), tuple(cores), tuple(members), Smt(max=smt, online=online, mixed=False))


def facts(**layout: Any) -> Facts:
    """Facts of a POWER10 LPAR."""
    return Facts(
        sysroot="/",
        topology=topology(**layout),
        machine=MachineFacts(mtm="9105-22A", name="Power S1022", generation="POWER10"),
        cpu=CpuFacts(
            architecture="ppc64le",
            model_name="POWER10 (architected), altivec supported",
            generation_hw="POWER10",
            generation_mode="POWER10",
            clock_hz=3.55e9,
            isa={"altivec": True, "arch_3_1": True, "mma": True, "vsx": True},
        ),
        lpar=LparFacts(
            partition_name="bench1",
            mode="shared uncapped",
            capped=False,
            entitled_cores=4.0,
            virtual_processors=8,
            affinity_score=72,
        ),
        memory=MemoryFacts(total_bytes=512 << 30, base_page_bytes=65536),
        kernel=KernelFacts(release="6.12.0", hypervisor="PowerVM"),
        load=LoadFacts(load_1m=0.42, steal_share=0.0012),
        emulation=EmulationFacts(emulated=False),
    )


def findings() -> tuple[Finding, ...]:
    """Two findings, one costly."""
    return (
        Finding(
            id="memory-off-node",
            severity=Severity.HIGH,
            title="Half of the memory is on a node without CPUs",
            evidence=(Evidence("topology.nodes[1].memory_bytes", 256 << 30, "/sys/devices/system/node"),),
            why="Pages there are reached over the fabric, at about twice the latency of local memory.",
            fix=("chhwres -r mem -m SERVER -o m -p LPAR -q 262144",),
            effect="10 to 30 % of throughput when the working set leaves the caches",
            source="IBM Power virtualization best practices",
            loss=0.3,
        ),
        Finding(
            id="numa-balancing",
            severity=Severity.LOW,
            title="Automatic NUMA balancing is on",
            evidence=(Evidence("kernel.numa_balancing", 1, "/proc/sys/kernel/numa_balancing"),),
            why="The kernel unmaps pages to see who touches them; a pinned process gains nothing from it.",
            fix=("sysctl kernel.numa_balancing=0",),
            effect="1 to 3 %",
            source="Linux admin guide, sysctl/kernel",
            loss=0.03,
        ),
    )


def dataset(*, origin: str = "real") -> DatasetRecord:
    """NSL-KDD, or the stand-in of its schema."""
    real = origin == "real"
    return DatasetRecord(
        name="nsl-kdd",
        origin=origin,
        protocol="clean",
        sha256={"KDDTrain+.txt": "a" * 64, "KDDTest+.txt": "b" * 64} if real else {},
        verified=True if real else None,
        rows={"train": 125973, "test": 22544},
        features=122,
        prevalence=0.5692,
        notes=() if real else ("made by the generative process of the stand-in",),
        duplicates={"train": 16551, "test": 629, "test_in_train": 652},
    )


def placement(
    *, cpus: tuple[int, ...] = (0, 1, 8, 9), nodes: tuple[int, ...] = (0,), verified: bool = True
) -> PlacementRecord:
    """Two threads on each of two cores of node 0."""
    return PlacementRecord(
        nodes=nodes,
        cpus=cpus,
        threads=len(cpus),
        threads_per_core=2,
        smt=8,
        memory_policy=MemoryPolicy("bind", (0,)),
        env={"OMP_NUM_THREADS": str(len(cpus)), "OMP_PROC_BIND": "close", "OMP_PLACES": "{0},{1},{8},{9}"},
        verified=verified,
        mismatches=() if verified else ("CPU 12 was sampled and is not among the CPUs asked for",),
    )


def series(
    seed: int, *, name: str = "call", batch_size: int | None = 1, centre_s: float = 2.1e-6, samples: int = 400
) -> Series:
    """Right-skewed durations, some of them flagged as preempted, stolen or faulted."""
    source = random.Random(seed)
    durations, flags = [], []
    for index in range(samples):
        slow = source.random() < 0.03
        warm = 1 + 2 * math.exp(-index / 8)
        durations.append(int(1e9 * centre_s * warm * source.lognormvariate(0, 0.08) * (4 if slow else 1)) + 1)
        flags.append((1 << source.randrange(4)) if slow else 0)
    steady = sorted(durations[40:])
    clean = sorted(d for d, f in zip(durations[40:], flags[40:], strict=True) if f == 0)
    return Series(
        name=name,
        batch_size=batch_size,
        inner=1,
        durations_ns=tuple(durations),
        flags=tuple(flags),
        warmup=40,
        steady=True,
        estimate_s=clean[len(clean) // 2] / 1e9,
        estimate_all_s=steady[len(steady) // 2] / 1e9,
    )


def processes(count: int, cpus: tuple[int, ...], **timed: Any) -> tuple[ProcessRecord, ...]:
    """``count`` processes, each with its own level."""
    return tuple(
        ProcessRecord(
            block=index,
            order=index % 3,
            random_state=1000 + index,
            pid=4000 + index,
            wall_s=3.2 + 0.1 * index,
            rss_peak_bytes=410 << 20,
            steal_share=0.002,
            cpus_allowed=cpus,
            cpus_sampled=cpus[:1],
            page_nodes={0: 24000},
            memory_policy=MemoryPolicy("bind", (0,)),
            series=(series(index, **timed),),
        )
        for index in range(count)
    )


METRICS = {
    "auc_roc": 0.949,
    "auc_pr": 0.961,
    "f1": 0.897,
    "precision": 0.913,
    "recall": 0.882,
    "accuracy": 0.8843,
    "best_f1": 0.9021,
}


def seed_means(values: Mapping[str, float], *, sd: float | None = 0.004, n: int = 5) -> dict[str, SeedMean]:
    """Metrics over ``n`` seeds."""
    return {name: SeedMean(value, sd, n) for name, value in values.items()}


def baselines(name: str, **metrics: float) -> ScoredBaselines:
    """A single baseline detector with these metrics."""
    scored = ScoredBaseline(name, name, seed_means(metrics, sd=None, n=1), "a percentile", 1.5)
    return ScoredBaselines((scored,), BaselineBasis(20_000, 100_778, 20_000, 22_544, "onehot", 0.569, 0))


def evaluation(*, classes: bool = True) -> Accuracy:
    """Accuracy of a detector, with every part that a record may hold."""
    source = random.Random(7)
    steps = tuple(index / 50 for index in range(51))
    recalls = {
        "dos": ClassRecall(7458, 0.94),
        "probe": ClassRecall(2421, 0.93),
        "r2l": ClassRecall(2754, 0.55),
        "u2r": ClassRecall(200, 0.71),
    }
    return Accuracy(
        headline="accuracy",
        protocol="clean",
        metrics=seed_means(METRICS),
        oracle=("best_f1",),
        floor=0.87,
        passed=True,
        threshold=0.61,
        threshold_rule="85th percentile of the training scores of normal rows",
        prevalence=0.5692,
        rows=22_544,
        confusion=Confusion(true_negative=8627, false_positive=1084, false_negative=1524, true_positive=11309),
        roc=RocCurve(tuple(s**2.5 for s in steps), tuple(s**0.35 for s in steps)),
        precision_recall=PrecisionRecallCurve(steps, tuple(1 - 0.43 * s**6 for s in steps)),
        histogram=Histogram(
            edges=tuple(index * 0.1 for index in range(31)),
            normal=tuple(int(2000 * math.exp(-index / 3)) + source.randrange(9) for index in range(30)),
            anomaly=tuple(int(900 * math.exp(-(((index - 16) / 6) ** 2))) for index in range(30)),
            scale="linear",
        ),
        per_class_recall=recalls if classes else {},
        loss_curve=tuple(0.9 * math.exp(-epoch / 6) + 0.05 for epoch in range(30)),
        validation_curve={
            "auc_pr": (None, *(0.95 - 0.3 * math.exp(-epoch / 4) for epoch in range(29))),
            "auc_roc": (None, *(0.97 - 0.2 * math.exp(-epoch / 4) for epoch in range(29))),
        },
        class_weights=(0.625, 2.5),
        epochs=Epochs(trained=30, scheduled=30),
        limits=TrainingLimits(epochs=None, rows=None),
        notes=("The published accuracy was read off one run; ours is a mean over five seeds.",),
        operating_points=(
            OperatingPoint("recall 0.7 on validation labels", 0.4, 0.613, 0.702, 0.654, 7021, 4432, 2980, 34232.0),
        ),
        intervals={"auc_pr": ScoreInterval(0.951, 0.972, "95 % stratified bootstrap")},
        baseline_detectors=ScoredBaselines(
            detectors=(
                ScoredBaseline(
                    "isolation forest", "isolation-forest",
                    seed_means({"accuracy": 0.81, "auc_roc": 0.93}, sd=None, n=1),
                    "90th percentile of the training scores of normal rows", 1.5,
                ),
                FailedBaseline("gradient boosting", "gradient-boosting", "It learns from labels."),
            ),
            basis=BaselineBasis(20_000, 100_778, 20_000, 22_544, "onehot-log-minmax", 0.569, 0),
        ),
    )  # fmt: skip


def _interval(value: float, unit: str, *, half: float = 0.02, n: int = 6, note: str | None = None) -> Metric:
    return Metric(value, unit, value * (1 - half), value * (1 + half), n, note)


def rates(call_s: float, batch: int, *, disturbed: float = 1.03) -> dict[str, Metric]:
    """Metrics of calls with this median undisturbed time, every call ``disturbed`` times as long in the mean."""
    mean_s = disturbed * call_s
    return {
        "rows_per_s": _interval(batch / mean_s, "rows/s"),
        "rows_per_s_undisturbed": _interval(batch / call_s, "rows/s"),
        "call_s": _interval(call_s, "s"),
        "call_all_samples_s": _interval(1.004 * call_s, "s", half=0.03),
        "mean_inference_s": _interval(mean_s, "s"),
        "mean_inference_per_row_s": _interval(mean_s / batch, "s"),
    }


def inference(
    workload: str = "nsl-kdd-autoencoder", *, backend: str = "eager", scenario: str = "offline", **changes: Any
) -> Result:
    """An inference result of an autoencoder on two cores of node 0."""
    where = placement()
    bound = "at most, with 99 % confidence"
    call_s = 1.7e-3 if scenario == "offline" else 2.1e-6
    latencies = {
        "p50_s": Metric(2.1e-6, "s", None, None, 2400, bound),
        "p90_s": Metric(2.45e-6, "s", None, None, 2400, bound),
        "p99_s": Metric(8.9e-6, "s", None, None, 2400, bound),
        "p99_9_s": Metric(None, "s", None, None, 2400, "p99.9 needs 6636 requests, 2400 were made"),
    }
    result = Result(
        workload=workload,
        detector="autoencoder",
        dataset=dataset(),
        scenario=scenario,
        backend=backend,
        dtype="float32",
        batch_size=8192 if scenario == "offline" else 1,
        placement=where,
        processes=processes(6, where.cpus, batch_size=1 if scenario != "offline" else 8192, centre_s=call_s),
        metrics={
            **rates(call_s, 8192 if scenario == "offline" else 1),
            **({} if scenario == "offline" else latencies),
        },
        by_batch={size: rates((size + 9) / 5.2e6, size) for size in BATCHES} if scenario == "offline" else {},
        accuracy=evaluation(),
        published=Published("accuracy", 0.87, "RocketCE anomaly guide", "the guide scales with the test rows"),
        share_of_peak=0.31 if scenario == "offline" else None,
        validity=Validity(Verdict.VALID),
        title=TITLES.get(workload),
    )
    return replace(result, **changes)


def training(workload: str = "nsl-kdd-autoencoder", **changes: Any) -> Result:
    """The training result of the same workload."""
    where = placement()
    result = inference(workload)
    return replace(
        result,
        scenario="train",
        batch_size=None,
        processes=processes(6, where.cpus, name="steps", batch_size=None, centre_s=4.1e-4, samples=200),
        metrics={
            "train_seconds": _interval(12.3, "s", n=5),
            "train_rows_per_s": _interval(128 / 4.3e-4, "rows/s"),
            "train_rows_per_s_undisturbed": _interval(128 / 4.1e-4, "rows/s"),
            "step_s": _interval(4.1e-4, "s"),
            "step_all_samples_s": _interval(4.12e-4, "s"),
            "mean_step_s": _interval(4.3e-4, "s"),
        },
        by_batch={},
        share_of_peak=0.12,
        **changes,
    )


def workload_results(workload: str = "nsl-kdd-autoencoder") -> tuple[Result, ...]:
    """Training, offline and single-stream results of one workload on two backends."""
    return (
        training(workload),
        inference(workload),
        inference(workload, scenario="single_stream"),
        inference(workload, backend="onnxruntime"),
        inference(workload, backend="onnxruntime", scenario="single_stream"),
    )


def counted(*results: Result) -> tuple[Result, ...]:
    """Results whose processes were counted, as on a shared partition whose kernel permits no remote loads."""
    counters = ProcessCounters(
        {"instructions": 3e9, "cycles": 2e9, "cache_misses": 6e6}, {"node_loads": "not permitted"}, 1.5, 0.75, 1.1
    )
    return tuple(
        replace(each, processes=tuple(replace(process, counters=counters) for process in each.processes))
        for each in results
    )


def roofline() -> Roofline:
    """Two compute roofs, one memory roof, and kernels of two backends below them."""

    def kernel(name: str, backend: str, rate: float, intensity: float, share: float) -> KernelRate:
        return KernelRate(name, backend, "float32", _interval(rate, "FLOP/s"), intensity, share, "MMA, xvf32gerpp")

    return Roofline(
        cpus=(0, 1, 8, 9),
        roofs=(
            Roof("compute", "float32", _interval(8.4e11, "FLOP/s"), 9.09e11, "MMA, xvf32gerpp"),
            Roof("compute", "bfloat16", _interval(1.62e12, "FLOP/s"), 1.82e12, "MMA, xvbf16ger2pp"),
            Roof("memory", "node 0", _interval(1.9e11, "B/s"), 2.05e11, None),
        ),
        kernels=(
            kernel("batched GEMM 8x8x8, batch 1024", "native", 1.1e11, 1.3, 0.45),
            kernel("batched GEMM 64x64x64, batch 256", "native", 7.1e11, 10.7, 0.85),
            kernel("batched GEMM 64x64x64, batch 256", "torch", 2.2e11, 10.7, 0.26),
        ),
        notes=("MMA ran: the float32 rate is 3.4 times what VSX can do.",),
    )


def spec(**changes: Any) -> RunSpec:
    """The quick suite with five seeds."""
    return replace(
        RunSpec(workloads=tuple(TITLES), suite="quick", seeds=5, cores=2, threads_per_core=2, seed=42), **changes
    )


def chosen_placement() -> Placement:
    """Where :func:`placement` was to be."""
    return Placement(
        cpus=(0, 1, 8, 9), node=0, nodes=(0,), memory_nodes=(0,), memory_policy=MemoryBinding((0,)), threads=4,
        threads_per_core=2, cores=2, env=placement().env,
    )  # fmt: skip


def software() -> LoadedSoftware:
    """Packages and a linear-algebra library as they are loaded."""
    return LoadedSoftware(
        python="3.11.9",
        packages=(
            Package("torch", "2.9.0", "conda", "cpu_openblas"),
            Package("onnxruntime", "1.22.0", "conda"),
        ),
        blas=(
            BlasLibrary("openblas", "/opt/conda/lib/libopenblas.so.0", "0.3.28", "POWER10", "pthreads", "torch"),
        ),
    )  # fmt: skip


def run(*results: Result, **changes: Any) -> Run:
    """A whole run, valid and with two findings; ``changes`` replace fields of the record."""
    record = Run(
        schema_version=SCHEMA_VERSION,
        run_id="20260801T120000Z-3f2a",
        created="2026-08-01T12:00:00Z",
        tool=Tool("lparbench", "0.1.0", ("lparbench", "run", "--suite", "quick"), Overhead(1.8e-7, 1.1e-6, 6e-8)),
        facts=facts(),
        fingerprint=fingerprint(facts(), software()),
        findings=findings(),
        software=software(),
        spec=spec(),
        placement=chosen_placement(),
        stopping=StoppingRecord(6, 12.5, 0.02, 0.018, "blocks"),
        results=results or workload_results(),
        checks=Checks(
            checked=("memory-off-node", "numa-balancing", "smt-level", "mma-hidden"),
            not_checked=(NotChecked("affinity-score", ("lpar.affinity_score",)),),
            not_applicable=("x86-frequency-governor",),
        ),
    )
    return replace(record, **changes)
