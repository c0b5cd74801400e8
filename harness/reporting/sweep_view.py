"""A sweep in words and figures: what the terminal and the page both say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.measure.validity import shortfall
from harness.measure.verdicts import MIN_BLOCKS
from harness.record.sweep_model import Sweep, SweepBest, SweepCell, SweepLoss, SweepRival
from harness.reporting.comparison_view import percent as margin_text
from harness.reporting.sections.figures import Figure, figure, with_margin
from harness.reporting.sections.machine import is_power
from harness.reporting.sections.status import BAD, DISTURBED, GOOD, WARN, Status, status_of
from harness.reporting.sweep_conclusions import absent_losses, level_sentences, longer, slower
from harness.reporting.sweep_factors import CORES, FACTORS, SMT, THREADS, Factor, setting_name, varying
from harness.reporting.sweep_standing import STANDINGS, StandingName, best_of, is_alone, is_valid, standing_of
from harness.reporting.text import NO_BREAK, and_list, capital, number, percent, quantity
from harness.wording import plural

_UNMEASURED = Status("Not measured", "–", "note")
_NAMED = 3  # settings named one by one; more are counted
_LOSSES: Mapping[str, tuple[str, str]] = {
    "smt_cliff": (
        "SMT cliff",
        "Threads of a core share its caches and its units; a library that starts more threads than it can use makes it"
        " worse (OpenBLAS issue 2380: 462 GFLOP/s with one thread per POWER9 core, 22 with four).",
    ),
    "core_cliff": ("Core cliff", "What is handed between the cores costs more than they add at this batch size."),
    "numa_penalty": ("NUMA penalty", "Keep the memory on the node of the cores, and the cores on the better node."),
}


@dataclass(frozen=True)
class SettingLine:
    """One setting as text; ``against`` is its undisturbed time per row against the best one's."""

    cell: SweepCell
    rival: SweepRival | None  # None for the best, and for what was not compared with it
    name: str
    rate: Figure
    undisturbed: Figure
    per_row: Figure
    against: str
    standing: Status
    status: Status
    in_process: Figure  # of the http scenario
    http_share: str  # what HTTP leaves of it


@dataclass(frozen=True)
class ReasonLine:
    """What is wrong, and with which settings."""

    status: Status
    settings: str
    reason: str


@dataclass(frozen=True)
class LossLine:
    """Between which levels throughput falls, and how much."""

    kind: str
    text: str
    why: str


@dataclass(frozen=True)
class CoreLine:
    """The best setting with so many cores."""

    cores: int
    name: str
    rate: str
    ties: str


@dataclass(frozen=True)
class WorkloadView:
    """One workload: the answer, then every setting, the fastest first; ``answered`` when its best one is valid."""

    name: str
    title: str
    answered: bool
    sentences: tuple[str, ...]
    lines: tuple[SettingLine, ...]
    reasons: tuple[ReasonLine, ...]
    by_cores: tuple[CoreLine, ...]
    losses: tuple[LossLine, ...]
    absent: tuple[str, ...]  # losses that were looked for and do not occur, and what could not be looked for


@dataclass(frozen=True)
class SweepView:
    """Everything a reader is shown.

    Attributes:
        status: of the sweep as a whole.
        lead: what limits every figure, said first; empty without such.
        factors: that vary; settings are named by them.
        fixed: levels of the others.
        workloads: in the order they were given.
        skipped: what was left out, and why.
        over_http: each setting has what it serves in process, and what HTTP leaves of it.
    """

    title: str
    status: Status
    lead: str
    factors: tuple[Factor, ...]
    fixed: str
    workloads: tuple[WorkloadView, ...]
    skipped: tuple[str, ...]
    notes: tuple[str, ...]
    over_http: bool


@dataclass(frozen=True)
class _Context:
    sweep: Sweep
    cells: Mapping[int, SweepCell]  # by id
    factors: tuple[Factor, ...]

    def name(self, cell: int) -> str:
        return setting_name(self.cells[cell], self.factors)

    def is_valid(self, cell: int) -> bool:
        return is_valid(self.cells[cell])


def view_of(sweep: Sweep) -> SweepView:
    """The sweep in words."""
    context = _Context(sweep, {cell.id: cell for cell in sweep.cells}, varying(sweep.cells))
    workloads = tuple(_workload(context, name) for name in sweep.workloads)
    answered = all(workload.answered for workload in workloads)
    return SweepView(
        title=and_list([workload.title for workload in sweep.workloads.values()]),
        status=_status(sweep, answered=answered),
        lead=_lead(sweep),
        factors=context.factors,
        fixed=_fixed(context),
        workloads=workloads,
        skipped=tuple(f"{plural(amount, 'setting')}: {why}" for why, amount in sorted(sweep.skipped.items())),
        notes=(*_method(sweep), *sweep.notes),
        over_http=any(cell.in_process_rows_per_s is not None for cell in sweep.cells),
    )


def _open_slots(sweep: Sweep) -> int:
    return sweep.design.slots - sweep.design.slots_done


def _status(sweep: Sweep, *, answered: bool) -> Status:
    if _open_slots(sweep):
        return Status("Unfinished", WARN, "warn")
    if not sweep.best:
        return Status("No result", BAD, "bad")
    if not answered:
        return Status("Invalid", BAD, "bad")
    whole = all(map(is_valid, sweep.cells))
    return Status("Valid", GOOD, "good") if whole else Status("Valid in part", WARN, "warn")


def _lead(sweep: Sweep) -> str:
    """What a reader must know before any figure."""
    limits = []
    if remaining := _open_slots(sweep):
        limits.append(f"unfinished, {remaining} of {plural(sweep.design.slots, 'measurement')} to go")
    origins = {workload.dataset and workload.dataset.origin for workload in sweep.workloads.values()}
    if "synthetic" in origins:
        limits.append("synthetic data" if len(origins) == 1 else "synthetic data in part")
    if is_power(sweep.facts) is False:
        architecture = sweep.facts.cpu.architecture
        limits.append(f"{'x86-64' if architecture == 'x86_64' else architecture} instead of Power")
    parted = [
        lost
        for best in sweep.best
        for cell in sweep.cells
        if best.cores is None and cell.id == best.cell and (lost := _shortfall(cell)) is not None
    ]
    if parted:
        limits.append(f"the rate delivered is {percent(max(parted), 2)} below the undisturbed one")
    if sweep.design.protocol == "as-published":
        limits.append("as-published protocol")
    return capital(f"{', '.join(limits)}.") if limits else ""


def _fixed(context: _Context) -> str:
    implied = SMT in context.factors
    same = [factor for factor in FACTORS if factor not in context.factors and not (factor is THREADS and implied)]
    return ", ".join(factor.word(context.sweep.cells[0]) for factor in same) if context.sweep.cells else ""


def _workload(context: _Context, name: str) -> WorkloadView:
    sweep = context.sweep
    title = sweep.workloads[name].title
    best = best_of(sweep, name)
    rivals = {} if best is None else {rival.cell: rival for rival in best.rivals}
    lines = [_line(context, cell, rivals.get(cell.id)) for cell in sweep.cells if cell.workload == name]
    lines.sort(key=lambda line: (-(line.cell.rows_per_s_undisturbed.value or 0.0), line.cell.id))
    return WorkloadView(
        name=name,
        title=title,
        answered=best is not None and context.is_valid(best.cell),
        sentences=_sentences(context, f"{title}: " if len(sweep.workloads) > 1 else "", best, lines),
        lines=tuple(lines),
        reasons=tuple(_reasons(lines)),
        by_cores=tuple(_core_line(context, each) for each in sweep.best if each.workload == name and each.cores),
        losses=tuple(_losses(context, name)),
        absent=tuple(absent_losses(context.sweep, name)) if best is not None and context.is_valid(best.cell) else (),
    )


def _reasons(lines: Sequence[SettingLine]) -> Iterator[ReasonLine]:
    """What makes settings invalid, each reason once."""
    by_reason: dict[str, list[SettingLine]] = {}
    for line in lines:
        for reason in line.cell.validity.reasons:
            by_reason.setdefault(reason, []).append(line)
    for reason, those in by_reason.items():
        who = "all settings" if len(those) == len(lines) > 1 else "; ".join(line.name for line in those[:_NAMED])
        rest = f" and {len(those) - _NAMED} more" if _NAMED < len(those) < len(lines) else ""
        yield ReasonLine(those[0].status, who + rest, reason)


def _line(context: _Context, cell: SweepCell, rival: SweepRival | None) -> SettingLine:
    standing = standing_of(context.sweep, cell)
    return SettingLine(
        cell=cell,
        rival=rival,
        name=context.name(cell.id),
        rate=figure(cell.rows_per_s),
        undisturbed=figure(cell.rows_per_s_undisturbed),
        per_row=figure(cell.mean_inference_per_row_s),
        against=_against(standing, rival),
        standing=STANDINGS[standing],
        status=_of_cell(cell),
        in_process=figure(cell.in_process_rows_per_s),
        http_share=_http_share(cell),
    )


def _against(standing: StandingName, rival: SweepRival | None) -> str:
    if rival is not None:
        return longer(rival.ratio, rival.ci_low, rival.ci_high)
    return "–" if standing == "not_compared" else standing


def _of_cell(cell: SweepCell) -> Status:
    if not cell.processes:
        return _UNMEASURED
    return DISTURBED if is_valid(cell) and _shortfall(cell) is not None else status_of(cell.validity.verdict)


def _http_share(cell: SweepCell) -> str:
    """``31 % [29, 33]``."""
    share = cell.http_share
    if share is None or share.value is None:
        return "–"
    if share.ci_low is None or share.ci_high is None:
        return percent(share.value, 2)
    return f"{percent(share.value, 2)} [{number(100 * share.ci_low, 2)}, {number(100 * share.ci_high, 2)}]"


def _shortfall(cell: SweepCell) -> float | None:
    return shortfall(cell.rows_per_s.value, cell.rows_per_s_undisturbed.value)


def _sentences(context: _Context, lead: str, best: SweepBest | None, lines: Sequence[SettingLine]) -> tuple[str, ...]:
    if best is None:
        measured = any(process.failure is None for line in lines for process in line.cell.processes)
        return (capital(f"{lead}{'no setting gave a rate' if measured else 'nothing was measured'}."),)
    named, rate = context.name(best.cell), _rate(context.cells[best.cell])
    if not context.is_valid(best.cell):
        return (
            capital(f"{lead}no setting gave a valid result."),
            f"Not to be used: the fastest was {named} with {rate}.",
        )
    if is_alone(context.sweep, context.cells[best.cell]):
        return (capital(f"{lead}only {named} gave a valid result: {rate}. Nothing is compared with it."),)
    levels = level_sentences(context.sweep, context.cells[best.cell].workload)
    return (capital(f"{lead}best with {named}: {rate}."), *_ties(context, best), *_left_out(lines), *levels)


def _rate(cell: SweepCell) -> str:
    """The delivered rate, with the undisturbed one, which settings are ranked by, or with the price of HTTP."""
    if cell.in_process_rows_per_s is not None:
        return f"{with_margin(cell.rows_per_s)} over HTTP, {_http_share(cell)} of what it serves in process"
    undisturbed = cell.rows_per_s_undisturbed
    ranked = "" if undisturbed.value is None else f" ({quantity(undisturbed.value, undisturbed.unit)} undisturbed)"
    return f"{with_margin(cell.rows_per_s)}{ranked}"


def _ties(context: _Context, best: SweepBest) -> list[str]:
    """The settings equivalent to the best, not distinguishable from it, and not judged."""
    sentences = []
    for standing, lead in (
        ("equivalent", f"Equivalent within {margin_text(context.sweep.margin)}"),
        ("not_distinguishable", "Not distinguishable from it; more blocks would decide"),
        ("not_judged", "Not judged, as too few blocks are common to both"),
    ):
        names = [context.name(rival.cell) for rival in best.rivals if rival.standing == standing]
        rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        sentences += [f"{lead}: {'; '.join(names[:_NAMED])}{rest}."] if names else []
    return sentences


def _left_out(lines: Sequence[SettingLine]) -> list[str]:
    """How many settings are not compared with the best; the reasons stand below their table."""
    unjudged = sum(line.standing is STANDINGS["not_compared"] for line in lines)
    return [f"Not compared with it: {unjudged} of {plural(len(lines), 'setting')}, as not valid."] if unjudged else []


def _core_line(context: _Context, best: SweepBest) -> CoreLine:
    cell = context.cells[best.cell]
    ties = sum(rival.standing == "equivalent" for rival in best.rivals)
    valid = context.is_valid(best.cell)
    return CoreLine(
        cores=cell.cores,
        name=setting_name(cell, [factor for factor in context.factors if factor is not CORES])
        + ("" if valid else " (not valid)"),
        rate=_rate(cell),
        ties=(plural(ties, "setting") if ties else "none") if valid else "not judged",
    )


def _losses(context: _Context, workload: str) -> Iterator[LossLine]:
    """The falls between the same two levels as one line that names the worst of them."""
    by_levels: dict[tuple[str, str, str], list[SweepLoss]] = {}
    for loss in context.sweep.losses:
        start, to = context.cells[loss.start], context.cells[loss.to]
        if to.workload == workload:
            differing = [factor for factor in context.factors if factor.level(start) != factor.level(to)]
            ends = (setting_name(to, differing), setting_name(start, differing))
            by_levels.setdefault((loss.kind, *ends), []).append(loss)
    for (name, to_level, start_level), those in by_levels.items():
        kind, why = _LOSSES[name]
        worst, *others = sorted(those, key=lambda loss: loss.ratio)
        start, to = context.cells[worst.start], context.cells[worst.to]
        common = [factor for factor in context.factors if factor.level(start) == factor.level(to)]
        where = f", both with {setting_name(to, common)}" if common else ""
        sentence = f"With {to_level} a row takes {slower(worst)} with {start_level}{where}"
        if others:
            least = 100 * (1 / others[-1].ratio - 1)
            sentence += f"; it takes at least {least:.1f}{NO_BREAK}% longer in {plural(len(others), 'other setting')}"
        yield LossLine(kind, f"{sentence}.", why)


def _method(sweep: Sweep) -> tuple[str, ...]:
    blocks, seed, sessions = (getattr(sweep.design, name) for name in ("blocks", "seed", "sessions"))
    interrupted = "" if sessions < 2 else f" It was interrupted and resumed: {sessions} sessions."
    return (
        f"{plural(len(sweep.cells), 'setting')}, each in {plural(blocks, 'fresh process', 'fresh processes')}, one per"
        f" block; the order within a block is random (seed {seed}).{interrupted}",
        "Settings are compared by their undisturbed times per row over the blocks they have in common, by paired t"
        " limits on logarithms, each one-sided at 95 % and corrected for the number of comparisons (Bonferroni):"
        f" equivalent when both limits lie inside {margin_text(sweep.margin)}, slower when both lie above 0, else not"
        f" distinguishable; with fewer than {MIN_BLOCKS} blocks in common not judged. The limits printed are those."
        " Only valid settings are compared where there is one; where there is none, nothing is judged.",
        "What a factor does is the mean over pairs of settings that are equal in everything else, judged by the same"
        " limits, corrected for the number of levels compared.",
    )
