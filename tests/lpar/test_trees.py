"""``probe``, ``doctor`` and ``place`` read the trees of booted machines as the machines' own tools read them.

Judges are lscpu, lstopo, numactl and ppc64_cpu, run in the guest, the auxiliary vector that the kernel gave to its
programs, and what QEMU was asked for.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from conftest import Captured
from guest import KERNELS
from support.numactl_rules import objections
from support.trees import CoreLayout, Layout, NodeSpec
from typer.testing import CliRunner

from harness.cli.main import app
from harness.platform.crosscheck import compare_lscpu, compare_numactl
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot

_MMA = 0x00020000  # Linux, arch/powerpc/include/uapi/asm/cputable.h: PPC_FEATURE2_MMA


def asked(captured: Captured, command: str, *options: str) -> dict[str, Any]:
    """A command's JSON."""
    done = CliRunner().invoke(app, [command, "--sysroot", str(captured.tree), *options, "--json"])
    assert done.exit_code in (0, 1), done.output
    answer = json.loads(done.stdout)
    return answer["facts"] if command == "probe" else answer


@pytest.fixture(scope="module")
def facts(captured) -> dict[str, Any]:
    return asked(captured, "probe")


def laid_out(captured: Captured) -> Layout:
    """The machine by its own tools: cores by ppc64_cpu, nodes and memory by numactl, halves by lstopo."""
    cores = []
    for number, threads in enumerate(captured.threads):
        online = tuple(cpu for cpu, on in threads.items() if on)
        if online:
            node = next(node for node, (cpus, _) in captured.nodes.items() if online[0] in cpus)
            halves = tuple(tuple(sorted(half)) for half in captured.hwloc.halves if half <= set(threads))
            cores.append(CoreLayout(number, node, 0, tuple(threads), online, halves))
    nodes = tuple(
        NodeSpec(node, sum(core.node == node for core in cores), megabytes)
        for node, (_, megabytes) in captured.nodes.items()
    )
    return Layout(tuple(cores), nodes)


def test_the_guest_is_what_qemu_was_asked_for(captured):
    """Else the tools below could agree on a machine that nobody wanted to try."""
    machine = captured.machine
    first, node_cpus = 0, {}
    for number, node in enumerate(machine.nodes):
        if node.cores or node.gib:
            node_cpus[number] = set(range(first, first + node.cores * machine.threads))
            first += node.cores * machine.threads
    assert len(captured.threads) == sum(node.cores for node in machine.nodes)
    assert {cpu for core in captured.threads for cpu in core} == set(range(first))
    assert captured.nodes.keys() == node_cpus.keys()
    for number, (cpus, megabytes) in captured.nodes.items():
        assert cpus <= node_cpus[number]
        assert cpus == node_cpus[number] or machine.before != ":"
        assert (megabytes > 0) == (machine.nodes[number].gib > 0)
    assert captured.auxiliary["AT_BASE_PLATFORM"] == machine.cpu
    assert captured.auxiliary["AT_PLATFORM"] == (machine.compatible or machine.cpu)
    assert (captured.auxiliary["AT_PAGESZ"] == "65536") == (machine.kernel != KERNELS[0])
    assert all(len(captured.hwloc.halves & {half}) == 1 for half in captured.hwloc.halves)
    assert any(len(half) < machine.threads for half in captured.lscpu.halves) == machine.halves or machine.before != ":"


def test_probe_finds_the_cores_and_threads_of_lscpu_lstopo_and_ppc64_cpu(captured, facts):
    topology = facts["topology"]
    cores = {frozenset(core["cpus"]) for core in topology["cores"]}
    assert cores == captured.lscpu.cores == captured.hwloc.cores
    assert cores == {frozenset(cpu for cpu, on in core.items() if on) for core in captured.threads} - {frozenset()}
    in_use = [core for core in captured.threads if any(core.values())]
    assert [core["cpus_present"] for core in topology["cores"]] == [list(core) for core in in_use]
    assert topology["smt"]["max"] == int(captured.answer("threads").split()[-1]) == captured.machine.threads
    levels = {sum(core.values()) for core in in_use}
    assert topology["smt"]["mixed"] == (len(levels) > 1)
    assert topology["smt"]["online"] == max(levels)
    said = captured.answer("smt")
    assert said.startswith("SMT is off") == (levels == {1})
    assert [int(level) for level in re.findall(r"^SMT=([0-9]+)$", said, re.MULTILINE)] == (
        sorted(levels) if len(levels) == 1 and levels != {1} else []
    )


def test_probe_finds_the_halves_that_share_a_first_cache(captured, facts):
    """Of an eight-thread core with one first cache for all, nobody can say whether it has halves."""
    assert captured.lscpu.halves == captured.hwloc.halves
    known = {frozenset(half) for half in captured.hwloc.halves if len(half) <= 4}
    cores = facts["topology"]["cores"]
    assert {frozenset(half) for core in cores for half in core["halves"] or ()} == known
    assert [core["halves"] is None for core in cores] == [
        not any(half <= set(core["cpus"]) for half in known) for core in cores
    ]


def test_probe_finds_the_nodes_of_lscpu_lstopo_and_numactl(captured, facts):
    nodes = {node["id"]: node for node in facts["topology"]["nodes"]}
    node_cpus = {number: frozenset(node["cpus"]) for number, node in nodes.items()}
    assert {number: cpus for number, cpus in node_cpus.items() if cpus} == captured.lscpu.node_cpus
    assert {node: (node_cpus[node], nodes[node]["memory_bytes"] >> 20) for node in nodes} == captured.nodes
    memory = {number: node["memory_bytes"] for number, node in nodes.items() if node["memory_bytes"]}
    assert memory == captured.hwloc.node_memory
    both = {number for number in memory if node_cpus[number]}
    assert all(captured.hwloc.node_cpus[number] == node_cpus[number] for number in both)
    text = captured.answer("numactl")
    rows = [line.split() for line in text.partition("node distances:")[2].splitlines()[2:]]
    for number, *distances in rows:
        own = nodes[int(number.rstrip(":"))]["distances"]
        assert [own[other[0].rstrip(":")] for other in rows] == [int(distance) for distance in distances]
    assert len(rows) == len(nodes)


def test_probe_finds_the_processor_that_programs_are_told_of(captured, facts):
    cpu = facts["cpu"]
    assert cpu["generation_mode"].lower() == captured.auxiliary["AT_PLATFORM"]
    assert cpu["generation_hw"].lower() == captured.auxiliary["AT_BASE_PLATFORM"]
    assert cpu["model_name"] in captured.answer("lscpu-summary")
    assert cpu["isa"]["mma"] == bool(int(captured.auxiliary["AT_HWCAP2"], 16) & _MMA)
    assert facts["memory"]["base_page_bytes"] == int(captured.auxiliary["AT_PAGESZ"])
    assert facts["kernel"]["release"] == captured.answer("release").strip()
    assert facts["emulation"]["emulator"] == "QEMU TCG"
    assert cpu["part_threads"] is None or cpu["part_threads"] >= facts["topology"]["smt"]["max"]


def test_probe_reads_the_lparcfg_that_the_kernel_writes(captured, facts):
    """Every figure that QEMU was asked for comes out again; QEMU calls its processors shared."""
    path = captured.tree / "proc/powerpc/lparcfg"
    assert path.exists() == (captured.name == "lparcfg")
    lpar = facts["lpar"]
    if not path.exists():
        assert lpar["mode"] is None
        return
    lines = dict(re.findall(r"^(\w+)=(.*)$", path.read_text(), re.MULTILINE))
    cores = sum(node.cores for node in captured.machine.nodes)
    assert lpar["virtual_processors"] == int(lines["partition_active_processors"]) == cores
    assert lpar["virtual_processors_max"] == int(lines["partition_potential_processors"]) == cores
    assert (lpar["mode"], lpar["dedicated"]) == ("shared", False)
    assert lines["shared_processor_mode"] == "1"
    assert lpar["partition_id"] == int(lines["partition_id"]) == 0
    assert lpar["desired_memory_bytes"] == int(lines["DesMem"]) << 20 == captured.machine.nodes[0].gib << 30
    assert lpar["purr"] == int(lines["purr"]) > 0
    assert lpar["system_type"] == lines["system_type"] == "IBM pSeries (emulated by qemu)"
    assert facts["machine"]["mtm"] is None
    assert facts["emulation"]["emulated"] is True


def test_the_cross_check_of_a_live_machine_finds_no_disagreement(captured):
    topology = probe(SysRoot(captured.tree)).topology
    columns = [line.split(",")[:3] for line in captured.answer("lscpu").splitlines() if not line.startswith("#")]
    assert compare_lscpu("\n".join(f"{cpu},{core},,{node}" for cpu, core, node in columns), topology) == ()
    assert compare_numactl(captured.answer("numactl"), topology) == ()


def test_doctor_finds_what_the_tools_show_and_no_more(captured):
    report = asked(captured, "doctor")
    laid = laid_out(captured)
    levels = {len(core.online) for core in laid.cores}
    with_cpus = {core.node for core in laid.cores}
    memory = {node: megabytes for node, (_, megabytes) in captured.nodes.items()}
    expected = {
        "emulated": True,
        "cpus-on-several-nodes": len(with_cpus) > 1,
        "node-without-memory": any(memory[node] == 0 for node in with_cpus),
        "mode-below-hardware": captured.auxiliary["AT_PLATFORM"] != captured.auxiliary["AT_BASE_PLATFORM"],
        "mma-hidden": captured.machine.cpu != "power9" and not int(captured.auxiliary["AT_HWCAP2"], 16) & _MMA,
        "smt-mixed": len(levels) > 1,
        "smt-above-two": max(levels) > 2 and len(levels) == 1,
        "smt-one-thread": captured.machine.threads == 8 and max(levels) == 1,
        "threads-on-one-half": captured.machine.threads == 8
        and any(len(core.online) > 1 and len({cpu % 2 for cpu in core.online}) == 1 for core in laid.cores),
        "cores-offline": len(laid.cores) < len(captured.threads),
        "tools-disagree": False,
        "platform-string-disagrees": False,
        "machine-name-disagrees": False,
        "numa-view-stale": False,
    }
    reported = {finding["id"] for finding in report["findings"]}
    assert {rule: rule in reported for rule in expected} == expected
    assert report["findings"][0]["id"] == "emulated"
    assert report["problems"] == []


def test_what_doctor_advises_can_be_done_on_the_machine(captured):
    laid = laid_out(captured)
    with_memory = [node for node, (_, megabytes) in captured.nodes.items() if megabytes]
    for finding in asked(captured, "doctor")["findings"]:
        for command in finding["fix"]:
            assert objections(command, laid, laid.online, with_memory) == [], finding["id"]
            for level in re.findall(r"(?:smt set |--smt=)([0-9]+)", command):
                assert 1 <= int(level) <= captured.machine.threads, finding["id"]


def test_place_gives_cores_of_one_node_or_says_that_there_are_none(captured):
    laid = laid_out(captured)
    cores = {frozenset(core.online): core for core in laid.cores}
    most = captured.machine.threads
    for count, threads in ((1, 1), (1, 2), (1, most), (2, 1), (2, most), (3, 1)):
        for node in (None, *captured.nodes):
            _placed(captured, cores, count, threads, node)


def _placed(captured: Captured, cores: dict[frozenset[int], CoreLayout], count: int, threads: int, node: int | None):
    options = ["--cores", str(count), "--threads-per-core", str(threads)]
    options += [] if node is None else ["--node", str(node)]
    done = CliRunner().invoke(app, ["place", "--sysroot", str(captured.tree), *options, "--json"])
    fitting = [core for core in cores.values() if len(core.online) >= threads and node in (None, core.node)]
    nodes = {core.node for core in fitting if sum(other.node == core.node for other in fitting) >= count}
    if not nodes:
        assert done.exit_code != 0, f"{options}: {done.output}"
        return
    assert done.exit_code == 0, f"{options}: {done.output}"
    plan = json.loads(done.stdout)
    assert plan["node"] in nodes
    chosen = [[cpu for cpu in plan["cpus"] if cpu in online] for online in cores]
    chosen = [cpus for cpus in chosen if cpus]
    assert [len(cpus) for cpus in chosen] == [threads] * count
    assert {core.node for core in cores.values() if set(plan["cpus"]) & set(core.online)} == {plan["node"]}
    for core in cores.values():
        taken = [len(set(half) & set(plan["cpus"])) for half in core.halves]
        assert not taken or max(taken) - min(taken) <= 1 or len(core.halves) == 1, "halves of a core are used unevenly"
    memory = {number: megabytes for number, (_, megabytes) in captured.nodes.items()}
    assert plan["memory_nodes"]
    assert all(memory[number] > 0 for number in plan["memory_nodes"])
    if memory[plan["node"]]:
        assert plan["memory_nodes"] == [plan["node"]]
