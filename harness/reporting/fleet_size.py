"""How many partitions serve a demand, in words."""

from __future__ import annotations

from harness.errors import ExitCode
from harness.fleet.capacity import FleetSize, KindSize
from harness.reporting.fleet_terminal import printable_lines
from harness.reporting.text import percent
from harness.wording import plural


def exit_code_of(size: FleetSize) -> ExitCode:
    """0: a kind of partition serves the demand. 2: of none can be said how many do."""
    return ExitCode.judged(failed=False, inconclusive=all(kind.needed is None for kind in size.kinds))


def size_text(size: FleetSize) -> str:
    """The demand, a sentence per kind of partition, and what to know of the hosts."""
    question, unit = size.question, "rows/s" if size.bound_s is None else "req/s"
    bound = "" if question.p99_s is None else f" at p99 ≤ {1e3 * question.p99_s:g} ms"
    added = f" ({question.rate:,.0f} plus growth and headroom)" if question.need > question.rate else ""
    lines = [
        f"{size.workload}: {question.need:,.0f} {unit}{added}{bound}, {percent(question.confidence, 2)} confidence",
        "",
    ]
    lines += [_sentence(kind, size, unit) for kind in size.kinds]
    if size.bound_s is not None and question.p99_s is not None and size.bound_s < question.p99_s:
        lines.append(f"The capacities were measured at p99 ≤ {1e3 * size.bound_s:g} ms, which is stricter.")
    return printable_lines([*lines, *size.remarks])


def _sentence(kind: KindSize, size: FleetSize, unit: str) -> str:
    if kind.needed is None:
        return f"? {kind.title}: not known. {kind.note}."
    spare = size.question.spare
    parts = [f"{plural(kind.needed, 'LPAR')} of {kind.title}: together at least {kind.low:,.0f} {unit}"]
    if kind.low_of_one_less is not None:
        parts.append(f"{kind.needed - 1} would be {kind.low_of_one_less:,.0f}, not enough")
    if spare:
        parts.append(f"{kind.needed + spare} with {plural(spare, 'spare')}")
    if kind.evenly is not None and kind.evenly > kind.needed:
        parts.append(f"{kind.evenly} where each gets the same share, for {kind.slowest} takes {kind.slowest_rate:,.0f}")
    of = f"{kind.mean:,.0f} each, ±{percent(kind.spread or 0.0)} between {kind.measured}, {kind.backend} {kind.dtype}"
    return f"{'; '.join(parts)}. Measured: {of}."
