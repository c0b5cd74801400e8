"""Containers are recognised by what they leave in ``/proc`` and ``/run``, also where a control group shows no path."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.trees import NodeSpec, TreeSpec, build

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
