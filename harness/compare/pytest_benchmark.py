"""Times saved by pytest-benchmark as a side of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.compare.observations import Key, Observation, Side
from harness.compare.shape import Reader, WrongShapeError, block_number, read_accuracy, read_key, read_unusable

OWN = "lparbench"  # where our own export keeps what the format has no place for
SCENARIO = "pytest-benchmark"


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
        WrongShapeError: a file is not of the format, or they are of different machines.
    """
    if len(documents) == 1 and OWN in documents[0][1]:
        return _own_export(Reader(documents[0][1], f"{documents[0][0]}: "))
    readers = [Reader(document, f"{path}: ") for path, document in documents]
    fingerprints = [_fingerprint(reader.get("machine_info")) for reader in readers]
    for (path, _), fingerprint in zip(documents, fingerprints, strict=True):
        if fingerprint != fingerprints[0]:
            raise WrongShapeError(f"{path}: machine_info: another machine or Python than in {documents[0][0]}")
    seconds: dict[Key, dict[int, float]] = {}
    for block, reader in enumerate(readers):
        for benchmark in reader.get("benchmarks").items():
            key = Key(benchmark.get("fullname").text(), SCENARIO, "", "", 0)
            if block in seconds.setdefault(key, {}):
                raise WrongShapeError(f"{benchmark.path}: {key.workload} is there twice")
            seconds[key][block] = _median(benchmark.get("stats"))
    observations = {key: Observation(key, of_key) for key, of_key in seconds.items()}
    created = max(reader.get("datetime").text() for reader in readers)
    return Side(name, created, fingerprints[0], observations)


def _median(stats: Reader) -> float:
    """Median of the rounds in seconds; pytest-benchmark knows of no disturbance, so all of them count."""
    if "data" not in stats.fields():
        return stats.get("median").seconds()
    rounds = [one.seconds() for one in stats.get("data").items()]
    if not rounds:
        raise WrongShapeError(f"{stats.path}.data: it is empty")
    return float(np.median(rounds))


def _fingerprint(machine: Reader) -> dict[str, Any]:
    """What of machine_info stays the same from run to run (measured clock rates do not)."""
    known = machine.fields()
    own = known.get(OWN)
    if own is not None:
        return {name: one.value for name, one in own.fields().items()}
    cpu = known["cpu"].fields() if isinstance(machine.value.get("cpu"), dict) else {}
    picked = {
        "arch": known.get("machine"),
        "cpu": cpu.get("brand_raw"),
        "cpus_online": cpu.get("count"),
        "kernel": known.get("release"),
        "python": known.get("python_version"),
    }
    return {name: None if reader is None else reader.value for name, reader in picked.items()}


def _own_export(reader: Reader) -> Side:
    own = reader.get(OWN)
    observations = {}
    for benchmark in reader.get("benchmarks").items():
        extra = benchmark.get("extra_info").get(OWN)
        key = read_key(extra.get("key"))
        seconds = {block_number(name, one.path): one.seconds() for name, one in extra.get("seconds").fields().items()}
        problems = tuple(one.text() for one in extra.get("problems").items())
        conditions = {name: one.value for name, one in extra.get("conditions").fields().items()}
        observations[key] = Observation(key, seconds, problems, conditions, read_unusable(extra))
    return Side(
        name=own.get("run_id").text(),
        created=own.get("created").text(),
        fingerprint=_fingerprint(reader.get("machine_info")),
        observations=observations,
        accuracy={name: read_accuracy(one) for name, one in own.get("accuracy").fields().items()},
        argv=tuple(one.text() for one in own.get("argv").items()),
    )
