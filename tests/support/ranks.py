"""Fits by several ranks, in threads or in processes of which one may be killed."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import torch
from torch import nn

from harness.placement.model import MemoryBinding, Placement, process_environment
from harness.record.spec import Reduction
from harness.training.shared_group import NAME
from harness.workers.executor import ProcessExecutor
from harness.workers.jobs import FitJob, ranked
from harness.workers.outcomes import JobResult
from harness.workload.files import find_workload


def seeded_apart(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """In place of ``harness.training.loop.seeded``, for ranks that are threads: these share torch's random state."""
    net, generator = build(), np.random.default_rng(seed)
    with torch.no_grad():
        for each in net.parameters():
            each.copy_(torch.from_numpy(generator.uniform(-0.4, 0.4, tuple(each.shape))))
    return net


def placements(count: int) -> tuple[Placement, ...]:
    """A CPU for each rank, in turn."""
    cpus = sorted(os.sched_getaffinity(0))
    chosen = [cpus[rank % len(cpus)] for rank in range(count)]
    return tuple(
        Placement((cpu,), None, (), (), MemoryBinding(), 1, 1, 1, process_environment((cpu,))) for cpu in chosen
    )


def fit_job(directory: Path, *, endless: bool = False, save: Path | None = None) -> FitJob:
    """A small autoencoder on a file of its own; ``endless``: it does not come to an end."""
    generator = np.random.default_rng(1)
    file = directory.parent / "rows.csv"
    lines = [
        ",".join(f"{value:.3f}" for value in row) + f",{int(row[0] > 1)}" for row in generator.normal(size=(500, 6))
    ]
    file.write_text("\n".join(["a,b,c,d,e,f,verdict", *lines]) + "\n", encoding="utf-8")
    workload = find_workload("nsl-kdd-autoencoder").on_dataset(f"csv:{file}", {"label": "verdict"})
    training = replace(workload.clean.training, epochs=1_000_000 if endless else 3)
    return FitJob(
        workload=replace(workload, clean=replace(workload.clean, training=training)), protocol="clean", data_dir=None,
        seeds=(0,), trainer="torch", epochs=None, rows=None, threads=1, directory=str(directory),
        save=None if save is None else str(save),
    )  # fmt: skip


def kill_a_rank(
    directory: Path, count: int, victim: int, after_s: float, reduce: Reduction = "gloo"
) -> tuple[JobResult, float, list[psutil.Process]]:
    """SIGKILL for a rank, so long after all have met: the result, seconds until it was there, what is left."""
    results: list[JobResult] = []
    job = fit_job(directory / "fit", endless=True, save=directory / "bundle")
    where = placements(count)
    fitting = threading.Thread(
        target=lambda: results.append(ProcessExecutor().run(ranked(job, where, None, reduce), where[0], timeout_s=300))
    )
    fitting.start()
    own = psutil.Process()
    meeting = directory / "fit" / "meeting"

    def met() -> bool:
        if reduce == "native":
            return sum(map(_shares_memory, own.children())) == count
        return meeting.exists() and f"here/{count - 1}".encode() in meeting.read_bytes()

    while fitting.is_alive() and not met():
        time.sleep(0.02)
    time.sleep(after_s)
    workers = {job: child for child in own.children() for job in child.cmdline() if job.endswith("job.json")}
    directory_of = f"/rank-{victim}/" if victim else "/fit/job.json"
    next(worker for job, worker in workers.items() if directory_of in job).kill()
    started = time.monotonic()
    fitting.join()
    _, left = psutil.wait_procs(list(workers.values()), timeout=1)
    return results[0], time.monotonic() - started, left


def _shares_memory(process: psutil.Process) -> bool:
    """Whether a process has the memory by which ranks sum."""
    with contextlib.suppress(OSError):
        handles = Path(f"/proc/{process.pid}/fd").iterdir()
        return any(str(handle.readlink()).startswith(f"/memfd:{NAME}") for handle in handles)
    return False
