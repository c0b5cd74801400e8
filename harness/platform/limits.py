"""What this process may use: affinity, cpusets, quotas and memory limits of control groups, containers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from harness.platform import parse
from harness.platform.facts import LimitFacts
from harness.platform.gather import Gathered
from harness.platform.sysroot import SysRoot

_CGROUP = "sys/fs/cgroup"
_NO_LIMIT_V1 = 1 << 60  # version 1 writes "no limit" as the largest multiple of the page size
_CONTAINER_MARKS = (  # in the path of a control group
    ("kubepods", "kubernetes"),
    ("libpod", "podman"),
    ("docker", "docker"),
    ("containerd", "containerd"),
    ("lxc", "lxc"),
)
_CONTAINER_FILES = (  # the first one counts: a pod has the marks of its runtime too
    ("run/secrets/kubernetes.io/serviceaccount", "kubernetes"),
    ("var/run/secrets/kubernetes.io/serviceaccount", "kubernetes"),
    ("run/.containerenv", "podman"),
    (".dockerenv", "docker"),
)


def collect(sysroot: SysRoot) -> LimitFacts:
    """Limits of the process that reads, or of the one whose ``/proc/self`` is stored in the tree."""
    gathered = Gathered()
    status = parse.key_values(sysroot.read_text("proc/self/status"), ":")
    groups, mounts = _groups(sysroot.read_text("proc/self/cgroup")), _mounts(sysroot)
    unified = sysroot.exists(f"{_CGROUP}/cgroup.controllers")
    version = 2 if unified else 1 if sysroot.list_dir(_CGROUP) or _hierarchies(sysroot, mounts, "cpu") else None
    if unified:
        root = next((mount.root for mount in mounts if mount.kind == "cgroup2" and mount.point == f"/{_CGROUP}"), "/")
        places = {name: _ancestors(_CGROUP, groups.get("", "/"), root) for name in ("cpu", "cpuset", "memory")}
        quota, cpus, mems, memory = _version_2(sysroot, places)
    else:
        places = {
            name: _ancestors(directory, groups.get(name, "/"), root)
            for name in ("cpu", "cpuset", "memory")
            for directory, root in _hierarchies(sysroot, mounts, name)
        }
        quota, cpus, mems, memory = _version_1(sysroot, places)
    container, source = _container(sysroot, groups, mounts)
    if version is not None:  # that there is no limit is a fact too
        gathered.sources.update(cpu_quota_cores="cgroup", memory_limit_bytes="cgroup")
    return LimitFacts(
        allowed_cpus=gathered.note(
            "allowed_cpus", parse.cpu_list(status.get("Cpus_allowed_list")), "procfs:self/status Cpus_allowed_list"
        ),
        allowed_mems=gathered.note(
            "allowed_mems", parse.cpu_list(status.get("Mems_allowed_list")), "procfs:self/status Mems_allowed_list"
        ),
        cgroup_version=gathered.note("cgroup_version", version, f"sysfs:{_CGROUP[4:]}"),
        cpu_quota_cores=quota,
        cpuset_cpus=gathered.note("cpuset_cpus", cpus, "cgroup:cpuset"),
        cpuset_mems=gathered.note("cpuset_mems", mems, "cgroup:cpuset"),
        memory_limit_bytes=memory,
        sysfs_read_only=gathered.note(
            "sysfs_read_only", sysfs_read_only(sysroot) if mounts else None, "procfs:self/mountinfo"
        ),
        container=gathered.note("container", container, source),
        sources=gathered.sources,
    )


def _groups(text: str | None) -> dict[str, str]:
    """Controller -> path of ``4:memory:/system.slice`` lines; version 2 has the empty controller."""
    paths: dict[str, str] = {}
    for line in (text or "").splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            for controller in parts[1].split(","):
                paths.setdefault(controller, parts[2])
    return paths


def _hierarchies(sysroot: SysRoot, mounts: list[_Mount], controller: str) -> list[tuple[str, str]]:
    """Where a controller of version 1 is mounted, and which group is there; without mounts, by the usual names."""
    mounted = [
        (mount.point.lstrip("/"), mount.root)
        for mount in mounts
        if mount.kind == "cgroup" and controller in re.split(r"[ ,]", mount.options)
    ]
    named = [f"{_CGROUP}/{name}" for name in sysroot.list_dir(_CGROUP) if controller in name.split(",")]
    return mounted or [(directory, "/") for directory in named]


def _ancestors(mount: str, path: str, root: str = "/") -> list[str]:
    """Directories of a group and its ancestors up to the mount: a limit of any of them holds.

    A container has its own group mounted (``root``) and is often shown the path that the host has for it.
    """
    whole = PurePosixPath(path)
    below = whole.relative_to(root) if whole.is_relative_to(root) else whole
    parts = [part for part in below.parts if part not in ("/", "..")][:64]
    return ["/".join((mount, *parts[:depth])) for depth in range(len(parts), -1, -1)]


Found = tuple["float | None", "tuple[int, ...] | None", "tuple[int, ...] | None", "int | None"]


def _version_2(sysroot: SysRoot, places: dict[str, list[str]]) -> Found:
    quotas: list[float] = []
    for place in places["cpu"]:
        words = (sysroot.read_text(f"{place}/cpu.max") or "").split()
        if len(words) == 2:
            quotas += _quota(parse.integer(words[0]), parse.integer(words[1]))
    limits = [parse.integer(sysroot.read_text(f"{place}/memory.max")) for place in places["memory"]]
    return (
        min(quotas, default=None),
        _first_list(sysroot, places["cpuset"], ("cpuset.cpus.effective", "cpuset.cpus")),
        _first_list(sysroot, places["cpuset"], ("cpuset.mems.effective", "cpuset.mems")),
        min((limit for limit in limits if limit is not None), default=None),
    )


def _version_1(sysroot: SysRoot, places: dict[str, list[str]]) -> Found:
    quotas: list[float] = []
    for place in places.get("cpu", ()):
        quota, period = (sysroot.read_int(f"{place}/cpu.cfs_{name}_us") for name in ("quota", "period"))
        quotas += _quota(quota, period)
    limits = [sysroot.read_int(f"{place}/memory.limit_in_bytes") for place in places.get("memory", ())]
    for place in places.get("memory", ())[:1]:  # of ancestors, too, that a container does not see
        counted = parse.key_values(sysroot.read_text(f"{place}/memory.stat"), " ")
        limits.append(parse.integer(counted.get("hierarchical_memory_limit")))
    cpusets = places.get("cpuset", [])
    return (
        min(quotas, default=None),
        _first_list(sysroot, cpusets, ("cpuset.effective_cpus", "cpuset.cpus")),
        _first_list(sysroot, cpusets, ("cpuset.effective_mems", "cpuset.mems")),
        min((limit for limit in limits if limit is not None and limit < _NO_LIMIT_V1), default=None),
    )


def _quota(quota: int | None, period: int | None) -> list[float]:
    """CPUs' worth of time; nothing for "max", -1, or anything that is no quota."""
    return [quota / period] if quota is not None and period is not None and quota > 0 and period > 0 else []


def _first_list(sysroot: SysRoot, places: list[str], names: tuple[str, ...]) -> tuple[int, ...] | None:
    for place in places:
        for name in names:
            numbers = parse.cpu_list(sysroot.read_text(f"{place}/{name}"))
            if numbers:
                return numbers
    return None


def _container(sysroot: SysRoot, groups: dict[str, str], mounts: list[_Mount]) -> tuple[str | None, str]:
    """What kind of container this process is in.

    Under version 2 a process sees its own control group as ``/``, so the group's path says nothing by itself.
    """
    paths = [(path, "procfs:self/cgroup") for path in groups.values()]
    paths += [(mount.root, "procfs:self/mountinfo") for mount in mounts if mount.kind.startswith("cgroup")]
    for path, source in paths:
        for mark, name in _CONTAINER_MARKS:
            if mark in path:
                return name, source
    for path, name in _CONTAINER_FILES:
        if sysroot.exists(path):
            return name, f"/{path}"
    for process in ("self", "1"):
        for variable in (sysroot.read_text(f"proc/{process}/environ") or "").split("\0"):
            name, _, value = variable.partition("=")
            if name == "KUBERNETES_SERVICE_HOST":
                return "kubernetes", f"procfs:{process}/environ"
            if name == "container" and value:  # set for the first process by podman, LXC, systemd-nspawn
                return value, f"procfs:{process}/environ"
    overlays = [
        mount for mount in mounts if mount.point == "/" and (mount.kind, mount.device) == ("overlay", "overlay")
    ]
    if any("/live" not in mount.options for mount in overlays):  # a live system has its root on one, too
        return "container", "procfs:self/mountinfo"
    outside = re.match(r".* \(([0-9]+), #threads", sysroot.read_text("proc/1/sched") or "")
    if outside and outside[1] != "1":  # older kernels tell the number outside the namespace
        return "container", "procfs:1/sched"
    return ("none", "procfs:self/cgroup") if groups else (None, "")


@dataclass(frozen=True)
class _Mount:
    """One line of ``/proc/self/mountinfo``."""

    root: str  # the directory of the file system that is mounted
    point: str
    kind: str
    device: str
    options: str  # of the file system, after its kind and device
    read_only: bool


def sysfs_read_only(sysroot: SysRoot) -> bool:
    """Whether nobody can switch anything below ``/sys``, root neither: it is mounted so."""
    return any(mount.read_only for mount in _mounts(sysroot) if mount.point == "/sys")


def _mounts(sysroot: SysRoot) -> list[_Mount]:
    mounts = []
    for line in (sysroot.read_text("proc/self/mountinfo") or "").splitlines():
        words, _, rest = line.partition(" - ")
        fields, kind = words.split(), rest.split()
        if len(fields) >= 5 and len(kind) >= 2:
            own = fields[5].split(",") if len(fields) > 5 else []
            mounts.append(
                _Mount(
                    root=fields[3], point=fields[4], kind=kind[0], device=kind[1], options=rest, read_only="ro" in own
                )
            )
    return mounts
