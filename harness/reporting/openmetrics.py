"""The metrics of a run in the OpenMetrics text format, for a Prometheus file collector or push gateway."""

from __future__ import annotations

import re
from datetime import datetime

from harness.record.model import Result, Run
from harness.reporting.metric_lines import metric_lines

_PREFIX = "lparbench"
_BOUNDS = ("estimate", "ci_low", "ci_high")


def openmetrics_text(run: Run) -> bytes:
    """One gauge family per metric name; the label ``bound`` tells the estimate from its confidence limits.

    Only valid results are given: a scraped number has lost its verdict. ``lparbench_results`` counts them by verdict.
    """
    stamp = f"{datetime.fromisoformat(run.created.replace('Z', '+00:00')).timestamp():.3f}"
    families: dict[str, dict[str, str]] = {}
    verdicts: dict[str, int] = {}
    for result in run.results:
        verdict = result.validity.verdict.value
        verdicts[verdict] = verdicts.get(verdict, 0) + 1
        if verdict == "valid":
            _add(families, result, stamp)
    lines = [
        f"# TYPE {_PREFIX}_run info",
        f"# HELP {_PREFIX}_run The run these figures are of.",
        f"{_PREFIX}_run_info{_labels({'run_id': run.run_id, 'created': run.created})} 1 {stamp}",
        f"# TYPE {_PREFIX}_results gauge",
        f"# HELP {_PREFIX}_results Results of the run by verdict.",
    ]
    lines += [
        f"{_PREFIX}_results{_labels({'verdict': name})} {count} {stamp}" for name, count in sorted(verdicts.items())
    ]
    for name, samples in sorted(families.items()):
        lines += [f"# TYPE {name} gauge", *(f"{name}{labels} {value}" for labels, value in samples.items())]
    return ("\n".join([*lines, "# EOF"]) + "\n").encode("utf-8", "replace")


def _add(families: dict[str, dict[str, str]], result: Result, stamp: str) -> None:
    for batch_size, name, metric in metric_lines(result):
        family = families.setdefault(f"{_PREFIX}_{re.sub(r'[^a-zA-Z0-9_]', '_', name)}", {})
        for bound, value in zip(_BOUNDS, (metric.value, metric.ci_low, metric.ci_high), strict=True):
            if value is not None:
                # The first wins where several results carry the same figure (the accuracy of one workload).
                family.setdefault(_labels(_identity(result, batch_size, bound, metric.unit)), f"{value!r} {stamp}")


def _identity(result: Result, batch_size: int | None, bound: str, unit: str) -> dict[str, str]:
    place = result.placement
    accuracy = batch_size is None and unit == ""
    where = {
        "scenario": result.scenario,
        "backend": result.backend,
        "dtype": result.dtype,
        "batch_size": "" if batch_size is None else str(batch_size),
        "nodes": " ".join(str(node) for node in place.nodes),
        "threads": str(place.threads),
        "threads_per_core": str(place.threads_per_core),
        "instances": str(result.instances),
        "cache": result.cache,
    }
    return {
        "workload": result.workload,
        "protocol": result.dataset.protocol,
        "data_origin": result.dataset.origin,
        **({} if accuracy else where),
        "bound": bound,
        "unit": unit,
    }


def _labels(values: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in values.items() if value) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
