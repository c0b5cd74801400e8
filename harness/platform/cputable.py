"""What a core can do per cycle, and its caches, from the tables in ``sysconfig/cpus``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from harness.errors import InputError
from harness.platform import tables
from harness.platform.facts import CpuFacts
from harness.platform.tables import Table

DTYPES = ("float64", "float32", "bfloat16", "float16", "int16", "int8", "int4")


@dataclass(frozen=True)
class Unit:
    """One instruction path of a core half. ``ops_per_cycle``: type -> additions plus multiplications."""

    name: str
    requires: tuple[str, ...]  # features of facts.cpu.isa
    ops_per_cycle: Mapping[str, float]
    accumulators: int | None  # independent chains that keep it busy
    verified: bool
    source: str


@dataclass(frozen=True)
class TableCache:
    """One cache as published, for one half unless ``shared_by_halves`` says more."""

    level: int
    type: str
    size_bytes: int
    ways: int | None
    line_bytes: int
    latency_cycles: float | None
    shared_by_halves: int
    verified: bool
    source: str


@dataclass(frozen=True)
class CpuTable:
    """One processor, with the conditions under which a machine has it; all that are given must hold."""

    name: str
    halves_per_core: int
    threads_per_half: int
    generations: tuple[str, ...]
    architectures: tuple[str, ...]
    vendor: str | None
    family: int | None
    models: tuple[tuple[int, int], ...]
    units: tuple[Unit, ...]
    caches: tuple[TableCache, ...]
    file: Path

    def fits(self, cpu: CpuFacts) -> bool:
        """Whether the table describes this processor; by its silicon, not by the mode it runs in."""
        generation = cpu.generation_hw or cpu.generation_mode
        return (
            (not self.generations or generation in self.generations)
            and (not self.architectures or cpu.architecture in self.architectures)
            and (self.vendor is None or cpu.vendor == self.vendor)
            and (self.family is None or cpu.family == self.family)
            and (not self.models or any(low <= (cpu.model or -1) <= high for low, high in self.models))
        )


@dataclass(frozen=True)
class Peak:
    """The most operations per cycle, with the unit and table that say so."""

    ops_per_cycle: float
    unit: Unit
    table: CpuTable
    halves: int


def peak(cpu: CpuFacts, dtype: str, halves: int, table: CpuTable | None = None) -> Peak | None:
    """Operations per cycle of ``halves`` core halves by the fastest path that this processor lets programs use.

    Multiply by the clock for operations per second. A path whose features are not known to be there does not count.

    Args:
        cpu: the processor.
        dtype: one of :data:`DTYPES`.
        halves: halves that the pinned CPUs touch; the whole core counts as one on x86 and POWER8.
        table: the table to use; by default the one that fits best.
    """
    table = table or find(cpu)
    if table is None:
        return None
    usable = [
        unit for unit in table.units if dtype in unit.ops_per_cycle and all(cpu.isa.get(name) for name in unit.requires)
    ]
    if not usable:
        return None
    best = max(usable, key=lambda unit: unit.ops_per_cycle[dtype])
    return Peak(best.ops_per_cycle[dtype] * halves, best, table, halves)


def find(cpu: CpuFacts) -> CpuTable | None:
    """The most specific of the project's tables that fits the processor."""
    fitting = [table for table in cpu_tables() if table.fits(cpu)]
    return max(fitting, key=lambda table: (bool(table.models), table.family is not None), default=None)


@lru_cache(maxsize=1)
def cpu_tables() -> tuple[CpuTable, ...]:
    """The tables that the project has."""
    return load_tables(tables.files("cpus"))


def load_tables(paths: Iterable[Path]) -> tuple[CpuTable, ...]:
    """Tables from files.

    Raises:
        InputError: a file, key or value is not as described in ``sysconfig/cpus/power10.toml``.
    """
    return tuple(_table(tables.load(path), path) for path in paths)


def _table(entry: Table, path: Path) -> CpuTable:
    entry.only("name", "halves_per_core", "threads_per_half", "match", "unit", "cache")
    match = entry.table("match")
    match.only("generation", "architecture", "vendor", "family", "models")
    generations = match.texts("generation") if match.has("generation") else ()
    architectures = match.texts("architecture") if match.has("architecture") else ()
    if not generations and not architectures:
        raise InputError(f"{path}: [match] must have a generation or an architecture.")
    return CpuTable(
        name=entry.text("name"),
        halves_per_core=entry.integer("halves_per_core"),
        threads_per_half=entry.integer("threads_per_half"),
        generations=generations,
        architectures=architectures,
        vendor=match.text("vendor") if match.has("vendor") else None,
        family=match.integer("family") if match.has("family") else None,
        models=match.ranges("models") if match.has("models") else (),
        units=tuple(_unit(item) for item in entry.tables("unit")),
        caches=tuple(_cache(item) for item in entry.tables("cache")) if entry.has("cache") else (),
        file=path,
    )


def _unit(entry: Table) -> Unit:
    entry.only("name", "requires", "ops_per_cycle", "accumulators", "verified", "source")
    operations = entry.numbers("ops_per_cycle")
    entry.table("ops_per_cycle").only(*DTYPES)
    return Unit(
        name=entry.text("name"),
        requires=entry.texts("requires"),
        ops_per_cycle=operations,
        accumulators=entry.integer("accumulators") if entry.has("accumulators") else None,
        verified=entry.flag("verified"),
        source=entry.text("source"),
    )


def _cache(entry: Table) -> TableCache:
    entry.only(
        "level",
        "type",
        "size_bytes",
        "ways",
        "line_bytes",
        "latency_cycles",
        "shared_by_halves",
        "verified",
        "source",
    )
    kind = entry.text("type")
    if kind not in ("Data", "Instruction", "Unified"):
        raise entry.wrong("type", "Data, Instruction or Unified", kind)
    return TableCache(
        level=entry.integer("level"),
        type=kind,
        size_bytes=entry.integer("size_bytes"),
        ways=entry.integer("ways") if entry.has("ways") else None,
        line_bytes=entry.integer("line_bytes"),
        latency_cycles=entry.number("latency_cycles") if entry.has("latency_cycles") else None,
        shared_by_halves=entry.integer("shared_by_halves") if entry.has("shared_by_halves") else 1,
        verified=entry.flag("verified"),
        source=entry.text("source"),
    )
