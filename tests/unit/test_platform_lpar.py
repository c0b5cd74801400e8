"""LPAR, machine, energy, limits, load and memory facts."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from support.trees import LparSpec, NodeSpec, TreeSpec, build
from support.trees_presets import ENERGY_MAXIMUM, PRESETS

from harness.decode import encode
from harness.platform import counters, kernel, limits
from harness.platform import lpar as lparcfg
from harness.platform.cpuinfo import CpuInfo
from harness.platform.devicetree import DeviceTree
from harness.platform.facts import Facts
from harness.platform.machine import mtm_of
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot


def _facts(spec: TreeSpec, root: Path) -> Facts:
    return probe(SysRoot(build(spec, root)))


def test_dedicated_lpar(tmp_path: Path) -> None:
    spec = replace(PRESETS["p10-dedicated"], lpar=LparSpec(name="web", id=3, power_mode=0x0001000100010003))
    facts = _facts(spec, tmp_path)
    lpar = facts.lpar
    assert (lpar.partition_name, lpar.partition_id, lpar.mode) == ("web", 3, "dedicated")
    assert (lpar.dedicated, lpar.capped, lpar.donating) == (True, True, False)
    assert (lpar.entitled_cores, lpar.virtual_processors) == (4.0, 4)
    assert (lpar.affinity_score, lpar.dispatches, lpar.dispatch_dispersions) == (100, 1_234_567, 42)
    assert lpar.pool_id is None
    assert lpar.desired_memory_bytes == 65536 << 20
    assert lpar.maximum_memory_bytes == 65536 << 21  # bytes in this version of the file, megabytes in older ones
    assert lpar.entitled_memory_bytes == 65536 << 20
    assert lpar.power_mode_data == 0x0001000100010003
    assert lpar.sources["affinity_score"] == "lparcfg:partition_affinity_score"
    assert lpar.system_type == "IBM,9105-22A"


def test_the_serial_number_is_kept_as_a_digest_only(tmp_path: Path) -> None:
    spec = PRESETS["p10-dedicated"]
    facts = _facts(spec, tmp_path)
    assert spec.lpar is not None
    assert facts.lpar.serial_sha256 is not None
    assert len(facts.lpar.serial_sha256) == 16
    assert spec.lpar.serial not in str(encode(facts))


def test_shared_lpar(tmp_path: Path) -> None:
    facts = _facts(PRESETS["p10-shared"], tmp_path)
    assert facts.lpar.mode == "shared uncapped"
    assert (facts.lpar.dedicated, facts.lpar.capped) == (False, False)
    assert (facts.lpar.entitled_cores, facts.lpar.virtual_processors, facts.lpar.capacity_weight) == (2.0, 8, 128)
    assert (facts.lpar.pool_id, facts.lpar.pool_cores, facts.lpar.pool_processors) == (0, 40.0, 40)
    assert facts.load.steal_share == pytest.approx(500_000 / (10_000_000 + 500_000))


def test_donating_lpar(tmp_path: Path) -> None:
    assert _facts(PRESETS["p10-donating"], tmp_path).lpar.mode == "dedicated donating"


def test_a_shared_lpar_lends_no_processors_of_its_own(tmp_path: Path) -> None:
    root = build(PRESETS["p10-shared"], tmp_path)
    path = root / "proc/ppc64/lparcfg"
    path.write_text(path.read_text() + "DedDonMode=1\n")
    lpar = probe(SysRoot(root)).lpar
    assert (lpar.mode, lpar.donating) == ("shared uncapped", None)


def test_the_file_of_a_qemu_guest_describes_no_partition(tmp_path: Path) -> None:
    root = build(PRESETS["kvm-guest"], tmp_path)
    (root / "proc/powerpc").mkdir()
    (root / "proc/powerpc/lparcfg").write_text(
        "lparcfg 1.9\nserial_number=unknown\nsystem_type=IBM pSeries (emulated by qemu)\npartition_id=0\n"
        "partition_active_processors=4\npartition_potential_processors=4\nshared_processor_mode=1\nslb_size=32\n"
    )
    facts = probe(SysRoot(root))
    assert (facts.kernel.hypervisor, facts.lpar.mode, facts.lpar.sources) == ("KVM", None, {})


def test_an_emulated_machine_is_the_partition_that_it_says_it_is_and_no_time_is_taken_there(tmp_path: Path) -> None:
    root = build(PRESETS["tcg-guest"], tmp_path)
    (root / "proc/powerpc").mkdir()
    (root / "proc/powerpc/lparcfg").write_text(LIVE)
    facts = probe(SysRoot(root))
    assert (facts.emulation.emulated, facts.emulation.refuses) == (True, "QEMU TCG")
    assert (facts.lpar.mode, facts.lpar.virtual_processors, facts.lpar.partition_id) == ("shared", 2, 0)
    assert (facts.lpar.purr, facts.lpar.dispatches) == (130079612506, 139703)
    assert facts.machine.mtm is None


def test_lines_that_are_missing_are_not_known(tmp_path: Path) -> None:
    root = build(PRESETS["p10-dedicated"], tmp_path)
    (root / "proc/ppc64/lparcfg").write_text("lparcfg 1.9\nserial_number=\nsystem_type=IBM,9105-22A\ncapped=2\n")
    lpar = probe(SysRoot(root)).lpar
    assert (lpar.mode, lpar.capped, lpar.affinity_score, lpar.entitled_cores) == (None, None, None, None)
    assert lpar.serial_sha256 is None
    assert lpar.partition_name == "bench1"  # of the device tree
    assert lpar.sources["partition_name"] == "device-tree:ibm,partition-name"


def test_there_is_no_lpar_on_bare_metal_and_x86(tmp_path: Path) -> None:
    for preset in ("p9-bare-metal", "x86-two-sockets", "kvm-guest"):
        lpar = _facts(PRESETS[preset], tmp_path / preset).lpar
        assert lpar.mode is None
        assert lpar.sources == {}


def test_machine_model_and_its_modules(tmp_path: Path) -> None:
    facts = _facts(replace(PRESETS["p10-dedicated"], mtm="9105-41B"), tmp_path)
    assert (facts.machine.name, facts.machine.generation) == ("Power S1014", "POWER10")
    assert [(module.type, module.cores_per_chip) for module in facts.machine.modules] == [
        ("eSCM", (4, 8)),
        ("DCM", (12,)),
    ]
    assert facts.machine.modules[1].chips_with_memory == 1
    assert facts.machine.sources["modules"] == "sysconfig/machines/power10.toml"


def test_a_model_that_no_table_has_keeps_its_number(tmp_path: Path) -> None:
    facts = _facts(replace(PRESETS["p10-dedicated"], mtm="9999-ZZZ"), tmp_path)
    assert (facts.machine.mtm, facts.machine.name, facts.machine.modules) == ("9999-ZZZ", None, ())


@pytest.mark.parametrize(
    ("text", "mtm"),
    [
        ("IBM,9105-22A", "9105-22A"),
        ("PowerNV 8247-22L", "8247-22L"),
        ("CHRP IBM,9080-HEX", "9080-HEX"),
        ("IBM pSeries (emulated by qemu)", None),
        (None, None),
    ],
)
def test_machine_type_model(text: str | None, mtm: str | None) -> None:
    assert mtm_of(text) == mtm


def test_energy_settings(tmp_path: Path) -> None:
    energy = _facts(PRESETS["p10-two-nodes"], tmp_path / "saving").energy
    assert (energy.power_performance_mode, energy.idle_power_saver) == ("Static Power Saver", "Enabled")
    assert (energy.frequency_min_hz, energy.frequency_max_hz) == (2.0e9, 4.0e9)
    assert energy.sources["power_performance_mode"] == "sysfs:firmware/papr/energy_scale_info/1"
    assert len(energy.attributes) == len(ENERGY_MAXIMUM)
    odd = {3: ("Minimum Frequency", 0, None), 9: ("Something new", 7, "Seven")}
    other = _facts(replace(PRESETS["p10-dedicated"], energy=odd), tmp_path / "odd").energy
    assert (other.power_performance_mode, other.frequency_min_hz) == (None, None)
    assert "frequency_min_hz" not in other.sources
    assert other.attributes[1].value_description == "Seven"
    bare = _facts(PRESETS["p8-bare-metal-smt-off"], tmp_path / "bare")
    assert (bare.energy.governor, bare.energy.attributes) == ("ondemand", ())
    assert bare.cpu.clock_max_hz == 3.65e9
    assert bare.topology.smt.subcores_per_core == 1


def test_memory_facts(tmp_path: Path) -> None:
    spec = replace(PRESETS["p10-dedicated"], huge_pages_2m=128, thp="always", numa_balancing=1)
    memory = _facts(spec, tmp_path).memory
    assert memory.total_bytes == 65536 << 20
    assert memory.base_page_bytes == 65536
    assert (memory.thp_enabled, memory.thp_defrag, memory.numa_balancing) == ("always", "madvise", 1)
    assert [(pool.size_bytes, pool.total) for pool in memory.huge_pages] == [(2 << 20, 128), (1 << 30, 0)]


def test_load_and_steal(tmp_path: Path) -> None:
    spec = replace(PRESETS["p10-dedicated"], load=(3.5, 2.25, 1.0), steal_ticks=250)
    root = SysRoot(build(spec, tmp_path))
    load = probe(root).load
    assert (load.load_1m, load.load_5m, load.load_15m, load.runnable, load.uptime_s) == (3.5, 2.25, 1.0, 1, 86400.0)
    tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    assert counters.steal_ns(root, (0, 1, 9)) == 3 * 250 * tick
    assert counters.steal_ns(root, ()) == 0
    assert counters.steal_ns(root, (0, 999)) is None


def test_limits_of_a_version_2_group(tmp_path: Path) -> None:
    root = build(PRESETS["p10-dedicated"], tmp_path)
    (root / "proc/self/cgroup").write_text("0::/kubepods.slice/pod1/box\n")
    base = root / "sys/fs/cgroup"
    box = base / "kubepods.slice/pod1/box"
    box.mkdir(parents=True)
    (box / "cpu.max").write_text("max 100000\n")
    (box.parent / "cpu.max").write_text("250000 100000\n")
    (box / "memory.max").write_text(f"{8 << 30}\n")
    (box.parent / "memory.max").write_text("max\n")
    (box / "cpuset.cpus.effective").write_text("0-7\n")
    found = limits.collect(SysRoot(root))
    assert found.cgroup_version == 2
    assert found.cpu_quota_cores == 2.5
    assert found.memory_limit_bytes == 8 << 30
    assert found.cpuset_cpus == tuple(range(8))
    assert found.cpuset_mems == (0,)
    assert found.container == "kubernetes"


def test_limits_of_version_1_groups(tmp_path: Path) -> None:
    root = build(PRESETS["p10-dedicated"], tmp_path)
    (root / "sys/fs/cgroup/cgroup.controllers").unlink()
    (root / "proc/self/cgroup").write_text("5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n3:cpuset:/docker/abc\n")
    for name, files in (
        ("cpu,cpuacct", {"cpu.cfs_quota_us": "150000", "cpu.cfs_period_us": "100000"}),
        ("memory", {"memory.limit_in_bytes": str(4 << 30)}),
        ("cpuset", {"cpuset.cpus": "4-5", "cpuset.mems": "0"}),
    ):
        directory = root / "sys/fs/cgroup" / name / "docker/abc"
        directory.mkdir(parents=True)
        for file, content in files.items():
            (directory / file).write_text(f"{content}\n")
    (root / "sys/fs/cgroup/memory/memory.limit_in_bytes").write_text("9223372036854710272\n")
    found = limits.collect(SysRoot(root))
    assert (found.cgroup_version, found.cpu_quota_cores, found.memory_limit_bytes) == (1, 1.5, 4 << 30)
    assert (found.cpuset_cpus, found.cpuset_mems, found.container) == ((4, 5), (0,), "docker")


def test_no_limits(tmp_path: Path) -> None:
    root = build(replace(PRESETS["p10-dedicated"], allowed_cpus="0-15"), tmp_path)
    found = limits.collect(SysRoot(root))
    assert (found.cpu_quota_cores, found.memory_limit_bytes, found.container) == (None, None, "none")
    assert found.allowed_cpus == tuple(range(16))
    assert found.sources["cpu_quota_cores"] == "cgroup"  # looked for, and there is none
    (root / "run").mkdir()
    (root / "run/.containerenv").touch()
    assert limits.collect(SysRoot(root)).container == "podman"
    (root / "run/.containerenv").unlink()
    (root / ".dockerenv").touch()
    assert limits.collect(SysRoot(root)).container == "docker"


def test_only_parameters_that_bear_on_measurements_are_kept(tmp_path: Path) -> None:
    root = build(PRESETS["p10-dedicated"], tmp_path)
    (root / "proc/cmdline").write_text("BOOT_IMAGE=/x root=/dev/sda isolcpus=8-15 token=secret mitigations=off\n")
    facts = probe(SysRoot(root)).kernel
    assert facts.parameters == ("isolcpus=8-15", "mitigations=off")
    assert facts.release == "6.6.0-synthetic"


@pytest.mark.parametrize(
    ("files", "hypervisor"),
    [
        ({}, "other"),
        ({"sys/hypervisor/type": "xen"}, "Xen"),
        ({"sys/class/dmi/id/sys_vendor": "VMware, Inc."}, "VMware"),
        ({"sys/class/dmi/id/sys_vendor": "Microsoft Corporation"}, "Hyper-V"),
        ({"sys/devices/system/clocksource/clocksource0/available_clocksource": "tsc kvm-clock"}, "KVM"),
        (
            {"sys/devices/system/clocksource/clocksource0/available_clocksource": "hyperv_clocksource_tsc_page"},
            "Hyper-V",
        ),
    ],
)
def test_x86_hypervisors(files: dict[str, str], hypervisor: str, tmp_path: Path) -> None:
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    root = SysRoot(tmp_path)
    info = CpuInfo(kind="x86", flags=frozenset(("hypervisor",)))
    assert kernel.collect(root, info, DeviceTree(root)).hypervisor == hypervisor


def test_a_guest_with_the_clock_of_tcg_is_emulated_even_without_a_device_tree(tmp_path: Path) -> None:
    facts = _facts(replace(PRESETS["tcg-guest"], device_tree=False), tmp_path / "tcg")
    assert (facts.kernel.hypervisor, facts.emulation.emulated) == ("QEMU TCG", True)
    part = build(replace(PRESETS["kvm-guest"], nodes=(NodeSpec(0, cores=2),)), tmp_path / "kvm")
    for name in ("chosen/bootargs", "hypervisor/compatible"):
        (part / "sys/firmware/devicetree/base" / name).unlink()
    (part / "sys/firmware/devicetree/base/chosen").rmdir()
    assert probe(SysRoot(part)).kernel.hypervisor == "KVM"  # a part of a tree proves nothing


# As a kernel 6.12 with CONFIG_LPARCFG wrote it on QEMU's pseries machine of two SMT4 cores and 1 GiB.
LIVE = """lparcfg 1.9
serial_number=
system_type=IBM pSeries (emulated by qemu)
partition_id=0
partition_max_entitled_capacity=8
DesMem=1024
DesProcs=8
system_potential_processors=8
cmo_enabled=0
dispatches=139703
dispatch_dispersions=0
purr=130079612506
tbr=16262410087
partition_active_processors=2
partition_potential_processors=2
shared_processor_mode=1
MaxMem=0
security_flavor=2
"""


def test_what_a_live_kernel_wrote_is_read_where_it_describes_a_partition(tmp_path: Path) -> None:
    file = tmp_path / "proc/powerpc/lparcfg"
    file.parent.mkdir(parents=True)
    file.write_text(LIVE)
    assert lparcfg.read(SysRoot(tmp_path)) == {}  # perhaps a guest of KVM, which is no partition
    file.write_text(LIVE.replace("IBM pSeries (emulated by qemu)", "IBM,9105-22A"))
    facts = lparcfg.collect(SysRoot(tmp_path), DeviceTree(SysRoot(tmp_path)))
    assert (facts.virtual_processors, facts.virtual_processors_max, facts.dedicated) == (2, 2, False)
    assert (facts.desired_memory_bytes, facts.dispatches, facts.dispatch_dispersions) == (1 << 30, 139703, 0)
    assert (facts.purr, facts.security_flavor, facts.maximum_entitled_cores) == (130079612506, 2, 0.08)
