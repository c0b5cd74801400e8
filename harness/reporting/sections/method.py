"""How it was measured: the method in words, software, data digests, the command, and the record itself."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

from harness.decode import encode
from harness.platform.facts import Facts
from harness.record.accuracy import PrecisionRecallCurve, RocCurve
from harness.record.codec import dumps
from harness.record.model import Result, Run
from harness.reporting.text import UNKNOWN, quantity, value_text
from harness.wording import count, plural

_SMALLEST = 2000  # characters below which raw JSON is not worth its heading


@dataclass(frozen=True)
class Digest:
    """One data file."""

    dataset: str
    file: str
    sha256: str
    verified: str


@dataclass(frozen=True)
class Method:
    """The whole section but the raw JSON."""

    command: str
    paragraphs: tuple[str, ...]
    spec: tuple[tuple[str, str], ...]
    software: tuple[tuple[str, str], ...]
    blas: tuple[tuple[str, ...], ...]  # library, version, kernel, threading, used by
    digests: tuple[Digest, ...]


@dataclass(frozen=True)
class Raw:
    """JSON as text, with a note when something was left out of it."""

    text: str
    note: str


def method(run: Run) -> Method:
    """How the run was made."""
    return Method(
        command=shlex.join(run.tool.argv),
        paragraphs=tuple(_paragraphs(run)),
        spec=tuple(_spec(run)),
        software=tuple(_software(run)),
        blas=tuple(_blas(run)),
        digests=tuple(_digests(run)),
    )


def _spec(run: Run) -> list[tuple[str, str]]:
    """What was asked for, where it is not left to the defaults of each workload, and why the measuring ended."""
    ended = {
        "blocks": "the number of blocks asked for",
        "budget": "the time budget",
        "limit": "the largest number of blocks",
        "precision": "the intervals asked for",
    }[run.stopping.ended_by]
    asked = [
        _asked(field.name, value)
        for field in fields(run.spec)
        if (value := getattr(run.spec, field.name)) not in (None, ()) and field.name != "blocks"
    ]
    return [*asked, ("blocks measured", count(run.stopping.blocks)), ("ended by", ended)]


def _asked(name: str, value: object) -> tuple[str, str]:
    """An option as label and value; a time has its unit with the value, not in its name."""
    for ending in ("_seconds", "_s"):
        if name.endswith(ending) and isinstance(value, int | float):
            return name.removesuffix(ending).replace("_", " "), quantity(value, "s")
    return name.replace("_", " "), value_text(value)


def raw_facts(run: Run, limit: int) -> Raw:
    """The facts as JSON of at most ``limit`` characters; which CPUs share each cache goes first."""
    caches = tuple(replace(cache, instances=()) for cache in run.facts.caches.caches)
    short = replace(run.facts, caches=replace(run.facts.caches, caches=caches))
    versions = [("", lambda: encode(run.facts)), ("which CPUs share each cache", lambda: encode(short))]
    return _fitted("facts", limit, versions)


def raw_record(run: Run, limit: int) -> Raw:
    """The record without its facts as JSON of at most ``limit`` characters; raw samples go first, then processes."""

    def document(shorten: Callable[[Result], Result]) -> Callable[[], object]:
        shortened = replace(run, facts=Facts(""), results=tuple(shorten(result) for result in run.results))
        return lambda: {key: value for key, value in encode(shortened).items() if key != "facts"}

    versions = [
        ("", document(lambda result: result)),
        ("raw samples", document(_without_samples)),
        ("processes", document(_without_processes)),
        ("curves", document(lambda result: _without_curves(_without_processes(result)))),
    ]
    return _fitted("record", limit, versions)


def _fitted(name: str, limit: int, versions: Sequence[tuple[str, Callable[[], object]]]) -> Raw:
    """The first of ever shorter versions that fits; each is given with what it leaves out."""
    left_out: list[str] = []
    for what, version in versions:
        left_out += [what] if what else []
        text = dumps(version()) if limit >= _SMALLEST else ""
        if text and len(text) <= limit:
            return Raw(text, f"Left out here, whole in run.json: {', '.join(left_out)}." if left_out else "")
    return Raw("", f"The {name} is too long for this page; run.json in the same directory holds all of it.")


def _without_samples(result: Result) -> Result:
    processes = tuple(
        replace(process, series=tuple(replace(series, durations_ns=(), flags=()) for series in process.series))
        for process in result.processes
    )
    return replace(result, processes=processes)


def _without_processes(result: Result) -> Result:
    return replace(result, processes=())


def _without_curves(result: Result) -> Result:
    if result.accuracy is None:
        return result
    accuracy = replace(
        result.accuracy,
        roc=RocCurve((), ()),
        precision_recall=PrecisionRecallCurve((), ()),
        histogram=replace(result.accuracy.histogram, edges=(), normal=(), anomaly=()),
        loss_curve=(),
    )
    return replace(result, accuracy=accuracy)


def _paragraphs(run: Run) -> list[str]:
    paragraphs = [_processes_paragraph(run), _samples_paragraph(run), _interval_paragraph(run)]
    protocols = {result.dataset.protocol for result in run.results}
    if "clean" in protocols:
        paragraphs.append(
            "Clean protocol: encoders, scalers and thresholds were fitted on training data only; "
            "test labels were used for nothing but the figures."
        )
    if "as-published" in protocols:
        paragraphs.append(
            "As-published protocol: the source's own procedure, its leaks included, so that its figure can be met; "
            "the clean protocol is the one to judge by."
        )
    if any(result.dataset.origin == "synthetic" for result in run.results):
        paragraphs.append(
            "Synthetic data: rows of the real data set's columns from a documented generative process. Rates hold for "
            "rows of this shape; accuracy says nothing about real traffic."
        )
    return [paragraph for paragraph in paragraphs if paragraph]


def _processes_paragraph(run: Run) -> str:
    most = max((len(result.processes) for result in run.results), default=0)
    if not most:
        return ""
    processes = plural(most, "fresh process", "fresh processes")
    return (
        f"Every configuration was measured in {processes}, one per block in an order shuffled with seed "
        f"{run.spec.seed}. "
        "CPU affinity and memory policy were set before any library was loaded and were checked against the kernel's "
        "own account afterwards."
    )


def _samples_paragraph(run: Run) -> str:
    if not any(process.series for result in run.results for process in result.processes):
        return ""
    return (
        "Samples before the series settled were cut as warm-up. No sample is dropped for being slow: samples during "
        "which the process was preempted, migrated, faulted or its CPU was taken by the hypervisor are flagged, and "
        "estimates with and without them are shown. The cost of the timing loop is not subtracted."
    )


def _interval_paragraph(run: Run) -> str:
    if not any(metric.ci_low is not None for result in run.results for metric in result.metrics.values()):
        return ""
    return (
        "Intervals are 95 % t intervals over processes of the logarithm of each process's median. Percentiles are "
        "order statistics, printed only where enough requests were made (662 for p99)."
    )


def _software(run: Run) -> list[tuple[str, str]]:
    software = run.software
    lines = [(run.tool.name, run.tool.version)]
    if software.python:
        lines.append(("Python", software.python))
    for package in software.packages:
        parts = (package.version, package.origin, package.build)
        lines.append((package.name, " ".join(part for part in parts if part) or UNKNOWN))
    loaded = ("environment", "torch", "onnxruntime", "mma_instructions")
    lines += [(name, value_text(encode(value))) for name in loaded if (value := getattr(software, name))]
    return lines


def _blas(run: Run) -> list[tuple[str, ...]]:
    return sorted(
        {
            tuple(
                text or UNKNOWN
                for text in (library.name, library.version, library.kernel, library.threading, library.used_by)
            )
            for library in run.software.blas
        }
    )


def _digests(run: Run) -> list[Digest]:
    digests = {}
    for result in run.results:
        data = result.dataset
        verified = {True: "as published", False: "differs", None: "unverified"}[data.verified]
        for file, sha256 in data.sha256.items():
            digests[data.name, file] = Digest(data.name, file, sha256, verified)
    return [digests[key] for key in sorted(digests)]
