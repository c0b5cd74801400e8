"""How long the site of an archive of many runs takes: 20 partitions, measured hundreds of times, a few with a step.

``python tests/bench/site_figures.py [RUNS]``: 10,000 runs take some minutes to make and take in; the bar is 30 s
for the site. Exits with 1 when it is missed. Times and memory are those of the process that writes the site alone.
"""

from __future__ import annotations

import hashlib
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support import records

from harness.compare.archived_sides import KIND, side_text
from harness.record.archive import Query, opened
from harness.record.model import ProcessRecord, Run
from harness.record.store import write_run

PARTITIONS = 20
BAR_S = 30.0
KINDS = 17  # of noise
AT_ONCE = 200  # runs on the disk before they are taken in


def archive_of(runs: int, place: Path) -> None:
    """Runs of twenty partitions into an archive, taken in as the command does."""
    base = records.run()
    with opened(str(place), new=True) as store:
        for first in range(0, runs, AT_ONCE):
            with tempfile.TemporaryDirectory(dir=place.parent) as directory:
                for number in range(first, min(first + AT_ONCE, runs)):
                    write_run(_run(base, number, runs), Path(directory))
                store.add([Path(directory)], keeping=(KIND, side_text))
        assert len(store.entries(Query())) == runs


def _run(base: Run, number: int, runs: int) -> Run:
    partition, at = number % PARTITIONS, number // PARTITIONS
    stepped = partition % 7 == 0 and at > runs // PARTITIONS // 2
    serial = hashlib.sha256(b"frame").hexdigest()[:16]
    facts = replace(base.facts, lpar=replace(base.facts.lpar, partition_id=partition + 1, serial_sha256=serial))
    result = base.results[0]
    series = _processes(1.15 if stepped else 1.0, number % KINDS)
    day, hour = divmod(at, 24)
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1.7e9 + 86400 * day + 3600 * hour + partition))
    return replace(
        base, run_id=f"run-{number:05d}", created=created, facts=facts, results=(replace(result, processes=series),)
    )


@cache
def _processes(slower: float, kind: int) -> tuple[ProcessRecord, ...]:
    centre = 1e-3 * slower * (1 + 0.01 * math.sin(kind))
    return records.processes(6, records.run().results[0].placement.cpus, batch_size=8192, centre_s=centre, samples=90)


@contextmanager
def _place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


def main() -> int:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with _place() as directory:
        archive_of(runs, directory / "team.sqlite")
        started = time.perf_counter()
        command = [sys.executable, "-m", "harness", "site", str(directory / "team.sqlite"), str(directory / "site")]
        subprocess.run(command, check=True)
        took = time.perf_counter() - started
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        pages = [page.stat().st_size for page in (directory / "site").iterdir()]
    print(f"{runs:,} runs: {took:.1f} s (bar {BAR_S:g} s), {used.ru_utime + used.ru_stime:.1f} s of CPU,", end=" ")
    print(f"{used.ru_maxrss >> 10:,} MiB, {len(pages)} pages, the largest {max(pages) >> 10:,} KiB")
    return int(took > BAR_S)


if __name__ == "__main__":
    sys.exit(main())
