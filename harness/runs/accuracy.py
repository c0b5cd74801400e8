"""The accuracy part of a result: metrics over seeds, curves of the seed that is timed, and the floor to reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from harness.evaluation.bootstrap import RESAMPLES
from harness.evaluation.metrics import METRICS
from harness.record.spec import Protocol
from harness.workers.jobs import Outcome
from harness.workload.model import Workload

INTERVAL = f"95 % stratified bootstrap over the test rows of the first seed, {RESAMPLES:,} resamples"


def accuracy_record(workload: Workload, protocol: Protocol, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Accuracy of a workload from the payload of its fit job.

    Metrics are means over seeds with their sample standard deviation; threshold, confusion, curves and histogram are of
    the first seed, whose detector is the one that is timed.
    """
    evaluations = payload["evaluations"]
    shown = evaluations[0]
    headline = workload.accuracy.metric
    metrics = {name: _over_seeds([evaluation[name] for evaluation in evaluations]) for name in METRICS}
    epochs = {"trained": len(payload["epochs"]), "scheduled": payload["scheduled_epochs"]}
    # A floor is that of the whole schedule and data set; what was limited has not been given the chance to reach it.
    limits = payload["limits"]
    limited = any(limit is not None for limit in limits.values())
    floor = None if limited else workload.floor_for(protocol, payload["dataset"]["origin"])
    confusion = shown["confusion"]
    return {
        "headline": headline,
        "protocol": protocol,
        "metrics": metrics,
        "oracle": list(shown["oracle"]),
        "floor": floor,
        "passed": None if floor is None else metrics[headline]["value"] >= floor,
        "threshold": shown["threshold"],
        "threshold_rule": shown["threshold_rule"],
        "prevalence": shown["prevalence"],
        "rows": shown["rows"],
        "confusion": {
            "tn": confusion["true_negative"],
            "fp": confusion["false_positive"],
            "fn": confusion["false_negative"],
            "tp": confusion["true_positive"],
        },
        "curves": {
            "roc": {"fpr": [point[0] for point in shown["roc"]], "tpr": [point[1] for point in shown["roc"]]},
            "pr": {"recall": [point[0] for point in shown["pr"]], "precision": [point[1] for point in shown["pr"]]},
        },
        "histogram": shown["histogram"],
        "per_class_recall": {
            name: {"recall": one["flagged"], "n": one["rows"]} for name, one in shown["per_class"].items()
        },
        "loss_curve": [next(iter(epoch["losses"].values())) for epoch in payload["epochs"]],
        "epochs": epochs,
        "limits": limits,
        "notes": [*workload.notes, *payload["remarks"]],
        "operating_points": payload["operating_points"],
        "intervals": _intervals(shown),
        "number_formats": payload["number_formats"],
        "learning_rates": [_at_rate(one) for one in payload["learning_rates"]],
    }


def _intervals(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Intervals of metrics of the first seed that rest on few anomalies."""
    found = shown["auc_pr_interval"]
    if found is None:
        return {}
    return {"auc_pr": {"low": found[0], "high": found[1], "method": INTERVAL}}


def references_record(outcome: Outcome) -> dict[str, Any]:
    """The classical references of a workload, and what they rest on; none, with the reason, when their job failed."""
    if outcome.payload is None:
        return {"references": [], "references_failure": outcome.failure}
    return {"references": outcome.payload["references"], "references_basis": outcome.payload["basis"]}


def counterpart_record(workload: Workload, protocol: Protocol, outcome: Outcome) -> dict[str, Any]:
    """Metrics of the same workload under the protocol that is not ``protocol``, or why there are none."""
    other = other_protocol(protocol)
    if outcome.payload is None:
        return {"protocol": other, "failure": outcome.failure}
    whole = accuracy_record(workload, other, outcome.payload)
    kept = ("protocol", "metrics", "oracle", "floor", "passed", "threshold_rule", "prevalence", "rows", "epochs")
    return {name: whole[name] for name in kept}


def other_protocol(protocol: Protocol) -> Protocol:
    """The one of the two that this one is not."""
    return "as-published" if protocol == "clean" else "clean"


def _at_rate(told: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics over the seeds of one learning rate; none when all of them diverged."""
    evaluations = told["evaluations"]
    metrics = {name: _over_seeds([one[name] for one in evaluations]) for name in METRICS} if evaluations else {}
    return {"learning_rate": told["learning_rate"], "metrics": metrics, "diverged": told["diverged"]}


def _over_seeds(values: Sequence[float]) -> dict[str, Any]:
    return {"value": mean(values), "sd": stdev(values) if len(values) > 1 else None, "n": len(values)}
