"""Pages of sweeps and comparisons stay below a megabyte, whatever the machine and the lists, and say what they omit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support import records
from support.mutations import small_run
from support.sweeps import design_of, journal_of, setting

from harness.compare.compare import compare
from harness.compare.observations import side_of
from harness.platform.facts import Facts
from harness.record.sweep_model import Sweep
from harness.reporting import page
from harness.reporting.comparison_html import render_comparison
from harness.reporting.sweep_html import render_sweep
from harness.sweeps.result import sweep_record


def swept(machine: Facts, workloads: int) -> Sweep:
    settings = tuple(
        setting(workload=f"w{at}", cores=cores, smt=smt, threads_per_core=smt)
        for at in range(workloads) for cores in (1, 2, 4) for smt in (1, 8)
    )  # fmt: skip
    design = design_of(settings, machine, blocks=1)
    return sweep_record(design, journal_of(design, lambda each, _: 1e6 * each.cores))


def test_a_page_of_a_sweep_of_20000_cores_is_small() -> None:
    assert len(render_sweep(swept(records.facts(nodes=64, cores_per_node=313, smt=8, online_smt=8), 1))) < 100_000


def test_a_page_of_a_sweep_says_what_it_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    record = swept(records.facts(), 4)
    whole = render_sweep(record)
    assert b"are not shown" not in whole
    monkeypatch.setattr(page, "MAX_BYTES", len(whole) * 2 // 3)
    cut = render_sweep(record)
    assert len(cut) <= page.MAX_BYTES
    assert b"entries of the lists below are not shown" in cut


def test_a_page_of_a_comparison_keeps_what_regressed(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = []
    for seed, slowest in ((1, 1.0), (2, 1.5)):
        same, slow = small_run("r", seed=seed), small_run("r", seed=seed, slowdown=slowest)
        results = [replace(same.results[0], workload=f"same-{at}") for at in range(60)]
        results.append(replace(slow.results[0], workload="slower"))
        sides.append(side_of(replace(same, run_id=f"r{seed}", results=tuple(results))))
    report = compare(sides)
    whole = render_comparison(report)
    assert b"are not shown" not in whole
    monkeypatch.setattr(page, "MAX_BYTES", len(whole) // 2)
    cut = render_comparison(report)
    assert len(cut) <= page.MAX_BYTES
    assert b"entries of the lists of this page are not shown" in cut
    table = cut[cut.index(b'<section id="times">') :]
    assert table.index(b"slower") < table.index(b"same-")
