"""What the placement launcher tells the program it starts, through the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping

from harness.platform import parse

CPUS_VARIABLE = "LPARBENCH_CPUS"  # the CPUs of the plan, in the order of its threads: "0,8,1,9"
POLICY_VARIABLE = "LPARBENCH_MEMORY_POLICY"  # the memory policy in force, or why it is the default


def pinned_cpus(environ: Mapping[str, str] | None = None) -> tuple[int, ...]:
    """The CPUs this process was pinned to, one per thread, in the order of the plan.

    Not the same as ``os.sched_getaffinity(0)``: GNU OpenMP binds the thread that loads it to the first place, and
    every thread started from there inherits that one CPU. Without a launcher it is the affinity of this thread.
    """
    environ = os.environ if environ is None else environ
    numbers = [parse.integer(part) for part in environ.get(CPUS_VARIABLE, "").split(",")]
    planned = tuple(cpu for cpu in numbers if cpu is not None and cpu >= 0)
    return planned or tuple(sorted(os.sched_getaffinity(0)))
