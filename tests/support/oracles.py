"""What lscpu, hwloc and numactl make of a tree: readings that share nothing with ours."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Reading:
    """One tool's view. Nodes without CPUs or memory may be missing: some tools drop them."""

    cores: frozenset[frozenset[int]]
    node_cpus: dict[int, frozenset[int]]
    node_memory: dict[int, int]
    halves: frozenset[frozenset[int]]  # CPUs by first data cache


def need(program: str) -> str:
    """Path of a tool; skips the test when it is not installed."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


def lscpu_text(root: Path, columns: str = "CPU,CORE,NODE") -> str:
    """``lscpu -s DIR -p=COLUMNS``."""
    command = [need("lscpu"), "-s", str(root), f"-p={columns}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def lscpu(root: Path) -> Reading:
    """``lscpu -s`` of a tree."""
    return lscpu_reading(lscpu_text(root, "CPU,CORE,NODE,CACHE"))


def lscpu_reading(text: str) -> Reading:
    """What ``lscpu -p=CPU,CORE,NODE,CACHE`` printed."""
    cores: dict[str, set[int]] = {}
    nodes: dict[str, set[int]] = {}
    caches: dict[str, set[int]] = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            cpu, core, node, *rest = line.split(",")
            cores.setdefault(core, set()).add(int(cpu))
            if node:
                nodes.setdefault(node, set()).add(int(cpu))
            # One per cache level: an empty field before them, or since version 2.39 with colons in one field.
            if levels := [level for level in re.split("[,:]", ",".join(rest)) if level]:
                caches.setdefault(levels[0], set()).add(int(cpu))
    return Reading(
        cores=frozenset(frozenset(core) for core in cores.values()),
        node_cpus={int(node): frozenset(cpus) for node, cpus in nodes.items()},
        node_memory={},
        halves=frozenset(frozenset(cpus) for cpus in caches.values()),
    )


def _cpuset(text: str) -> frozenset[int]:
    """``0x00000001,0x000000ff``: 32 bits per group, the last is the lowest."""
    found: set[int] = set()
    for position, group in enumerate(reversed(text.split(","))):
        word = int(group, 16) if group else 0
        found.update(32 * position + bit for bit in range(32) if word >> bit & 1)
    return frozenset(found)


def hwloc(root: Path) -> Reading:
    """``lstopo`` of a tree."""
    answer = subprocess.run(
        [need("lstopo-no-graphics"), "-i", str(root), "--of", "xml", "--no-io"],
        capture_output=True,
        text=True,
        check=True,
    )
    return hwloc_reading(answer.stdout)


def hwloc_reading(text: str) -> Reading:
    """What ``lstopo --of xml`` printed."""
    tree = ElementTree.fromstring(re.sub(r"<!DOCTYPE[^>]*>", "", text))
    objects = list(tree.iter("object"))
    return Reading(
        cores=frozenset(_cpuset(item.get("cpuset", "")) for item in objects if item.get("type") == "Core"),
        node_cpus={
            int(item.get("os_index", "-1")): _cpuset(item.get("cpuset", ""))
            for item in objects
            if item.get("type") == "NUMANode"
        },
        node_memory={
            int(item.get("os_index", "-1")): int(item.get("local_memory", "0"))
            for item in objects
            if item.get("type") == "NUMANode"
        },
        halves=frozenset(_cpuset(item.get("cpuset", "")) for item in objects if item.get("type") == "L1Cache"),
    )


def first_cpus() -> tuple[int, ...]:
    """The CPUs this process may use; skips the test where they are not numbered from 0, as a tree's are."""
    cpus = tuple(sorted(os.sched_getaffinity(0)))
    if cpus != tuple(range(len(cpus))):
        pytest.skip("the CPUs of this process are not the first ones")
    return cpus


def _over_nodes(root: Path, script: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script with a tree's nodes in the place of this machine's, in a mount namespace."""
    need("numactl")
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("numactl reads a stored tree only through a mount, which takes root and unshare")
    nodes = root / "sys/devices/system/node"
    whole = f'mount --bind "$1" /sys/devices/system/node || exit 99; shift; {script}'
    argv = ["unshare", "-m", "sh", "-c", whole, "sh", str(nodes), *words]
    answer = subprocess.run(argv, capture_output=True, text=True, check=False)
    if answer.returncode == 99 or "unshare" in answer.stderr:
        pytest.skip(f"mounting is not permitted here: {answer.stderr.strip()}")
    return answer


def numactl_runs(root: Path, command: str) -> bool:
    """Whether numactl accepts the options of ``numactl OPTION... PROGRAM`` over a tree's nodes and starts it."""
    return _over_nodes(root, f"exec {command.replace('PROGRAM', 'true')}").returncode == 0


def numactl_hardware(root: Path) -> str:
    """``numactl --hardware`` of a tree's nodes."""
    return _over_nodes(root, "exec numactl --hardware").stdout
