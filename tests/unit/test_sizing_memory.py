"""What requests take from memory, against known answers: bytes by weights and caches, shares of the node's roof."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.sizes import bench_of, series_of, sized_record

from harness.platform.facts import Cache, CacheFacts
from harness.record.size_model import Size, SizeQuestion, SizeRoof
from harness.record.store import SIZE_NAME, encode, load_size, size_text
from harness.reporting.size_html import render_size
from harness.reporting.size_view import view_of
from harness.roofline.measured import MeasuredRoof
from harness.roofline.probes import ComputeRoof, MemoryRoof
from harness.sizing import assemble
from harness.sizing.answer import answer
from harness.sizing.assemble import answered
from harness.sizing.memory import Traffic

MIB = 1 << 20
NODE = Traffic(row_bytes=400.0, weights=MIB, rows_per_call=1, cache_bytes=(8 * MIB,) * 4, bytes_per_s=20e9)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Size:
    return sized_record(tmp_path_factory.mktemp("sizing"))


def test_bytes_of_a_row_by_hand() -> None:
    """One cache of 8 MiB for four cores: two sets of 4 MiB of weights stay in it, three do not."""
    held, gone = NODE.use(2, 2, "float32", 1000.0), NODE.use(3, 3, "float32", 1000.0)
    assert held is not None
    assert gone is not None
    assert (held.bytes_per_row, held.working_set_bytes, held.cache_bytes, held.cached) == (400, 4 * MIB, 4 * MIB, True)
    assert held.share == pytest.approx(400e3 / 20e9)
    assert (gone.bytes_per_row, gone.cached) == (400 + 4 * MIB, False)
    assert gone.share == pytest.approx(1000 * (400 + 4 * MIB) / 20e9)
    batched = replace(NODE, rows_per_call=64).use(3, 3, "float32", 1000.0)
    assert batched is not None
    assert batched.bytes_per_row == 400 + MIB / 16
    halved = NODE.use(3, 3, "bfloat16", 1000.0)
    assert halved is not None
    assert halved.cached
    unmeasured = replace(NODE, bytes_per_s=None).use(3, 3, "float32", 1000.0)
    assert unmeasured is not None
    assert unmeasured.share is None
    assert NODE.use(5, 5, "float32", 1.0) is None  # beyond the node


@pytest.mark.parametrize(("weights", "limit"), [(16_000, "the scorer"), (4_000_000, "memory bandwidth: 80 % of the")])
def test_memory_is_named_where_it_limits(weights: int, limit: str) -> None:
    """A core that serves 1,000 rows per second of 16 MB of weights takes 16 of 20 GB/s."""
    traffic = replace(NODE, weights=weights)
    bench = replace(bench_of(series_of(lambda cores: 1000.0 * cores, noise=0.0, service_s=0.00099)), traffic=traffic)
    chosen = answer(bench, SizeQuestion(900, 0.005)).chosen
    assert chosen is not None
    assert chosen.limited_by.startswith(limit)
    assert chosen.memory is not None
    assert chosen.memory.share == pytest.approx(1000 * (400 + (4 * weights if weights > 2 * MIB else 0)) / 20e9)


def test_hot_caches_at_few_cores_and_cold_at_many() -> None:
    """A cache for all: from five instances on the weights do not fit, a request takes longer, and no law holds."""

    def rate(cores: int) -> float:
        return 1000.0 * cores if cores <= 4 else 600.0 * cores

    series = series_of(rate, (1, 2, 3, 4, 6, 8), noise=0.003)
    points = tuple(
        replace(
            point,
            blocks=tuple(replace(block, service_s=0.9 * point.cores / rate(point.cores)) for block in point.blocks),
        )
        for point in series.points
    )
    traffic = replace(NODE, weights=MIB // 2, cache_bytes=(8 * MIB,) * 8, bytes_per_s=None)
    bench = replace(bench_of(replace(series, points=points)), traffic=traffic)
    result = answer(bench, SizeQuestion(4500, 0.005))
    assert result.chosen is not None
    assert result.chosen.cores == 8
    assert result.chosen.limited_by == (
        "cache: weights of 2 MiB a core no longer fit 1 MiB of it; a request takes 1.67 times as long as on the fewest "
        "cores"
    )
    (curve,) = bench.curves
    assert not curve.laws
    assert curve.note is not None
    assert curve.note.startswith("not a USL curve")
    assert curve.capacity(16, 0.95) is None  # nothing is said beyond what was measured


def test_it_is_in_the_answer_the_record_and_on_the_page(record: Size, tmp_path: Path) -> None:
    cpus = record.facts.topology.cpus_online
    cache = Cache(3, "Unified", 8 * MIB, 128, 16, None, tuple((cpu,) for cpu in cpus))
    known = replace(
        record,
        facts=replace(record.facts, caches=CacheFacts((cache,))),
        workload=replace(record.workload, weights=4 * MIB),
        roof=SizeRoof(50e9, 20e9, 100e9),
    )
    whole = answered(known, record.answer.question, ())
    chosen = whole.answer.chosen
    assert chosen is not None
    assert chosen.memory is not None
    assert (chosen.memory.working_set_bytes, chosen.memory.cache_bytes) == (16 * MIB, 8 * MIB)
    per_row = 4 * (4 + 1) + 16 * MIB
    assert chosen.memory.share == pytest.approx(chosen.capacity.value * per_row / 100e9)
    assert chosen.limited_by == f"memory bandwidth: {100 * chosen.memory.share:.0f} % of the node's measured roof"
    (text,) = (text for text in view_of(whole).sentences if text.startswith("Memory: "))
    assert text.replace("\N{NO-BREAK SPACE}", " ").endswith(
        "of the node's measured 100 GB/s; 16 MiB of weights a core are read from memory "
        "(8 MiB of the last level a core)."
    )
    assert "are read from memory" in render_size(whole).decode()
    path = tmp_path / SIZE_NAME
    path.write_bytes(encode(size_text(whole)))
    assert load_size(path) == whole


def test_without_a_measured_roof_no_share_is_given(record: Size) -> None:
    cache = Cache(3, "Unified", 8 * MIB, 128, 16, None, (record.facts.topology.cpus_online,))
    known = replace(
        record,
        facts=replace(record.facts, caches=CacheFacts((cache,))),
        workload=replace(record.workload, weights=MIB),
    )
    chosen = answered(known, record.answer.question, ()).answer.chosen
    assert chosen is not None
    assert chosen.memory is not None
    assert chosen.memory.share is None
    assert any(
        "the node's bandwidth was not measured" in text
        for text in view_of(answered(known, record.answer.question, ())).sentences
    )
    unknown = answered(replace(known, workload=record.workload), record.answer.question, ()).answer.chosen
    assert unknown is not None
    assert unknown.memory is None


def test_the_roof_of_a_core_and_that_of_its_node_are_kept_apart() -> None:
    def memory(rate: float) -> MemoryRoof:
        return MemoryRoof(0, 0, rate, rate / 2, 1e-7, None)

    def compute(rate: float) -> tuple[ComputeRoof, ...]:
        return (ComputeRoof("float32", rate, "mma", "gemm", (0,)),)

    several = MeasuredRoof(
        (0, 1, 2, 3), compute(400e9), (memory(70e9),), (), "",
        first_compute=compute(100e9), first_memory=(memory(20e9),),
    )  # fmt: skip
    assert assemble._roof(several) == SizeRoof(100e9, 20e9, 70e9)
    alone = MeasuredRoof((0,), compute(400e9), (memory(70e9),), (), "")
    assert assemble._roof(alone) == SizeRoof(400e9, 70e9, 70e9)
    assert assemble._roof(replace(alone, memory=())) is None
