"""Cold-cache mode: what was in the caches is gone before each sample."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

import numpy as np

from harness.errors import InputError
from harness.platform.caches import last_level_bytes
from harness.platform.facts import Facts

_BUFFER_CACHES = 2  # the buffer holds this many times the last-level caches
# A cache that resists scans (re-reference prediction, as on recent x86) keeps lines that were used through one pass.
_PASSES = 2
_SHORTEST_LINE = 64  # bytes; one word of each line is read


class Evictor:
    """Reads a buffer through the caches of every CPU a process is pinned to; call it before a sample.

    Private caches are only reached from their own core, so one thread per CPU reads, all at once.

    Args:
        cpus: the CPUs; the calling thread is taken to be on one of them.
        size_bytes: of the buffer.
    """

    def __init__(self, cpus: Sequence[int], size_bytes: int) -> None:
        words = np.ones(size_bytes // 8, dtype=np.int64)  # written, so that each page is really there
        self._lines = words[:: _SHORTEST_LINE // 8]
        self._turns = threading.Barrier(len(cpus) + 1) if len(cpus) > 1 else None
        for cpu in cpus if self._turns is not None else ():
            threading.Thread(target=self._serve, args=(cpu, self._turns), daemon=True).start()

    def __call__(self) -> None:
        """Evict; returns when all threads are through."""
        if self._turns is None:
            self._read()
        else:
            self._turns.wait()
            self._turns.wait()

    def _serve(self, cpu: int, turns: threading.Barrier) -> None:
        os.sched_setaffinity(0, {cpu})  # of this thread
        while True:
            turns.wait()
            self._read()
            turns.wait()

    def _read(self) -> None:
        for _ in range(_PASSES):
            self._lines.sum()  # numpy lets go of the interpreter lock meanwhile


def eviction_bytes(facts: Facts, cpus: Sequence[int]) -> int:
    """Size of the buffer that evicts the caches ``cpus`` can use: twice the last level.

    On Power a core casts lines out into the caches of its neighbours on the chip, so all of its node's count.

    Raises:
        InputError: the size of the last-level cache is not known.
    """
    power = (facts.cpu.architecture or "").startswith("ppc64")
    nodes = {core.node for core in facts.topology.cores if set(core.cpus) & set(cpus)}
    near = {cpu for core in facts.topology.cores if core.node in nodes for cpu in core.cpus} if power else set()
    total = last_level_bytes(facts.caches, near | set(cpus))
    if not total:
        raise InputError(
            "The size of the last-level cache is not known here, so a cold cache cannot be promised.",
            remedy="Measure with --cache hot; `lparbench probe` shows what is known of the caches.",
        )
    return _BUFFER_CACHES * total
