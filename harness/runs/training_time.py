"""How long a backend takes to train a workload, or why there is no such time."""

from __future__ import annotations

from harness.record.model import Metric
from harness.runs.engine import Fit
from harness.workers.outcomes import FitOutcome
from harness.workers.variants import FULL


def training_time(fit: Fit, backend: str, dtype: str, rate: Metric | None) -> Metric | None:
    """Seconds to train all seeds: measured, or estimated from the rate of the loop; without a value, the reason.

    Args:
        fit: the workload as this run fitted it, on one backend.
        backend: the one asked about.
        dtype: the number format that it scores in.
        rate: rows per second of the backend's training loop, where that was timed.

    Returns:
        None where the fit failed.
    """
    outcome = fit.outcome
    if outcome is None:
        return None
    lower = next((trial for trial in outcome.training_formats if (backend, trial.dtype) == ("native", dtype)), None)
    if lower is not None:
        return Metric(lower.seconds, "s", n=1, note=_of_seeds(fit))
    if dtype != FULL:
        return _none(f"trained in {FULL}, converted to score")
    if backend == outcome.trained_on:
        note = _of_seeds(fit)
        if outcome.ranks > 1:
            note = f"{outcome.ranks} ranks; {note}"
        return Metric(outcome.train_seconds, "s", n=1, note=note)
    if rate is not None and rate.value:
        return _estimated(fit, outcome, rate)
    if backend in outcome.trains_on:
        return _none(f"its loop was not timed; trained with {outcome.trained_on}")
    if backend == "native" and outcome.trains_on:
        return _none(f"no native training for this detector; trained with {outcome.trained_on}")
    return _none(f"scores only; trained with {outcome.trained_on}")


def _of_seeds(fit: Fit) -> str:
    return "no interval from one fit" if fit.seeds == 1 else f"no interval from {fit.seeds} seeds together"


def _none(reason: str) -> Metric:
    return Metric(None, "s", n=0, note=reason)


def _estimated(fit: Fit, outcome: FitOutcome, rate: Metric) -> Metric:
    rows = sum(epoch.rows for epoch in outcome.epochs)
    seconds = [None if value is None else fit.seeds * rows / value for value in (rate.value, rate.ci_high, rate.ci_low)]
    of_seeds = "" if fit.seeds == 1 else f"{fit.seeds} seeds, "
    passes = len(outcome.epochs)
    work = f"{of_seeds}{rows:,} rows in {passes} pass{'es' if passes > 1 else ''}"
    note = f"estimated: {work} at the rate of its loop; trained with {outcome.trained_on}"
    return Metric(seconds[0], "s", seconds[1], seconds[2], rate.n, note)
