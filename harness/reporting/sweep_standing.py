"""What a setting of a sweep is next to the best one: one name, and the words for it, in every output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from harness.record.model import Verdict
from harness.record.sweep_model import Sweep, SweepBest, SweepCell
from harness.reporting.sections.status import Status

StandingName = Literal[
    "best", "fastest", "equivalent", "slower", "not_distinguishable", "not_judged", "not_compared"
]  # fastest: of which none is valid
STANDINGS: Mapping[StandingName, Status] = {
    "best": Status("Best", "★", "good"),
    "fastest": Status("Fastest", "–", "note"),
    "equivalent": Status("Equivalent", "≈", "good"),
    "slower": Status("Slower", "", "note"),
    "not_distinguishable": Status("Not distinguishable", "?", "warn"),
    "not_judged": Status("Not judged", "–", "note"),
    "not_compared": Status("Not compared", "–", "note"),
}


def is_valid(cell: SweepCell) -> bool:
    """Whether its result may be used."""
    return cell.validity.verdict is Verdict.VALID


def is_alone(sweep: Sweep, cell: SweepCell) -> bool:
    """Whether it is the only valid setting of several of its workload, and so the best of nothing."""
    others = [each for each in sweep.cells if each.workload == cell.workload and each.id != cell.id]
    return is_valid(cell) and bool(others) and not any(map(is_valid, others))


def best_of(sweep: Sweep, workload: str) -> SweepBest | None:
    """The best setting of a workload, over all numbers of cores; None without a rate."""
    return next((each for each in sweep.best if each.workload == workload and each.cores is None), None)


def standing_of(sweep: Sweep, cell: SweepCell) -> StandingName:
    """What a setting is next to the best of its workload."""
    best = best_of(sweep, cell.workload)
    if best is None:
        return "not_compared"
    if best.cell == cell.id:
        return "not_compared" if is_alone(sweep, cell) else "best" if is_valid(cell) else "fastest"
    return next((rival.standing for rival in best.rivals if rival.cell == cell.id), "not_compared")
