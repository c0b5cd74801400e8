"""Builds run records of every kind a reader may meet: each figure is made up, each record holds to the schema."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

from harness.record.model import (
    SCHEMA_VERSION,
    Block,
    DatasetRecord,
    KernelRate,
    Metric,
    PlacementRecord,
    Published,
    Result,
    Roof,
    Roofline,
    Run,
    Series,
    Validity,
    Verdict,
)

TITLES = {"nsl-kdd-autoencoder": "Autoencoder, NSL-KDD", "nsl-kdd-mlp": "MLP, NSL-KDD"}
BATCHES = (1, 64, 1024, 8192)


def topology(
    *,
    nodes: int = 2,
    cores_per_node: int = 4,
    smt: int = 8,
    online_smt: int | None = None,
    memoryless: tuple[int, ...] = (),
) -> dict[str, Any]:
    """Cores of a machine as ``facts.topology`` has them; ``online_smt`` threads of each core are on line."""
    online = smt if online_smt is None else online_smt
    cores, members = [], []
    for node in range(nodes):
        node_cpus: list[int] = []
        for core in range(cores_per_node):
            identifier = node * cores_per_node + core
            present = [identifier * smt + thread for thread in range(smt)]
            on = present[:online]
            node_cpus += on
            halves = [[c for c in on if (c - present[0]) % 2 == half] for half in (0, 1)] if smt == 8 else [on]
            cores.append(
                {"id": identifier, "node": node, "package": node, "cpus": on, "cpus_present": present, "halves": halves}
            )
        members.append(
            {
                "id": node,
                "cpus": node_cpus,
                "memory_bytes": 0 if node in memoryless else 256 << 30,
                "distances": {str(other): 10 if other == node else 40 for other in range(nodes)},
            }
        )
    return {
        "cpus_online": sorted(cpu for core in cores for cpu in core["cpus"]),
        "cores": cores,
        "nodes": members,
        "smt": {"max": smt, "online": online, "mixed": False},
    }


def facts(**layout: Any) -> dict[str, Any]:
    """Facts of a POWER10 LPAR."""
    return {
        "topology": topology(**layout),
        "machine": {"mtm": "9105-22A", "name": "Power S1022", "generation": "POWER10"},
        "cpu": {
            "architecture": "ppc64le",
            "model_name": "POWER10 (architected), altivec supported",
            "generation_hw": "POWER10",
            "generation_mode": "POWER10",
            "clock_hz": 3.55e9,
            "clock_max_hz": None,
            "isa": {"altivec": True, "vsx": True, "arch_3_1": True, "mma": True},
        },
        "lpar": {
            "partition_name": "bench1",
            "mode": "shared uncapped",
            "capped": False,
            "entitled_cores": 4.0,
            "virtual_processors": 8,
            "affinity_score": 72,
        },
        "memory": {"total_bytes": 512 << 30, "base_page_bytes": 65536},
        "kernel": {"release": "6.12.0", "hypervisor": "PowerVM", "command_line": "root=/dev/sda2"},
        "load": {"load_1m": 0.42, "steal_share": 0.0012},
        "emulation": {"emulated": False},
    }


def findings() -> tuple[dict[str, Any], ...]:
    """Two findings, one costly."""
    return (
        {
            "id": "memory-off-node",
            "severity": "high",
            "title": "Half of the memory is on a node without CPUs",
            "evidence": [
                {"path": "topology.nodes[1].memory_bytes", "value": 256 << 30, "source": "/sys/devices/system/node"}
            ],
            "why": "Pages there are reached over the fabric, at about twice the latency of local memory.",
            "fix": ["chhwres -r mem -m SERVER -o m -p LPAR -q 262144"],
            "effect": "10 to 30 % of throughput when the working set leaves the caches",
            "loss": 0.3,
            "source": "IBM Power virtualization best practices",
        },
        {
            "id": "numa-balancing",
            "severity": "low",
            "title": "Automatic NUMA balancing is on",
            "evidence": [{"path": "kernel.numa_balancing", "value": 1, "source": "/proc/sys/kernel/numa_balancing"}],
            "why": "The kernel unmaps pages to see who touches them; a pinned process gains nothing from it.",
            "fix": ["sysctl kernel.numa_balancing=0"],
            "effect": "1 to 3 %",
            "loss": 0.03,
            "source": "Linux admin guide, sysctl/kernel",
        },
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
        memory_policy="bind:0",
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


def blocks(count: int, cpus: tuple[int, ...], **timed: Any) -> tuple[Block, ...]:
    """``count`` processes, each with its own level."""
    return tuple(
        Block(
            index=index,
            order=index % 3,
            seed=1000 + index,
            pid=4000 + index,
            wall_s=3.2 + 0.1 * index,
            rss_peak_bytes=410 << 20,
            steal_share=0.002,
            cpus_allowed=cpus,
            cpus_sampled=cpus[:1],
            page_nodes={"0": 24000},
            series=(series(index, **timed),),
        )
        for index in range(count)
    )


def evaluation(*, classes: bool = True) -> dict[str, Any]:
    """Accuracy of a detector as its evaluation reports it."""
    source = random.Random(7)
    steps = [index / 50 for index in range(51)]
    return {
        "metrics": {
            name: {"value": value, "sd": 0.004, "n": 5}
            for name, value in {
                "auc_roc": 0.949,
                "auc_pr": 0.961,
                "f1": 0.897,
                "precision": 0.913,
                "recall": 0.882,
                "accuracy": 0.8843,
                "best_f1": 0.9021,
            }.items()
        },
        "confusion": {"tn": 8627, "fp": 1084, "fn": 1524, "tp": 11309},
        "curves": {
            "roc": {"fpr": [s**2.5 for s in steps], "tpr": [s**0.35 for s in steps]},
            "pr": {"recall": steps, "precision": [1 - 0.43 * s**6 for s in steps]},
        },
        "histogram": {
            "edges": [index * 0.1 for index in range(31)],
            "scale": "linear",
            "normal": [int(2000 * math.exp(-index / 3)) + source.randrange(9) for index in range(30)],
            "anomaly": [int(900 * math.exp(-(((index - 16) / 6) ** 2))) for index in range(30)],
        },
        "threshold": 0.61,
        "threshold_rule": "85th percentile of the training scores of normal rows",
        "prevalence": 0.5692,
        "per_class_recall": (
            {
                "dos": {"recall": 0.94, "n": 7458},
                "probe": {"recall": 0.93, "n": 2421},
                "r2l": {"recall": 0.55, "n": 2754},
                "u2r": {"recall": 0.71, "n": 200},
            }
            if classes
            else {}
        ),
        "loss_curve": [0.9 * math.exp(-epoch / 6) + 0.05 for epoch in range(30)],
        "references": [
            {"name": "isolation forest", "metrics": {"auc_roc": 0.93, "accuracy": 0.81}},
            {"name": "gradient boosting", "failure": "It learns from labels."},
        ],
        "operating_points": [
            {
                "rule": "recall 0.7 on validation labels",
                "threshold": 0.4,
                "precision": 0.613,
                "recall": 0.702,
                "f1": 0.654,
                "true_positive": 7021,
                "false_positive": 4432,
                "false_negative": 2980,
                "cost": 34232.0,
            }
        ],
        "intervals": {"auc_pr": {"low": 0.951, "high": 0.972, "method": "95 % stratified bootstrap"}},
        "references_basis": {
            "train_rows": 20_000,
            "of_train_rows": 100_778,
            "test_rows": 20_000,
            "of_test_rows": 22_544,
            "encoding": "onehot-log-minmax",
            "prevalence": 0.569,
            "seed": 0,
        },
        "headline": "accuracy",
        "oracle": ["best_f1"],
        "floor": 0.87,
        "passed": True,
        "epochs": {"trained": 30, "scheduled": 30},
        "limits": {"epochs": None, "rows": None},
        "notes": ["The published accuracy was read off one run; ours is a mean over five seeds."],
    }


def _interval(value: float, unit: str, *, half: float = 0.02, n: int = 6, note: str | None = None) -> Metric:
    return Metric(value, unit, value * (1 - half), value * (1 + half), n, note)


def _by_batch() -> dict[str, dict[str, Metric]]:
    return {
        str(size): {
            "rows_per_s": _interval(5.2e6 * size / (size + 9), "row/s"),
            "call_s": _interval((size + 9) / 5.2e6, "s"),
            "mean_inference_s": _interval((size + 9) / 5.1e6, "s"),
        }
        for size in BATCHES
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
        blocks=blocks(6, where.cpus, batch_size=1 if scenario != "offline" else 8192, centre_s=call_s),
        metrics={
            "rows_per_s": _interval(4.81e6 if scenario == "offline" else 4.7e5, "row/s"),
            "call_s": _interval(call_s, "s"),
            "call_all_samples_s": _interval(1.004 * call_s, "s", half=0.03),
            "mean_inference_s": _interval(1.11 * call_s, "s"),
            "mean_inference_per_row_s": _interval(1.11 * call_s / (8192 if scenario == "offline" else 1), "s"),
            **({} if scenario == "offline" else latencies),
        },
        by_batch=_by_batch() if scenario == "offline" else {},
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
        blocks=blocks(6, where.cpus, name="steps", batch_size=None, centre_s=4.1e-4, samples=200),
        metrics={
            "train_seconds": _interval(12.3, "s", n=5),
            "train_rows_per_s": _interval(3.07e5, "row/s"),
            "step_s": _interval(4.1e-4, "s"),
            "step_all_samples_s": _interval(4.12e-4, "s"),
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


def run(*results: Result, **changes: Any) -> Run:
    """A whole run, valid and with two findings; ``changes`` replace fields of the record."""
    record = Run(
        schema_version=SCHEMA_VERSION,
        run_id="20260801T120000Z-3f2a",
        created="2026-08-01T12:00:00Z",
        tool={
            "name": "lparbench",
            "version": "0.1.0",
            "argv": ["lparbench", "run", "--suite", "quick"],
            "overhead": {"per_call_s": 1.8e-7, "per_flagged_sample_s": 1.1e-6, "clock_cost_s": 6e-8},
        },
        facts=facts(),
        fingerprint={"arch": "ppc64le", "cpu": "POWER10", "smt": 8},
        findings=findings(),
        software={
            "python": "3.11.9",
            "packages": [
                {"name": "torch", "version": "2.9.0", "origin": "conda", "build": "cpu_openblas"},
                {"name": "onnxruntime", "version": "1.22.0", "origin": "conda", "build": None},
            ],
            "blas": [
                {
                    "name": "openblas",
                    "path": "/opt/conda/lib/libopenblas.so.0",
                    "version": "0.3.28",
                    "kernel": "POWER10",
                    "threading": "pthreads",
                    "used_by": "torch",
                }
            ],
        },
        plan={"suite": "quick", "protocol": "clean", "seeds": 5, "blocks": 6, "seed": 42},
        results=results or workload_results(),
        checks={
            "checked": ["memory-off-node", "numa-balancing", "smt-level", "mma-hidden"],
            "not_checked": [{"id": "affinity-score", "missing": ["lpar.affinity_score"]}],
            "not_applicable": ["x86-frequency-governor"],
        },
    )
    return replace(record, **changes)
