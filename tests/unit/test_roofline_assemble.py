"""The roof of a run: probes joined into a record, and shares that are rates by ceilings."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
from support import records

from harness.decode import decode, encode
from harness.linalg import native
from harness.platform.facts import Core, CpuFacts, EmulationFacts
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot
from harness.record.model import Metric, Roof, Roofline
from harness.reporting.sections.roof import roof_view
from harness.reporting.text import percent
from harness.roofline import measured as room
from harness.roofline.assemble import roofline, share_of_table, with_shares, with_workloads
from harness.roofline.measured import Effort, MeasuredRoof, cache_to_exceed, measured_roof
from harness.roofline.probes import ComputeRoof, MemoryRoof

CPU = min(os.sched_getaffinity(0))
MACS = 4704
CEILINGS = Roofline(
    (0,),
    (
        Roof("compute", "float32", Metric(100e9, "FLOP/s"), None, "isa kernel"),
        Roof("memory", "node 0", Metric(1e9, "B/s"), None, "triad"),
    ),
)


def result(scenario="offline", dtype="float32", **metrics):
    found = records.inference("nsl-kdd-mlp", scenario=scenario, share_of_peak=None)
    values = {name: Metric(value, "rows/s") for name, value in metrics.items()}
    return replace(found, metrics=values, dtype=dtype, dataset=replace(found.dataset, features=41))


@pytest.mark.skipif(native.extension is None, reason="the native kernels are not built")
def test_probes_become_a_roofline_with_kernels(monkeypatch):
    monkeypatch.setattr(room, "IN_A_RUN", Effort(0.005, 0.001))
    measured = measured_roof([CPU], 1 << 16)
    assert decode(MeasuredRoof, json.loads(json.dumps(encode(measured))), "outcome") == measured
    whole = roofline(measured, probe(SysRoot("/")))
    assert [roof.kind for roof in whole.roofs].count("memory") == 1
    assert {roof.name for roof in whole.roofs if roof.kind == "compute"} == {roof.dtype for roof in measured.compute}
    assert {kernel.backend for kernel in whole.kernels} == {"native", "torch"}
    assert any(kernel.operations_per_byte for kernel in whole.kernels)
    assert measured_roof([CPU], None).kernels == ()


def test_the_memory_roof_is_the_faster_of_triad_and_sum():
    memory = (MemoryRoof(None, None, 2e10, 3e10, 9e-8, None), MemoryRoof(0, 8, 2e10, 1e10, 9e-8, "refused"))
    roofs = roofline(MeasuredRoof((CPU,), (), memory, (), ""), probe(SysRoot("/"))).roofs
    assert [roof.rate.value for roof in roofs] == [3e10, 2e10]
    assert [roof.rate.note for roof in roofs] == [None, "refused"]
    assert roofs[1].name == "node 8 from node 0"


def test_a_rate_above_the_table_says_that_the_table_is_wrong():
    facts = probe(SysRoot("/"))
    cpu = CpuFacts(generation_hw="POWER10", isa={"mma": True, "vsx": True}, clock_max_hz=4e9)
    core = Core(0, 0, 0, 0, None, (0, 1), (0, 1), ((0,), (1,)))
    facts = replace(facts, cpu=cpu, topology=replace(facts.topology, cores=(core,)), emulation=EmulationFacts())
    peak = 2 * 64 * 4e9

    def shown(rate):
        whole = roofline(MeasuredRoof((0, 1), (ComputeRoof("float32", rate, "mma", "k", (0, 1)),), (), (), ""), facts)
        view = roof_view(replace(records.run(), roofline=whole))
        return whole, view.roofs.rows[0][3]

    below, cell = shown(0.5 * peak)
    assert below.roofs[0].theoretical == peak
    assert cell == percent(0.5)
    assert below.notes == ()
    above, cell = shown(2.97 * peak)
    assert "power10.toml" in above.notes[0]
    assert "the table, or the clock that the system reports, is wrong" in above.notes[0]
    assert "wrong" in above.roofs[0].rate.note
    assert cell == "above the table"


def test_the_table_counts_at_the_clock_that_was_measured_with_the_rate():
    """A virtual machine reports 2.6 GHz of a processor that runs at 4.17: no share of it would be right."""
    cpu = CpuFacts(architecture="x86_64", vendor="AuthenticAMD", family=26, isa={"avx512f": True}, clock_hz=2.6e9)
    core = Core(0, 0, 0, 0, None, (0,), (0,), None)
    machine = probe(SysRoot("/"))
    machine = replace(machine, cpu=cpu, topology=replace(machine.topology, cores=(core,)), emulation=EmulationFacts())

    def assembled(rate):
        roof = ComputeRoof("float32", rate, "avx512", "fma", (0,), 4.17e9)
        return roofline(MeasuredRoof((0,), (roof,), (), (), ""), machine)

    whole = assembled(0.98 * 64 * 4.17e9)
    assert whole.roofs[0].theoretical == 64 * 4.17e9
    assert share_of_table(whole.roofs[0]) == pytest.approx(0.98)
    assert whole.notes == ("By the table: at the clock measured under these instructions: float32 4.17 GHz.",)
    assert share_of_table(assembled(1.005 * 64 * 4.17e9).roofs[0]) == 1.0  # within what the clock is known to
    wrong = assembled(1.3 * 64 * 4.17e9)
    assert share_of_table(wrong.roofs[0]) is None
    assert any("at 4.17 GHz): the table is wrong" in note for note in wrong.notes)


def test_a_share_is_the_rate_of_the_products_by_the_ceiling():
    rows = 1e6
    inference = with_shares([result(rows_per_s_undisturbed=rows)], CEILINGS, {"nsl-kdd-mlp": MACS})[0]
    assert inference.share_of_peak == pytest.approx(2 * MACS * rows / 100e9)
    training = with_shares([result("train", train_rows_per_s_undisturbed=rows)], CEILINGS, {"nsl-kdd-mlp": MACS})[0]
    assert training.share_of_peak == pytest.approx(3 * inference.share_of_peak)
    for unknown in (
        with_shares([result(rows_per_s_undisturbed=rows)], None, {"nsl-kdd-mlp": MACS}),
        with_shares([result(rows_per_s_undisturbed=rows)], CEILINGS, {"nsl-kdd-mlp": None}),
        with_shares([result(dtype="int8", rows_per_s_undisturbed=rows)], CEILINGS, {"nsl-kdd-mlp": MACS}),
        with_shares([result()], CEILINGS, {"nsl-kdd-mlp": MACS}),
    ):
        assert unknown[0].share_of_peak is None


def test_workloads_stand_below_the_roof_that_holds_for_their_traffic():
    rate = {"rows_per_s_undisturbed": 1e6}
    found = with_workloads(CEILINGS, [result(**rate), result("single_stream", **rate)], {"nsl-kdd-mlp": MACS})
    (kernel,) = found.kernels
    assert kernel.operations_per_byte == pytest.approx(2 * MACS / (4 * 42))
    assert kernel.share_of_roof == pytest.approx(2 * MACS * 1e6 / (kernel.operations_per_byte * 1e9))
    assert with_workloads(None, [result(rows_per_s_undisturbed=1e6)], {}) is None


def test_the_report_draws_workloads_into_the_chart():
    found = with_workloads(CEILINGS, [result(rows_per_s_undisturbed=1e6)], {"nsl-kdd-mlp": MACS})
    view = roof_view(replace(records.run(), roofline=found))
    assert len(view.panels) == 1
    assert "<svg" in view.panels[0].chart
    assert len(view.workloads.rows) == 1
    assert view.kernels.rows == ()


def test_memory_is_not_probed_where_that_means_nothing():
    facts = probe(SysRoot("/"))
    assert cache_to_exceed(replace(facts, emulation=EmulationFacts(True, "qemu-user", ("a sign",), {})), [CPU]) is None
    assert cache_to_exceed(facts, []) is None
