"""A placement: the CPUs, memory and thread settings of a run, chosen but not applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from harness.decode import NOT_EMPTY, Check, decode_json_file
from harness.errors import InputError
from harness.platform.parse import format_cpulist

_Number = Annotated[int, Check("a CPU or node number", lambda number: number >= 0)]


@dataclass(frozen=True)
class Placement:
    """Where a run goes.

    Attributes:
        cpus: one per thread, in the order of the threads: threads of a core follow each other.
        node: the NUMA node of the CPUs; ``None`` on a kernel without NUMA.
        nodes: the same as a tuple, empty without NUMA.
        memory_nodes: where memory is to be taken from; other nodes than ``node`` where that one has none to give.
        memory_policy: the same in words, as records and commands give it: see :func:`policy_for`.
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
    memory_policy: str
    threads: int
    threads_per_core: int
    cores: int
    env: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.memory_policy != policy_for(self.memory_nodes):
            raise InputError(f"memory_policy is {self.memory_policy!r}; expected {policy_for(self.memory_nodes)!r}.")

    @staticmethod
    def read(path: Path) -> Placement:
        """The placement in a JSON file.

        Raises:
            InputError: the file cannot be read or is not a placement.
        """
        return decode_json_file(Placement, path)


def policy_for(memory_nodes: Sequence[int]) -> str:
    """``bind:7``, or ``default`` where there are no nodes to bind to."""
    return f"bind:{format_cpulist(tuple(memory_nodes))}" if memory_nodes else "default"


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
