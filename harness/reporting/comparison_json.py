"""Comparisons, gates, baselines, self-checks and histories as JSON values for ``--json``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from harness.compare.compare import AccuracyComparison, CompareReport, TimeComparison
from harness.compare.history import History, history_exit_code
from harness.gates.baseline import Baseline
from harness.gates.files import CheckedRun
from harness.gates.gate import GateReport
from harness.measure.stats import Interval
from harness.reporting.comparison_terminal import gate_verdict
from harness.reporting.comparison_view import view_of


def comparison_json(report: CompareReport) -> dict[str, object]:
    """The whole comparison."""
    return {
        "sides": [{"name": side.name, "run": side.run_id, "created": side.created} for side in report.sides],
        "verdict": " ".join(view_of(report).sentences),
        "times": [_time_json(time) for time in report.times],
        "accuracy": [{**_accuracy_json(metric), "change": metric.b.mean - metric.a.mean} for metric in report.accuracy],
        "differences": {
            side: [{**asdict(fact), "keys": [str(key) for key in fact.keys]} for fact in differing]
            for side, differing in report.differences.items()
        },
        "missing": {side: [str(key) for key in keys] for side, keys in report.missing.items()},
        "exit_code": int(report.exit_code),
    }


def gate_json(report: GateReport) -> dict[str, object]:
    """The verdict of the gate and of every metric."""
    results = [
        {
            "subject": result.subject,
            "verdict": result.verdict.value,
            "why": result.why,
            "time": None if result.time is None else _time_json(result.time),
            "confirmation": None if result.confirmation is None else _time_json(result.confirmation),
            "accuracy": None if result.accuracy is None else _accuracy_json(result.accuracy),
        }
        for result in report.results
    ]
    return {
        "verdict": gate_verdict(report)[1],
        "exit_code": int(report.exit_code),
        "baseline": report.baseline,
        "candidate": report.candidate,
        "baseline_source": report.source.value,
        "results": results,
        "not_in_baseline": [str(key) for key in report.ungated],
    }


def baseline_json(path: Path, baseline: Baseline) -> dict[str, object]:
    """What a baseline that was just written rests on."""
    return {
        "baseline": str(path),
        "run": baseline.side.name,
        "sessions": len(baseline.sessions),
        "accepted": [
            {
                "created": entry.created,
                "reason": entry.reason,
                "changes": [{"result": str(change.key), "effect": change.effect} for change in entry.changes],
            }
            for entry in baseline.accepted
        ],
        "noise_floors": {str(key): floor.effect for key, floor in sorted(baseline.floors.items())},
    }


def self_check_json(checked: CheckedRun) -> dict[str, object]:
    """What noise alone does to every key of a run."""
    results = [
        {
            "result": str(check.key),
            "pairs": check.pairs,
            "noise_floor": check.floor,
            "margin": check.margin,
            "suspicion_share": check.alarm_share,
            "verdict": check.comparison.verdict.value,
        }
        for check in checked.checks
    ]
    return {"run": checked.name, "results": results}


def history_json(histories: Sequence[History]) -> dict[str, object]:
    """Every key with its runs and its steps."""
    results = [
        {
            "result": str(history.key),
            "key": asdict(history.key),
            "estimate": history.key.estimate,
            "machine": history.machine,
            "unit": history.unit,
            "points": [asdict(point) for point in history.points],
            "steps": [
                {
                    "at": step.at,
                    "run": history.points[step.at].run,
                    "ratio": step.ratio,
                    "p": step.p,
                    "accepted": step.accepted,
                    "differences": [{"name": fact.name, "a": fact.a, "b": fact.b} for fact in step.differences],
                }
                for step in history.steps
            ],
            "note": history.note,
        }
        for history in histories
    ]
    return {"results": results, "exit_code": int(history_exit_code(histories))}


def _time_json(time: TimeComparison) -> dict[str, object]:
    """Ratios are of time per call, above 1 slower; ``estimate`` says what the time of a process is."""
    comparison, effect = time.comparison, time.comparison.effect
    return {
        "result": str(time.key),
        "key": asdict(time.key),
        "estimate": time.key.estimate,
        "side": time.side,
        "verdict": comparison.verdict.value,
        "a": _interval_json(time.a),
        "b": _interval_json(time.b),
        "ratio": None if effect is None else effect.ratio,
        "ratio_ci_low": None if effect is None else math.exp(effect.low),
        "ratio_ci_high": None if effect is None else math.exp(effect.high),
        "blocks": None if effect is None else effect.blocks,
        "margin": comparison.margin,
        "change_p": comparison.change_p,
        "equivalence_p": comparison.equivalence_p,
        "rank_p": comparison.rank_p,
        "more_blocks": comparison.more_blocks,
        "note": comparison.note,
        "problems": list(time.problems),
    }


def _accuracy_json(metric: AccuracyComparison) -> dict[str, object]:
    return {**asdict(metric), "verdict": metric.verdict.value}


def _interval_json(interval: Interval | None) -> dict[str, object] | None:
    if interval is None:
        return None
    return {"seconds": interval.centre, "ci_low": interval.low, "ci_high": interval.high, "blocks": interval.n}
