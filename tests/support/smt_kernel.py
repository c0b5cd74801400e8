"""A stand-in for the kernel behind a synthetic tree's SMT switches: writing one changes what follows from it."""

from __future__ import annotations

import errno
from pathlib import Path

from support.trees import CoreLayout, Layout, cpu_list

from harness.platform import parse


class FakeKernel:
    """Writes switches as Linux does.

    ``smt/control`` brings the threads of cores in use up or down; one that it rules out cannot be switched on by hand.

    Args:
        root: the tree.
        layout: its cores.
        partial: whether ``smt/control`` takes numbers (Power, since Linux 6.6).
        stubborn: CPUs that do not go offline.
    """

    def __init__(
        self, root: Path, layout: Layout, *, partial: bool = True, stubborn: frozenset[int] = frozenset()
    ) -> None:
        self.cpus = root / "sys/devices/system/cpu"
        self.cpusets = root / "sys/fs/cgroup/cpuset"  # of version 1, where there are any
        self.layout = layout
        self.partial = partial
        self.stubborn = stubborn
        self.writes: list[tuple[str, str]] = []

    def write(self, path: Path, text: str) -> None:
        """Write ``text`` to a switch."""
        if path.name == "cpuset.cpus":
            self._cpuset(path, text)
            return
        name = str(path.relative_to(self.cpus))
        self.writes.append((name, text))
        if name == "smt/control":
            self._control(text)
        else:
            self._online(int(name.removeprefix("cpu").partition("/")[0]), text)

    def _cpuset(self, path: Path, text: str) -> None:
        allowed = set(parse.cpu_list((path.parent.parent / "cpuset.cpus").read_text()) or ())
        if not set(parse.cpu_list(text) or ()) <= allowed:
            raise OSError(errno.EACCES, "Permission denied")  # as the kernel answers for more than the parent has
        path.write_text(f"{text}\n")

    def _leave_cpusets(self, cpu: int, *, on: bool) -> None:
        """An offline CPU leaves every group; one that comes back is in the root's only."""
        for path in self.cpusets.rglob("cpuset.cpus"):
            cpus = set(parse.cpu_list(path.read_text()) or ())
            if not on:
                cpus.discard(cpu)
            elif path.parent == self.cpusets:
                cpus.add(cpu)
            path.write_text(f"{cpu_list(tuple(cpus))}\n")

    def _limit(self, text: str) -> int:
        widest = max(len(core.cpus) for core in self.layout.cores)
        if text in ("on", "off"):
            return widest if text == "on" else 1
        if text.isdigit() and self.partial and 1 <= int(text) <= widest:
            return int(text)
        raise OSError(errno.EINVAL, "Invalid argument")

    def _control(self, text: str) -> None:
        limit = self._limit(text)
        (self.cpus / "smt/control").write_text(f"{text}\n")
        for core in self.layout.cores:
            if any(self._is_online(cpu) for cpu in core.cpus):
                for position, cpu in enumerate(core.cpus):
                    self._put(cpu, position < limit)

    def _online(self, cpu: int, text: str) -> None:
        core = self._core(cpu)
        control = (self.cpus / "smt/control").read_text().strip() if (self.cpus / "smt/control").exists() else "on"
        if text == "1" and core.cpus.index(cpu) >= self._limit(control):
            raise OSError(errno.EPERM, "Operation not permitted")
        self._put(cpu, text == "1")

    def _core(self, cpu: int) -> CoreLayout:
        return next(core for core in self.layout.cores if cpu in core.cpus)

    def _is_online(self, cpu: int) -> bool:
        switch = self.cpus / f"cpu{cpu}/online"
        return not switch.exists() or switch.read_text() == "1\n"

    def _put(self, cpu: int, on: bool) -> None:
        switch = self.cpus / f"cpu{cpu}/online"
        if not switch.exists() or (cpu in self.stubborn and not on):
            return
        switch.write_text("1\n" if on else "0\n")
        self._leave_cpusets(cpu, on=on)
        online = tuple(cpu for cpu in self.layout.present if self._is_online(cpu))
        offline = tuple(cpu for cpu in self.layout.present if not self._is_online(cpu))
        (self.cpus / "online").write_text(f"{cpu_list(online)}\n")
        (self.cpus / "offline").write_text(f"{cpu_list(offline)}\n")
