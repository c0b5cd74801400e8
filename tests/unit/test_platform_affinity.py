"""A NUMA view that a migration has made stale: the device tree against sysfs."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.trees import NodeSpec, TreeSpec, build, layout

from harness.advice.engine import evaluate
from harness.platform.facts import Topology
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot

SPEC = TreeSpec(nodes=(NodeSpec(0, cores=2), NodeSpec(3, cores=1), NodeSpec(5, cores=0), NodeSpec(6, 1, memory_mb=0)))
TREE = "sys/firmware/devicetree/base"


def _topology(spec: TreeSpec, root: Path) -> Topology:
    return probe(SysRoot(build(spec, root))).topology


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from((0, 3, 5, 6)), st.sampled_from((0, 1, 3, 5, 6, 17)), max_size=4))
def test_what_has_moved_is_counted(tmp_path_factory: pytest.TempPathFactory, moved: dict[int, int]) -> None:
    topology = _topology(replace(SPEC, moved=moved), tmp_path_factory.mktemp("tree"))
    away = {node for node, now in moved.items() if node != now}
    assert topology.moved_cpus == tuple(cpu for node in sorted(away) for cpu in layout(SPEC).node_cpus(node))
    assert topology.moved_memory_bytes == sum(node.memory_mb for node in SPEC.nodes if node.id in away) << 20
    assert "moved_cpus" in topology.sources


def test_a_stale_view_is_a_finding_and_a_fresh_one_is_in_order(tmp_path: Path) -> None:
    stale = probe(SysRoot(build(replace(SPEC, moved={0: 3}), tmp_path / "stale")))
    finding = next(item for item in evaluate(stale).findings if item.id == "numa-view-stale")
    assert "firmware has 16 CPUs and 64 GiB on other nodes" in finding.title
    assert finding.fix == ("lparnumascore -d 3  # as root", "shutdown -r now  # as root")
    assert "numa-view-stale" in evaluate(probe(SysRoot(build(SPEC, tmp_path / "fresh")))).checked


def test_memory_alone_is_enough(tmp_path: Path) -> None:
    root = build(replace(SPEC, moved={5: 3}), tmp_path)
    for core in (root / TREE / "cpus").iterdir():
        (core / "ibm,associativity").unlink()
    finding = next(item for item in evaluate(probe(SysRoot(root))).findings if item.id == "numa-view-stale")
    assert "firmware has 0 CPUs and 64 GiB on other nodes" in finding.title
    assert finding.loss == pytest.approx(0.57 / 3)


def test_cpus_are_found_by_their_hardware_number(tmp_path: Path) -> None:
    """Kernel numbers follow the order of arrival: a core that came later can have any."""
    root = build(replace(SPEC, moved={3: 0}), tmp_path)
    cpus = root / "sys/devices/system/cpu"
    for here, there in zip(range(8), range(16, 24), strict=True):  # cores 0 and 2 have each other's numbers
        for cpu, hardware in ((here, there), (there, here)):
            (cpus / f"cpu{cpu}/physical_id").write_text(f"{hardware}\n")
    # Firmware has hardware 16-23 on node 0, where Linux shows CPUs 0-7, which they are; hardware 0-7 is on node 0 too.
    assert probe(SysRoot(root)).topology.moved_cpus == tuple(range(16, 24))


@pytest.mark.parametrize(
    ("vector", "expected"),
    [(bytes(5) + b"\x80", True), (bytes(5) + b"\x20", True), (bytes(6), False), (b"\x00", True)],
)
def test_the_oldest_form_names_its_node_by_the_second_reference_point(
    vector: bytes, expected: bool, tmp_path: Path
) -> None:
    root = build(replace(SPEC, moved={0: 3}), tmp_path)
    (root / TREE / "chosen").mkdir()
    (root / TREE / "chosen/ibm,architecture-vec-5").write_bytes(vector)
    topology = probe(SysRoot(root)).topology
    assert topology.moved_cpus == (tuple(range(16)) if expected else tuple(range(16, 32)))  # element 2 is 0 for all


def test_the_older_list_of_memory_blocks(tmp_path: Path) -> None:
    root = build(replace(SPEC, moved={0: 3}), tmp_path)
    base = root / TREE / "ibm,dynamic-reconfiguration-memory"
    (base / "ibm,dynamic-memory-v2").unlink()
    blocks = [struct.pack(">QIIII", number << 30, number, 0, 0, 0x8 if number % 2 else 0) for number in range(4)]
    (base / "ibm,dynamic-memory").write_bytes(struct.pack(">I", 4) + b"".join(blocks))
    assert probe(SysRoot(root)).topology.moved_memory_bytes == 2 << 30


@pytest.mark.parametrize("broken", [b"", b"\0\0\0", bytes(4), b"\xff" * 8, b"\0\0\0\1" + b"\xff" * 24])
@pytest.mark.parametrize(
    "name",
    [
        "rtas/ibm,associativity-reference-points",
        "ibm,dynamic-reconfiguration-memory/ibm,lmb-size",
        "ibm,dynamic-reconfiguration-memory/ibm,associativity-lookup-arrays",
        "ibm,dynamic-reconfiguration-memory/ibm,dynamic-memory-v2",
    ],
)
def test_broken_properties_say_nothing(name: str, broken: bytes, tmp_path: Path) -> None:
    root = build(replace(SPEC, moved={0: 3}), tmp_path)
    (root / TREE / name).write_bytes(broken)
    assert (probe(SysRoot(root)).topology.moved_memory_bytes or 0) >= 0
