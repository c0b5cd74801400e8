"""Main memory: amount, pages, and the kernel's habits with them."""

from __future__ import annotations

import re
from pathlib import Path

from harness.platform import limits, parse
from harness.platform.auxv import AT_PAGESZ, AuxVector
from harness.platform.facts import HugePages, MemoryFacts
from harness.platform.gather import Gathered
from harness.platform.sysroot import SysRoot

_THP = "kernel/mm/transparent_hugepage"


def collect(sysroot: SysRoot, vector: AuxVector | None) -> MemoryFacts:
    """Amounts in bytes."""
    gathered = Gathered()
    meminfo = parse.key_values(sysroot.read_text("proc/meminfo"), ":")
    pools = _huge_pages(sysroot)
    gathered.note("huge_pages", pools or None, "sysfs:kernel/mm/hugepages")
    return MemoryFacts(
        total_bytes=gathered.note("total_bytes", parse.size(meminfo.get("MemTotal")), "procfs:meminfo MemTotal"),
        available_bytes=gathered.note(
            "available_bytes", parse.size(meminfo.get("MemAvailable")), "procfs:meminfo MemAvailable"
        ),
        base_page_bytes=gathered.first(
            "base_page_bytes",
            (vector.entries.get(AT_PAGESZ) if vector else None, "auxv:AT_PAGESZ"),
            (_kernel_page(sysroot.read_text("proc/self/smaps")), "procfs:self/smaps KernelPageSize"),
        ),
        huge_pages=pools,
        thp_enabled=gathered.note(
            "thp_enabled", parse.selected(sysroot.read_text(f"sys/{_THP}/enabled")), f"sysfs:{_THP}/enabled"
        ),
        thp_defrag=gathered.note(
            "thp_defrag", parse.selected(sysroot.read_text(f"sys/{_THP}/defrag")), f"sysfs:{_THP}/defrag"
        ),
        numa_balancing=gathered.note(
            "numa_balancing", sysroot.read_int("proc/sys/kernel/numa_balancing"), "procfs:sys/kernel/numa_balancing"
        ),
        zone_reclaim_mode=gathered.note(
            "zone_reclaim_mode", sysroot.read_int("proc/sys/vm/zone_reclaim_mode"), "procfs:sys/vm/zone_reclaim_mode"
        ),
        sources=gathered.sources,
    )


def usable_bytes(sysroot: SysRoot | None = None) -> int | None:
    """Memory that this process may use: the machine's, or the limit of its control group where that is less."""
    root = SysRoot(Path("/")) if sysroot is None else sysroot
    total = parse.size(parse.key_values(root.read_text("proc/meminfo"), ":").get("MemTotal"))
    known = [amount for amount in (total, limits.collect(root).memory_limit_bytes) if amount is not None]
    return min(known, default=None)


def free_bytes(sysroot: SysRoot | None = None) -> int | None:
    """Memory that this process may still take: what the kernel has at hand, or what a limit leaves of that."""
    root = SysRoot(Path("/")) if sysroot is None else sysroot
    at_hand = parse.size(parse.key_values(root.read_text("proc/meminfo"), ":").get("MemAvailable"))
    usable = usable_bytes(root)
    taken = parse.size(parse.key_values(root.read_text("proc/self/status"), ":").get("VmRSS")) or 0
    known = [amount for amount in (at_hand, None if usable is None else usable - taken) if amount is not None]
    return max(0, min(known)) if known else None


def _huge_pages(sysroot: SysRoot) -> tuple[HugePages, ...]:
    pools: list[HugePages] = []
    for name in sysroot.list_dir("sys/kernel/mm/hugepages"):
        match = re.fullmatch(r"hugepages-([0-9]{1,12})kB", name)
        if match:
            base = f"sys/kernel/mm/hugepages/{name}"
            pools.append(
                HugePages(
                    size_bytes=int(match[1]) << 10,
                    total=sysroot.read_int(f"{base}/nr_hugepages"),
                    free=sysroot.read_int(f"{base}/free_hugepages"),
                )
            )
    return tuple(sorted(pools, key=lambda pool: pool.size_bytes))


def _kernel_page(text: str | None) -> int | None:
    match = re.search(r"^KernelPageSize:\s*([0-9]{1,9}) kB$", text or "", re.MULTILINE)
    return int(match[1]) << 10 if match else None
