"""Forms in which kernels and dumps tell the same layout."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support.trees import NodeSpec, TreeSpec, build, layout
from support.trees_presets import PRESETS

from harness.errors import InputError
from harness.platform.facts import Facts
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot

_SPEC = TreeSpec(
    nodes=(NodeSpec(3, cores=2), NodeSpec(9, cores=3)),
    smt_of_core={1: 4},
    offline_cores=frozenset({4}),
    possible_cpus=99,
)


def _facts(spec: TreeSpec, root: Path) -> Facts:
    return probe(SysRoot(build(spec, root)))


def _assert_layout(facts: Facts, spec: TreeSpec) -> None:
    laid = layout(spec)
    assert facts.topology.cpus_online == laid.online
    assert [core.cpus for core in facts.topology.cores] == [core.online for core in laid.online_cores]
    assert [core.node for core in facts.topology.cores] == [core.node for core in laid.online_cores]


@pytest.mark.parametrize(
    "form",
    [
        {"sibling_lists": False, "node_lists": False},
        {"sibling_masks": False, "node_masks": False},
        {"has_possible": False, "has_model_line": False, "auxv": False, "device_tree": False},
        {"node_lists": False, "node_masks": False},
        {"packages_known": False, "smt_control": None},
    ],
)
def test_lists_or_masks_or_links(form: dict[str, bool], tmp_path: Path) -> None:
    spec = replace(_SPEC, **form)
    _assert_layout(_facts(spec, tmp_path), spec)


def test_names_of_newer_kernels_alone(tmp_path: Path) -> None:
    root = build(replace(_SPEC, linked_threads=False), tmp_path)
    for path in root.glob("sys/devices/system/cpu/cpu*/topology/*_siblings*"):
        path.unlink()
    _assert_layout(probe(SysRoot(root)), _SPEC)


def test_siblings_and_node_lists_that_still_name_offline_cpus(tmp_path: Path) -> None:
    """As in dumps taken while threads went offline, and from kernels that list them."""
    spec = TreeSpec(nodes=(NodeSpec(0, cores=2),), smt=4)
    root = build(spec, tmp_path)
    topology = root / "sys/devices/system/cpu"
    (topology / "cpu0/topology/thread_siblings_list").write_text("0-7\n")
    (topology / "cpu0/cache/index0/shared_cpu_list").write_text("0,2,4,6\n")
    (root / "sys/devices/system/node/node0/cpulist").write_text("0-15\n")
    facts = probe(SysRoot(root))
    _assert_layout(facts, spec)
    assert facts.topology.cores[0].halves == ((0, 2), (1, 3))
    assert facts.topology.nodes[0].cpus == (0, 1, 2, 3, 8, 9, 10, 11)


def test_links_from_the_node_to_its_cpus_alone(tmp_path: Path) -> None:
    root = build(replace(_SPEC, node_lists=False, node_masks=False), tmp_path)
    laid = layout(_SPEC)
    for path in root.glob("sys/devices/system/cpu/cpu*/node*"):
        path.unlink()
    for core in laid.cores:
        for cpu in core.cpus:
            (root / f"sys/devices/system/node/node{core.node}/cpu{cpu}").symlink_to(f"../../cpu/cpu{cpu}")
    _assert_layout(probe(SysRoot(root)), _SPEC)


def test_online_from_the_switches_of_the_cpus(tmp_path: Path) -> None:
    root = build(_SPEC, tmp_path)
    for name in ("online", "present", "possible", "offline"):
        (root / "sys/devices/system/cpu" / name).unlink()
    (root / "sys/devices/system/cpu/cpu0/online").unlink()  # as where the first CPU cannot be switched off
    facts = probe(SysRoot(root))
    _assert_layout(facts, _SPEC)
    assert facts.topology.cpus_present == layout(_SPEC).present
    assert facts.topology.sources["cpus_online"] == "sysfs:devices/system/cpu/cpu*/online"


def test_siblings_from_core_ids_where_no_list_is(tmp_path: Path) -> None:
    root = build(replace(PRESETS["x86-two-sockets"], linked_threads=False), tmp_path)
    for path in root.glob("sys/devices/system/cpu/cpu*/topology/*"):
        if "siblings" in path.name or "cpus" in path.name:
            path.unlink()
    facts = probe(SysRoot(root))
    _assert_layout(facts, PRESETS["x86-two-sockets"])
    assert facts.topology.sources["cores"].endswith("core_id")
    shutil.rmtree(root / "sys/devices/system/cpu")
    facts = probe(SysRoot(root))
    assert facts.topology.sources["cores"] == "cpuinfo:core id"
    assert len(facts.topology.cores) == 8


def test_siblings_from_the_device_tree_alone(tmp_path: Path) -> None:
    root = build(PRESETS["p10-dedicated"], tmp_path)
    shutil.rmtree(root / "sys/devices")
    facts = probe(SysRoot(root))
    assert facts.topology.sources["cores"] == "device-tree:cpus"
    assert [core.cpus for core in facts.topology.cores] == [tuple(range(8 * n, 8 * n + 8)) for n in range(4)]
    assert facts.topology.nodes == ()


def test_a_device_tree_of_fewer_threads_than_a_core_shows_is_not_believed(tmp_path: Path) -> None:
    root = build(PRESETS["p7-lpar-old-kernel"], tmp_path)
    for file in root.glob("sys/firmware/devicetree/base/cpus/*/ibm,ppc-interrupt-server#s"):
        file.write_bytes(file.read_bytes()[:4])
    smt = probe(SysRoot(root)).topology.smt
    assert (smt.max, smt.online, smt.cores_by_threads) == (4, 4, {4: 4})


def test_a_kernel_without_numa_has_no_nodes(tmp_path: Path) -> None:
    facts = _facts(replace(PRESETS["p10-dedicated"], has_numa=False), tmp_path)
    assert facts.topology.nodes == ()
    assert {core.node for core in facts.topology.cores} == {None}


def test_caches_by_half(tmp_path: Path) -> None:
    facts = _facts(PRESETS["p10-dedicated"], tmp_path / "p10")
    assert [(cache.level, cache.type, cache.size_bytes, len(cache.instances)) for cache in facts.caches.caches] == [
        (1, "Data", 32 << 10, 8),
        (1, "Instruction", 48 << 10, 8),
        (2, "Unified", 1 << 20, 8),
        (3, "Unified", 4 << 20, 8),
    ]
    assert facts.topology.cores[1].halves == ((8, 10, 12, 14), (9, 11, 13, 15))
    none = _facts(replace(PRESETS["p10-dedicated"], has_cache=False, device_tree=False), tmp_path / "none")
    assert none.caches.caches == ()
    assert none.topology.cores[0].halves is None
    power8 = _facts(PRESETS["p8-lpar"], tmp_path / "p8")
    assert power8.topology.cores[0].halves == (tuple(range(8)),)


def test_half_of_a_core_offline(tmp_path: Path) -> None:
    facts = _facts(replace(PRESETS["p10-dedicated"], online_threads={2: (0, 2, 5)}), tmp_path)
    core = facts.topology.cores[2]
    assert core.cpus == (16, 18, 21)
    assert core.halves == ((16, 18), (21,))
    assert core.cpus_present == tuple(range(16, 24))
    assert facts.topology.smt.mixed is True
    assert dict(facts.topology.smt.cores_by_threads) == {3: 1, 8: 3}


def test_threads_of_x86_are_not_known_while_siblings_are_off(tmp_path: Path) -> None:
    spec = replace(PRESETS["x86-two-sockets"], smt=1, smt_control="off")
    smt = _facts(spec, tmp_path).topology.smt
    assert (smt.max, smt.online, smt.control) == (None, 1, "off")


def test_a_guest_with_cores_offline_does_not_tell_its_threads(tmp_path: Path) -> None:
    spec = TreeSpec(
        platform="KVM", generation="POWER8", threads=2, nodes=(NodeSpec(0, cores=4),), smt=1,
        offline_cores=frozenset({1, 3}), device_tree=False, lpar=None,
    )  # fmt: skip
    facts = _facts(spec, tmp_path)
    assert facts.topology.smt.max is None  # two or four threads per core would look the same
    assert facts.topology.cores[0].cpus_present == (0,)


def test_a_power7_mode_shows_four_of_eight_threads(tmp_path: Path) -> None:
    spec = TreeSpec(generation="POWER8", mode="POWER7", threads=4, smt=1, device_tree=False, mtm="8286-42A")
    assert _facts(spec, tmp_path).topology.smt.max == 4


def test_more_than_1024_cpus(tmp_path: Path) -> None:
    spec = replace(
        PRESETS["p10-1920-cpus"],
        nodes=(NodeSpec(0, cores=1), NodeSpec(15, cores=140)),
        has_cache=False,
        linked_threads=True,
        sibling_lists=False,
        node_lists=False,
    )
    facts = _facts(spec, tmp_path)
    assert facts.topology.cpus_online == tuple(range(1128))
    assert facts.topology.nodes[1].cpus == tuple(range(8, 1128))
    assert facts.topology.cores[-1].cpus == tuple(range(1120, 1128))


def test_a_place_without_proc_and_sys_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a directory with proc or sys"):
        probe(SysRoot(tmp_path))
    with pytest.raises(InputError, match="not a directory with proc or sys"):
        probe(SysRoot(tmp_path / "absent"))
