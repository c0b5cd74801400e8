"""Boots the emulated machines that the chosen tests read, as many at once as there are CPUs; unpacks their trees."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from machine import HERE, PATIENCE_S, Emulator, Machine, emulator
from machines import MACHINES
from support.debian import Unavailable
from support.emulated import *  # noqa: F403 - hooks and fixtures
from support.jobs import Jobs
from support.oracles import Reading, hwloc_reading, lscpu_reading


@dataclass(frozen=True)
class Captured:
    """A machine as its own tools saw it, and its /proc and /sys.

    Attributes:
        name: of the machine in ``MACHINES``.
        machine: as QEMU was asked for it.
        tree: folder with ``proc``, ``sys``, and the tools' answers in ``oracle``.
        seconds: of the boot.
    """

    name: str
    machine: Machine
    tree: Path
    seconds: float

    def answer(self, tool: str) -> str:
        """What a tool printed in the guest."""
        return (self.tree / "oracle" / tool).read_text()

    @cached_property
    def lscpu(self) -> Reading:
        """lscpu's view."""
        return lscpu_reading(self.answer("lscpu"))

    @cached_property
    def hwloc(self) -> Reading:
        """lstopo's view."""
        return hwloc_reading(self.answer("lstopo"))

    @cached_property
    def nodes(self) -> dict[int, tuple[frozenset[int], int]]:
        """``numactl --hardware``: node -> its CPUs and MB of memory. lstopo leaves out nodes without memory, and calls
        the CPUs near to a node without CPUs its own."""
        text = self.answer("numactl")
        cpus = dict(re.findall(r"^node ([0-9]+) cpus:([ 0-9]*)$", text, re.MULTILINE))
        sizes = dict(re.findall(r"^node ([0-9]+) size: ([0-9]+) MB$", text, re.MULTILINE))
        return {int(node): (frozenset(map(int, cpus[node].split())), int(sizes[node])) for node in cpus}

    @cached_property
    def auxiliary(self) -> dict[str, str]:
        """What the kernel hands to every program."""
        pairs = (line.split(":", 1) for line in self.answer("auxv").splitlines())
        return {key: value.strip() for key, value in pairs}

    @cached_property
    def threads(self) -> list[dict[int, bool]]:
        """``ppc64_cpu --info``: by core, thread -> whether it is online."""
        lines = [line.partition(":")[2] for line in self.answer("info").splitlines()]
        return [{int(cpu): star == "*" for cpu, star in re.findall(r"([0-9]+)([* ])", f"{line} ")} for line in lines]


@pytest.fixture(scope="session")
def booted(request, tmp_path_factory) -> Iterator[dict[str, Captured]]:
    """All machines that the chosen tests name; skips with the reason where there is no emulator."""
    chosen = {item.callspec.params["captured"] for item in request.session.items if hasattr(item, "callspec")}
    folder = tmp_path_factory.mktemp("lpar")
    try:
        with emulator() as built, Jobs() as jobs:
            for name in (name for name in MACHINES if name in chosen):
                _start(built, jobs, name, folder / name)
            yield _Booting(built, jobs, folder)
    except Unavailable as reason:
        pytest.skip(str(reason))


def _start(built: Emulator, jobs: Jobs, name: str, job: Path) -> None:
    job.mkdir()
    shutil.copy(HERE / "capture.sh", job / "run")
    (job / "before").write_text(f"{MACHINES[name].before}\n")
    command = built.command(MACHINES[name], job)
    jobs.start(name, command, dict(os.environ), cwd=str(job), timeout_s=PATIENCE_S)


class _Booting(dict[str, Captured]):
    """Waits for a machine when it is asked for."""

    def __init__(self, built: Emulator, jobs: Jobs, folder: Path) -> None:
        self.version = built.version()
        self._jobs = jobs
        self._folder = folder

    def __missing__(self, name: str) -> Captured:
        outcome = self._jobs.outcome(name)
        job = self._folder / name
        log = (job / "log").read_text() if (job / "log").exists() else "nothing ran in the guest"
        assert (job / "tree.tar").exists(), f"{outcome.told()}\n{log}"
        tree = job / "tree"
        tree.mkdir()
        subprocess.run(["tar", "-x", "-C", tree, "-f", job / "tree.tar"], check=True)
        self[name] = Captured(name, MACHINES[name], tree, outcome.seconds)
        return self[name]


@pytest.fixture(scope="session", params=MACHINES)
def captured(request, booted, transcript) -> Captured:
    """One machine after the other."""
    machine = booted[request.param]
    release, model = machine.answer("release").strip(), machine.answer("lscpu-summary")
    processor = re.search(r"^Model name: *([^,\n]*)", model, re.MULTILINE)
    smt = "; ".join(machine.answer("smt").split("\n")).strip("; ")
    transcript.append(
        f"{request.param}: {processor[1] if processor else 'unknown processor'}, "
        f"{len(machine.threads)} cores, {smt}, nodes {', '.join(map(str, machine.nodes))}; "
        f"Linux {release} on QEMU {booted.version}; booted and read in {machine.seconds:.0f} s"
    )
    return machine
