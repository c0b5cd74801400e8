"""A record of a million latency samples, written, read and rendered: ``python tests/bench/million_samples.py``."""

from __future__ import annotations

import random
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.records import inference, run, series

from harness.record.store import load_run, write_run
from harness.reporting.html import render

SAMPLES = 1_000_000
MAX_SECONDS = 10.0
MAX_BYTES = 500 << 20


def main() -> int:
    """Print seconds and peak memory; 1 when either is above its bar."""
    rng = random.Random(1)
    processes = []
    base = inference("single_stream", batch_size=1)
    for process in base.processes:
        count = SAMPLES // len(base.processes)
        durations = tuple(round(rng.lognormvariate(11.5, 0.2)) for _ in range(count))
        one = replace(series(1, samples=200), durations_ns=durations, flags=(0,) * count, warmup=0)
        processes.append(replace(process, series=(one,)))
    record = run(replace(base, processes=tuple(processes)))
    with tempfile.TemporaryDirectory() as scratch:
        began, cpu = time.perf_counter(), time.process_time()
        page = render(record)
        directory = write_run(record, Path(scratch), {"report.html": page})
        written, again = time.perf_counter() - began, time.perf_counter()
        load_run(directory)
        read = time.perf_counter() - again
        size = (directory / "run.json").stat().st_size
        used = time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"written and reported in {written:.1f} s, read in {read:.1f} s ({used:.1f} s of CPU time),"
        f" peak {peak / 2**20:.0f} MiB; run.json {size / 2**20:.1f} MiB, report.html {len(page) / 1000:.0f} kB"
    )
    return int(written > MAX_SECONDS or peak > MAX_BYTES)


if __name__ == "__main__":
    sys.exit(main())
