"""A placement: the CPUs, memory, thread and allocator settings of a run, chosen but not applied."""

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
# By itself glibc returns freed memory to the kernel or keeps it, by what happens to lie behind it on the heap: some
# processes of a setting fault their pages again at each call, and take a fourth longer. With these none does, up to
# blocks of 32 MiB, the most that all versions take and where their own adjustment ends; a larger block is mapped by
# every call. Source: mallopt(3); malloc/malloc.c of glibc, DEFAULT_MMAP_THRESHOLD_MAX.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}


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
        env: settings of OpenMP and the linear-algebra libraries for threads, and of the C library for memory.
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


def process_environment(cpus: Sequence[int]) -> dict[str, str]:
    """Settings of a process with one thread on each of ``cpus``: its threads' and its allocator's."""
    return {**thread_environment(cpus), **ALLOCATOR}


def settings_of(env: Mapping[str, str]) -> dict[str, Mapping[str, str] | str]:
    """What an environment sets, as the conditions of a measurement: ``thread_environment`` and ``allocator``."""
    allocator = " ".join(f"{name}={env[name]}" for name in ALLOCATOR if name in env) or "as the C library has it"
    return {"thread_environment": {k: v for k, v in env.items() if k not in ALLOCATOR}, "allocator": allocator}


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
