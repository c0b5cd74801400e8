from __future__ import annotations

import os
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support.trees import build, layout
from support.trees_presets import PRESETS

from harness.platform import crosscheck
from harness.platform.counters import ThreadCounters
from harness.platform.facts import CpuFacts, Topology
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot

_NUMACTL = """\
available: 2 nodes (0-1)
node 0 cpus: {first}
node 0 size: {size} MB
node 0 free: 100 MB
node 1 cpus: {second}
node 1 size: 65536 MB
node 1 free: 100 MB
node distances:
node   0   1
  0:  10  {far}
  1:  40  10
"""


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Topology:
    return probe(SysRoot(build(PRESETS["p10-two-nodes"], tmp_path_factory.mktemp("tree")))).topology


def _listing(size: int = 65536, far: int = 40, moved: int | None = None) -> str:
    laid = layout(PRESETS["p10-two-nodes"])
    first = [cpu for cpu in laid.node_cpus(0) if cpu != moved]
    second = [*laid.node_cpus(1), *([] if moved is None else [moved])]
    return _NUMACTL.format(first=" ".join(map(str, first)), second=" ".join(map(str, second)), size=size, far=far)


def _lscpu(topology: Topology, swap: tuple[int, int] | None = None) -> str:
    lines = ["# CPU,Core,Socket,Node"]
    for core in topology.cores:
        for cpu in core.cpus:
            number = swap[1] if swap and cpu == swap[0] else core.id
            lines.append(f"{cpu},{number},,{core.node}")
    return "\n".join(lines)


def test_agreement_is_no_finding(topology: Topology) -> None:
    assert crosscheck.compare_numactl(_listing(), topology) == ()
    assert crosscheck.compare_lscpu(_lscpu(topology), topology) == ()


def test_disagreements_name_the_subject_and_both_values(topology: Topology) -> None:
    size, far = crosscheck.compare_numactl(_listing(size=65000, far=20), topology)
    assert (size.subject, size.ours, size.theirs) == ("memory of node 0", "65536 MB", "65000 MB")
    assert far.subject == "distances of node 0"
    first, second = crosscheck.compare_numactl(_listing(moved=47), topology)
    assert (first.subject, first.ours, first.theirs) == ("CPUs of node 0", "0-47", "0-46")
    assert (second.subject, second.theirs) == ("CPUs of node 1", "47-95")
    wrong = crosscheck.compare_lscpu(_lscpu(topology, swap=(7, 1)), topology)
    assert {(item.tool, item.subject) for item in wrong} == {
        ("lscpu", "threads of the core of CPU 0"),
        ("lscpu", "threads of the core of CPU 7"),
    }


def test_offline_cpus_that_only_we_see(topology: Topology) -> None:
    text = "\n".join(line for line in _lscpu(topology).splitlines() if not line.startswith("95,"))
    assert any(
        item.subject == "online CPUs" and item.theirs == "0-94" for item in crosscheck.compare_lscpu(text, topology)
    )


def _tool(directory: Path, name: str, script: str) -> None:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_tools_that_fail_are_skipped_with_the_reason(
    topology: Topology, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    _tool(tools, "lscpu", "exit 3")
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setattr(crosscheck.sys, "executable", str(tools / "python"))
    found = crosscheck.collect(SysRoot("/"), topology, CpuFacts())
    assert found.tools == ()
    assert dict(found.skipped) == {
        "lscpu": "failed with exit status 3",
        "numactl": "not installed",
        "py-cpuinfo": "not installed",
    }
    monkeypatch.setattr(crosscheck, "_TIMEOUT_S", 0.05)
    _tool(tools, "lscpu", "exec /bin/sleep 5")
    (tools / "numactl").write_text("no program")
    (tools / "numactl").chmod(0o755)
    found = crosscheck.collect(SysRoot("/"), topology, CpuFacts())
    assert found.skipped["lscpu"] == "gave no answer in 0.05 s"
    assert found.skipped["numactl"].startswith("could not be run")


def test_py_cpuinfo_is_compared_where_both_know() -> None:
    text = '{"arch_string_raw": "x86_64", "vendor_id_raw": "GenuineIntel", "family": 6, "model": 85, "flags": ["avx2"]}'
    ours = CpuFacts(architecture="x86_64", vendor="GenuineIntel", family=6, model=85, isa={"avx2": True, "mma": None})
    assert crosscheck.compare_cpuinfo(text, ours) == ()
    (model, feature) = crosscheck.compare_cpuinfo(text, replace(ours, model=86, isa={"avx512f": True}))
    assert (model.subject, model.ours, model.theirs) == ("model", "86", "85")
    assert (feature.subject, feature.ours, feature.theirs) == ("feature avx512f", "present", "absent")
    power = CpuFacts(architecture="ppc64le", vendor="IBM", isa={"mma": True})
    assert crosscheck.compare_cpuinfo('{"arch_string_raw": "ppc64le", "vendor_id_raw": ""}', power) == ()
    assert crosscheck.compare_cpuinfo("Traceback", power) == ()


def test_nothing_is_run_for_a_stored_tree(topology: Topology, tmp_path: Path) -> None:
    assert crosscheck.collect(SysRoot(tmp_path), topology, CpuFacts()) == crosscheck.CrossCheck()


def test_the_tools_agree_on_this_machine() -> None:
    found = probe(SysRoot("/")).crosscheck
    assert found.disagreements == ()


def test_thread_counters_count_this_thread() -> None:
    counters = ThreadCounters()
    before = counters.read()
    deadline = time.monotonic() + 0.02
    while time.monotonic() < deadline:
        pass
    after = counters.read()
    assert after.cpu in os.sched_getaffinity(0)
    assert after.involuntary_switches >= before.involuntary_switches >= 0
    assert after.major_faults >= before.major_faults >= 0


def test_a_pinned_thread_is_read_on_its_cpu() -> None:
    before = os.sched_getaffinity(0)
    last = max(before)
    os.sched_setaffinity(0, {last})
    try:
        assert ThreadCounters().read().cpu == last
    finally:
        os.sched_setaffinity(0, before)
