"""Sweeps without a machine: plans, worker processes that answer from a table of rates, and journals made by hand."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from support import records

from harness.placement.instances import divide_among_instances
from harness.placement.plan import Placement
from harness.placement.smt import SmtMethod
from harness.platform.facts import Facts
from harness.record.model import Series
from harness.record.sweep_model import Sweep
from harness.scoring import artifacts
from harness.sweeps.design import SweepPlan, slots_of
from harness.sweeps.result import sweep_record
from harness.sweeps.settings import Factors, Place, Setting, machine_of, settings_of
from harness.workers.jobs import FitJob, Job, Outcome, SurveyJob, TogetherJob

Rate = Callable[[TogetherJob, Placement], float]
_SAMPLES = 40
_SAMPLE_NS = 2_000_000


class Quiet:
    """Progress that only keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.units = 0

    def start(self, total: int, text: str) -> None:
        self.units = total

    def advance(self, text: str) -> None:
        self.units -= 1

    def say(self, text: str) -> None:
        self.said.append(text)


def factors(**changes: Any) -> Factors:
    """One level of everything, but for ``changes``."""
    one = Factors(("w",), (8,), (8,), (1,), (Place(0),), (64,), ("eager",), ("float32",), (1,))
    return replace(one, **changes)


def sweep_plan(
    facts: Facts, chosen: Factors, *, blocks: int = 6, seed: int = 1, method: SmtMethod = SmtMethod.SWITCHED
) -> SweepPlan:
    """The plan of these factors on the machine of these facts."""
    settings, skipped = settings_of(chosen, machine_of(facts.topology, facts.limits.allowed_cpus, method))
    return plan_of(settings, facts.to_json(), blocks=blocks, seed=seed, method=method, skipped=skipped)


def plan_of(
    settings: tuple[Setting, ...],
    facts: Mapping[str, Any],
    *,
    blocks: int = 6,
    seed: int = 1,
    method: SmtMethod = SmtMethod.SWITCHED,
    skipped: Mapping[str, int] | None = None,
) -> SweepPlan:
    """The plan of these settings."""
    workloads = dict.fromkeys(setting.workload for setting in settings)
    return SweepPlan(
        sweep_id="20260801T120000Z-sweep-3f2a1b",
        created="2026-08-01T12:00:00Z",
        argv=("lparbench", "sweep", "w", "--cores", "1,2"),
        method=method,
        seed=seed,
        blocks=blocks,
        series_seconds=0.1,
        entries={name: name for name in workloads},
        titles={name: f"Title of {name}" for name in workloads},
        data_dir=None,
        protocol="clean",
        epochs=1,
        rows=None,
        facts={"software": {"packages": []}, **facts},
        margin=0.03,
        settings=settings,
        skipped=dict(skipped or {}),
        slots=slots_of(settings, blocks=blocks, seed=seed),
    )


def noise(block: int, cell: int, sd: float = 0.004) -> float:
    """A factor of about 1 that depends on the slot alone."""
    return math.exp(random.Random(f"{block}/{cell}").gauss(0, sd))


class ScriptedExecutor:
    """Answers jobs at once: ``rate`` rows per second for each setting, in samples of 2 ms.

    Attributes:
        measured: directory name and CPUs of every measurement, in order.
    """

    def __init__(self, rate: Rate, *, seconds: float = 0.0, backends: tuple[str, ...] = ("eager", "native")) -> None:
        self.rate, self.seconds, self.backends = rate, seconds, backends
        self.measured: list[tuple[str, tuple[int, ...]]] = []

    def run(self, job: Job, plan: Placement, *, timeout_s: float) -> Outcome:
        if isinstance(job, SurveyJob):
            return Outcome({"overhead": None, "software": None, "peak": None}, None, 1, 0.5)
        if isinstance(job, FitJob):
            directory = Path(job.directory)
            directory.mkdir(parents=True)
            artifacts.write_rows(directory, *(np.ones(8, np.float32) for _ in range(4)))
            return Outcome({"dataset": {"origin": "synthetic"}, "backends": list(self.backends)}, None, 1, 0.5)
        assert isinstance(job, TogetherJob)
        self.measured.append((Path(job.directory).name, plan.cpus))
        time.sleep(self.seconds)
        block, _, cell = Path(job.directory).name.partition("-")
        rate = self.rate(job, plan) * noise(int(block), int(cell)) / len(job.instances)
        parts = divide_among_instances(plan, len(job.instances))
        for instance in job.instances:
            Path(instance.directory).mkdir(parents=True)
            artifacts.write_measured_scores(Path(instance.directory), np.ones(8, np.float32))
        answers = [_answer(part, job.instances[0].batch_sizes[0], rate) for part in parts]
        return Outcome({"instances": answers}, None, 1, 0.5)


def _answer(part: Placement, batch: int, rate: float) -> dict[str, Any]:
    inner = max(1, round(rate * _SAMPLE_NS * 1e-9 / batch))
    duration = round(batch * inner / rate * 1e9)
    series = Series("call", batch, inner, (duration,) * _SAMPLES, (0,) * _SAMPLES, 0, True, None, None)
    observation = {
        "cpus_allowed": list(part.cpus), "cpus_sampled": list(part.cpus), "threads": part.threads,
        "busy_threads": part.threads, "busy_cpus": list(part.cpus),
        "page_nodes": {str(node): 100 for node in part.memory_nodes}, "memory_policy": part.memory_policy,
        "node_cpus": {}, "env": dict(part.env),
    }  # fmt: skip
    completed = np.cumsum(series.durations_ns).tolist()
    trace = {"series": asdict(series), "began_ns": 0, "completed_ns": completed}
    return {"traces": [trace], "steal_share": 0.0, "rss_peak_bytes": 1 << 20, "observation": observation}


def journal_of(plan: SweepPlan, rate: Callable[[Setting, int], float | None]) -> list[dict[str, Any]]:
    """A finished journal: ``rate`` of a setting in a block, None where the process failed."""
    entries: list[dict[str, Any]] = [
        {"kind": "session", "at": "2026-08-01T12:00:00Z"},
        {"kind": "survey", "wall_s": 2.0, "payload": None},
    ]
    for name in plan.entries:
        dataset = {"origin": "real"}
        entries.append({"kind": "fit", "workload": name, "payload": {"dataset": dataset}, "failure": None})
    for slot in plan.slots:
        setting = plan.settings[slot.cell]
        found = rate(setting, slot.block)
        entry = {"kind": "slot", "slot": slot.name, "block": slot.block, "cell": slot.cell, "cpus": "0-7"}
        if found is None:
            entries.append({**entry, "failure": "killed by signal 9 (SIGKILL)"})
            continue
        value = found * noise(slot.block, slot.cell)
        duration = round(setting.batch / value * 1e9)
        series = Series("call", setting.batch, 1, (duration,) * _SAMPLES, (0,) * _SAMPLES, 0, True, None, None)
        rates = {"rows_per_s": value, "undisturbed_rows_per_s": value, "window_share": 1.0}
        entries.append(
            {
                **entry,
                "failure": None,
                "wall_s": 2.0,
                "rates": rates,
                "series": [asdict(series)],
                "steal_shares": [0.0],
                "mismatches": [],
                "disagreement": None,
            }
        )
    return entries


BY_SMT = {1: 0.8e6, 2: 1.0e6, 4: 0.995e6, 8: 0.75e6}


def power_sweep(title: str = "Autoencoder, NSL-KDD", backend: str = "eager") -> Sweep:
    """SMT 1, 2, 4, 8 by 1, 2 and 4 cores on two nodes: SMT 2 wins, SMT 4 ties, SMT 8 and node 1 lose."""
    settings = tuple(
        Setting("w", backend, "float32", 64, Place(node), smt, smt, cores, 1)
        for cores in (1, 2, 4)
        for node in (0, 1)
        for smt in BY_SMT
    )

    def rate(one: Setting, block: int) -> float:
        return BY_SMT[one.smt] * one.cores**0.9 * (0.9 if one.place.node else 1.0)

    plan = plan_of(settings, records.facts(), skipped={"8 cores: node 0 has 4": 8})
    plan = replace(plan, titles=dict.fromkeys(plan.titles, title))
    return sweep_record(plan, journal_of(plan, rate))
