"""What a core can do per cycle, and its caches, from the tables in ``sysconfig/cpus``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from harness.content import toml_files
from harness.decode import NOT_EMPTY, Check, PositiveFloat, PositiveInt, Text, decode_toml_file
from harness.platform.facts import CpuFacts

Dtype = Literal["float64", "float32", "bfloat16", "float16", "int16", "int8", "int4"]
_Range = Annotated[tuple[int, int], Check("[low, high]", lambda ends: ends[0] <= ends[1])]


@dataclass(frozen=True)
class Unit:
    """One instruction path of a core half.

    Attributes:
        requires: features of ``facts.cpu.isa``.
        ops_per_cycle: number format -> additions plus multiplications.
        accumulators: independent chains that keep it busy; None where not known.
    """

    name: Text
    requires: tuple[Text, ...]
    ops_per_cycle: Mapping[Dtype, PositiveFloat]
    verified: bool
    source: Text
    accumulators: PositiveInt | None = None


@dataclass(frozen=True)
class TableCache:
    """One cache as published, for one half unless ``shared_by_halves`` says more."""

    level: PositiveInt
    type: Literal["Data", "Instruction", "Unified"]
    size_bytes: PositiveInt
    line_bytes: PositiveInt
    verified: bool
    source: Text
    ways: PositiveInt | None = None
    latency_cycles: PositiveFloat | None = None
    shared_by_halves: PositiveInt = 1


@dataclass(frozen=True)
class Match:
    """The conditions under which a machine has the processor; all that are given must hold."""

    generation: tuple[Text, ...] = ()
    architecture: tuple[Text, ...] = ()
    vendor: Text | None = None
    family: PositiveInt | None = None
    models: tuple[_Range, ...] = ()

    def holds(self, cpu: CpuFacts) -> bool:
        """Whether they hold for this processor; by its silicon, not by the mode it runs in."""
        generation = cpu.generation_hw or cpu.generation_mode
        return (
            (not self.generation or generation in self.generation)
            and (not self.architecture or cpu.architecture in self.architecture)
            and (self.vendor is None or cpu.vendor == self.vendor)
            and (self.family is None or cpu.family == self.family)
            and (not self.models or any(low <= (cpu.model or -1) <= high for low, high in self.models))
        )


_NAMED = Check("a generation or an architecture", lambda match: bool(match.generation or match.architecture))


@dataclass(frozen=True)
class _Keys:
    """The keys of a file."""

    name: Text
    halves_per_core: PositiveInt
    threads_per_half: PositiveInt
    match: Annotated[Match, _NAMED]
    unit: Annotated[tuple[Unit, ...], NOT_EMPTY]
    cache: tuple[TableCache, ...] = ()
    dispatched_per_cycle: PositiveInt | None = None  # instructions, by one half; None where not known


@dataclass(frozen=True)
class CpuTable(_Keys):
    """One processor, and the file that describes it."""

    file: Path = Path()


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
        dtype: a number format, see :data:`Dtype`.
        halves: halves that the pinned CPUs touch; the whole core counts as one on x86 and POWER8.
        table: the table to use; by default the one that fits best.
    """
    table = table or find(cpu)
    if table is None:
        return None
    usable = [
        Peak(operations * halves, unit, table, halves)
        for unit in table.unit
        for name, operations in unit.ops_per_cycle.items()
        if name == dtype and all(cpu.isa.get(feature) for feature in unit.requires)
    ]
    return max(usable, key=lambda item: item.ops_per_cycle, default=None)


def find(cpu: CpuFacts) -> CpuTable | None:
    """The most specific of the project's tables that fits the processor."""
    fitting = [table for table in cpu_tables() if table.match.holds(cpu)]
    return max(fitting, key=lambda table: (bool(table.match.models), table.match.family is not None), default=None)


@lru_cache(maxsize=1)
def cpu_tables() -> tuple[CpuTable, ...]:
    """The tables that the project has."""
    return load_tables(toml_files("sysconfig", "cpus"))


def load_tables(paths: Iterable[Path]) -> tuple[CpuTable, ...]:
    """Tables from files.

    Raises:
        InputError: a file, key or value is not as described in ``sysconfig/cpus/power10.toml``.
    """
    return tuple(CpuTable(**vars(decode_toml_file(_Keys, path)), file=path) for path in paths)
