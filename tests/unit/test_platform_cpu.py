"""Generation, mode and instructions: three facts that need not agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.trees import TreeSpec, build
from support.trees_presets import PRESETS

from harness.platform import emulation
from harness.platform.auxv import AuxVector
from harness.platform.cpuinfo import generation_of_text, parse_cpuinfo, part_threads
from harness.platform.facts import CpuFacts, Facts, KernelFacts
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot


def _facts(spec: TreeSpec, root: Path) -> Facts:
    return probe(SysRoot(build(spec, root)))


@pytest.mark.parametrize(
    ("preset", "silicon", "mode", "mma", "mtm", "hypervisor"),
    [
        ("p10-dedicated", "POWER10", "POWER10", True, "9105-22A", "PowerVM"),
        ("p10-in-p9-mode", "POWER10", "POWER9", False, "9105-22A", "PowerVM"),
        ("p11", "POWER11", "POWER11", True, "9824-42A", "PowerVM"),
        ("p11-in-p10-mode", "POWER11", "POWER10", True, "9105-22A", "PowerVM"),
        ("p9-lpar", "POWER9", "POWER9", False, "9009-42A", "PowerVM"),
        ("p9-bare-metal", "POWER9", "POWER9", False, "8335-GTH", "bare metal"),
        ("p8-bare-metal-smt-off", "POWER8", "POWER8", False, "8247-22L", "bare metal"),
        ("p8-lpar", "POWER8", "POWER8", False, "8286-42A", "PowerVM"),
        ("p7-lpar-old-kernel", "POWER7", "POWER7", False, "8231-E2B", "PowerVM"),
        ("kvm-guest", "POWER9", "POWER9", False, None, "KVM"),
        ("tcg-guest", "POWER10", "POWER10", True, None, "QEMU TCG"),
    ],
)
def test_generations_modes_and_machines(
    preset: str, silicon: str, mode: str, mma: bool, mtm: str | None, hypervisor: str, tmp_path: Path
) -> None:
    facts = _facts(PRESETS[preset], tmp_path)
    assert (facts.cpu.generation_hw, facts.cpu.generation_mode) == (silicon, mode)
    assert facts.cpu.isa["mma"] is mma
    assert facts.machine.mtm == mtm
    assert facts.kernel.hypervisor == hypervisor
    assert facts.emulation.emulated is (hypervisor == "QEMU TCG")
    assert facts.cpu.vendor == "IBM"


@pytest.mark.parametrize(
    ("cpu", "revision", "machine", "clock_mhz", "expected"),
    [
        # a guest of PowerKVM sees the raw name; QEMU alone tells a clock of 1 GHz
        ("POWER8E (raw)", "2.1 (pvr 004b 0201)", "CHRP IBM pSeries (emulated by qemu)", 3425, ("POWER8", "KVM", None)),
        ("POWER8 (architected)", "2.0 (pvr 004d 0200)", "CHRP IBM pSeries (emulated by qemu)", 1000,
         ("POWER8", "QEMU TCG", None)),
        ("POWER8NVL (raw)", "1.0 (pvr 004c 0100)", "PowerNV 8335-GTB", 4023, ("POWER8", "bare metal", "8335-GTB")),
        ("POWER9", "2.1 (pvr 004e 1201)", "PowerNV 8335-GTH", 3783, ("POWER9", "bare metal", "8335-GTH")),
        # not an IBM server: no machine type-model
        ("POWER9", "2.2 (pvr 004e 1202)", "PowerNV T2P9D01 REV 1.01", 3800, ("POWER9", "bare metal", None)),
        # a kernel older than the processor names the mode it knows
        ("POWER10 (architected)", "2.0 (pvr 0082 0200)", "CHRP IBM,9824-22A", 4000, ("POWER11", "PowerVM", "9824-22A")),
        # a logical version tells the mode, not the silicon
        ("POWER10 (architected)", "6.0 (pvr 0f00 0006)", "CHRP IBM,9080-HEX", 4000, (None, "PowerVM", "9080-HEX")),
        ("Power11 (raw)", "1.2 (pvr 0082 0102)", "CHRP IBM,9824-42A", 4000, ("POWER11", "PowerVM", "9824-42A")),
        ("POWER5+ (gs)", "3.1 (pvr 003b 0301)", "CHRP IBM,9133-55A", 1900, ("POWER5", "PowerVM", "9133-55A")),
        ("Cell Broadband Engine", "5.1 (pvr 0070 0501)", "CHRP IBM,0793-1RZ", 3200, (None, "PowerVM", "0793-1RZ")),
        ("PPC970FX", "3.1 (pvr 003c 0301)", "PowerMac11,2", 2500, ("PPC970", None, None)),
    ],
)  # fmt: skip
def test_cpuinfo_as_kernels_of_many_machines_print_it(
    cpu: str, revision: str, machine: str, clock_mhz: int, expected: tuple[str | None, ...], tmp_path: Path
) -> None:
    platform = machine.split()[0].replace("CHRP", "pSeries").replace("11,2", "")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(
        f"processor\t: 0\ncpu\t\t: {cpu}, altivec supported\nclock\t\t: {clock_mhz}.000000MHz\n"
        f"revision\t: {revision}\n\ntimebase\t: 512000000\nplatform\t: {platform}\nmachine\t\t: {machine}\n"
    )
    facts = probe(SysRoot(tmp_path))
    assert (facts.cpu.generation_hw, facts.kernel.hypervisor, facts.machine.mtm) == expected
    assert facts.cpu.clock_hz == clock_mhz * 1e6
    assert facts.cpu.isa["vsx"] is None


def test_each_fact_has_its_source(tmp_path: Path) -> None:
    facts = _facts(PRESETS["p10-in-p9-mode"], tmp_path)
    sources = facts.cpu.sources
    assert sources["generation_hw"] == "cpuinfo:revision"
    assert sources["generation_mode"] == "cpuinfo:cpu"
    assert sources["isa.mma"] == "auxv:AT_HWCAP2"
    assert sources["architecture"] == "procfs:sys/kernel/arch"
    for group in (facts.cpu, facts.memory, facts.kernel, facts.lpar, facts.machine, facts.energy, facts.limits):
        for name in group.sources:
            assert (
                name.startswith("isa.")
                or getattr(group, name) is not None
                or name in ("cpu_quota_cores", "memory_limit_bytes")
            )


def test_mma_is_the_hwcap_bit_and_nothing_else(tmp_path: Path) -> None:
    hidden = _facts(replace(PRESETS["p10-dedicated"], mma=False), tmp_path / "hidden")
    assert hidden.cpu.isa["mma"] is False
    assert hidden.cpu.isa["arch_3_1"] is True
    unread = _facts(replace(PRESETS["p10-dedicated"], auxv=False), tmp_path / "unread")
    assert unread.cpu.isa["mma"] is None  # the mode allows it; whether it is there was not told
    assert unread.cpu.isa["arch_3_1"] is True
    older = _facts(replace(PRESETS["p10-in-p9-mode"], auxv=False), tmp_path / "older")
    assert older.cpu.isa["mma"] is False  # a POWER9 mode cannot have it


def test_mma_feature_node_of_bare_metal(tmp_path: Path) -> None:
    spec = replace(PRESETS["p9-bare-metal"], generation="POWER10", mtm="9105-22A", auxv=False)
    root = build(spec, tmp_path)
    node = root / "sys/firmware/devicetree/base/cpus/ibm,powerpc-cpu-features/matrix-multiply-accumulate"
    node.mkdir(parents=True)
    facts = probe(SysRoot(root))
    assert facts.cpu.isa["mma"] is True


@pytest.mark.parametrize(
    ("text", "generation"),
    [
        ("POWER10 (architected), altivec supported", "POWER10"),
        ("Power11 (architected), altivec supported", "POWER11"),
        ("POWER8E (raw), altivec supported", "POWER8"),
        ("POWER8NVL (raw), altivec supported", "POWER8"),
        ("POWER7+ (raw)", "POWER7"),
        ("POWER9, altivec supported", "POWER9"),
        ("power10", "POWER10"),
        ("PPC970MP, altivec supported", "PPC970"),
        ("PowerPC,POWER10@18", "POWER10"),
        ("PowerPC 750", None),
        ("", None),
        (None, None),
    ],
)
def test_generation_named_by_a_text(text: str | None, generation: str | None) -> None:
    assert generation_of_text(text) == generation


@pytest.mark.parametrize(
    ("pvr", "threads"),
    [
        (0x004E1202, 4),
        (0x004E0202, 8),
        (0x00801200, 4),
        (0x00800200, 8),
        (0x00820200, 8),
        (0x004D0200, 8),
        (0x003F0201, 4),
        (0x0F000006, None),
        (None, None),
    ],
)
def test_threads_of_the_part(pvr: int | None, threads: int | None) -> None:
    assert part_threads(pvr) == threads


def test_byte_order_of_a_tree(tmp_path: Path) -> None:
    little = _facts(PRESETS["p10-dedicated"], tmp_path / "little")
    assert (little.cpu.architecture, little.cpu.byte_order) == ("ppc64le", "little")
    big = _facts(PRESETS["p7-lpar-old-kernel"], tmp_path / "big")
    assert (big.cpu.architecture, big.cpu.byte_order) == ("ppc64", "big")
    root = build(PRESETS["p10-dedicated"], tmp_path / "untold")
    for name in ("proc/sys/kernel/arch", "sys/kernel/cpu_byteorder"):
        (root / name).unlink()
    assert probe(SysRoot(root)).cpu.architecture == "ppc64le"  # the auxiliary vector still tells
    (root / "proc/self/auxv").unlink()
    untold = probe(SysRoot(root)).cpu
    assert (untold.architecture, untold.byte_order) == ("ppc64", None)
    (root / "proc/version").write_text("Linux version 4.18.0-80.el8.ppc64le (gcc)\n")
    assert probe(SysRoot(root)).cpu.architecture == "ppc64le"


def test_nothing_of_this_machine_is_in_a_foreign_tree(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("nothing known\n")
    facts = probe(SysRoot(tmp_path))
    assert facts.cpu == CpuFacts()
    assert facts.topology.cpus_online == ()
    assert facts.memory.total_bytes is None
    assert facts.memory.base_page_bytes is None
    assert facts.kernel.release is None
    assert facts.limits.allowed_cpus is None
    assert facts.software.python is None
    assert facts.crosscheck.tools == ()
    assert facts.emulation.emulated is None


def test_x86_features(tmp_path: Path) -> None:
    facts = _facts(PRESETS["x86-two-sockets"], tmp_path)
    assert facts.cpu.architecture == "x86_64"
    assert facts.cpu.isa["avx512f"] is True
    assert facts.cpu.isa["amx_tile"] is False
    assert "mma" not in facts.cpu.isa
    assert facts.cpu.generation_hw is None
    assert facts.kernel.hypervisor == "bare metal"
    assert (facts.cpu.family, facts.cpu.model) == (6, 143)


def test_user_mode_emulation_is_seen_by_the_host_showing_through() -> None:
    host = parse_cpuinfo("processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel name\t: AMD EPYC\n")
    guest = AuxVector({26: 0x8EE60000}, "little", "auxv", platform=None)
    found = emulation.collect(SysRoot("/"), "ppc64le", host, guest, KernelFacts())
    assert (found.emulated, found.emulator) == (True, "qemu-user")
    assert any("AuthenticAMD" in sign for sign in found.evidence)
    assert any("AT_PLATFORM" in sign for sign in found.evidence)
    assert emulation.collect(SysRoot("/"), "x86_64", host, None, KernelFacts(hypervisor="KVM")).emulated is False


@pytest.mark.parametrize("text", ["", "processor : 0\n", "cpu : x\n", "\0\0\0", "vendor_id : IBM/S390\n"])
def test_other_texts_are_of_no_known_kind(text: str) -> None:
    assert parse_cpuinfo(text).kind is None


def test_a_32_bit_kernel_is_not_called_64_bit(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(
        "processor\t: 0\ncpu\t\t: 740/750\nclock\t\t: 266.000000MHz\nrevision\t: 3.1 (pvr 0008 0301)\n"
        "bogomips\t: 33.14\n\ntimebase\t: 16600000\nplatform\t: PowerMac\n"
    )
    assert probe(SysRoot(tmp_path)).cpu.architecture == "ppc"
