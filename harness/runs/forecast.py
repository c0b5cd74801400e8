"""How long a run or sweep will take, before it begins, and what a short budget leaves out of it. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from harness.datasets.registry import draws_test_rows
from harness.record.spec import CAPACITY, RunSpec
from harness.runs.stopping import duration
from harness.runs.training_formats import lower_formats
from harness.wording import plural
from harness.workload.model import Workload

_NO_SURVEY = "the survey of the timing loop, the cross-check with other tools"
SHORT_S = 120.0  # a budget below this has no time for what is not timed
_NO_SURVEY_S = 30.0  # below this neither for measuring the timing loop nor for a whole training
_FEW_ROWS = 2000
_SPLIT_S = 1.5  # to load one more split of 20,000 rows and fit the baseline detectors on it
_REFIT_S = 1.0  # to load it for the detector, and to fit one without passes
_ROW_S = 5e-6  # to train on a row, in every pass
_ROWS, _MOST_ROWS = 20_000, 1 << 62  # of a split, where it is not known, and without a bound
_PROCESS_S = 2.5  # to start a process with its libraries and data
_SERIES = 2.0  # as much time goes into warming up as into a series
_CAPACITY_SERIES = 10.0  # a search of the highest rate tries several
# What a short budget is divided by, in times of what starting the command took: how fast the machine is, and how busy.
_FIT_STARTS = 2.0  # to train on few rows
_SLOT_STARTS = 0.6  # to start a process that needs no torch
_CLOSING_STARTS = 0.8  # to judge, and to draw and write the page
_STARTED_S = 1.0  # where it is not known
_WITH_TORCH = ("eager", "compile")
_QUICK_SHARE = 0.6  # of the time of a process with torch, that one without takes


def block_s(workloads: Sequence[Workload], spec: RunSpec) -> float:
    """Seconds of a block, every configuration once, by what processes and series take at least."""
    looped = _PROCESS_S + _SERIES * spec.series_seconds  # of a format that is trained in alone
    return sum(
        _scored(workload, spec) * slot_s(workload, spec) + _trained_alone(workload, spec) * looped
        for workload in workloads
    )


def closing_s(started_s: float) -> float:
    """Seconds that are kept of a budget for the end of a command whose start took ``started_s``."""
    return _CLOSING_STARTS * started_s


def for_work_s(spec: RunSpec, started_s: float) -> float | None:
    """What is left of a budget for work after the command's start, without its end; None where there is no budget."""
    return None if spec.budget_s is None else spec.budget_s - started_s - closing_s(started_s)


def least_s(series_s: float, started_s: float) -> float:
    """Seconds of the least sound run: started, a workload trained, a configuration measured for so long, the page."""
    started_s = started_s or _STARTED_S
    return started_s * (1 + _FIT_STARTS + _SLOT_STARTS) + closing_s(started_s) + series_s


def slot_start_s(backend: str, started_s: float, survey_s: float) -> float:
    """Seconds to start a process of this backend, where none was measured: as the survey with torch, else far less."""
    return survey_s if backend in _WITH_TORCH else min(survey_s, _SLOT_STARTS * (started_s or _STARTED_S))


def next_slot_s(backend: str, walls: Mapping[str, Sequence[float]], fit_s: float) -> float:
    """Seconds that the next slot may take.

    Args:
        backend: of the slot.
        walls: of those measured, by backend.
        fit_s: of the longest training: with torch and all that a process can load.
    """
    if backend in walls:
        return max(walls[backend])
    quick = [wall for name, same in walls.items() if name not in _WITH_TORCH for wall in same]
    if backend in _WITH_TORCH or not walls:
        return max([*quick, fit_s])
    return max(quick) if quick else _QUICK_SHARE * max(wall for same in walls.values() for wall in same)


def forecast(
    workloads: Sequence[Workload],
    spec: RunSpec,
    blocks: int,
    rows: Mapping[str, int] = MappingProxyType({}),
    started_s: float = 0.0,
) -> str:
    """What lies ahead, in one sentence.

    Args:
        workloads: of the run.
        spec: of the run.
        blocks: as many as are known of now.
        rows: of workloads whose test rows are drawn, where known.
        started_s: what the command took so far.
    """
    count = sum(_configurations(workload, spec) for workload in workloads)
    work = f"{plural(len(workloads), 'workload')}, {plural(count, 'configuration')}"
    further = further_splits(workloads, spec) if has_time(spec) else 0
    further_s = further * _SPLIT_S + (refits_s(workloads, spec, rows) if further else 0.0)
    formats = dict.fromkeys(each for workload in workloads for each in lower_formats(workload, spec, spec.protocol))
    training = ", ".join(("training", *(f"again in {each}" for each in formats)))
    set_up = f"survey, {training} and baseline detectors" if has_time(spec) else training
    block = block_s(workloads, spec)
    if spec.budget_s is None:
        splits = f"{plural(further, 'further split')}, on which detector and baselines are fitted again"
        of_it = f" ({duration(further_s)} of it for {splits})"
        time = f"about {duration(blocks * block + further_s)}{of_it if further else ''}"
        return f"{work} in {plural(blocks, 'block')}: {time}, after {set_up}."
    budget, fits = duration(spec.budget_s), _PROCESS_S * len(workloads) + further_s
    least = least_s(min(slot_s(workload, spec) for workload in workloads) - _PROCESS_S, started_s)
    if least > spec.budget_s:
        return f"{work}. {_too_small(spec.budget_s, least)}"
    if fits + block > spec.budget_s:
        return f"{work}: as many as fit into {budget}, {set_up} included; a block takes about {duration(block)}."
    return f"{work} in as many blocks as fit into {budget}, {set_up} included."


def _too_small(budget_s: float, least: float) -> str:
    """What is said of a budget that is smaller than the least there is to do."""
    return (
        f"The budget of {duration(budget_s)} is too small. Training one workload and measuring one configuration, the "
        f"least that is done, takes about {duration(math.ceil(least))} here: --budget {math.ceil(least)}s."
    )


def sweep_too_small(spec: RunSpec, started_s: float) -> str | None:
    """What is said of the budget of a sweep that is smaller than the least; None of any other."""
    if spec.budget_s is None:
        return None
    least = least_s(_SERIES * spec.series_seconds, started_s)
    return _too_small(spec.budget_s, least) if least > spec.budget_s else None


def further_splits(workloads: Sequence[Workload], spec: RunSpec) -> int:
    """Splits of random data sets after their first, on each of which the baseline detectors are fitted again."""
    splits: dict[str, int] = {}
    for workload in workloads:
        options = workload.options_for(spec.protocol)
        if workload.role == "system" and draws_test_rows(workload.dataset, spec.protocol, options):
            seeds = spec.seeds or workload.training_for(spec.protocol).seeds
            splits[workload.dataset] = max(seeds - 1, splits.get(workload.dataset, 0))
    return sum(splits.values())


def refits_s(workloads: Sequence[Workload], spec: RunSpec, rows: Mapping[str, int]) -> float:
    """Seconds for fitting each detector again on the further splits of its data."""
    seconds = 0.0
    for workload in workloads:
        further = further_splits([workload], spec)
        epochs = workload.training_for(spec.protocol).epochs or 0
        count = min(rows.get(workload.name, _ROWS), spec.rows or _MOST_ROWS)
        seconds += further * (_REFIT_S + min(epochs, spec.epochs or epochs) * count * _ROW_S)
    return seconds


def within_budget(spec: RunSpec, *, passes: bool = True) -> tuple[RunSpec, str | None]:
    """The spec without what a short budget has no time for, and what is said of that; ``passes``: of some trainings."""
    if has_time(spec):
        return spec, None
    assert spec.budget_s is not None
    left_out = "baseline detectors, roofs" + (f", {_NO_SURVEY}" if no_survey(spec) else "") + " and further seeds"
    short = replace(spec, seeds=1, roofline="none", both_protocols=False, series_seconds=_series_s(spec))
    cut = ""
    if no_survey(spec) and spec.save is None:
        short = replace(short, rows=min(spec.rows or _FEW_ROWS, _FEW_ROWS), epochs=1)
        cut = f" Training is cut to {'1 epoch of ' if passes else ''}{short.rows:,} rows."
    return short, f"{duration(spec.budget_s)} leave no time for {left_out}; from {duration(SHORT_S)} on there is.{cut}"


def sweep_within_budget(spec: RunSpec, largest_batch: int) -> tuple[RunSpec, str | None]:
    """The spec of a sweep without what a short budget has no time for, and what is said of that.

    Args:
        spec: as asked for, or as this function gave it.
        largest_batch: that was asked for, which the test rows must fill; 0 for none.
    """
    if spec.budget_s is None or has_time(spec):
        return spec, None
    short, cuts, left_out = replace(spec, series_seconds=_series_s(spec)), [], ""
    if short.series_seconds >= _most_series_s(spec.budget_s):
        cuts.append(f"each series takes {short.series_seconds:g} s")
    if no_survey(spec):
        rows = max(_FEW_ROWS, largest_batch)
        short = replace(short, rows=min(spec.rows or rows, rows))
        cuts.append(f"data sets are cut to {short.rows:,} rows")
        left_out = f"{duration(spec.budget_s)} leave no time for {_NO_SURVEY}; "
        left_out += f"from {duration(_NO_SURVEY_S)} on there is. "
    return short, f"{left_out}For the budget {' and '.join(cuts)}." if cuts else None


def _series_s(spec: RunSpec) -> float:
    """Seconds of a series within a budget."""
    assert spec.budget_s is not None
    return min(spec.series_seconds, _most_series_s(spec.budget_s))


def _most_series_s(budget_s: float) -> float:
    return max(0.05, budget_s / 100)


def no_survey(spec: RunSpec) -> bool:
    """Whether there is not even time to measure the timing loop."""
    return spec.budget_s is not None and spec.budget_s < _NO_SURVEY_S


def has_time(spec: RunSpec) -> bool:
    """Whether the budget has time for what is not timed."""
    return spec.budget_s is None or spec.budget_s >= SHORT_S


def _configurations(workload: Workload, spec: RunSpec) -> int:
    return _scored(workload, spec) + _trained_alone(workload, spec)


def _scored(workload: Workload, spec: RunSpec) -> int:
    """Configurations that score."""
    return len(spec.backends or workload.inference.backends) * len(spec.dtypes or workload.inference.dtypes)


def _trained_alone(workload: Workload, spec: RunSpec) -> int:
    """Configurations of which only the training loop is timed: formats that it is trained in and does not score in."""
    native = "native" in (spec.backends or workload.inference.backends)
    trains = native and (spec.scenarios is None or "train" in spec.scenarios)
    scored = spec.dtypes or workload.inference.dtypes
    return sum(dtype not in scored for dtype in lower_formats(workload, spec, spec.protocol)) if trains else 0


def slot_s(workload: Workload, spec: RunSpec) -> float:
    """Seconds of one configuration in a block, at least."""
    scenarios = spec.scenarios or ("offline", "single_stream", "train")
    batches = sum(size > 1 for size in workload.inference.batch_sizes)
    series = sum(batches if name == "offline" else _CAPACITY_SERIES if name in CAPACITY else 1 for name in scenarios)
    return _PROCESS_S + _SERIES * spec.series_seconds * series
