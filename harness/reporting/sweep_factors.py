"""The factors of a sweep in words: which of them vary, and what a setting is called by those."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.record.sweep_model import FactorName, SweepCell
from harness.wording import count, plural

Level = tuple[int | str, ...]  # of one factor; sorts in its natural order


@dataclass(frozen=True)
class Factor:
    """One factor.

    Attributes:
        head: of its column or axis.
        level: of a cell, to sort and to tell apart by.
        short: the level in a table column or at a tick.
        word: the level in a sentence.
        axis: of a chart over its levels; None where they are not numbers.
    """

    head: str
    level: Callable[[SweepCell], Level]
    short: Callable[[SweepCell], str]
    word: Callable[[SweepCell], str]
    axis: str | None = None


def _place(cell: SweepCell) -> str:
    if cell.node is None:
        return "the machine"
    return f"node {cell.node}" + ("" if cell.memory_node is None else f" with memory of node {cell.memory_node}")


def _place_short(cell: SweepCell) -> str:
    return f"{'–' if cell.node is None else cell.node}" + ("" if cell.memory_node is None else f":{cell.memory_node}")


BACKEND = Factor("Backend", lambda c: (c.backend,), lambda c: c.backend, lambda c: c.backend)
DTYPE = Factor("Dtype", lambda c: (c.dtype,), lambda c: c.dtype, lambda c: c.dtype)
BATCH = Factor(
    "Batch",
    lambda c: (c.batch_size,),
    lambda c: count(c.batch_size),
    lambda c: f"batch {count(c.batch_size)}",
    "batch size, rows",
)
SMT = Factor("SMT", lambda c: (c.smt,), lambda c: str(c.smt), lambda c: f"SMT {c.smt}", "SMT level")
THREADS = Factor(
    "Threads/core",
    lambda c: (c.threads_per_core,),
    lambda c: str(c.threads_per_core),
    lambda c: f"{plural(c.threads_per_core, 'thread')} per core",
    "threads per core",
)
CORES = Factor("Cores", lambda c: (c.cores,), lambda c: str(c.cores), lambda c: plural(c.cores, "core"), "cores")
PLACE = Factor(
    "Node",
    lambda c: (-1 if c.node is None else c.node, -1 if c.memory_node is None else c.memory_node),
    _place_short,
    _place,
)
INSTANCES = Factor(
    "Instances", lambda c: (c.instances,), lambda c: str(c.instances), lambda c: plural(c.instances, "instance"),
    "instances",
)  # fmt: skip

BY_NAME: Mapping[FactorName, Factor] = {
    "backend": BACKEND,
    "dtype": DTYPE,
    "batch_size": BATCH,
    "smt": SMT,
    "threads_per_core": THREADS,
    "cores": CORES,
    "place": PLACE,
    "instances": INSTANCES,
}
FACTORS = (BACKEND, DTYPE, BATCH, SMT, THREADS, CORES, PLACE, INSTANCES)


def varying(cells: Sequence[SweepCell]) -> tuple[Factor, ...]:
    """The factors with several levels; threads per core only where the SMT level does not imply them."""
    several = [factor for factor in FACTORS if len({factor.level(cell) for cell in cells}) > 1]
    if SMT in several and all(cell.smt == cell.threads_per_core for cell in cells):
        several.remove(THREADS)
    return tuple(several)


def setting_name(cell: SweepCell, factors: Iterable[Factor]) -> str:
    """``native, batch 4,096, SMT 2, 4 cores``: its levels of ``factors``."""
    return ", ".join(factor.word(cell) for factor in factors) or "the only setting"
