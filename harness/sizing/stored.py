"""Answers from what is stored: a sizing, a sweep, runs at several numbers of cores; nothing is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

from harness import __version__
from harness.errors import EnvironmentMismatchError, InputError
from harness.platform.facts import Facts, LoadedSoftware
from harness.platform.usable import usable
from harness.record.model import ProcessRecord, Result, Run, Tool
from harness.record.size_model import (
    LAYOUTS,
    PLAN_KINDS,
    SIZE_SCHEMA_VERSION,
    CapacityBlock,
    CapacityPoint,
    CapacitySeries,
    Layout,
    PlanKind,
    Size,
    SizeAnswer,
    SizeDesign,
    SizedWorkload,
    SizeQuestion,
)
from harness.record.store import RECORD_NAME, SIZE_NAME, SWEEP_NAME, load_run, load_size, require_record
from harness.record.sweep_model import Sweep, SweepCell
from harness.runs.fingerprint import fingerprint
from harness.runs.judge import estimate_of
from harness.sizing.answer import Bench, answer, instances_of
from harness.sizing.assemble import answered, bench_of, block_of_record, not_covered
from harness.sizing.session import is_sizing, stored
from harness.sweeps.result import is_sweep, stored_sweep
from harness.wording import plural

Key = tuple[int, Layout, int | None, str, str]


@dataclass(frozen=True)
class WhatIf:
    """The answers to every rate at every bound, the rates of a bound together."""

    answers: tuple[SizeAnswer, ...]


def is_size(path: Path) -> bool:
    """Whether this is the directory of a sizing, or the record of one."""
    return path.name == SIZE_NAME or (path / SIZE_NAME).exists() or is_sizing(path)


def stored_size(path: Path) -> Size:
    """The record of a sizing, finished or not.

    Raises:
        InputError: there is none, or it is damaged.
    """
    return stored(path) if is_sizing(path) and not (path / SIZE_NAME).exists() else load_size(path)


def size_from(paths: Sequence[Path], question: SizeQuestion, plans: Sequence[PlanKind] = PLAN_KINDS) -> Size:
    """The answer from stored records, which together are one curve.

    Raises:
        InputError: a record has nothing that answers the question, or they are of different work.
        EnvironmentMismatchError: they are of different machines.
    """
    sizes = [_size_of(path, question) for path in paths]
    for path, size in zip(paths, sizes, strict=True):
        if size.fingerprint != sizes[0].fingerprint:
            raise EnvironmentMismatchError(
                f"{path} is of another machine or software than {paths[0]}: their capacities are no curve.",
                remedy="Answer from records of one machine: lparbench compare says what differs.",
            )
        work = [(each.workload.name, each.design.scenario, each.design.p99_s) for each in (size, sizes[0])]
        if work[0] != work[1]:
            raise InputError(
                f"{path} measured other work, or at another bound, than {paths[0]}.",
                remedy="Give records of one workload at one bound.",
            )
    size = reduce(_merged, sizes)
    _check_bound(size, question)
    return answered(size, question, plans)


def what_if(size: Size, questions: Sequence[SizeQuestion]) -> WhatIf:
    """Many answers from one curve.

    Raises:
        InputError: one of them asks for a latency of throughputs, or the other way round.
    """
    benches: dict[float | None, Bench] = {}
    answers = []
    for question in questions:
        if question.p99_s not in benches:
            _check_bound(size, question)
            benches[question.p99_s] = bench_of(size, question.p99_s)
        answers.append(answer(benches[question.p99_s], question))
    return WhatIf(tuple(answers))


def _check_bound(size: Size, question: SizeQuestion) -> None:
    bound = size.design.p99_s
    if question.p99_s is None and bound is not None:
        raise InputError(
            f"These capacities hold p99 at {1e3 * bound:g} ms; throughput was not measured.",
            remedy=f"Give --p99 {1e3 * bound:g}ms, or measure without --p99.",
        )
    if question.p99_s is not None and bound is None:
        raise InputError(
            "These are throughputs: nothing is known of latency.", remedy="Leave --p99 out, or measure with it."
        )


def _size_of(path: Path, question: SizeQuestion) -> Size:
    if is_size(path):
        return stored_size(path)
    if is_sweep(path):
        return _of_sweep(path, stored_sweep(path), question)
    require_record(path, (SIZE_NAME, SWEEP_NAME, RECORD_NAME))
    return _of_run(path, load_run(path), question)


def _of_run(path: Path, run: Run, question: SizeQuestion) -> Size:
    scenario = "server" if question.p99_s is not None else "offline"
    results = [result for result in run.results if result.scenario == scenario]
    if not results:
        raise InputError(
            f"{path}: it has no result of the {scenario} scenario.",
            remedy=f"Measure: lparbench size, or lparbench run --scenarios {scenario} --p99 TIME.",
        )
    result, placement = results[0], run.placement
    layout = _layout(placement.cores, placement.threads_per_core, result.instances)
    if layout is None:
        what = f"{plural(result.instances, 'instance')} on {plural(placement.cores, 'core')}"
        raise InputError(f"{path}: {what} are no layout of a sizing.")
    blocks = tuple(_process_block(process, result) for process in result.processes)
    point = CapacityPoint(placement.cores, result.instances, blocks, result.validity)
    key = (placement.threads_per_core, layout, placement.node, result.backend, result.dtype)
    size = _empty(run.facts, run.tool, question, placement.node)
    return replace(
        size,
        size_id=run.run_id,
        created=run.created,
        fingerprint=run.fingerprint,
        software=run.software,
        workload=SizedWorkload(result.workload, result.title or result.workload, result.dataset),
        design=SizeDesign(
            "server" if question.p99_s is not None else "offline",
            run.spec.p99_bound_s if question.p99_s is not None else None,
            run.spec.series_seconds,
            len(blocks),
            run.spec.seed,
            None,
            "stored",
            result.batch_size if question.p99_s is None else None,
        ),
        series=(CapacitySeries(*key, (point,)),),
    )


def _process_block(process: ProcessRecord, result: Result) -> CapacityBlock:
    block = block_of_record(process)
    if result.scenario == "server" or block.capacity is not None or process.failure is not None:
        return block
    series = [each for each in process.series if each.batch_size == result.batch_size]
    rate = estimate_of(series[-1]).rows_per_s(series[-1].batch_size or 1) if series else None
    return replace(block, capacity=rate or None)


def _of_sweep(path: Path, sweep: Sweep, question: SizeQuestion) -> Size:
    if question.p99_s is not None:
        raise InputError(
            f"{path}: a sweep measures throughput; nothing is known of latency.",
            remedy="Leave --p99 out, or measure: lparbench size WORKLOAD --rate R --p99 TIME",
        )
    best = next((best for best in sweep.best if best.cores is None), None)
    if best is None:
        raise InputError(f"{path}: no setting of this sweep has a rate.", remedy="Resume it, or measure again.")
    cells = {cell.id: cell for cell in sweep.cells}
    like = cells[best.cell]
    points: dict[Key, list[CapacityPoint]] = {}
    for cell in sweep.cells:
        layout = _layout(cell.cores, cell.threads_per_core, cell.instances)
        if layout is not None and _alike(cell, like):
            blocks = tuple(CapacityBlock(each.block, each.rows_per_s, note=each.failure) for each in cell.processes)
            key: Key = (cell.threads_per_core, layout, cell.node, cell.backend, cell.dtype)
            points.setdefault(key, []).append(CapacityPoint(cell.cores, cell.instances, blocks, cell.validity))
    workload = sweep.workloads[like.workload]
    size = _empty(sweep.facts, sweep.tool, question, like.node)
    return replace(
        size,
        size_id=sweep.sweep_id,
        created=sweep.created,
        fingerprint=sweep.fingerprint,
        software=sweep.software,
        workload=SizedWorkload(like.workload, workload.title, workload.dataset),
        design=SizeDesign(
            "offline", None, sweep.design.series_seconds, sweep.design.blocks, sweep.design.seed, None, "stored",
            like.batch_size,
        ),
        series=tuple(
            CapacitySeries(*key, tuple(sorted(those, key=lambda point: point.cores))) for key, those in points.items()
        ),
    )  # fmt: skip


def _alike(cell: SweepCell, like: SweepCell) -> bool:
    """Same work at the same place: a level that differs in anything else is no point of the curve."""
    names = ("workload", "backend", "dtype", "batch_size", "node", "memory_node")
    return cell.smt == cell.threads_per_core and all(getattr(cell, name) == getattr(like, name) for name in names)


def _layout(cores: int, threads_per_core: int, instances: int) -> Layout | None:
    """Of instances on cores; one instance on one core is one per core."""
    return next((name for name in LAYOUTS if instances_of(name, cores, threads_per_core) == instances), None)


def _empty(facts: Facts, tool: Tool, question: SizeQuestion, node: int | None) -> Size:
    part = usable(facts.topology, facts.limits)
    node_cores = max(1, len(part.cores_of(node)))
    software = LoadedSoftware(**vars(facts.software))
    return Size(
        schema_version=SIZE_SCHEMA_VERSION,
        size_id="stored",
        created="1970-01-01T00:00:00Z",
        tool=replace(tool, version=__version__),
        facts=facts,
        fingerprint=fingerprint(facts, software),
        software=software,
        workload=SizedWorkload("", "", None),
        design=SizeDesign("offline", None, 1.0, 0, 0, None, "stored"),
        node_cores=node_cores,
        series=(),
        models=(),
        answer=answer(Bench((), node_cores, None), question),
        not_covered=not_covered(server=question.p99_s is not None),
    )


def _merged(first: Size, second: Size) -> Size:
    """Both as one curve: blocks of the same point one after the other."""
    series = {_key(each): each for each in first.series}
    for each in second.series:
        known = series.get(_key(each))
        series[_key(each)] = each if known is None else replace(known, points=_points(known, each))
    bounds = [size.design.p99_s for size in (first, second) if size.design.p99_s is not None]
    design = replace(
        first.design, p99_s=min(bounds, default=None), blocks=max(first.design.blocks, second.design.blocks)
    )
    return replace(first, series=tuple(series.values()), design=design)


def _points(first: CapacitySeries, second: CapacitySeries) -> tuple[CapacityPoint, ...]:
    points = {point.cores: point for point in first.points}
    for point in second.points:
        known = points.get(point.cores)
        if known is not None:
            offset = 1 + max((block.block for block in known.blocks), default=-1)
            more = tuple(replace(block, block=block.block + offset) for block in point.blocks)
            point = replace(known, blocks=(*known.blocks, *more))
        points[point.cores] = point
    return tuple(points[cores] for cores in sorted(points))


def _key(series: CapacitySeries) -> Key:
    return (series.threads_per_core, series.layout, series.node, series.backend, series.dtype)
