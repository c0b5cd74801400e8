"""Archives of sos and supportconfig, and pasted output, give the facts that the tree behind them gives."""

from __future__ import annotations

import io
import os
import re
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from support import oracles
from support.trees import NodeSpec, TreeSpec, build
from support.trees_presets import PRESETS
from typer.testing import CliRunner

from harness.cli.main import app
from harness.errors import InputError
from harness.platform.dump import opened
from harness.platform.facts import Facts
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot

TWO_NODES = replace(PRESETS["p10-two-nodes"], nodes=(NodeSpec(0, cores=1), NodeSpec(1, cores=1)))
INFO = """\
Core   0:    0*    1*    2     3     4     5     6     7
Core   1:    8*    9*   10    11    12    13    14    15
"""
NUMACTL = """\
available: 3 nodes (0,2,5)
node 0 cpus: 0 1 8 9
node 0 size: 16384 MB
node 0 free: 1024 MB
node 2 cpus:
node 2 size: 8192 MB
node 2 free: 8000 MB
node 5 cpus: 16 17
node 5 size: 0 MB
node 5 free: 0 MB
node distances:
node   0   2   5
  0:  10  20  40
  2:  20  10  40
  5:  40  40  10
"""
LPARSTAT = """\
Node Name                                  : host7
Partition Name                             : web 1
Partition Number                           : 12
Type                                       : Shared
Mode                                       : Uncapped
Entitled Capacity                          : 2.50
Partition Group-ID                         : 32780
Shared Pool ID                             : 3
Online Virtual CPUs                        : 8
Maximum Virtual CPUs                       : 16
Online Memory                              : 63488 MB
Variable Capacity Weight                   : 128
Active Physical CPUs in system             : 48
Physical CPU Percentage                    : 31.25
"""
LSCPU = """\
Architecture:                       ppc64le
Byte Order:                         Little Endian
CPU(s):                             16
On-line CPU(s) list:                0,1,8,9
Off-line CPU(s) list:               2-7,10-15
Model name:                         POWER10 (architected), altivec supported
Model:                              2.0 (pvr 0080 0200)
Thread(s) per core:                 2
Core(s) per socket:                 2
Socket(s):                          1
Hypervisor vendor:                  pHyp
Virtualization type:                para
NUMA node(s):                       2
NUMA node0 CPU(s):                  0,1,8,9
NUMA node3 CPU(s):
"""


def _paste(folder: Path, text: str) -> Facts:
    path = folder / "pasted.txt"
    path.write_text(text)
    return probe(opened(path))


def _archive(path: Path, root: Path, mode: str, top: str = "sosreport-bench1-2026-08-01-abc") -> Path:
    with tarfile.open(path, mode) as archive:
        archive.add(root, arcname=top)
    return path


@pytest.mark.parametrize(
    ("name", "mode", "top"),
    [
        ("a.tar", "w", "."),
        ("a.tar.xz", "w:xz", "sosreport-bench1"),
        ("a.tgz", "w:gz", "case-17/sosreport-bench1"),
        ("a.tar.bz2", "w:bz2", "sosreport-bench1"),
        ("no-suffix", "w:xz", "./sosreport-bench1"),
    ],
)
def test_an_archive_gives_the_facts_of_its_tree(tmp_path: Path, name: str, mode: str, top: str) -> None:
    root = build(TWO_NODES, tmp_path / "tree")
    direct = probe(SysRoot(root))
    path = _archive(tmp_path / name, root, mode, top)
    assert replace(probe(opened(path)), sysroot=str(root)) == direct
    assert probe(opened(path)).sysroot == str(path)
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path / "out", **({"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}))
    assert replace(probe(opened(tmp_path / "out")), sysroot=str(root)) == direct  # a folder around the tree


def test_what_sos_ran_fills_what_it_did_not_copy(tmp_path: Path) -> None:
    root = tmp_path / "sos"
    for name, text in {
        "proc/version": "Linux version 6.4.0-150600.23.25-default (geeko@buildhost) #1 SMP\n",
        "sos_commands/processor/lscpu": LSCPU,
        "sos_commands/numa/numactl_--hardware": NUMACTL,
        "sos_commands/powerpc/ppc64_cpu_--info": INFO,
        "sos_commands/powerpc/lparstat_-i": LPARSTAT,
        "sos_commands/powerpc/lparstat_-x": "lparstat: command failed\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for place in (root, _archive(tmp_path / "s.tar.xz", root, "w:xz")):
        facts = probe(opened(place))
        assert facts.kernel.release == "6.4.0-150600.23.25-default"
        assert [core.cpus for core in facts.topology.cores] == [(0, 1), (8, 9)]
        assert facts.topology.smt.max == 8
        assert (facts.lpar.partition_name, facts.lpar.entitled_cores) == ("web 1", 2.5)
        assert {node.id for node in facts.topology.nodes} == {0, 2, 3, 5}
        for kind in ("lscpu", "numactl -H", "ppc64_cpu --info", "lparstat -i"):
            assert kind in facts.sysroot
    assert sorted(path.name for path in root.iterdir()) == ["proc", "sos_commands"]  # nothing is written into it


def test_sections_of_supportconfig(tmp_path: Path) -> None:
    folder = tmp_path / "scc_bench1_260801_1200"
    folder.mkdir()
    rule = "#" + "=" * 40 + "#"
    (folder / "hardware.txt").write_text(
        f"Supportutils\n#==[ Command ]{rule[1:]}\n# /usr/bin/lscpu\n{LSCPU}\n"
        f"#==[ Command ]{rule[1:]}\n# /usr/bin/numactl --hardware\n{NUMACTL}\n"
        f"#==[ Configuration File ]{rule[1:]}\n# /proc/loadavg\n0.50 0.40 0.30 1/200 99\n\n"
        f"#==[ Configuration File ]{rule[1:]}\n# /proc/../../escape\nx\n\n"
        f"#==[ Command ]{rule[1:]}\n# /bin/cat /proc/sys/kernel/osrelease\n6.4.0\n"
    )
    facts = probe(opened(_archive(tmp_path / "scc.txz", folder, "w:xz", folder.name)))
    assert (facts.load.load_1m, facts.kernel.release, facts.kernel.hypervisor) == (0.5, "6.4.0", "PowerVM")
    assert [core.cpus for core in facts.topology.cores] == [(0, 1), (8, 9)]


def test_lscpu_alone(tmp_path: Path) -> None:
    facts = _paste(tmp_path, f"$ LC_ALL=C lscpu\n{LSCPU}$\n")
    topology = facts.topology
    assert (facts.cpu.architecture, facts.cpu.generation_hw, facts.cpu.pvr) == ("ppc64le", "POWER10", 0x00800200)
    assert (facts.kernel.hypervisor, facts.kernel.sources["hypervisor"]) == ("PowerVM", "lscpu:Hypervisor vendor")
    assert (topology.cpus_online, topology.cpus_present) == ((0, 1, 8, 9), tuple(range(16)))
    assert [core.cpus for core in topology.cores] == [(0, 1), (8, 9)]
    assert [(node.id, node.cpus, node.memory_bytes, node.distances) for node in topology.nodes] == [
        (0, (0, 1, 8, 9), None, None),
        (3, (), None, None),
    ]
    assert facts.memory.total_bytes is None
    assert facts.lpar.mode is None
    assert facts.load.load_1m is None


def test_the_siblings_of_a_mixed_or_foreign_machine_stay_unknown(tmp_path: Path) -> None:
    mixed = LSCPU.replace("0,1,8,9\nOff", "0,1,8\nOff")
    assert _paste(tmp_path, mixed).topology.cores == ()
    x86 = "Architecture: x86_64\nCPU(s): 4\nOn-line CPU(s) list: 0-3\nThread(s) per core: 2\nVendor ID: AuthenticAMD\n"
    facts = _paste(tmp_path, x86)
    assert (facts.cpu.architecture, facts.topology.cpus_online, facts.topology.cores) == ("x86_64", (0, 1, 2, 3), ())


def test_numactl_alone(tmp_path: Path) -> None:
    nodes = _paste(tmp_path, NUMACTL).topology.nodes
    assert [(node.id, node.cpus, node.memory_bytes, node.memory_free_bytes) for node in nodes] == [
        (0, (0, 1, 8, 9), 16 << 30, 1 << 30),
        (2, (), 8 << 30, 8000 << 20),
        (5, (16, 17), 0, 0),
    ]
    assert nodes[2].distances == {0: 40, 2: 40, 5: 10}


def test_ppc64_cpu_alone(tmp_path: Path) -> None:
    topology = _paste(tmp_path, INFO).topology
    assert (topology.cpus_online, topology.cpus_present) == ((0, 1, 8, 9), tuple(range(16)))
    assert [core.cpus for core in topology.cores] == [(0, 1), (8, 9)]


def test_lparstat_alone(tmp_path: Path) -> None:
    facts = _paste(tmp_path, LPARSTAT)
    lpar = facts.lpar
    assert (lpar.partition_name, lpar.partition_id, lpar.mode, lpar.entitled_cores) == (
        "web 1",
        12,
        "shared uncapped",
        2.5,
    )
    assert (lpar.virtual_processors, lpar.virtual_processors_max, lpar.pool_id, lpar.capacity_weight) == (8, 16, 3, 128)
    assert lpar.affinity_score is None
    assert (facts.kernel.hypervisor, facts.kernel.sources["hypervisor"]) == ("PowerVM", "lparstat -i")
    assert facts.topology.cpus_online == ()


@pytest.mark.parametrize("preset", ["p10-smt2", "p10-two-nodes", "p8-lpar"])
def test_cpuinfo_alone_and_after_other_output(tmp_path: Path, preset: str) -> None:
    root = build(PRESETS[preset], tmp_path / "tree")
    direct, text = probe(SysRoot(root)), (root / "proc/cpuinfo").read_text()
    for pasted in (text, f"# lparstat -i\n{LPARSTAT}\n# cat /proc/cpuinfo\n{text}\n", text.replace("\n", "\r\n")):
        facts = _paste(tmp_path, pasted)
        assert facts.topology.cpus_online == direct.topology.cpus_online
        assert (facts.cpu.pvr, facts.cpu.model_name, facts.machine.mtm) == (
            direct.cpu.pvr, direct.cpu.model_name, direct.machine.mtm,
        )  # fmt: skip
        assert facts.topology.cores == () or preset != "p10-smt2"


@pytest.mark.parametrize("spec", [PRESETS["p10-smt2"], TWO_NODES, PRESETS["p8-lpar"]])
def test_output_of_the_real_lscpu(tmp_path: Path, spec: TreeSpec) -> None:
    root = build(spec, tmp_path / "tree")
    lscpu = [oracles.need("lscpu"), "--sysroot", str(root)]
    text = subprocess.run(lscpu, capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"}).stdout
    direct = probe(SysRoot(root)).topology
    pasted = _paste(tmp_path, re.sub(r"(?m)^(Architecture|  CPU op-mode).*\n", "", text)).topology
    assert [core.cpus for core in pasted.cores] == [core.cpus for core in direct.cores]
    assert [(node.id, node.cpus) for node in pasted.nodes] == [(node.id, node.cpus) for node in direct.nodes]


@pytest.mark.parametrize("option", ["-e", "-p", "-a -e", "-p=node,cpu,core", "-e=CPU,CORE"])
@pytest.mark.parametrize("spec", [PRESETS["p10-smt2"], TWO_NODES, PRESETS["p8-lpar"]])
def test_tables_of_the_real_lscpu(tmp_path: Path, spec: TreeSpec, option: str) -> None:
    root = build(spec, tmp_path / "tree")
    lscpu = [oracles.need("lscpu"), "--sysroot", str(root), *option.split()]
    text = subprocess.run(lscpu, capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"}).stdout
    direct = probe(SysRoot(root)).topology
    pasted = _paste(tmp_path, f"$ lscpu {option}\n{text}$\n").topology
    assert pasted.cpus_online == direct.cpus_online
    assert [core.cpus for core in pasted.cores] == [core.cpus for core in direct.cores]
    if "CPU,CORE" not in option:
        nodes = [(node.id, node.cpus) for node in direct.nodes if node.cpus]  # of others the table has no row
        assert [(node.id, node.cpus) for node in pasted.nodes] == nodes
    if option == "-a -e":
        assert pasted.cpus_present == direct.cpus_present


@pytest.mark.parametrize("preset", ["p10-two-nodes", "p10-node7", "p10-over-chip"])
def test_output_of_the_real_numactl(tmp_path: Path, preset: str) -> None:
    root = build(PRESETS[preset], tmp_path / "tree")
    text = oracles.numactl_hardware(root)
    shown = _paste(tmp_path, text).topology.nodes
    direct = probe(SysRoot(root)).topology.nodes
    assert [(node.id, node.cpus, node.distances) for node in shown] == [
        (node.id, node.cpus, node.distances) for node in direct
    ]
    assert [(node.memory_bytes or 0) >> 20 for node in shown] == [(node.memory_bytes or 0) >> 20 for node in direct]


def test_doctor_says_what_it_read_and_checks_what_it_can(tmp_path: Path) -> None:
    path = tmp_path / "from the customer.txt"
    path.write_text(LSCPU + NUMACTL + INFO + LPARSTAT)
    done = CliRunner().invoke(app, ["doctor", "--verbose", "--sysroot", str(path)])
    assert done.exit_code == 1
    assert done.stdout.startswith(
        f"Read from {path} (ppc64_cpu --info, numactl -H, lscpu, lparstat -i). What it does not"
    )
    assert "8 virtual processors are entitled to 2.5 cores" in done.stdout
    assert "Not checked: steal (not known: load.steal_share)" in done.stdout
    assert CliRunner().invoke(app, ["place", "--sysroot", str(path)]).exit_code == 0


def _member(archive: tarfile.TarFile, name: str, content: bytes = b"", link: str | None = None) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    if link is not None:
        member.type, member.linkname = tarfile.SYMTYPE, link
    archive.addfile(member, io.BytesIO(content))


def test_an_archive_writes_nothing_outside_and_reads_nothing_outside(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "loadavg").write_text("9.0 9.0 9.0 1/1 1\n")
    path = tmp_path / "bad.tar"
    with tarfile.open(path, "w") as archive:
        _member(archive, "x/sys", link=str(outside))
        _member(archive, "x/sys/planted", b"1")
        _member(archive, "x/proc/../../../planted", b"1")
        _member(archive, str(outside / "proc/planted"), b"1")
        _member(archive, "x/proc/loadavg", link=str(outside / "loadavg"))
        _member(archive, "x/proc/uptime", b"12.5 3.0\n")
    facts = probe(opened(path))
    assert (facts.load.load_1m, facts.load.uptime_s) == (None, 12.5)
    assert [entry.name for entry in outside.iterdir()] == ["loadavg"]
    assert not list(tmp_path.glob("**/planted"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("notes.txt", b"Dear support,\nthe machine is slow.\n", "describes no machine"),
        ("empty", b"", "describes no machine"),
        ("noise.bin", bytes(range(256)) * 40, "describes no machine"),
        ("lscpu-de.txt", b"Architektur:  ppc64le\nCPU(s):  8\n", "describes no machine"),
    ],
)
def test_what_tells_of_no_machine_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        opened(path)
    assert str(path) in error.value.message
    assert "lscpu, numactl -H" in str(error.value.remedy)
    with pytest.raises(InputError, match="no such file or directory"):
        opened(tmp_path / "nowhere")


def test_zstandard_is_named_with_what_unpacks_it(tmp_path: Path) -> None:
    path = tmp_path / "r.tar.zst"
    path.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(50))
    with pytest.raises(InputError, match="compressed with zstd") as error:
        opened(path)
    assert error.value.remedy == f"Unpack it: zstd -d {path}"


@pytest.mark.parametrize("mode", ["w:xz", "w:gz", "w"])
def test_half_an_archive_is_refused(tmp_path: Path, mode: str) -> None:
    root = build(TWO_NODES, tmp_path / "tree")
    whole = _archive(tmp_path / "whole", root, mode).read_bytes()
    path = tmp_path / "half"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a whole archive"):
        opened(path)
