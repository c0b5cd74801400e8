"""Real Power machines, from public dumps kept outside the project; skipped where they are not."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import pytest
from support import oracles
from support.dts import unpack
from support.placement_rules import check_plan
from support.trees import CoreLayout, Layout, NodeSpec, TreeSpec, build

from harness.errors import InputError
from harness.placement.plan import plan
from harness.platform.facts import Facts
from harness.platform.parse import cpu_list, cpu_mask
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot


@pytest.fixture
def power7(fixtures_dir: Path, tmp_path: Path) -> Path:
    with tarfile.open(fixtures_dir / "util-linux/ppc64-POWER7.tar.gz") as archive:
        # Python before 3.11.4 has no filters; the dumps are ours to choose.
        archive.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return tmp_path / "ppc64-POWER7"


def test_power7_lpar(power7: Path) -> None:
    facts = probe(SysRoot(power7))
    assert facts.cpu.architecture == "ppc64"
    assert (facts.cpu.generation_hw, facts.cpu.generation_mode, facts.cpu.pvr) == ("POWER7", "POWER7", 0x003F0201)
    assert facts.cpu.clock_hz == 3.0e9
    assert facts.cpu.isa["altivec"] is True
    assert facts.cpu.isa["mma"] is False
    assert facts.cpu.isa["vsx"] is None  # no auxiliary vector in the dump
    assert (facts.machine.mtm, facts.machine.name) == ("8233-E8B", "Power 750")
    assert (facts.kernel.platform, facts.kernel.hypervisor) == ("pSeries", "PowerVM")
    topology = facts.topology
    assert [core.cpus for core in topology.cores] == [tuple(range(4 * core, 4 * core + 4)) for core in range(4)]
    assert [core.kernel_id for core in topology.cores] == [0, 4, 8, 12]
    assert (topology.smt.max, topology.smt.online, topology.smt.mixed) == (4, 4, False)
    assert [(node.id, node.cpus, node.memory_bytes) for node in topology.nodes] == [(0, tuple(range(16)), None)]
    first, _ = facts.caches.caches
    assert (first.level, first.type, first.size_bytes, first.ways, first.line_bytes) == (1, "Data", 32768, 8, 128)
    assert facts.emulation.emulated is False


def test_power7_lpar_as_lscpu_and_hwloc_read_it(power7: Path, fixtures_dir: Path) -> None:
    cores = frozenset(frozenset(core.cpus) for core in probe(SysRoot(power7)).topology.cores)
    assert oracles.lscpu(power7).cores == cores
    assert oracles.hwloc(power7).cores == cores
    expected = (fixtures_dir / "util-linux/lscpu-ppc64-POWER7").read_text()
    rows = re.findall(r"^([0-9]+),([0-9]+),[0-9]+,([0-9]+),", expected, re.MULTILINE)
    assert len(rows) == 16
    assert {frozenset(int(row[0]) for row in rows if row[1] == core) for core in {row[1] for row in rows}} == cores


def test_core_numbers_as_cpu_numbers_fail_on_power7(power7: Path) -> None:
    topology = probe(SysRoot(power7)).topology
    laid = Layout(tuple(CoreLayout(core.id, 0, 0, core.cpus, core.cpus, (core.cpus,)) for core in topology.cores), ())
    rows = [line.split(",") for line in oracles.lscpu_text(power7).splitlines() if not line.startswith("#")]
    wrong = sorted({int(row[1]) for row in rows})
    assert wrong == [0, 1, 2, 3]  # threads of one core
    with pytest.raises(AssertionError, match="1 distinct cores instead of 4"):
        check_plan(laid, wrong, cores=4, threads_per_core=1, node=0)
    ours = plan(topology, cores=4, threads_per_core=1)
    check_plan(laid, ours.cpus, cores=4, threads_per_core=1, node=0)
    assert ours.cpus == (0, 4, 8, 12)


def _from_text(fixtures_dir: Path, name: str, tmp_path: Path) -> Facts:
    """Facts of a machine of which only ``/proc/cpuinfo`` is known."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_bytes((fixtures_dir / "ohai" / name).read_bytes())
    return probe(SysRoot(tmp_path))


def _lscpu_field(fixtures_dir: Path, name: str, field: str) -> str:
    text = (fixtures_dir / "ohai" / name).read_text()
    match = re.search(rf"^{re.escape(field)}:\s*(.*)$", text, re.MULTILINE)
    assert match is not None
    return match[1]


def test_power9_host_from_its_cpuinfo(fixtures_dir: Path, tmp_path: Path) -> None:
    facts = _from_text(fixtures_dir, "cpuinfo-ppc64le-p9-host.output", tmp_path)
    assert facts.topology.cpus_online == (0, 4)  # an excerpt: two CPUs of a machine with SMT off
    assert facts.topology.cores == ()  # which threads share a core is told by none of these files
    assert (facts.cpu.generation_hw, facts.cpu.generation_mode, facts.cpu.pvr) == ("POWER9", "POWER9", 0x004E1202)
    assert facts.cpu.part_threads == 4
    assert facts.cpu.clock_hz == 2.166e9
    assert facts.cpu.mmu == "Radix"
    assert (facts.machine.mtm, facts.machine.name) == ("9006-12P", "Power LC921")
    assert (facts.kernel.platform, facts.kernel.hypervisor) == ("PowerNV", "bare metal")
    with pytest.raises(InputError, match="share a core"):
        plan(facts.topology, cores=1, threads_per_core=1)


@pytest.mark.parametrize(("suffix", "cpus"), [("", 16), ("-rhel9", 2)])
def test_power9_kvm_guests_from_their_cpuinfo(fixtures_dir: Path, tmp_path: Path, suffix: str, cpus: int) -> None:
    facts = _from_text(fixtures_dir, f"cpuinfo-ppc64le-p9-guest-kvm{suffix}.output", tmp_path)
    assert facts.topology.cpus_online == tuple(range(cpus))
    assert (facts.cpu.generation_hw, facts.cpu.generation_mode) == ("POWER9", "POWER9")
    assert (facts.kernel.platform, facts.kernel.hypervisor) == ("pSeries", "KVM")
    assert facts.machine.mtm is None
    assert facts.emulation.emulated is False
    assert facts.lpar.mode is None


def _rebuilt(fixtures_dir: Path, name: str, tmp_path: Path, smt: int) -> Facts:
    """A tree of the layout that a real machine's lscpu listing tells."""
    told = (fixtures_dir / "ohai" / name).read_text()
    nodes = {
        int(node): cpu_list(cpus) or ()
        for node, cpus in re.findall(r"^NUMA node([0-9]+) CPU\(s\):[ ]*(.*)$", told, re.MULTILINE)
    }

    spec = TreeSpec(
        platform="PowerNV",
        generation="POWER9",
        mtm="9006-12P",
        threads=4,
        smt=smt,
        nodes=tuple(
            NodeSpec(node, cores=len(cpus) // smt, memory_mb=131072 if cpus else 0) for node, cpus in nodes.items()
        ),
        lpar=None,
        device_tree=False,
    )
    facts = probe(SysRoot(build(spec, tmp_path)))
    assert {node.id: node.cpus for node in facts.topology.nodes} == nodes
    assert facts.topology.cpus_online == cpu_list(_lscpu_field(fixtures_dir, name, "On-line CPU(s) list"))
    return facts


def test_power9_host_with_empty_high_nodes(fixtures_dir: Path, tmp_path: Path) -> None:
    facts = _rebuilt(fixtures_dir, "lscpu-ppc64le-p9-host-rhel9.output", tmp_path, smt=4)
    assert [node.id for node in facts.topology.nodes] == [0, 8, 252, 253, 254, 255]
    assert len(facts.topology.cores) == 32
    chosen = plan(facts.topology, cores=16, threads_per_core=2, node=8)
    assert chosen.cpus[:4] == (64, 65, 68, 69)
    with pytest.raises(InputError, match="no CPUs"):
        plan(facts.topology, cores=1, threads_per_core=1, node=253)


def test_power9_host_with_smt_off(fixtures_dir: Path, tmp_path: Path) -> None:
    facts = _rebuilt(fixtures_dir, "lscpu-ppc64le-p9-host.output", tmp_path, smt=1)
    smt = facts.topology.smt
    assert (smt.max, smt.online, smt.mixed) == (4, 1, False)
    cores = (fixtures_dir / "ohai/lscpu-ppc64le-p9-host-cores.output").read_text()
    rows = [line.split(",") for line in cores.splitlines() if not line.startswith("#")]
    assert [core.cpus for core in facts.topology.cores] == [(int(row[0]),) for row in rows]
    assert facts.topology.cores[1].cpus_present == (4, 5, 6, 7)


def test_power10_device_tree(fixtures_dir: Path, tmp_path: Path) -> None:
    unpack((fixtures_dir / "skiboot/p10-rainier.dts").read_text(), tmp_path / "proc/device-tree")
    facts = probe(SysRoot(tmp_path))
    assert facts.cpu.architecture == "ppc64"
    assert facts.cpu.byte_order is None
    assert (facts.cpu.generation_hw, facts.cpu.generation_mode, facts.cpu.pvr) == ("POWER10", "POWER10", 0x00800100)
    assert facts.cpu.part_threads == 8
    assert facts.cpu.clock_hz == 2.6e9
    assert facts.cpu.timebase_hz == 512e6
    assert facts.cpu.isa["mma"] is None  # no auxiliary vector: not known, not assumed
    assert (facts.machine.mtm, facts.machine.name) == ("9105-22A", "Power S1022")
    assert facts.kernel.hypervisor == "bare metal"
    topology = facts.topology
    assert len(topology.cores) == 32
    assert len(topology.cpus_present) == 256
    assert topology.smt.max == 8
    packages = [core.package for core in topology.cores]
    assert {package: packages.count(package) for package in packages} == {0: 8, 2: 8, 4: 8, 6: 8}
    sizes = {(cache.level, cache.type): cache.size_bytes for cache in facts.caches.caches}
    assert sizes == {
        (1, "Data"): 0x8000,
        (1, "Instruction"): 0xC000,
        (2, "Unified"): 0x100000,
        (3, "Unified"): 0x400000,
    }


def test_power10_topology_lines(fixtures_dir: Path, tmp_path: Path) -> None:
    """The lines of a real dedicated POWER10 LPAR, in a tree around them, give its lstopo picture."""
    lines = (fixtures_dir / "linuxppc/p10-lpar-topology.txt").read_text()
    told = dict(re.findall(r"^(/sys/devices/system/cpu/cpu16/topology/\w+):(\S+)$", lines, re.MULTILINE))
    topology = "/sys/devices/system/cpu/cpu16/topology"
    assert cpu_mask(told[f"{topology}/package_cpus"]) == cpu_list(told[f"{topology}/package_cpus_list"])
    assert cpu_mask(told[f"{topology}/die_cpus"]) == cpu_list(told[f"{topology}/die_cpus_list"])

    spec = TreeSpec(nodes=(NodeSpec(0, cores=2), NodeSpec(1, cores=3)), possible_cpus=88, linked_threads=False)
    root = build(spec, tmp_path)
    for name, value in told.items():
        (root / name.lstrip("/")).write_text(f"{value}\n")
    facts = probe(SysRoot(root))
    assert len((root / f"{topology[1:]}/package_cpus").read_text().strip()) == len("000000,000000ff,ffff0000")
    core = facts.topology.cores[2]
    assert core.cpus == tuple(range(16, 24))
    assert core.die == 2
    assert core.halves == ((16, 18, 20, 22), (17, 19, 21, 23))
    caches = {(cache.level, cache.type): cache for cache in facts.caches.caches}
    for (level, kind), kilobytes, ways in (
        ((3, "Unified"), 4096, 16),
        ((2, "Unified"), 1024, 8),
        ((1, "Data"), 32, 8),
        ((1, "Instruction"), 48, 6),
    ):
        cache = caches[level, kind]
        assert (cache.size_bytes, cache.ways, cache.line_bytes) == (kilobytes << 10, ways, 128)
        assert (16, 18, 20, 22) in cache.instances
    assert plan(facts.topology, cores=3, threads_per_core=2, node=1).cpus == (16, 17, 24, 25, 32, 33)
