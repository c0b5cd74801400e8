"""What a sizing says: one sentence, its neighbours, what limits, what is refused and what is not covered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.record.model import Verdict
from harness.record.size_model import (
    Capacity,
    MemoryUse,
    PartitionPlan,
    Projection,
    ScalingModel,
    Size,
    SizeAnswer,
    SizedConfiguration,
    SizeQuestion,
    SizeRoof,
)
from harness.reporting.sections.machine import is_power
from harness.reporting.sections.status import BAD, GOOD, WARN, Status
from harness.reporting.text import and_list, number, percent, quantity, size
from harness.sizing.answer import is_enough
from harness.sizing.assemble import bench_of
from harness.wording import plural

STATUS = {
    "answered": Status("Answered", GOOD, "good"),
    "extrapolated": Status("Extrapolated", WARN, "warn"),
    "open": Status("Open", WARN, "warn"),
    "refused": Status("Refused", BAD, "bad"),
}
_ENOUGH = {
    True: Status("enough", GOOD, "good"),
    False: Status("not enough", BAD, "bad"),
    None: Status("open", WARN, "warn"),
}
_LAYOUTS = {"per-core": "one per core", "per-thread": "one per thread", "single": "one on all cores"}


@dataclass(frozen=True)
class PointLine:
    """A measured or estimated number of cores against the need."""

    cores: int
    smt: int
    instances: str
    capacity: str
    interval: str
    basis: str
    blocks: int
    standing: Status
    validity: Status


@dataclass(frozen=True)
class SizeView:
    """The words of a sizing, for terminal and page."""

    status: Status
    sentence: str
    sentences: tuple[str, ...]
    marks: tuple[str, ...]
    lines: tuple[PointLine, ...]
    models: tuple[str, ...]
    invalid: tuple[str, ...]


def view_of(record: Size) -> SizeView:
    """The words of a record."""
    answer = record.answer
    return SizeView(
        status=STATUS[answer.verdict],
        sentence=sentence_of(answer),
        sentences=tuple(_others(record, answer)),
        marks=tuple(_marks(record)),
        lines=tuple(_lines(record)),
        models=tuple(_model(model) for model in record.models),
        invalid=tuple(_invalid(record)),
    )


def sentence_of(answer: SizeAnswer) -> str:
    """The answer in one sentence, with the next smaller configuration."""
    question, chosen = answer.question, answer.chosen
    if chosen is None:
        refusal = answer.refused[0]
        return f"No answer for {demand(question)}: {refusal.why}. To know it: {refusal.measure}."
    verb = {"open": "may serve", "extrapolated": "would serve"}.get(
        answer.verdict, "serve" if chosen.cores > 1 else "serves"
    )
    text = f"{configuration(chosen)} {verb} {demand(question)}: {capacity(chosen.capacity, question.unit)}."
    smaller = answer.smaller
    if smaller is None:
        return text
    enough = _ENOUGH[smaller.enough].word
    return f"{text} {plural(smaller.cores, 'core')}: {_figures(smaller.capacity, question.unit)}, {enough}."


def configuration(each: SizedConfiguration) -> str:
    """``4 cores at SMT 2 (8 threads, 4 instances)``."""
    threads = each.cores * each.threads_per_core
    level = f" at SMT {each.threads_per_core} ({threads} threads, " if each.threads_per_core > 1 else " ("
    return f"{plural(each.cores, 'core')}{level}{plural(each.instances, 'instance')})"


def demand(question: SizeQuestion) -> str:
    """``20,000 req/s at p99 ≤ 5 ms``."""
    bound = "" if question.p99_s is None else f" at p99 ≤ {1e3 * question.p99_s:g} ms"
    added = [
        f"{percent(share, 2)} {name}"
        for name, share in (("growth", question.growth), ("headroom", question.headroom))
        if share
    ]
    need = f" ({_plain(question.need)} with {and_list(added)})" if added else ""
    return f"{_plain(question.rate)} {question.unit}{need}{bound}"


def capacity(each: Capacity, unit: str) -> str:
    """``capacity 24,300 [22,900, 25,800] req/s, measured``."""
    return f"capacity {_figures(each, unit)}, {each.basis}"


def _figures(each: Capacity, unit: str) -> str:
    return f"{_plain(each.value)} [{_plain(each.low)}, {_plain(each.high)}] {unit}"


def _plain(value: float) -> str:
    return number(value)


def memory(each: MemoryUse, roof: SizeRoof | None) -> str:
    """``Memory: 400 B a row, 0.03 % of the node's measured 38 GB/s; 1.2 MiB of weights a core stay in cache ...``"""
    bandwidth = None if roof is None else roof.node_bytes_per_s
    share = (
        "the node's bandwidth was not measured"
        if each.share is None or bandwidth is None
        else f"{percent(each.share, 2)} of the node's measured {quantity(bandwidth, 'B/s')}"
    )
    held = "stay in cache" if each.cached else "are read from memory"
    return (
        f"Memory: {quantity(each.bytes_per_row, 'B')} a row, {share}; {size(each.working_set_bytes)} of weights a core "
        f"{held} ({size(each.cache_bytes)} of the last level a core)."
    )


def _others(record: Size, answer: SizeAnswer) -> Iterator[str]:
    if answer.larger is not None:
        larger = answer.larger.capacity
        figures = _figures(larger, answer.question.unit)
        yield f"{plural(answer.larger.cores, 'core')}: {figures}, {larger.basis}."
    if answer.chosen is not None:
        limit = answer.chosen.limited_by
        yield f"What limits is {limit}." if limit.startswith("not known") else f"Limited by {limit}."
        if answer.chosen.memory is not None:
            yield memory(answer.chosen.memory, record.roof)
    if answer.projection is not None:
        yield from _projection(answer.projection, answer.question.unit)
    for refusal in answer.refused[answer.chosen is None :]:  # the sentence has said the first
        yield f"{refusal.what}: {refusal.why}. To know it: {refusal.measure}."


def _projection(each: Projection, unit: str) -> Iterator[str]:
    word = {True: "enough", False: "not enough", None: "open"}[each.enough]
    where = f"{each.machine} ({each.mtm}), {plural(each.cores, 'core')} at SMT {each.threads_per_core}"
    yield f"Projected onto {where}: between {_plain(each.low)} and {_plain(each.high)} {unit}, {word}."
    yield from (f"Assumed: {text}." for text in each.assumptions)  # a line each: a terminal cuts long ones


def _marks(record: Size) -> Iterator[str]:
    """What a figure must not be printed without."""
    yield from (note.rstrip(".") for note in record.notes)
    power = is_power(record.facts)
    if power is False:
        yield "x86, not Power"
    if record.facts.emulation.emulated:
        yield "emulated"
    dataset = record.workload.dataset
    if dataset is not None and dataset.origin != "real":
        yield f"{dataset.origin} data"
    if power is False and record.facts.kernel.hypervisor and record.facts.topology.smt.max in (None, 1):
        yield f"virtual CPUs of {record.facts.kernel.hypervisor}: two of them may be threads of one core"


def _lines(record: Size) -> Iterator[PointLine]:
    question = record.answer.question
    bench = bench_of(record, question.p99_s)
    for curve in bench.curves:
        for point in curve.series.points:
            each = curve.capacity(point.cores, question.confidence)
            blocks = sum(block.capacity is not None for block in point.blocks)
            single = next((block.capacity for block in point.blocks if block.capacity is not None), None)
            yield PointLine(
                cores=point.cores,
                smt=curve.series.threads_per_core,
                instances=f"{point.instances}, {_LAYOUTS[curve.series.layout]}",
                capacity="none" if single is None else _plain(single if each is None else each.value),
                interval="" if each is None else f"[{_plain(each.low)}, {_plain(each.high)}]",
                basis=f"p99 {point.blocks[-1].note}" if single is None and point.blocks[-1].note else "measured",
                blocks=blocks,
                standing=_ENOUGH[None if each is None else is_enough(each, question.need)],
                validity=_validity(point.validity.verdict),
            )


def _validity(verdict: Verdict) -> Status:
    return Status("valid", GOOD, "good") if verdict is Verdict.VALID else Status("not valid", WARN, "warn")


def _invalid(record: Size) -> Iterator[str]:
    """Why points are not valid, once per reason; points that were dropped early are not worth one."""
    chosen = record.answer.chosen
    for series in record.series:
        for point in series.points:
            if chosen is not None and (point.cores, series.threads_per_core, series.layout) == (
                chosen.cores, chosen.threads_per_core, chosen.layout,
            ):  # fmt: skip
                yield from (f"{plural(point.cores, 'core')}: {reason}" for reason in point.validity.reasons)


def _model(model: ScalingModel) -> str:
    name = f"SMT {model.threads_per_core}, {_LAYOUTS[model.layout]}"
    if model.kind != "usl" or model.alpha is None or model.beta is None or model.gamma is None:
        joined = "measured points only" if model.kind == "none" else "lines between measured points"
        return f"{name}: {joined} ({model.note})" if model.note else f"{name}: {joined}"
    values = ", ".join(
        f"{symbol} {_minus(value)} [{_minus(low)}, {_minus(high)}]"
        for symbol, (value, low, high) in (("alpha", model.alpha), ("beta", model.beta), ("gamma", model.gamma))
    )
    return f"{name}: universal scalability law, {values}; lack of fit {percent(model.lack_of_fit or 0.0, 2)}"


def _minus(value: float) -> str:
    return number(value).replace("-", "\u2212")


def plan_lines(plan: PartitionPlan) -> tuple[tuple[str, str], ...]:
    """A plan as label and value."""
    lines = [
        ("Partitions", str(plan.partitions)),
        (
            "Cores" if plan.virtual_processors is None else "Virtual processors",
            str(plan.virtual_processors or plan.cores),
        ),
        ("Entitlement", "" if plan.entitlement is None else f"{plan.entitlement:.2f} processing units"),
        ("SMT", str(plan.threads_per_core)),
        ("Instances", f"{plan.instances}, {plural(plan.threads_per_instance, 'thread')} each"),
        ("Memory", f"{size(plan.memory_bytes)}: {plan.memory_rule}"),
        ("One chip", {True: "fits", False: "does not fit", None: "not known here"}[plan.one_chip]),
        ("Fits a chip of", ", ".join(plan.fits) or "no machine of the table"),
    ]
    return tuple((label, value) for label, value in lines if value)
