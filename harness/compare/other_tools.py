"""Files of pyperf, hyperfine and google-benchmark; those of tools whose samples allow no judgement are named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from harness.compare.facts import Facts
from harness.compare.foreign import (
    NO_VALUE,
    ForeignFile,
    Reading,
    Table,
    Unusable,
    architecture,
    centre,
    items,
    number,
    table,
    text,
)
from harness.compare.observations import GOOGLE_BENCHMARK, HYPERFINE, PYPERF

_TO_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
_ASV_REMEDY = "Compare with asv itself, or time the functions with pytest-benchmark, pyperf or the lparbench fixture."
_PYPERF_UNITS = {"second": "s", "byte": "B", "integer": ""}


def read_other_tool(path: str, document: object) -> ForeignFile | Unusable | None:
    """The file as one of these tools wrote it, or why it holds nothing to judge by; None for any other file."""
    content = table(document)
    for keys, read in _READERS:
        if keys <= content.keys():
            return read(path, content)
    if any("runs" in table(benchmark) for benchmark in items(content.get("benchmarks"))):
        return _pyperf(path, content)  # whose benchmarks have no metadata in common
    benchmarks = [value for name, value in content.items() if name != "version"]
    if "version" in content and benchmarks and all(map(_is_asv_benchmark, benchmarks)):
        return Unusable(f"{path} is asv's list of benchmarks, which holds no times.", _ASV_REMEDY)
    return None


def _is_asv_benchmark(value: object) -> bool:
    return isinstance(value, Mapping) and {"code", "name"} <= value.keys()


def _pyperf(path: str, content: Table) -> ForeignFile:
    """Each run is a process; a process without values calibrated the loops. https://pyperf.readthedocs.io/en/latest/api.html"""
    common = table(content.get("metadata"))
    readings, created = [], ""
    facts: Facts = {}
    for suite in map(table, items(content.get("benchmarks"))):
        metadata = {**common, **table(suite.get("metadata"))}
        runs = [table(run) for run in items(suite.get("runs"))]
        first = {**metadata, **table(runs[0].get("metadata"))} if runs else metadata
        facts = facts or _pyperf_facts(first)
        created = max(created, text(first, "date") or "")
        processes = [centre(items(run["values"])) for run in runs if items(run.get("values"))]
        unit = _PYPERF_UNITS.get(text(metadata, "unit") or "second", "")
        readings.append(Reading(text(metadata, "name") or "benchmark", tuple(processes) or (NO_VALUE,), unit))
    return ForeignFile(path, PYPERF, created, facts, tuple(readings))


def _pyperf_facts(metadata: Table) -> Facts:
    platform = (text(metadata, "platform") or "").split("-")
    count = number(metadata.get("cpu_count"))
    known = (part for part in platform if architecture(part) in {"x86_64", "aarch64", "ppc64le", "s390x", "riscv64"})
    return {
        "python_implementation": _capitalised(text(metadata, "python_implementation")),
        "python": (text(metadata, "python_version") or "").split(" ")[0] or None,
        "system": platform[0] or None,
        "arch": architecture(next(known, None)),
        "cpu": text(metadata, "cpu_model_name"),
        "cpu_count": None if count is None else int(count),
    }


def _capitalised(implementation: str | None) -> str | None:
    """``cpython`` of ``sys.implementation`` as ``platform`` spells it."""
    return (
        None if implementation is None else {"cpython": "CPython", "pypy": "PyPy"}.get(implementation, implementation)
    )


def _hyperfine(path: str, content: Table) -> ForeignFile:
    """Each time is a process of its own. https://github.com/sharkdp/hyperfine, --export-json"""
    readings = []
    for result in map(table, items(content.get("results"))):
        failed = {index for index, code in enumerate(items(result.get("exit_codes"))) if code not in (0, None)}
        times = [
            f"exit code of run {index} is not 0" if index in failed else centre([time])
            for index, time in enumerate(items(result.get("times")))
        ]
        readings.append(Reading(text(result, "command") or "command", tuple(times) or (NO_VALUE,)))
    return ForeignFile(path, HYPERFINE, "", {}, tuple(readings))


def _google_benchmark(path: str, content: Table) -> ForeignFile:
    """Repetitions share one process, so a file is one block. https://github.com/google/benchmark, --benchmark_out"""
    context = table(content.get("context"))
    values: dict[str, list[object]] = {}
    errors: dict[str, str] = {}
    aggregates: list[Reading] = []
    for benchmark in map(table, items(content.get("benchmarks"))):
        name = text(benchmark, "run_name", "name") or "benchmark"
        if benchmark.get("run_type", "iteration") != "iteration":  # means and medians that the tool made of the others
            aggregates.append(Reading(name, ("only aggregates were written: leave the repetitions in the file",)))
            continue
        if benchmark.get("error_occurred") or benchmark.get("skipped"):
            errors[name] = text(benchmark, "error_message", "skip_message") or "it failed"
        time = number(benchmark.get("real_time"))
        unit = text(benchmark, "time_unit") or "ns"
        scale = _TO_SECONDS.get(unit)
        if scale is None:
            errors.setdefault(name, f"its unit is {unit}, which is not known")
        values.setdefault(name, []).append(None if time is None or scale is None else time * scale)
    count = number(context.get("num_cpus"))
    facts: Facts = {
        "cpu_count": None if count is None else int(count),
        "build_type": text(context, "library_build_type"),
    }
    readings = {reading.name: reading for reading in aggregates}
    readings |= {name: Reading(name, (errors.get(name) or centre(of_name),)) for name, of_name in values.items()}
    return ForeignFile(path, GOOGLE_BENCHMARK, text(context, "date") or "", facts, tuple(readings.values()))


def _asv(path: str, _: Table) -> Unusable:
    why = f"{path} is a result of asv, which keeps summaries of a benchmark and no processes to compare."
    return Unusable(why, _ASV_REMEDY)


def _asv_machine(path: str, _: Table) -> Unusable:
    return Unusable(f"{path} is asv's description of a machine, which holds no times.", _ASV_REMEDY)


# The keys that only files of the tool have, and what reads them.
_READERS: Iterable[tuple[frozenset[str], Callable[[str, Table], ForeignFile | Unusable]]] = (
    (frozenset({"benchmarks", "context"}), _google_benchmark),
    (frozenset({"commit_hash", "results", "params"}), _asv),
    (frozenset({"machine", "arch", "os", "ram"}), _asv_machine),
    (frozenset({"benchmarks", "version", "metadata"}), _pyperf),
    (frozenset({"results"}), _hyperfine),
)
