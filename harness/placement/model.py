"""A placement: the CPUs, memory and thread settings of a run, chosen but not applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from harness.decode import NOT_EMPTY, Check, decode_json_file, in_words
from harness.errors import InputError
from harness.platform.parse import cpu_list, format_cpulist

_Number = Annotated[int, Check("a CPU or node number", lambda number: number >= 0)]


_BIND, _DEFAULT = "bind:", "default"


@dataclass(frozen=True)
class MemoryBinding:
    """Which nodes memory is taken from: from these alone, or from any where there are none.

    Attributes:
        nodes: ascending.
        refused: why the kernel did not bind to nodes that were asked for.
    """

    nodes: tuple[int, ...] = ()
    refused: str | None = None

    def __str__(self) -> str:
        if self.nodes:
            return f"{_BIND}{format_cpulist(self.nodes)}"
        return _DEFAULT if self.refused is None else f"{_DEFAULT} ({self.refused})"

    @staticmethod
    def to(nodes: Sequence[int]) -> MemoryBinding:
        """To nodes in any order."""
        return MemoryBinding(tuple(sorted(nodes)))

    @staticmethod
    def parse(text: str) -> MemoryBinding:
        """What ``str`` gave.

        Raises:
            ValueError: something else did.
        """
        if text.startswith(_BIND) and (nodes := cpu_list(text.removeprefix(_BIND))):
            return MemoryBinding.to(nodes)
        if text == _DEFAULT:
            return MemoryBinding()
        if text.startswith(f"{_DEFAULT} (") and text.endswith(")"):
            return MemoryBinding(refused=text.removeprefix(f"{_DEFAULT} (").removesuffix(")"))
        raise ValueError(f"{_BIND}NODES, or {_DEFAULT}")


@dataclass(frozen=True)
class Placement:
    """Where a run goes.

    Attributes:
        cpus: one per thread, in the order of the threads: threads of a core follow each other.
        node: the NUMA node of the CPUs; ``None`` on a kernel without NUMA.
        nodes: the same as a tuple, empty without NUMA.
        memory_nodes: where memory is to be taken from; other nodes than ``node`` where that one has none to give.
        memory_policy: the binding to them.
        threads: number of threads, one per CPU.
        threads_per_core: threads on each core.
        cores: number of cores.
        env: thread settings of OpenMP and of the linear-algebra libraries.
        notes: what the user should know of the choice.
    """

    cpus: Annotated[tuple[_Number, ...], NOT_EMPTY]
    node: _Number | None
    nodes: tuple[_Number, ...]
    memory_nodes: tuple[_Number, ...]
    memory_policy: MemoryBinding = field(metadata=in_words(MemoryBinding.parse))
    threads: int
    threads_per_core: int
    cores: int
    env: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        policy, expected = self.memory_policy, MemoryBinding.to(self.memory_nodes)
        if policy != expected:
            raise InputError(f"memory_policy is '{policy}'; expected '{expected}'.")

    def bound_to(self, nodes: Sequence[int]) -> Placement:
        """The same with memory from other nodes."""
        return replace(self, memory_nodes=tuple(nodes), memory_policy=MemoryBinding.to(nodes))

    @staticmethod
    def read(path: Path) -> Placement:
        """The placement in a JSON file.

        Raises:
            InputError: the file cannot be read or is not a placement.
        """
        return decode_json_file(Placement, path)


def thread_environment(cpus: Sequence[int]) -> dict[str, str]:
    """Settings that give one thread to each of ``cpus``, in that order, in every threading library in use."""
    count = str(len(cpus))
    return {
        "OMP_NUM_THREADS": count,
        "OMP_PLACES": ",".join(f"{{{cpu}}}" for cpu in cpus),
        "OMP_PROC_BIND": "close",
        "OMP_DYNAMIC": "FALSE",
        "OPENBLAS_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "MKL_DYNAMIC": "FALSE",
        "BLIS_NUM_THREADS": count,
        "NUMEXPR_NUM_THREADS": count,
    }
