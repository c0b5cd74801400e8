"""The host's end of a fleet with a measurement that is made up: `python fleet_host.py fleet host`, over a real ssh.

Everything but facts and measurement is the product's own. `LPARBENCH_TEST_HOST` is the number of the host and what it
does wrong: "2", "2 banner", "2 huge", or "2 slow", which measures for a minute unless the file `QUICK` is there.
"2 other" has another kernel.
"2 tell" writes to the file `LPARBENCH_TEST_TELL` in which environment and on which CPUs it and its parent are.
"2 timed" measures for `LPARBENCH_TEST_SECONDS`, and adds to that file when the process began, when its measurement
began and when that ended, in seconds since the start of the system.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

NUMBER, _, WRONG = os.environ["LPARBENCH_TEST_HOST"].partition(" ")
while WRONG == "huge":
    sys.stdout.buffer.write(b"x" * (1 << 20))
sys.path.insert(0, str(Path(__file__).parents[2]))

from harness.fleet import host  # noqa: E402
from harness.fleet.protocol import Looked  # noqa: E402
from harness.process_tree import in_tree  # noqa: E402
from harness.record.model import Run  # noqa: E402
from harness.record.spec import RunSpec  # noqa: E402
from tests.support import fleets  # noqa: E402

FACTS = fleets.facts(int(NUMBER), NUMBER * 16)
if WRONG == "other":
    FACTS = replace(FACTS, kernel=replace(FACTS.kernel, release="9.9-other"))


def measured(spec: RunSpec, *_: object, **__: object) -> Run:
    """A record of this host; a process is at work meanwhile, as a worker would be."""
    seconds = "60" if WRONG == "slow" and not Path(os.environ.get("QUICK", "")).is_file() else "0.05"
    if WRONG == "tell":
        _tell(Path(os.environ["LPARBENCH_TEST_TELL"]))
    if WRONG == "timed":
        _timed(float(os.environ["LPARBENCH_TEST_SECONDS"]))
        return fleets.record(FACTS, spec, 1.7e-3)
    subprocess.run(["sleep", seconds], env=in_tree(os.environ), check=True)
    return fleets.record(FACTS, spec, 1.7e-3)


def _timed(seconds: float) -> None:
    """Take so long, and say since when this process is there, when that began and when it ended."""
    started = int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
    times = [started / os.sysconf("SC_CLK_TCK"), time.clock_gettime(time.CLOCK_BOOTTIME)]
    time.sleep(seconds)
    with Path(os.environ["LPARBENCH_TEST_TELL"]).open("a", encoding="utf-8") as log:
        log.write(json.dumps([*times, time.clock_gettime(time.CLOCK_BOOTTIME)]) + "\n")


def looked() -> Looked:
    """What this host says of itself."""
    if WRONG == "timed":
        _timed(0.0)
    return fleets.looked(FACTS, machine_id=NUMBER * 16)


def _tell(path: Path) -> None:
    tasks = [int(task.name) for task in Path(f"/proc/{os.getppid()}/task").iterdir()]
    seen = {
        "environment": sorted(os.environ),
        "own": sorted(os.sched_getaffinity(0)),
        "parent": sorted({cpu for task in tasks for cpu in os.sched_getaffinity(task)}),
    }
    path.write_text(json.dumps(seen), encoding="utf-8")


if __name__ == "__main__":
    from harness.cli.main import main

    host.run_once = measured
    host._look = looked
    if WRONG == "banner":
        print('Welcome to {"this": "host"}', flush=True)
    main()
