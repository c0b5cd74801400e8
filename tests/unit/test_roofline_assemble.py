"""The roof of a run: probes joined into a record, and shares that are rates by ceilings."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import records

from harness.linalg import native
from harness.platform.facts import EmulationFacts
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot
from harness.record.model import Metric, Roof, Roofline
from harness.reporting.sections.roof import roof_view
from harness.roofline import assemble as room
from harness.roofline.assemble import cache_to_exceed, measured_roof, roofline, with_shares, with_workloads

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
    values = {name: Metric(value, "row/s") for name, value in metrics.items()}
    return replace(found, metrics=values, dtype=dtype, dataset=replace(found.dataset, features=41))


@pytest.mark.skipif(native.extension is None, reason="the native kernels are not built")
def test_probes_become_a_roofline_with_kernels(monkeypatch):
    monkeypatch.setattr(room, "_SECONDS", 0.005)
    monkeypatch.setattr(room, "_KERNEL_SECONDS", 0.001)
    told = measured_roof([CPU], 1 << 16)
    found = roofline(told, probe(SysRoot("/")), [CPU])
    assert [roof.kind for roof in found.roofs].count("memory") == 1
    assert {roof.name for roof in found.roofs if roof.kind == "compute"} == set(told["compute"])
    assert {kernel.backend for kernel in found.kernels} == {"native", "torch"}
    assert any(kernel.operations_per_byte for kernel in found.kernels)
    assert measured_roof([CPU], None)["kernels"] == []


def test_a_share_is_the_rate_of_the_products_by_the_ceiling():
    rows = 1e6
    one = with_shares([result(rows_per_s=rows)], CEILINGS, {"nsl-kdd-mlp": MACS})[0]
    assert one.share_of_peak == pytest.approx(2 * MACS * rows / 100e9)
    training = with_shares([result("train", train_rows_per_s=rows)], CEILINGS, {"nsl-kdd-mlp": MACS})[0]
    assert training.share_of_peak == pytest.approx(3 * one.share_of_peak)
    for unknown in (
        with_shares([result(rows_per_s=rows)], None, {"nsl-kdd-mlp": MACS}),
        with_shares([result(rows_per_s=rows)], CEILINGS, {"nsl-kdd-mlp": None}),
        with_shares([result(dtype="int8", rows_per_s=rows)], CEILINGS, {"nsl-kdd-mlp": MACS}),
        with_shares([result()], CEILINGS, {"nsl-kdd-mlp": MACS}),
    ):
        assert unknown[0].share_of_peak is None


def test_workloads_stand_below_the_roof_that_holds_for_their_traffic():
    found = with_workloads(CEILINGS, [result(rows_per_s=1e6), result("single_stream", rows_per_s=1e6)],
                           {"nsl-kdd-mlp": MACS})  # fmt: skip
    (kernel,) = found.kernels
    assert kernel.operations_per_byte == pytest.approx(2 * MACS / (4 * 42))
    assert kernel.share_of_roof == pytest.approx(2 * MACS * 1e6 / (kernel.operations_per_byte * 1e9))
    assert with_workloads(None, [result(rows_per_s=1e6)], {}) is None


def test_the_report_draws_workloads_into_the_chart():
    found = with_workloads(CEILINGS, [result(rows_per_s=1e6)], {"nsl-kdd-mlp": MACS})
    view = roof_view(replace(records.run(), roofline=found))
    assert len(view.panels) == 1
    assert "<svg" in view.panels[0].chart
    assert len(view.workloads.rows) == 1
    assert view.kernels.rows == ()


def test_memory_is_not_probed_where_that_means_nothing():
    facts = probe(SysRoot("/"))
    assert cache_to_exceed(replace(facts, emulation=EmulationFacts(True, "qemu-user", ("a sign",), {})), [CPU]) is None
    assert cache_to_exceed(facts, []) is None
