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
