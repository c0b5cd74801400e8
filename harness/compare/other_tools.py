"""Files of pyperf, hyperfine, google-benchmark and JMH; those of tools whose samples allow no judgement are named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

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
from harness.compare.observations import GOOGLE_BENCHMARK, HYPERFINE, JMH, PYPERF

_TO_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
_ELSE = "Compare with that tool itself, or time whole processes with hyperfine, Python with pytest-benchmark or pyperf."
_COMPLEXITY = ("BigO", "RMS")
_PYPERF_UNITS = {"second": "s", "byte": "B", "integer": ""}


def read_other_tool(path: str, document: object) -> ForeignFile | Unusable | None:
    """The file as one of these tools wrote it, or why it holds nothing to judge by; None for any other file."""
    content = table(document)
    entries = [table(entry) for entry in items(document)]
    if entries and all({"jmhVersion", "primaryMetric"} <= entry.keys() for entry in entries):
        return _jmh(path, entries)
    for keys, what in _SUMMARIES:
        if keys <= content.keys():
            return Unusable(f"{path} is {what}.", _ELSE)
    for keys, read in _READERS:
        if keys <= content.keys() and (read is not _hyperfine or _is_hyperfine(content["results"])):
            return read(path, content)
    if any("runs" in table(benchmark) for benchmark in items(content.get("benchmarks"))):
        return _pyperf(path, content)  # whose benchmarks have no metadata in common
    benchmarks = [value for name, value in content.items() if name != "version"]
    if "version" in content and benchmarks and all(map(_is_asv_benchmark, benchmarks)):
        return Unusable(f"{path} is asv's list of benchmarks, which holds no times.", _ELSE)
    return None


def _is_hyperfine(results: object) -> bool:
    """Whether results are a list of commands: other tools have some under that name too."""
    return isinstance(results, list) and (not results or any("command" in table(result) for result in results))


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
    results = [table(result) for result in items(content.get("results"))]
    commands = Counter(text(result, "command") for result in results)
    for result in results:
        name = text(result, "command") or "command"
        if commands[name] > 1:  # one name given to the command with several parameters
            name += _parameters(table(result.get("parameters")))
        failed = {index for index, code in enumerate(items(result.get("exit_codes"))) if code not in (0, None)}
        times = [
            f"exit code of run {index} is not 0" if index in failed else centre([time])
            for index, time in enumerate(items(result.get("times")))
        ]
        readings.append(Reading(name, tuple(times) or (NO_VALUE,)))
    return ForeignFile(path, HYPERFINE, "", {}, tuple(readings))


def _google_benchmark(path: str, content: Table) -> ForeignFile:
    """Repetitions share one process, so a file is one block. https://github.com/google/benchmark, --benchmark_out"""
    context = table(content.get("context"))
    values: dict[str, list[object]] = {}
    errors: dict[str, str] = {}
    aggregates: list[Reading] = []
    for benchmark in map(table, items(content.get("benchmarks"))):
        name = text(benchmark, "run_name", "name") or "benchmark"
        if text(benchmark, "aggregate_name") in _COMPLEXITY:  # a curve through several results
            continue
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


def _jmh(path: str, entries: Iterable[Table]) -> ForeignFile:
    """Each fork is a process. https://github.com/openjdk/jmh, -rf json"""
    readings = []
    for entry in entries:
        metric = table(entry.get("primaryMetric"))
        above, _, below = (text(metric, "scoreUnit") or "").partition("/")
        scale = _TO_SECONDS.get(above if below == "op" else below)
        forks = tuple(_jmh_fork(items(fork), scale, below == "op") for fork in items(metric.get("rawData")))
        virtual_machine = " ".join(filter(None, (text(entry, "vmName"), text(entry, "vmVersion"))))
        readings.append(
            Reading(
                name=(text(entry, "benchmark") or "benchmark") + _parameters(table(entry.get("params"))),
                processes=forks or (NO_VALUE,),
                conditions={"jvm": virtual_machine} if virtual_machine else {},
            )
        )
    return ForeignFile(path, JMH, "", {}, tuple(readings))


def _parameters(values: Table) -> str:
    """What follows a name: `` [n=1, size=2]``; nothing where there are none."""
    listed = ", ".join(f"{name}={value}" for name, value in sorted(values.items()))
    return f" [{listed}]" if listed else ""


def _jmh_fork(scores: Sequence[object], scale: float | None, time_per_call: bool) -> float | str:
    """Seconds per call of one fork, which gives times per call or calls per time."""
    score = centre(scores)
    if isinstance(score, str):
        return score
    if scale is None:
        return "its unit is not one of time per call or calls per time"
    return score * scale if time_per_call else scale / score


# The keys that only files of the tool have, and what reads them.
_READERS: Iterable[tuple[frozenset[str], Callable[[str, Table], ForeignFile]]] = (
    (frozenset({"benchmarks", "context"}), _google_benchmark),
    (frozenset({"benchmarks", "version", "metadata"}), _pyperf),
    (frozenset({"results"}), _hyperfine),
)
# The keys of files that hold nothing to judge by, and what they are.
_CRITERION = "of criterion, whose samples are of one process with other numbers of calls in each"
_SUMMARIES: Iterable[tuple[frozenset[str], str]] = (
    (
        frozenset({"commit_hash", "results", "params"}),
        "a result of asv, which keeps summaries of a benchmark and no processes to compare",
    ),
    (frozenset({"machine", "arch", "os", "ram"}), "asv's description of a machine, which holds no times"),
    (frozenset({"mean", "median", "std_dev", "median_abs_dev"}), f"a file {_CRITERION}"),
    (frozenset({"sampling_mode", "iters", "times"}), f"a file {_CRITERION}"),
    (frozenset({"group_id", "full_id"}), f"a file {_CRITERION}"),
    (
        frozenset({"HostEnvironmentInfo", "Benchmarks"}),
        "a report of BenchmarkDotNet, whose measurements do not say which launch they are of",
    ),
)
