"""Files of pytest-benchmark, 2.5 to 5.x; their JSON is foreign and untyped until it is read here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from harness.compare.facts import Facts, facts_of, merged
from harness.compare.foreign import (
    NO_VALUE,
    ForeignFile,
    Reading,
    architecture,
    centre,
    items,
    number,
    table,
    text,
)
from harness.compare.observations import (
    PYTEST_BENCHMARK,
    Accuracy,
    ByBlock,
    Commit,
    Key,
    Observation,
    Problem,
    Seconds,
    Side,
)
from harness.decode import decode
from harness.errors import InputError
from harness.record.model import Validity, Verdict
from harness.record.spec import RunSpec

OWN = "lparbench"  # where our own export and our plugin keep what the format has no place for
# Timers of Python by the unit they count in; what another timer counts (bytes, say) is not known.
_CLOCKS = ("perf_counter", "time", "clock", "monotonic", "process_time", "thread_time", "default_timer")
_SCALE = dict.fromkeys(_CLOCKS, 1.0) | {f"{name}_ns": 1e-9 for name in _CLOCKS}
_NO_COMMIT = {"unversioned", "unknown"}


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
class ExportedRun:
    """What our own export keeps of a run."""

    run_id: str
    created: str
    spec: RunSpec | None
    accuracy: Mapping[str, Accuracy]
    not_valid: tuple[ExportedObservation, ...] = ()  # which other readers of the file must not take for times


def is_pytest_benchmark(document: object) -> bool:
    """Whether parsed JSON is what ``--benchmark-json`` and ``--benchmark-save`` write."""
    return isinstance(document, dict) and "benchmarks" in document and "machine_info" in document


def read_pytest_benchmark(path: str, document: Mapping[str, Any]) -> ForeignFile:
    """One process's rounds of every benchmark.

    pytest-benchmark times all rounds in one process, and processes differ more than rounds do, so one file is one
    block: six files make a comparison that can be decided.

    Raises:
        InputError: the file is not of the format.
    """
    benchmarks = decode(tuple[Any, ...], document["benchmarks"], f"{path}: benchmarks")
    machine = decode(dict[str, Any], document["machine_info"] or {}, f"{path}: machine_info")
    return ForeignFile(
        path=path,
        tool=PYTEST_BENCHMARK,
        created=text(document, "datetime") or "",
        facts=_fingerprint(path, machine),
        readings=tuple(_reading(f"benchmarks[{i}]", table(benchmark)) for i, benchmark in enumerate(benchmarks)),
        commit=_commit(table(document.get("commit_info"))),
    )


def read_own_export(path: str, document: Mapping[str, Any]) -> Side | None:
    """The run that ``lparbench export`` wrote into the file, whole; None when the file is another's.

    Raises:
        InputError: what was exported is damaged; names the place.
    """
    if OWN not in document:
        return None
    benchmarks, machine = _frame(path, document)
    run = decode(ExportedRun, document[OWN], f"{path}: {OWN}")
    observations = {}
    for index, benchmark in enumerate(benchmarks):
        where = f"{path}: benchmarks[{index}].extra_info.{OWN}"
        kept = decode(ExportedObservation, table(benchmark.get("extra_info")).get(OWN), where)
        observations[kept.key] = _observation(kept)
    observations |= {kept.key: _observation(kept) for kept in run.not_valid}
    fingerprint = _own_facts(path, machine) or _fingerprint(path, machine)
    return Side(run.run_id, run.created, fingerprint, observations, run.accuracy, run.spec, run_id=run.run_id)


def _observation(kept: ExportedObservation) -> Observation:
    return Observation(kept.key, kept.seconds, kept.problems, kept.conditions, kept.unusable)


def _frame(path: str, document: Mapping[str, Any]) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    benchmarks = decode(tuple[dict[str, Any], ...], document["benchmarks"], f"{path}: benchmarks")
    return benchmarks, decode(dict[str, Any], document["machine_info"], f"{path}: machine_info")


def _reading(where: str, benchmark: Mapping[str, Any]) -> Reading:
    name = text(benchmark, "fullname", "name")
    if name is None:  # one that is damaged leaves the others alone
        return Reading(where, ("it has no name",))
    timer = text(table(benchmark.get("options")), "timer")
    stats = table(benchmark.get("stats"))
    # pytest-benchmark knows of no disturbance, so all rounds count.
    value = centre(items(stats["data"])) if stats.get("data") is not None else number(stats.get("median"))
    scale = _SCALE.get(timer or _CLOCKS[0])
    if isinstance(value, float):
        value *= scale or 1.0
    return Reading(
        name=name.replace("\\", "/") if "::" in name else name,
        processes=(_verdict(where, benchmark) or (NO_VALUE if value is None else value),),
        unit="" if scale is None else "s",
        conditions={} if timer is None else {"timer": timer},
    )


def _verdict(where: str, benchmark: Mapping[str, Any]) -> str | None:
    """Why our plugin found that the rounds may not be used; None when they may, or it was not there."""
    kept = table(benchmark.get("extra_info")).get(OWN)
    if kept is None:
        return None
    try:
        validity = decode(Validity, kept, f"{where}.extra_info.{OWN}")
    except InputError as error:
        return error.message
    return None if validity.verdict is Verdict.VALID else "; ".join(validity.reasons) or validity.verdict.value


def _commit(info: Mapping[str, Any]) -> Commit | None:
    identifier = text(info, "id")
    if identifier is None or identifier in _NO_COMMIT:
        return None
    return Commit(identifier, text(info, "time", "author_time") or "", dirty=info.get("dirty") is True)


def _fingerprint(path: str, machine: Mapping[str, Any]) -> Facts:
    """What of machine_info stays the same from run to run (measured clock rates do not)."""
    cpu = table(machine.get("cpu"))
    count = number(cpu.get("count"))
    seen = {
        "python_implementation": text(machine, "python_implementation"),
        "python": text(machine, "python_version"),
        "system": text(machine, "system"),
        "arch": architecture(text(machine, "machine") or text(cpu, "arch_string_raw", "raw_arch_string")),
        "cpu": text(cpu, "brand_raw", "brand", "hardware_raw", "hardware"),
        "cpu_count": None if count is None else int(count),
        "kernel": text(machine, "release"),
    }
    return merged(seen, _own_facts(path, machine))


def _own_facts(path: str, machine: Mapping[str, Any]) -> Facts:
    return facts_of(decode(dict[str, Any], machine[OWN], f"{path}: machine_info.{OWN}")) if OWN in machine else {}
