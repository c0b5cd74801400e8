"""Counters of a measuring process over each of its scenarios, where a run asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from harness.platform import lpar, parse, purr
from harness.platform.perf import Counters, Counts
from harness.platform.sysroot import SysRoot
from harness.record.model import ProcessCounters

_PERCENT = 100.0  # lparcfg counts entitlement in hundredths of a core


class Counting:
    """Counts from its making on, which is before the libraries start their threads.

    Args:
        cpus: that the process is pinned to.
        sysroot: the machine.
        counters: of the processor and the kernel.
    """

    def __init__(self, cpus: Sequence[int], sysroot: SysRoot | None = None, counters: Counters | None = None) -> None:
        self._cpus = tuple(cpus)
        self._sysroot = sysroot or SysRoot()
        self._counters = counters or Counters()

    @contextmanager
    def over(self, sink: list[ProcessCounters]) -> Iterator[None]:
        """Appends to ``sink`` what the work inside took."""
        clock, ratio = purr.read(self._sysroot), purr.of_cpus(self._sysroot, self._cpus)
        before = self._counters.read()
        yield
        counts = self._counters.since(before)
        entitled = parse.integer(lpar.read(self._sysroot).get("partition_entitled_capacity", ""))
        consumed = purr.consumption(
            clock, purr.read(self._sysroot), entitled=None if entitled is None else entitled / _PERCENT
        )
        after = purr.of_cpus(self._sysroot, self._cpus)
        sink.append(_record(counts, consumed, purr.frequency_ratio(ratio, after)))


def _record(counts: Counts, consumed: purr.Consumption | None, frequency: float | None) -> ProcessCounters:
    return ProcessCounters(
        values=dict(counts.values),
        missing=dict(counts.missing),
        physical_cores=None if consumed is None else consumed.physical_cores,
        entitled_share=None if consumed is None else consumed.entitled_share,
        frequency_ratio=frequency,
    )


def together(parts: Sequence[ProcessCounters]) -> ProcessCounters | None:
    """Of several processes at once: their counts added; what a whole partition consumed is in each of them."""
    if not parts:
        return None
    first = parts[0]
    names = set.intersection(*({*part.values} for part in parts))
    values = {name: sum(part.values[name] for part in parts) for name in first.values if name in names}
    missing = {name: reason for part in parts for name, reason in part.missing.items()}
    return ProcessCounters(values, missing, first.physical_cores, first.entitled_share, first.frequency_ratio)
