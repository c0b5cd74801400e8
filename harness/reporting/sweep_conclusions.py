"""What a sweep concludes, in words: changes of the time per row, what factors do, and which losses do not occur."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness.measure.verdicts import MIN_BLOCKS
from harness.record.sweep_model import FactorName, Sweep, SweepCell, SweepEffect, SweepLoss
from harness.reporting.comparison_view import percent as margin_text
from harness.reporting.sweep_factors import BY_NAME, Factor
from harness.reporting.text import NO_BREAK, and_list, capital, change
from harness.wording import plural

# What a loss is called where there is none, its factors, and what those are called where they did not vary.
_ABSENT: tuple[tuple[str, str, tuple[FactorName, ...], str], ...] = (
    ("smt_cliff", "no SMT cliff", ("smt", "threads_per_core"), "SMT level"),
    ("core_cliff", "no loss with more cores", ("cores",), "number of cores"),
    ("numa_penalty", "no NUMA penalty", ("place",), "NUMA node"),
)


def longer(ratio: float, low: float | None, high: float | None) -> str:
    """A time per row against another: ``+31.0 % [27.1, 35.2]``, ``× 2.40 [2.30, 2.50]``."""
    return " ".join(change(ratio, low, high)).rstrip()


def level_sentences(sweep: Sweep, workload: str) -> list[str]:
    """What each factor of a workload does to the time per row, over settings that are equal in all else."""
    cells = {cell.id: cell for cell in sweep.cells}
    by_factor: dict[FactorName, list[SweepEffect]] = {}
    for effect in sweep.effects:
        if effect.workload == workload:
            by_factor.setdefault(effect.factor, []).append(effect)
    return [_levels(cells, BY_NAME[name], effects) for name, effects in by_factor.items()]


def _levels(cells: Mapping[int, SweepCell], factor: Factor, effects: Sequence[SweepEffect]) -> str:
    """What every other level of a factor does to the time per row, over settings that are equal in all else."""
    own = factor.word(cells[effects[0].start])
    clauses = [_clause(factor.word(cells[effect.to]), effect) for effect in effects if effect.pairs]
    pairs = {effect.pairs for effect in effects if effect.pairs}
    unpaired = [factor.word(cells[effect.to]) for effect in effects if not effect.pairs]
    text = ""
    if clauses:
        over = (
            f", in the mean of {plural(max(pairs), 'pair')} of settings," if len(pairs) == 1 and max(pairs) > 1 else ""
        )
        text = f"Against {own} and all else equal{over or ','} the time per row is {and_list(clauses)}."
    if unpaired:
        alone = f"No two valid settings differ only in having {own} or {' or '.join(unpaired)}: nothing is concluded."
        text = f"{text} {alone}".lstrip()
    return text


def _clause(other: str, effect: SweepEffect) -> str:
    assert effect.ratio is not None
    ratio = longer(effect.ratio, effect.ci_low, effect.ci_high)
    match effect.standing:
        case "equivalent":
            return f"equivalent with {other} ({ratio})"
        case "slower" | "faster":
            return f"{ratio} with {other}"
        case "not_distinguishable":
            return f"not distinguishable with {other} ({ratio})"
        case "not_judged":
            return f"not judged with {other} ({ratio}), for fewer than {MIN_BLOCKS} blocks in common"


def absent_losses(sweep: Sweep, workload: str) -> Iterator[str]:
    """Which losses were looked for and do not occur, and which could not be looked for."""
    cells = {cell.id: cell for cell in sweep.cells}
    seen = {loss.kind for loss in sweep.losses if cells[loss.to].workload == workload}
    pairs = [effect for effect in sweep.effects if effect.workload == workload and effect.pairs]
    compared = {effect.factor for effect in pairs if effect.standing != "not_judged"}
    checked = [words for kind, words, factors, _ in _ABSENT if kind not in seen and compared & set(factors)]
    unknown = [name for _, _, factors, name in _ABSENT if not {effect.factor for effect in pairs} & set(factors)]
    if checked:
        yield capital(f"{and_list(checked)} beyond {margin_text(sweep.margin)} is shown by the settings measured.")
    if unknown:
        yield f"Nothing is said about the {and_list(unknown)}: no two valid settings differ only in that."


def slower(loss: SweepLoss) -> str:
    """``33.2 % [30.1, 36.4] longer than`` of the rates' ratio."""
    ratio = longer(1 / loss.ratio, 1 / loss.ci_high, 1 / loss.ci_low)
    if ratio.startswith("+"):
        return f"{ratio.replace('+', '')} longer than"
    return f"{ratio.removeprefix(f'×{NO_BREAK}')} times as long as"
