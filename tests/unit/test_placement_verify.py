"""Judgements on observations; observing itself is tested with real processes."""

from __future__ import annotations

import mmap
import os
from dataclasses import replace
from pathlib import Path

import pytest
from support.trees import build
from support.trees_presets import PRESETS

from harness.decode import decode, encode
from harness.placement.model import MemoryBinding, Placement
from harness.placement.plan import plan
from harness.placement.verify import Observation, memory_pages, mismatches, observe
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Placement:
    topology = probe(SysRoot(build(PRESETS["p10-two-nodes"], tmp_path_factory.mktemp("tree")))).topology
    return plan(topology, cores=2, threads_per_core=2, node=1)


def _good(planned: Placement) -> Observation:
    return Observation(
        cpus_allowed=planned.cpus,
        cpus_sampled=(planned.cpus[0],),
        threads=4,
        busy_threads=4,
        busy_cpus=planned.cpus,
        page_nodes={1: 100_000},
        memory_policy=MemoryBinding((1,)),
        node_cpus={0: tuple(range(48)), 1: tuple(range(48, 96))},
        env=dict(planned.env),
    )


def test_a_run_as_planned_has_no_mismatch(planned: Placement) -> None:
    assert planned.cpus == (48, 49, 56, 57)
    assert mismatches(planned, _good(planned)) == ()


def test_other_cpus_are_named_with_their_node(planned: Placement) -> None:
    wrong = replace(_good(planned), cpus_allowed=(0, 1, 48, 49, 56, 57, 60), cpus_sampled=(0,))
    assert mismatches(planned, wrong) == (
        "Threads were allowed to run on CPUs 0-1 of node 0; the plan has CPUs 48-49,56-57 of node 1.",
        "Threads were allowed to run on CPUs 60 of node 1; the plan has CPUs 48-49,56-57 of node 1.",
        "Threads ran on CPUs 0 of node 0; the plan has CPUs 48-49,56-57 of node 1.",
    )


def test_working_threads_crowded_on_one_cpu_are_seen(planned: Placement) -> None:
    (found,) = mismatches(planned, replace(_good(planned), busy_threads=4, busy_cpus=(48,)))
    assert found.startswith("4 working threads were confined to CPUs 48; the plan has CPUs 48-49,56-57 of node 1")
    assert mismatches(planned, replace(_good(planned), busy_threads=3, busy_cpus=(48, 49))) != ()
    # One working thread sits on its own place, and three on three, as planned.
    assert mismatches(planned, replace(_good(planned), busy_threads=1, busy_cpus=(48,))) == ()
    assert mismatches(planned, replace(_good(planned), busy_threads=3, busy_cpus=(48, 49, 56))) == ()


@pytest.mark.parametrize(
    ("pages", "policy", "wrong"),
    [
        ({1: 99_500, 0: 500}, "bind:1", False),
        ({1: 98_000, 0: 2_000}, "bind:1", True),
        ({0: 100_000}, "bind:1", True),
        ({1: 95_000, 0: 5_000}, "default (set_mempolicy not permitted: Operation not permitted)", False),
        ({1: 50_000, 0: 50_000}, "default (set_mempolicy not permitted: Operation not permitted)", True),
        ({}, "bind:1", False),
        (None, None, False),
    ],
)
def test_pages_elsewhere(pages: dict[int, int] | None, policy: str | None, wrong: bool, planned: Placement) -> None:
    found = mismatches(
        planned, replace(_good(planned), page_nodes=pages, memory_policy=policy and MemoryBinding.parse(policy))
    )
    assert bool(found) is wrong
    if wrong:
        assert "on node 0; the plan has node 1." in found[0]


def test_changed_settings_are_named(planned: Placement) -> None:
    env = {**planned.env, "OMP_NUM_THREADS": "96"}
    del env["OMP_PLACES"]
    assert mismatches(planned, replace(_good(planned), env=env)) == (
        "OMP_NUM_THREADS was 96 at the end; the plan has 4.",
        "OMP_PLACES was not set at the end; the plan has {48},{49},{56},{57}.",
    )


def test_an_observation_survives_json(planned: Placement) -> None:
    good = _good(planned)
    assert decode(Observation, encode(good), "good") == good
    unknown = replace(good, page_nodes=None, memory_policy=None)
    assert decode(Observation, encode(unknown), "unknown") == unknown
    assert good.node_of(60) == 1
    assert good.node_of(999) is None


def test_pages_of_files_are_left_out_and_huge_pages_counted_in_base_pages() -> None:
    text = "\n".join(
        (
            "10000000 bind:8 file=/usr/bin/python3 mapped=5 N0=5 kernelpagesize_kB=64",
            "10010000 bind:8 heap anon=7 dirty=7 N8=6 N0=1 kernelpagesize_kB=64",
            "20000000 bind:8 anon=2 dirty=2 N8=2 kernelpagesize_kB=2048",
            "7fff0000 bind:8 stack anon=3 dirty=3 N252=3 kernelpagesize_kB=64",
            "7fff8000 bind:8",
        )
    )
    assert memory_pages(text, 65536) == {0: 1, 8: 6 + 2 * 32, 252: 3}


def test_shared_memory_counts_though_the_kernel_names_a_file_for_it() -> None:
    lines = (
        "3fff80000000 default file=/dev/zero\\040(deleted) dirty=64 mapmax=2 N0=64 kernelpagesize_kB=4",
        "3fff81000000 default file=/memfd:tensor\\040(deleted) dirty=32 N1=32 kernelpagesize_kB=4",
        "3fff82000000 default file=/dev/shm/torch_1 dirty=16 N2=16 kernelpagesize_kB=4",
        "3fff83000000 default file=/SYSV00000000\\040(deleted) dirty=8 N3=8 kernelpagesize_kB=4",
        "3fff84000000 default file=/anon_hugepage\\040(deleted) huge dirty=1 N4=1 kernelpagesize_kB=2048",
        "3fff86000000 default file=/dev/hugepages/model huge dirty=2 N5=2 kernelpagesize_kB=2048",
        "3fff88000000 default file=/usr/lib/libc.so.6 mapped=100 mapmax=9 N6=100 kernelpagesize_kB=4",
        "3fff89000000 default file=/home/u/dev/zero mapped=100 N6=100 kernelpagesize_kB=4",
    )
    assert memory_pages("\n".join(lines), 4096) == {0: 64, 1: 32, 2: 16, 3: 8, 4: 512, 5: 1024}


@pytest.mark.parametrize("kind", ["anonymous", "memfd"])
def test_shared_memory_of_this_process_is_counted(kind: str) -> None:
    before = memory_pages(Path("/proc/self/numa_maps").read_text(), mmap.PAGESIZE)
    if before is None:
        pytest.skip("this kernel has no numa_maps")
    size, file = 16 << 20, -1
    if kind == "memfd":
        file = os.memfd_create("tensor")
        os.ftruncate(file, size)
    with mmap.mmap(file, size) as shared:
        shared.write(b"x" * size)
        after = memory_pages(Path("/proc/self/numa_maps").read_text(), mmap.PAGESIZE)
    assert after is not None
    assert sum(after.values()) - sum(before.values()) >= size // mmap.PAGESIZE
    if file >= 0:
        os.close(file)


def test_no_numa_maps_means_not_known() -> None:
    assert memory_pages(None, 4096) is None


def test_threads_are_observed_one_by_one(tmp_path: Path) -> None:
    root = build(PRESETS["p10-two-nodes"], tmp_path)
    for task, allowed, last, ticks in ((7, "48", 48, 900), (8, "49", 49, 100), (9, "0-1", 1, 30), (10, "48-49", 48, 2)):
        directory = root / f"proc/self/task/{task}"
        directory.mkdir(parents=True)
        (directory / "status").write_text(f"Name:\tx\nCpus_allowed_list:\t{allowed}\n")
        fields = ["S", *("0" for _ in range(10)), str(ticks // 2), str(ticks - ticks // 2), *("0" for _ in range(23))]
        (directory / "stat").write_text(f"{task} (a ) b) {' '.join(fields)} {last} 0\n")
    found = observe(SysRoot(root), {"OMP_NUM_THREADS": "3", "LPARBENCH_MEMORY_POLICY": "bind:1"})
    assert (found.threads, found.busy_threads) == (4, 2)  # from a twentieth of the busiest one's time
    assert found.busy_cpus == (48, 49)
    assert found.cpus_allowed == (0, 1, 48, 49)
    assert found.cpus_sampled == (1, 48, 49)
    assert found.node_of(48) == 1
    assert found.node_of(1) == 0
    assert (str(found.memory_policy), found.env, found.page_nodes) == ("bind:1", {"OMP_NUM_THREADS": "3"}, None)
