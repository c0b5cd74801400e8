"""Projections: bounds that hold whatever the time of a row is spent on, and that are never a point."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.sizes import ServingExecutor
from test_sizing_session import ask, law, machine, sized

from harness.errors import InputError
from harness.record.size_model import Capacity, Size, SizeRoof
from harness.reporting.size_view import view_of
from harness.roofline.instructions import known_counts
from harness.sizing.project import Resources, Span, bounds, project


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Size:
    directory = tmp_path_factory.mktemp("project")
    size = sized(directory, machine(directory / "tree", 12), ask(5000), ServingExecutor(law, noise=0.01))
    return replace(size, roof=SizeRoof(50e9, 20e9), workload=replace(size.workload, operations_per_row=20_000.0))


def test_whatever_the_time_goes_to_the_other_machine_is_inside() -> None:
    """2,000 machines and workloads: parts of a row one after the other, or the slowest of them alone."""
    generator = np.random.default_rng(1)
    inside = 0
    for _ in range(2000):
        here, there = np.exp(generator.normal(0, 1, (2, 3)))
        work = generator.dirichlet(np.full(3, 0.3))  # often nearly all of one kind
        combine = np.sum if generator.random() < 0.5 else np.max
        rates = [1 / float(combine(work / speeds)) for speeds in (here, there)]
        noise = 0.02
        measured = Capacity(rates[0], rates[0] * (1 - noise), rates[0] * (1 + noise), rates[0], 6, "measured")
        spans = [Resources(*(Span(speed, speed) for speed in speeds)) for speeds in (here, there)]
        limits = bounds(measured, spans[0], spans[1], None)
        inside += limits.low <= rates[1] <= limits.high
    assert inside == 2000


def test_counted_kernels_bound_it_more_closely_and_never_wrongly() -> None:
    """2,000 made-up machines there: a row is its kernels' instructions, some of them every cycle, and everything else,
    which takes between the least and the greatest of the other ratios."""
    generator = np.random.default_rng(2)
    inside, closer = 0, 0
    for _ in range(2000):
        here, there = np.exp(generator.normal(0, 0.5, (2, 3)))
        kernels, rest = np.exp(generator.normal(0, 1, 2))
        rate_here = 1 / (kernels / here[0] + rest / here[2])
        instructions, clock, per_cycle = kernels * 1e3, 1e3 * there[0], generator.uniform(0.5, 8)
        rate_there = 1 / (instructions / (clock * per_cycle) + rest / there[2])
        measured = Capacity(rate_here, 0.98 * rate_here, 1.02 * rate_here, rate_here, 6, "measured")
        # what the kernels reach there of the arithmetic that the table holds possible is not known without counts
        compute = Span(0.5 * there[0], 8 * there[0])
        plain = Resources(compute, Span(*sorted(there[1:])), Span(there[2], there[2]))
        counted = replace(plain, kernels=Span(0.5 * clock / instructions, 8 * clock / instructions))
        source = Resources(Span(here[0], here[0]), Span(*sorted(here[1:])), Span(here[2], here[2]))
        without, limits = (bounds(measured, source, each, None) for each in (plain, counted))
        inside += limits.low <= rate_there <= limits.high
        closer += limits.high / limits.low < 0.99 * without.high / without.low
    assert inside == 2000
    assert closer > 500


def test_a_native_workload_is_projected_by_the_instructions_of_its_detector(record: Size) -> None:
    assert record.workload.detector == "mlp"
    eager, native = (
        replace(record, series=tuple(replace(series, backend=name) for series in record.series))
        for name in ("eager", "native")
    )
    without, counted = (project(size, "9105-42A") for size in (eager, native))
    assert not any("instructions per operation" in text for text in without.assumptions)
    (said,) = (text for text in counted.assumptions if "instructions per operation" in text)
    count = next(each for each in known_counts().counts if each.title() == "score mlp mma float32 x1")
    assert count.macs_per_row is not None
    per_operation = f"{count.per_row / (2 * count.macs_per_row):.2g}"
    assert f"take {per_operation} to {per_operation} instructions per operation, counted under emulation" in said
    assert counted.low >= without.low
    assert counted.high <= without.high
    heavy = replace(native, workload=replace(native.workload, operations_per_row=1e9))
    chosen = heavy.answer.chosen
    assert chosen is not None
    cycles = 1e9 / (2 * count.macs_per_row) * count.per_row / 8
    assert project(heavy, "9105-42A").high == pytest.approx(chosen.cores * 4.0e9 / cycles)


def test_it_is_never_a_point_and_says_what_it_assumes(record: Size) -> None:
    projection = project(record, "9105-42A")
    assert projection.high > 1.5 * projection.low
    assert len(projection.assumptions) >= 5
    shown = view_of(replace(record, answer=replace(record.answer, projection=projection)))
    assert any(text.startswith("Projected onto Power S1024 (9105-42A)") for text in shown.sentences)


def test_the_roofline_is_the_end(record: Size) -> None:
    heavy = replace(record, workload=replace(record.workload, operations_per_row=1e12))
    assert project(heavy, "9105-42A").high < 10.0


@pytest.mark.parametrize(("mtm", "message"), [("9999-XXX", "unknown machine"), ("9080-M9S", "not in the table")])
def test_machines_that_are_not_known_well_enough(record: Size, mtm: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        project(record, mtm)


def test_more_cores_than_a_chip_has(record: Size) -> None:
    chosen = record.answer.chosen
    assert chosen is not None
    large = replace(record, answer=replace(record.answer, chosen=replace(chosen, cores=13)))
    with pytest.raises(InputError, match="more than a chip"):
        project(large, "9105-42A")


def test_without_a_roof_there_is_nothing_to_project(record: Size, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no measured roof"):
        project(replace(record, roof=None), "9105-42A")
