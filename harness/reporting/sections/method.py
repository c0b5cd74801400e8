"""How it was measured: the method in words, software, data digests, the command, and the record itself."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.record.codec import dumps, to_json
from harness.record.model import Run
from harness.reporting.sections.lookup import dig, number_at, objects_at, text_at
from harness.reporting.text import count, plural, value_text

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
    plan: tuple[tuple[str, str], ...]
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
    argv = [item for item in run.tool.get("argv") or () if isinstance(item, str)]
    return Method(
        command=shlex.join(argv),
        paragraphs=tuple(_paragraphs(run)),
        plan=tuple(
            (key.replace("_", " "), value_text(value))
            for key, value in sorted(run.plan.items())
            if not isinstance(value, Mapping) and value is not None
        ),
        software=tuple(_software(run)),
        blas=tuple(_blas(run)),
        digests=tuple(_digests(run)),
    )


def raw_facts(run: Run, limit: int) -> Raw:
    """The facts as JSON of at most ``limit`` characters; the caches' lists of CPUs go first."""
    facts = to_json(run)["facts"]
    return _fitted(facts, limit, (_without_cache_instances,), "facts")


def raw_record(run: Run, limit: int) -> Raw:
    """The record without its facts as JSON of at most ``limit`` characters; raw samples go first, then processes."""
    document = to_json(run)
    document["facts"] = "shown above"
    return _fitted(document, limit, (_without_samples, _without_blocks, _without_curves), "record")


def _fitted(document: Any, limit: int, trims: tuple[Callable[[Any], str], ...], name: str) -> Raw:
    notes: list[str] = []
    text = dumps(document)
    for trim in trims:
        if len(text) <= limit:
            break
        notes.append(trim(document))
        text = dumps(document)
    if len(text) > limit or limit < _SMALLEST:
        return Raw("", f"The {name} is too long for this page; run.json beside it holds all of it.")
    left_out = f"Left out here, whole in run.json: {', '.join(notes)}." if notes else ""
    return Raw(text, left_out)


def _without_cache_instances(facts: Any) -> str:
    for cache in objects_at(facts, "caches", "caches"):
        instances = cache.get("instances")
        if isinstance(instances, list) and isinstance(cache, dict):
            cache["instances"] = f"{len(instances)} of them"
    return "which CPUs share each cache"


def _without_samples(document: Any) -> str:
    for result in document["results"]:
        for block in result["blocks"]:
            for series in block["series"]:
                samples = len(series["durations_ns"])
                series["durations_ns"] = series["flags"] = f"{count(samples)} samples"
    return "raw samples"


def _without_blocks(document: Any) -> str:
    for result in document["results"]:
        result["blocks"] = plural(len(result["blocks"]), "process", "processes")
    return "processes"


def _without_curves(document: Any) -> str:
    for result in document["results"]:
        for name in ("curves", "histogram", "loss_curve"):
            if dig(result, "accuracy", name) is not None:
                result["accuracy"][name] = "left out"
    return "curves"


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
    most = max((len(result.blocks) for result in run.results), default=0)
    if not most:
        return ""
    seed = number_at(run.plan, "seed")
    order = "" if seed is None else f" in an order shuffled with seed {int(seed)}"
    processes = plural(most, "fresh process", "fresh processes")
    return (
        f"Every configuration was measured in {processes}, one per block{order}. "
        "CPU affinity and memory policy were set before any library was loaded and were checked against the kernel's "
        "own account afterwards."
    )


def _samples_paragraph(run: Run) -> str:
    if not any(block.series for result in run.results for block in result.blocks):
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
    lines = [("lparbench", str(run.tool["version"]))]
    if (python := text_at(software, "python")) is not None:
        lines.append(("Python", python))
    for package in objects_at(software, "packages"):
        said = [text_at(package, key) or "" for key in ("version", "origin", "build")]
        if name := text_at(package, "name"):
            lines.append((name, " ".join(part for part in said if part) or value_text(None)))
    known = {"python", "packages", "blas", "sources"}
    lines += [(key, value_text(software[key])) for key in sorted(software) if key not in known and software[key]]
    return lines


def _blas(run: Run) -> list[tuple[str, ...]]:
    keys = ("name", "version", "kernel", "threading", "used_by")
    libraries = {tuple(value_text(library.get(key)) for key in keys) for library in objects_at(run.software, "blas")}
    return sorted(libraries)


def _digests(run: Run) -> list[Digest]:
    found = {}
    for result in run.results:
        data = result.dataset
        verified = {True: "as published", False: "differs", None: "unverified"}[data.verified]
        for file, sha256 in data.sha256.items():
            found[data.name, file] = Digest(data.name, file, sha256, verified)
    return [found[key] for key in sorted(found)]
