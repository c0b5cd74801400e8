"""Other work on the machine, at the moment of looking."""

from __future__ import annotations

from harness.platform import parse
from harness.platform.facts import LoadFacts
from harness.platform.gather import Gathered
from harness.platform.sysroot import SysRoot


def collect(sysroot: SysRoot) -> LoadFacts:
    """Load averages and the share of stolen time since boot."""
    gathered = Gathered()
    words = (sysroot.read_text("proc/loadavg") or "").split()
    averages = [parse.number(word) for word in words[:3]] if len(words) >= 3 else [None] * 3
    runnable = parse.integer(words[3].partition("/")[0]) if len(words) > 3 else None
    uptime = (sysroot.read_text("proc/uptime") or "").split()
    return LoadFacts(
        load_1m=gathered.note("load_1m", averages[0], "procfs:loadavg"),
        load_5m=gathered.note("load_5m", averages[1], "procfs:loadavg"),
        load_15m=gathered.note("load_15m", averages[2], "procfs:loadavg"),
        runnable=gathered.note("runnable", runnable, "procfs:loadavg"),
        steal_share=gathered.note("steal_share", steal_share(sysroot.read_text("proc/stat")), "procfs:stat cpu"),
        uptime_s=gathered.note("uptime_s", parse.number(uptime[0]) if uptime else None, "procfs:uptime"),
        sources=gathered.sources,
    )


def steal_share(text: str | None) -> float | None:
    """Stolen share of all CPU time in ``/proc/stat``; ``None`` when the kernel does not count it."""
    for line in (text or "").splitlines():
        words = line.split()
        if words and words[0] == "cpu":
            # user nice system idle iowait irq softirq steal; guest times after them are within user and nice
            ticks = [parse.integer(word) for word in words[1:9]]
            known = [tick for tick in ticks if tick is not None and tick >= 0]
            if len(ticks) == len(known) == 8 and sum(known) > 0:
                return known[7] / sum(known)
            return None
    return None
