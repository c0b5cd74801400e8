"""The roof's probes: what they pin, bind and add up. Their rates depend on the machine and decide nothing here."""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import re
import threading
from collections import Counter
from dataclasses import replace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from harness.cli import kernels as command
from harness.errors import InputError, LparbenchError, MeasurementError
from harness.linalg import native
from harness.platform.facts import EmulationFacts
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot
from harness.reporting import kernels_terminal
from harness.roofline import assemble, cases, measured, rates
from harness.roofline import probes as roofline
from harness.roofline.probes import ComputeRoof, MemoryRoof

pytestmark = pytest.mark.skipif(native.extension is None, reason="the native kernels are not built")

CPUS = sorted(os.sched_getaffinity(0))[:2]


def test_every_thread_is_pinned_and_the_caller_is_left_alone():
    before = os.sched_getaffinity(0)
    seen = roofline.on_each(CPUS, lambda cpu: (cpu, os.sched_getaffinity(0), threading.get_ident()))
    assert [(cpu, affinity) for cpu, affinity, _ in seen] == [(cpu, {cpu}) for cpu in CPUS]
    assert len({ident for *_, ident in seen}) == len(CPUS)
    assert os.sched_getaffinity(0) == before
    with pytest.raises(InputError, match="CPU 4095 is offline or not allowed"):
        roofline.on_each([CPUS[0], 4095], lambda cpu: cpu)
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize("isa", [isa.name for isa in native.isas() if isa.supported])
def test_the_compute_roof_says_what_it_ran_on(isa):
    roof = roofline.compute_roof(CPUS, isa=isa, seconds=0.02)
    assert roof is not None
    assert roof.isa == isa
    assert roof.cpus == tuple(CPUS)
    assert roof.ops_per_s > 1e7


def test_memory_is_bound_on_the_thread_that_touches_it():
    bound = []

    def bind(node):
        bound.append((node, threading.get_ident()))
        return "not permitted here"

    how = {"bind": bind, "cache_bytes": 1 << 16, "seconds": 0.01}
    matrix = [
        roofline.memory_roof(cpus, cpu_node=node, memory_node=target, **how)
        for node, cpus in ((0, CPUS), (3, CPUS[:1]))
        for target in (7, 8)
    ]
    assert [(entry.cpu_node, entry.memory_node) for entry in matrix] == [(0, 7), (0, 8), (3, 7), (3, 8)]
    assert all(entry.refused == "not permitted here" for entry in matrix)
    assert {node for node, _ in bound} == {7, 8}
    assert threading.get_ident() not in {ident for _, ident in bound}
    assert roofline.memory_roof(CPUS, cpu_node=None, memory_node=None, **how).refused is None
    assert {node for node, _ in bound} == {7, 8}, "memory that is left to the policy is not bound"
    for entry in matrix:
        assert 1e7 < entry.triad_bytes_per_s < 1e13
        assert 1e7 < entry.read_bytes_per_s < 1e13
        assert 1e-10 < entry.latency_s < 1e-4


def test_the_clock_is_measured_where_the_kernel_does_not_know_it():
    roof = roofline.compute_roof(CPUS[:1], seconds=0.01)
    if platform.machine() != "x86_64":
        assert roof.clock_hz is None
    else:
        assert 2e8 < roof.clock_hz < 1e10


def test_mma_is_proved_by_a_rate_or_not_at_all():
    vector = ComputeRoof("float32", 60e9, "vsx-power9", "fma", (0,))
    mma = native.Isa(0, "mma", True, {"float32": "xvf32ger 8x16"})
    assert "2.00 times the 60.0 GFLOP/s that vsx-power9" in roofline.mma_evidence(mma, 120e9, vector)
    assert "do not prove" in roofline.mma_evidence(mma, 59e9, vector)
    assert "do not prove" in roofline.mma_evidence(mma, 120e9, None)
    older = native.Isa(0, "vsx-power9", True, {"float32": "fma"})
    assert "Products ran on vsx-power9; this processor" in roofline.mma_evidence(older, 1e11, None)
    assert "offers no MMA" in roofline.mma_evidence(older, 1e11, None)
    assert roofline.mma_evidence(native.Isa(0, "avx2", True, {"float32": "fma"}), 1e11, None) == "", "of Power alone"


def test_cases_count_their_operations_and_traffic():
    streamed = list(cases.streamed_products(1 << 16))
    assert [case.operations for case in streamed[:1]] == [2.0 * 8**3 * ((1 << 16) // (3 * 4 * 64))]
    assert streamed[0].traffic == 3 * 4 * 64 * ((1 << 16) // (3 * 4 * 64))
    rows = list(cases.chains(3))
    assert rows[0].operations == 2 * 3 * (41 * 64 + 64 * 32 + 32)
    assert len(rows[0].call()) == 3
    assert roofline.best_rate(lambda: None, 1.0, seconds=0.01) > 1e3


@pytest.fixture
def quick(monkeypatch):
    """The command with small probes: what is measured is not under test, but how it is joined and shown."""
    monkeypatch.setattr(assemble, "ALONE", replace(measured.ALONE, seconds=0.005))
    monkeypatch.setattr(assemble, "cache_to_exceed", lambda facts, cpus: 1 << 16)
    monkeypatch.setattr(assemble, "node_pairs", lambda facts, cpus: (measured.NodePair(tuple(cpus), 0, 0),))
    memory = MemoryRoof(0, 0, 2e10, 3e10, 9e-8, None)
    monkeypatch.setattr(roofline, "memory_roof", lambda *args, **kwargs: memory)
    compute_roof = roofline.compute_roof

    def fast(*args, **kwargs):  # so that memory bounds what streams, however busy the machine is
        roof = compute_roof(*args, **kwargs)
        return None if roof is None else replace(roof, ops_per_s=1e12)

    monkeypatch.setattr(roofline, "compute_roof", fast)
    monkeypatch.setattr(rates, "best_rate", lambda call, operations, seconds: operations / 1e-4)
    monkeypatch.setattr(cases, "SHAPES", cases.SHAPES[:2])
    streamed = cases.streamed_products
    monkeypatch.setattr(cases, "streamed_products", lambda _size, _squares: streamed(1 << 14))


def invoke(*arguments):
    import typer

    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command.kernels)
    return CliRunner().invoke(app, list(arguments))


def test_the_command_prints_json_that_holds_together(quick):
    result = invoke("--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["cpus"] == sorted(os.sched_getaffinity(0))
    assert [roof["kind"] for roof in found["roofs"]].count("memory") == len(found["memory"]) == 1
    peak = next(roof for roof in found["roofs"] if roof["name"] == "float32")
    assert peak["rate"]["value"] > 0
    gemm = next(kernel for kernel in found["kernels"] if kernel["backend"] == "native")
    assert gemm["rate"]["unit"] == "FLOP/s"
    streamed = next(kernel for kernel in found["kernels"] if "from memory" in kernel["name"])
    intensity = 2 * 8**3 / (3 * 4 * 64)
    assert streamed["operations_per_byte"] == pytest.approx(intensity)
    assert streamed["share_of_roof"] == pytest.approx(streamed["rate"]["value"] / (intensity * 3e10))


@pytest.mark.parametrize("width", [80, None])
def test_the_command_prints_tables(quick, width, monkeypatch):
    if width is not None:
        out = io.StringIO()
        terminal = Console(file=out, width=width, force_terminal=True, color_system=None)
        monkeypatch.setattr(kernels_terminal, "standard_output", lambda: terminal)
        invoke()
        shown = out.getvalue()
    else:
        shown = invoke().stdout
    shown = shown.replace("\N{NO-BREAK SPACE}", " ")
    sure = (
        "the best of 6 rounds, as other work only lowers them; the least and the greatest round hold the median round"
    )
    for part in ("Compute roof", "20.0 GB/s", "90 ns", "batched GEMM", "alone, best of many calls", "Ran on: native"):
        assert part in shown
    assert width is None or max(map(len, shown.splitlines())) <= width
    assert "8x8x8, batch 1024" in shown, "a name is broken over lines"
    assert f"{sure} with 96.9 % confidence." in " ".join(shown.split())
    assert "MMA" not in shown or platform.machine().startswith("ppc64")


def test_the_command_says_how_long_it_takes_and_how_far_it_is(quick, tmp_path):
    result = invoke("--csv", str(tmp_path / "k.csv"))
    first, _, *stages = result.stderr.splitlines()
    assert re.fullmatch(r"Roofs of these CPUs and the kernels below them: about \d+ s\.", first)
    count = f"{len(os.sched_getaffinity(0))} CPU"
    assert any(line.startswith(f"compute roof of {count}") and line.endswith("float32") for line in stages)
    assert any(line.startswith("memory of node 0 from ") for line in stages)
    assert stages[-2:] == ["kernels in cache, float32", "kernels from memory, float32"], "a line per table"
    assert invoke("--json").stderr == ""


def test_every_figure_is_in_the_csv_with_its_rounds(quick, tmp_path):
    path = tmp_path / "k.csv"
    assert invoke("--csv", str(path)).exit_code == 0
    rows = list(csv.DictReader(path.open()))
    kinds = Counter(row["kind"] for row in rows)
    assert (kinds["triad"], kinds["sum"], kinds["latency"]) == (1, 1, 1)
    kernel = next(row for row in rows if row["kind"] == "kernel" and row["backend"] == "native")
    assert float(kernel["round_low"]) == float(kernel["round_high"]) == float(kernel["value"])
    assert (kernel["rounds"], kernel["unit"]) == ("6", "FLOP/s")
    alone = invoke("--csv", "-")
    assert alone.stdout.startswith("kind,name,backend")
    assert alone.stdout.count("\n") == len(rows) + 1, "nothing else is on standard output"
    both = invoke("--csv", "-", "--json").exception
    assert isinstance(both, InputError)
    assert "exclude each other" in str(both)
    assert isinstance(invoke("--csv", str(path / "k.csv")).exception, LparbenchError)
    assert isinstance(invoke("--instructions", "--csv", str(path)).exception, InputError)


def test_emulated_rates_are_refused(monkeypatch):
    import harness.platform.probe as module

    real = probe(SysRoot("/"))
    emulated = replace(real, emulation=EmulationFacts(True, "qemu-user", ("a sign",), {}))
    monkeypatch.setattr(module, "probe", lambda sysroot: emulated)
    result = invoke()
    assert isinstance(result.exception, MeasurementError)
    assert "emulated" in str(result.exception)
