"""Times saved by pytest-benchmark as a side of a comparison; its JSON is foreign and untyped until it is read here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, TypeVar

import numpy as np

from harness.compare.observations import (
    PYTEST_BENCHMARK,
    Accuracy,
    ByBlock,
    Facts,
    FactValue,
    Key,
    Observation,
    Problem,
    Seconds,
    Side,
    facts_of,
)
from harness.decode import Check, decode
from harness.errors import InputError
from harness.record.spec import RunSpec

OWN = "lparbench"  # where our own export keeps what the format has no place for

T = TypeVar("T")


@dataclass(frozen=True)
class ExportedRun:
    """What our own export keeps of a run."""

    run_id: str
    created: str
    spec: RunSpec | None
    accuracy: Mapping[str, Accuracy]


@dataclass(frozen=True)
class ExportedObservation:
    """What our own export keeps of an observation."""

    key: Key
    seconds: Annotated[Mapping[int, Seconds], ByBlock]
    problems: tuple[Problem, ...]
    conditions: Facts
    unusable: Annotated[Mapping[int, str], ByBlock]
    unit: str  # for people who read the file


@dataclass(frozen=True)
class _File:
    machine_info: dict[str, Any]
    benchmarks: tuple[dict[str, Any], ...]
    datetime: str | None = None
    lparbench: ExportedRun | None = None


@dataclass(frozen=True)
class _Benchmark:
    fullname: str
    stats: dict[str, Any] = field(default_factory=dict)
    extra_info: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Stats:
    median: Seconds | None = None
    data: Annotated[tuple[Seconds, ...], Check("at least one round", bool)] | None = None


@dataclass(frozen=True)
class _Cpu:
    brand_raw: str | None = None
    count: int | None = None


@dataclass(frozen=True)
class _Machine:
    machine: str | None = None
    release: str | None = None
    python_version: str | None = None
    cpu: dict[str, Any] | None = None


def is_pytest_benchmark(document: Any) -> bool:
    """Whether parsed JSON is what ``--benchmark-json`` and ``--benchmark-save`` write."""
    return isinstance(document, dict) and "benchmarks" in document and "machine_info" in document


def side_of_processes(name: str, documents: Sequence[tuple[str, Any]]) -> Side:
    """A side from the files of several processes, each holding one process's rounds of every benchmark.

    pytest-benchmark times all rounds in one process, and processes differ more than rounds do, so one file is one
    block: six files make a comparison that can be decided. A file exported by lparbench holds all blocks at once.

    Args:
        name: what to call the side.
        documents: parsed files with their names for messages, in the order of their blocks.

    Raises:
        InputError: a file is not of the format, or they are of different machines.
    """
    files = [(path, _known(_File, document, path)) for path, document in documents]
    first_path, first = files[0]
    if len(files) == 1 and first.lparbench is not None:
        return _own_export(first_path, first, first.lparbench)
    fingerprints = [_fingerprint(f"{path}: machine_info", file.machine_info) for path, file in files]
    seconds: dict[Key, dict[int, float]] = {}
    for block, (path, file) in enumerate(files):
        if file.datetime is None:
            raise InputError(f"{path}: datetime is missing; expected a text.")
        if fingerprints[block] != fingerprints[0]:
            raise InputError(f"{path}: machine_info: another machine or Python than in {first_path}.")
        for index, table in enumerate(file.benchmarks):
            where = f"{path}: benchmarks[{index}]"
            benchmark = _known(_Benchmark, table, where)
            of_key = seconds.setdefault(Key(benchmark.fullname, PYTEST_BENCHMARK, "", "", 0), {})
            if block in of_key:
                raise InputError(f"{where}.fullname: {benchmark.fullname} is in the file twice.")
            of_key[block] = _median(_known(_Stats, benchmark.stats, f"{where}.stats"), f"{where}.stats")
    observations = {key: Observation(key, of_key) for key, of_key in seconds.items()}
    return Side(name, max(file.datetime or "" for _, file in files), fingerprints[0], observations)


def _known(cls: type[T], table: Any, where: str) -> T:
    """The fields of ``cls`` out of a foreign table, whose other keys are not ours."""
    if isinstance(table, Mapping):
        names = [item.name for item in fields(cls)]  # type: ignore[arg-type]
        table = {name: table[name] for name in names if name in table}
    return decode(cls, table, where)


def _median(stats: _Stats, where: str) -> float:
    """Median of the rounds in seconds; pytest-benchmark knows of no disturbance, so all of them count."""
    median = stats.median if stats.data is None else float(np.median(stats.data))
    if median is None:
        raise InputError(f"{where}: median is missing; expected a number.")
    return median


def _fingerprint(where: str, machine_info: Mapping[str, Any]) -> dict[str, FactValue]:
    """What of machine_info stays the same from run to run (measured clock rates do not)."""
    if OWN in machine_info:
        return facts_of(decode(dict[str, Any], machine_info[OWN], f"{where}.{OWN}"))
    machine = _known(_Machine, machine_info, where)
    cpu = _known(_Cpu, machine.cpu or {}, f"{where}.cpu")
    return {
        "arch": machine.machine,
        "cpu": cpu.brand_raw,
        "cpus_online": cpu.count,
        "kernel": machine.release,
        "python": machine.python_version,
    }


def _own_export(path: str, file: _File, run: ExportedRun) -> Side:
    observations = {}
    for index, table in enumerate(file.benchmarks):
        where = f"{path}: benchmarks[{index}]"
        extra = _known(_Benchmark, table, where).extra_info
        kept = decode(ExportedObservation, extra.get(OWN), f"{where}.extra_info.{OWN}")
        observations[kept.key] = Observation(kept.key, kept.seconds, kept.problems, kept.conditions, kept.unusable)
    return Side(
        name=run.run_id,
        created=run.created,
        fingerprint=_fingerprint(f"{path}: machine_info", file.machine_info),
        observations=observations,
        accuracy=run.accuracy,
        spec=run.spec,
    )
