"""Containers are recognised by what they leave in ``/proc`` and ``/run``, also where a control group shows no path."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.trees import NodeSpec, TreeSpec, build

from harness.errors import LparbenchError
from harness.placement.smt import may_switch, set_level
from harness.platform.facts import LimitFacts
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot

SPEC = TreeSpec(nodes=(NodeSpec(0, cores=1),), threads=1, generation="POWER8", lpar=None)
OVERLAY = "10 1 0:40 / / ro - overlay overlay rw,lowerdir=/var/lib/containers/storage/overlay/l/A"
GROUPS = "11 10 0:27 {root} /sys/fs/cgroup ro - cgroup2 cgroup rw"


@pytest.mark.parametrize(
    ("files", "container"),
    [
        ({"proc/self/mountinfo": OVERLAY}, "container"),
        ({"proc/self/mountinfo": GROUPS.format(root="/kubepods.slice/pod1/crio-2")}, "kubernetes"),
        ({"proc/self/mountinfo": GROUPS.format(root="/machine.slice/libpod-3.scope")}, "podman"),
        ({"proc/self/mountinfo": "1 0 8:2 / / rw shared:1 - xfs /dev/sda2 rw"}, "none"),
        ({"proc/self/mountinfo": "1 0 0:3 / / rw - overlay composefs rw,lowerdir=/run/ostree"}, "none"),
        ({"proc/self/mountinfo": "1 0 0:3 / / rw - overlay overlay rw,lowerdir=/run/live/rootfs/a.squashfs"}, "none"),
        ({"proc/self/mountinfo": "broken"}, "none"),
        ({"run/secrets/kubernetes.io/serviceaccount/token": "x", "run/.containerenv": ""}, "kubernetes"),
        ({"var/run/secrets/kubernetes.io/serviceaccount/token": "x"}, "kubernetes"),
        ({"proc/self/environ": "HOME=/\0KUBERNETES_SERVICE_HOST=172.30.0.1\0"}, "kubernetes"),
        ({"proc/1/environ": "container=podman\0TERM=xterm\0"}, "podman"),
        ({"proc/1/environ": "container=\0TERM=xterm\0"}, "none"),
        ({"proc/1/sched": "python (4711, #threads: 1)\n----"}, "container"),
        ({"proc/1/sched": "systemd (1, #threads: 1)\n----"}, "none"),
        ({".dockerenv": ""}, "docker"),
        ({"proc/self/cgroup": "0::/user.slice/user-0.slice/session-1.scope"}, "none"),
        ({"proc/self/cgroup": "4:memory:/kubepods/burstable/pod1/2"}, "kubernetes"),
    ],
)
def test_what_a_container_leaves(files: dict[str, str], container: str, tmp_path: Path) -> None:
    facts = probe(SysRoot(build(replace(SPEC, files=files), tmp_path)))
    assert facts.limits.container == container
    assert facts.limits.sources["container"]


V1 = "30 25 0:30 {root} /sys/fs/cgroup/{name} ro,nosuid - cgroup cgroup rw,{name}"
POD = "/kubepods/burstable/pod1"


def _version_1(files: dict[str, str], tmp_path: Path) -> LimitFacts:
    """Limits of a process under control groups of version 1, where the spec's tree has those of version 2."""
    root = build(replace(SPEC, nodes=(NodeSpec(0, cores=8),), files=files), tmp_path)
    for mark in root.glob("sys/fs/cgroup/cgroup.controllers"):
        mark.unlink()
    return probe(SysRoot(root)).limits


def test_nested_groups_of_version_1_hold_by_the_least_of_their_limits(tmp_path: Path) -> None:
    """systemd in a container: the container's group is what is mounted, and the process is in one below it."""
    cpu, memory = "sys/fs/cgroup/cpu,cpuacct", "sys/fs/cgroup/memory"
    found = _version_1(
        {
            "proc/self/cgroup": f"4:cpu,cpuacct:{POD}/c/app.slice\n3:memory:{POD}/c/app.slice\n2:cpuset:{POD}/c",
            "proc/self/mountinfo": "\n".join(
                V1.format(root=f"{POD}/c", name=name) for name in ("cpu,cpuacct", "memory", "cpuset")
            ),
            f"{cpu}/cpu.cfs_quota_us": "400000",
            f"{cpu}/cpu.cfs_period_us": "100000",
            f"{cpu}/app.slice/cpu.cfs_quota_us": "150000",
            f"{cpu}/app.slice/cpu.cfs_period_us": "100000",
            f"{memory}/memory.limit_in_bytes": str(8 << 30),
            f"{memory}/app.slice/memory.limit_in_bytes": str((1 << 63) - 4096),
            f"{memory}/app.slice/memory.stat": f"cache 0\nhierarchical_memory_limit {6 << 30}\n",
            "sys/fs/cgroup/cpuset/cpuset.cpus": "4-7",
            "sys/fs/cgroup/cpuset/cpuset.mems": "0",
        },
        tmp_path,
    )
    assert (found.cgroup_version, found.container) == (1, "kubernetes")
    assert found.cpu_quota_cores == 1.5
    assert found.memory_limit_bytes == 6 << 30  # of the pod, whose group the container does not see
    assert (found.cpuset_cpus, found.cpuset_mems) == ((4, 5, 6, 7), (0,))


def test_version_1_is_read_where_it_is_mounted(tmp_path: Path) -> None:
    found = _version_1(
        {
            "proc/self/cgroup": "2:cpu:/batch/job7\n1:cpuset:/batch",
            "proc/self/mountinfo": "30 25 0:30 / /cgroup/cpu rw - cgroup cgroup rw,cpu\n"
            "31 25 0:31 / /cgroup/cpuset rw - cgroup cgroup rw,cpuset",
            "cgroup/cpu/batch/job7/cpu.cfs_quota_us": "-1",
            "cgroup/cpu/batch/cpu.cfs_quota_us": "50000",
            "cgroup/cpu/batch/cpu.cfs_period_us": "100000",
            "cgroup/cpuset/batch/cpuset.cpus": "2-3",
        },
        tmp_path,
    )
    assert (found.cgroup_version, found.cpu_quota_cores, found.cpuset_cpus) == (1, 0.5, (2, 3))


def test_a_group_below_the_mounted_one_of_version_2_holds_too(tmp_path: Path) -> None:
    files = {
        "sys/fs/cgroup/cgroup.controllers": "cpu memory",
        "proc/self/cgroup": f"0::{POD}/c/inner",
        "proc/self/mountinfo": GROUPS.format(root=f"{POD}/c"),
        "sys/fs/cgroup/inner/cpu.max": "20000 10000",
        "sys/fs/cgroup/cpu.max": "400000 100000",
    }
    assert probe(SysRoot(build(replace(SPEC, files=files), tmp_path))).limits.cpu_quota_cores == 2.0


def test_nobody_switches_smt_where_sysfs_is_read_only(tmp_path: Path) -> None:
    spec = TreeSpec(files={"proc/self/mountinfo": "24 30 0:22 / /sys ro,nosuid,nodev - sysfs sysfs rw"})
    root = SysRoot(build(spec, tmp_path))
    assert not may_switch(root)
    with pytest.raises(LparbenchError, match="to anybody: /sys is mounted read-only") as caught:
        set_level(root, 2)
    assert "mount -o remount,rw /sys" in str(caught.value.remedy)
