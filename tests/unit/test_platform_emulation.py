"""Every emulator is recognised, so that times under it are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.trees import NodeSpec, TreeSpec, build
from support.trees_presets import PRESETS

from harness.advice.engine import evaluate
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot

BARE = replace(PRESETS["p9-bare-metal"], nodes=(NodeSpec(0, cores=1),))
TREE = "sys/firmware/devicetree/base"
X86_GUEST = (
    "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 1\n"
    "model name\t: AMD EPYC Processor\nflags\t\t: fpu avx2 hypervisor\n"
)
CPUINFO = "processor\t: 0\ncpu\t\t: POWER10, altivec supported\nrevision\t: 2.0 (pvr 0080 1200)\n\n"


@pytest.mark.parametrize(
    ("files", "emulator"),
    [
        ({f"{TREE}/compatible": "qemu,powernv11\0ibm,powernv\0"}, "QEMU TCG"),
        ({f"{TREE}/compatible": "qemu,powernv9\0qemu,powernv\0ibm,powernv\0"}, "QEMU TCG"),
        ({f"{TREE}/qemu/name": "qemu\0"}, "QEMU TCG"),
        ({f"{TREE}/model": "IBM PowerNV (emulated by qemu)\0"}, "QEMU TCG"),
        ({f"{TREE}/mambo/compatible": "ibm,mambo-chip\0"}, "IBM Mambo"),
        ({f"{TREE}/compatible": "ibm,mambo\0ibm,powernv\0"}, "IBM Mambo"),
        ({f"{TREE}/awan/name": "awan\0"}, "IBM Awan"),
        (
            {"proc/cpuinfo": CPUINFO + "platform\t: PowerNV\nmachine\t\t: PowerNV IBM PowerNV (emulated by qemu)"},
            "QEMU TCG",
        ),
    ],
)
def test_emulators_of_bare_metal(files: dict[str, str], emulator: str, tmp_path: Path) -> None:
    facts = probe(SysRoot(build(replace(BARE, files=files), tmp_path)))
    assert (facts.kernel.platform, facts.kernel.hypervisor) == ("PowerNV", emulator)
    assert (facts.emulation.emulated, facts.emulation.emulator) == (True, emulator)
    assert facts.emulation.evidence
    assert "emulated" in {finding.id for finding in evaluate(facts).findings}


def test_bare_metal_is_not_emulated(tmp_path: Path) -> None:
    facts = probe(SysRoot(build(BARE, tmp_path)))
    assert (facts.kernel.hypervisor, facts.emulation.emulated) == ("bare metal", False)


@pytest.mark.parametrize(
    ("model", "emulator"),
    [
        ("QEMU TCG CPU version 2.5+", "QEMU TCG"),
        ("VirtualApple @ 2.50GHz", "Rosetta"),
        ("Box64 on Cortex-A72 @ 1800 MHz", "Box64"),
        ("Intel(R) Xeon(R) Gold 6448Y", None),
    ],
)
def test_emulators_of_x86_by_the_name_they_give_the_processor(model: str, emulator: str | None, tmp_path: Path) -> None:
    spec = TreeSpec(platform="x86", threads=1, nodes=(NodeSpec(0, cores=1),), lpar=None, x86_model=model)
    facts = probe(SysRoot(build(spec, tmp_path)))
    assert (facts.emulation.emulated, facts.emulation.emulator) == (emulator is not None, emulator)


@pytest.mark.parametrize(
    ("clocks", "hypervisor", "emulated"),
    [("kvm-clock tsc acpi_pm", "KVM", False), ("tsc hpet acpi_pm", "QEMU", None), (None, "KVM", False)],
)
def test_qemu_that_imitates_a_named_processor_may_be_without_kvm(
    clocks: str | None, hypervisor: str, emulated: bool | None, tmp_path: Path
) -> None:
    files = {"sys/class/dmi/id/sys_vendor": "QEMU\n", "proc/cpuinfo": X86_GUEST}
    if clocks is not None:
        files["sys/devices/system/clocksource/clocksource0/available_clocksource"] = f"{clocks}\n"
    spec = TreeSpec(platform="x86", threads=1, nodes=(NodeSpec(0, cores=1),), lpar=None, files=files)
    facts = probe(SysRoot(build(spec, tmp_path)))
    assert (facts.kernel.hypervisor, facts.emulation.emulated) == (hypervisor, emulated)
    assert bool(facts.emulation.evidence) == (emulated is None)
