"""From the plan and the journal of a sweep to its record: rates, verdicts, the best setting, and losses."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import exp
from pathlib import Path
from statistics import fmean
from typing import Any

from harness import __version__
from harness.measure.factorial import Best, Step, best_cell, cliffs, penalties
from harness.placement.smt import SmtMethod
from harness.record.model import Block, Series, Validity, Verdict
from harness.record.store import SWEEP_NAME, load_sweep
from harness.record.sweep_model import (
    SWEEP_SCHEMA_VERSION,
    Sweep,
    SweepBest,
    SweepCell,
    SweepLoss,
    SweepProcess,
    SweepRival,
)
from harness.runs.concurrent import series_of
from harness.runs.fingerprint import fingerprint
from harness.runs.judge import judge, over_processes
from harness.sweeps.design import PLAN_FILE, SweepPlan, read_plan
from harness.sweeps.journal import read_journal
from harness.sweeps.settings import Setting

_Rates = dict[int, dict[int, float]]  # cell -> block -> rate
_NOTHING = over_processes([], "row/s")
_VALID = Validity(Verdict.VALID)


def is_sweep(path: Path) -> bool:
    """Whether this is a sweep directory, finished or not, or a record with the name of one."""
    if path.is_dir():
        return any((path / name).exists() for name in (SWEEP_NAME, PLAN_FILE))
    return path.name == SWEEP_NAME


def stored_sweep(path: Path) -> Sweep:
    """The record in a sweep directory, or made from its plan and journal as long as the sweep is not finished.

    Args:
        path: a sweep directory or the ``sweep.json`` in it.

    Raises:
        InputError: it is neither, or it is damaged.
    """
    if path.is_dir() and not (path / SWEEP_NAME).exists() and (path / PLAN_FILE).exists():
        return sweep_record(read_plan(path), read_journal(path))
    return load_sweep(path)


def sweep_record(sweep: SweepPlan, journal: Sequence[Mapping[str, Any]]) -> Sweep:
    """The record of a sweep, finished or not, from its plan and from what was done."""
    margin = sweep.margin
    slots = [entry for entry in journal if entry["kind"] == "slot"]
    cells = tuple(
        _cell(cell, setting, [entry for entry in slots if entry["cell"] == cell])
        for cell, setting in enumerate(sweep.settings)
    )
    usable = _usable(cells)
    rates = {cell.id: _rates(cell) for cell in usable}
    survey = next((entry["payload"] for entry in journal if entry["kind"] == "survey"), None) or {}
    software = survey.get("software") or sweep.facts["software"]
    fits = {entry["workload"]: entry["payload"] for entry in journal if entry["kind"] == "fit"}
    return Sweep(
        schema_version=SWEEP_SCHEMA_VERSION,
        sweep_id=sweep.sweep_id,
        created=sweep.created,
        tool={
            "name": "lparbench",
            "version": __version__,
            "argv": list(sweep.argv),
            "overhead": survey.get("overhead"),
        },
        facts=dict(sweep.facts),
        fingerprint=fingerprint(sweep.facts, software),
        software=software,
        plan={
            "blocks": sweep.blocks,
            "seed": sweep.seed,
            "series_seconds": sweep.series_seconds,
            "protocol": sweep.protocol,
            "epochs": sweep.epochs,
            "rows": sweep.rows,
            "sessions": sum(entry["kind"] == "session" for entry in journal),
            "slots": len(sweep.slots),
            "slots_done": len(slots),
        },
        method=sweep.method.value,
        margin=margin,
        workloads={
            name: {"title": sweep.titles[name], "dataset": (fits.get(name) or {}).get("dataset")}
            for name in sweep.entries
        },
        cells=cells,
        skipped=dict(sweep.skipped),
        best=tuple(_best(sweep, usable, rates, margin)),
        losses=tuple(_losses(sweep, usable, rates, margin)),
        notes=_notes(sweep),
    )


def _cell(cell: int, setting: Setting, entries: Sequence[Mapping[str, Any]]) -> SweepCell:
    ordered = sorted(entries, key=lambda entry: entry["block"])
    series = [series_of(values) for entry in ordered if entry["failure"] is None for values in entry["series"]]
    processes = tuple(_process(entry) for entry in ordered)
    return SweepCell(
        id=cell,
        workload=setting.workload,
        backend=setting.backend,
        dtype=setting.dtype,
        batch_size=setting.batch,
        node=setting.place.node,
        memory_node=setting.place.memory,
        smt=setting.smt,
        threads_per_core=setting.threads_per_core,
        cores=setting.cores,
        instances=setting.instances,
        rows_per_s=over_processes([one.rows_per_s for one in processes if one.rows_per_s], "row/s"),
        rows_per_s_counted=over_processes(
            [one.rows_per_s_counted for one in processes if one.rows_per_s_counted], "row/s"
        ),
        validity=_validity(ordered, processes, series),
        processes=processes,
    )


def _process(entry: Mapping[str, Any]) -> SweepProcess:
    if entry["failure"] is not None:
        return SweepProcess(entry["block"], None, None, None, None, None, None, entry.get("cpus"), entry["failure"])
    rates, series = entry["rates"], [series_of(values) for values in entry["series"]]
    steal = [share for share in entry["steal_shares"] if share is not None]
    return SweepProcess(
        block=entry["block"],
        rows_per_s=rates["undisturbed_rows_per_s"],
        rows_per_s_counted=rates["rows_per_s"] or None,
        window_share=rates["window_share"],
        clean_share=fmean(_clean_share(one) for one in series),
        steady=all(one.steady for one in series),
        steal_share=min(1.0, fmean(steal)) if steal else None,
        cpus=entry["cpus"],
    )


def _clean_share(series: Series) -> float:
    flags = series.flags[series.warmup :]
    return sum(flag == 0 for flag in flags) / len(flags) if flags else 0.0


def _validity(
    entries: Sequence[Mapping[str, Any]], processes: Sequence[SweepProcess], series: Sequence[Series]
) -> Validity:
    blocks = [
        Block(
            index=one.block, order=0, seed=0, pid=None, wall_s=None, rss_peak_bytes=None, steal_share=one.steal_share,
            cpus_allowed=None, cpus_sampled=None, page_nodes=None, failure=one.failure,
        )
        for one in processes
    ]  # fmt: skip
    wrong = [text for entry in entries for text in entry.get("mismatches", ())]
    disagreement = next((entry["disagreement"] for entry in entries if entry.get("disagreement")), None)
    return judge(
        blocks, series, placement_mismatches=list(dict.fromkeys(wrong)), accuracy_mismatch=disagreement, emulator=None
    )


def _usable(cells: Iterable[SweepCell]) -> list[SweepCell]:
    """The valid cells of each workload; where there is none, all that have a rate: it still shows what it found."""
    by_workload: dict[str, list[SweepCell]] = {}
    for cell in cells:
        if cell.rows_per_s.value is not None:
            by_workload.setdefault(cell.workload, []).append(cell)
    usable = []
    for timed in by_workload.values():
        usable += [cell for cell in timed if cell.validity.verdict is Verdict.VALID] or timed
    return usable


def _rates(cell: SweepCell) -> dict[int, float]:
    return {one.block: one.rows_per_s for one in cell.processes if one.rows_per_s}


def _best(sweep: SweepPlan, cells: Sequence[SweepCell], rates: _Rates, margin: float) -> list[SweepBest]:
    """Per workload the best of all, then the best with each number of cores where there are several."""
    found = []
    for workload in sweep.entries:
        own = [cell for cell in cells if cell.workload == workload]
        counts = sorted({cell.cores for cell in own})
        for cores in (None, *(counts if len(counts) > 1 else ())):
            among = {cell.id: rates[cell.id] for cell in own if cores in (None, cell.cores)}
            best = best_cell(among, margin=margin)
            if best is not None:
                found.append(SweepBest(workload, cores, best.cell, _rivals(best)))
    return found


def _rivals(best: Best[int]) -> tuple[SweepRival, ...]:
    return tuple(
        SweepRival(one.cell, one.ratio.centre, one.ratio.low, one.ratio.high, one.standing.value) for one in best.rivals
    )


def _losses(sweep: SweepPlan, cells: Sequence[SweepCell], rates: _Rates, margin: float) -> list[SweepLoss]:
    """Falls of the throughput with more threads per core, with more cores, and with another node or memory."""
    whole = [cell for cell in cells if cell.smt == cell.threads_per_core]
    if sweep.method is SmtMethod.SWITCHED:
        chains = _chains(cells, lambda cell: cell.threads_per_core, {"threads_per_core": 0})
        chains += _chains(whole, lambda cell: cell.smt, {"threads_per_core": 0, "smt": 0})
    else:
        chains = _chains(whole, lambda cell: cell.smt, {"threads_per_core": 0, "smt": 0})
    cores = _chains(cells, lambda cell: cell.cores, {"cores": 0})
    places = _chains(cells, lambda cell: (cell.node or 0, cell.memory_node or 0), {"node": None, "memory_node": None})
    return [
        *(_loss("smt_cliff", step) for step in cliffs(chains, rates, margin=margin)),
        *(_loss("core_cliff", step) for step in cliffs(cores, rates, margin=margin)),
        *(_loss("numa_penalty", step) for step in penalties(places, rates, margin=margin)),
    ]


def _chains(
    cells: Sequence[SweepCell], order: Callable[[SweepCell], Any], ignoring: Mapping[str, Any]
) -> list[list[int]]:
    """Cells that are equal but for some factors, each group in order."""
    groups: dict[Hashable, list[SweepCell]] = {}
    for cell in cells:
        alike = replace(cell, id=0, rows_per_s=_NOTHING, rows_per_s_counted=_NOTHING, validity=_VALID, processes=(),
                        **ignoring)  # fmt: skip
        groups.setdefault(alike, []).append(cell)
    return [[cell.id for cell in sorted(group, key=order)] for group in groups.values() if len(group) > 1]


def _loss(kind: str, step: Step[int]) -> SweepLoss:
    effect = step.comparison.effect  # of the time; its inverse is of the rate
    assert effect is not None
    return SweepLoss(kind, step.start, step.to, exp(-effect.mean), exp(-effect.high), exp(-effect.low))


def _notes(sweep: SweepPlan) -> tuple[str, ...]:
    notes = []
    online = sweep.facts["topology"]["smt"]["online"] or 1
    if sweep.method is SmtMethod.AFFINITY and any(setting.smt < online for setting in sweep.settings):
        notes.append(
            "SMT levels were had by affinity: the other threads of a core stayed on line and idle, and what the core"
            " sets aside for them was not freed."
        )
    epochs = "one epoch" if sweep.epochs == 1 else f"{sweep.epochs} epochs"
    notes.append(
        f"Each workload was trained once, for at most {epochs}: the speed of scoring does not depend on the weights."
    )
    return tuple(notes)
