"""Boots the emulated machines that the chosen tests read, as many at once as there are CPUs; unpacks their trees."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from machine import HERE, PATIENCE_S, Emulator, Machine, emulator
from machines import MACHINES, WORKING
from support.bundles import saved
from support.debian import Unavailable
from support.emulated import *  # noqa: F403 - hooks and fixtures
from support.jobs import Jobs, Outcome
from support.oracles import Reading, hwloc_reading, lscpu_reading

from harness.decode import encode
from harness.detectors.export import prepare
from harness.detectors.registry import resolve
from harness.evaluation.metrics import evaluate
from harness.evaluation.thresholds import Threshold
from harness.scoring.artifacts import write_rows


@dataclass(frozen=True)
class Captured:
    """A machine as its own tools saw it, and its /proc and /sys.

    Attributes:
        name: of the machine in ``MACHINES``.
        machine: as QEMU was asked for it.
        tree: folder with ``proc``, ``sys``, and the tools' answers in ``oracle``.
        seconds: of the boot, which may have been read in several states.
        cpu_s: of the emulator.
    """

    name: str
    machine: Machine
    tree: Path
    seconds: float
    cpu_s: float

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
def booted(request, tmp_path_factory) -> Iterator[_Booting]:
    """All machines that the chosen tests name; skips with the reason where there is no emulator."""
    parameters = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    chosen, checks = ([each[kind] for each in parameters if kind in each] for kind in ("captured", "check"))
    folder = tmp_path_factory.mktemp("lpar")
    try:
        with emulator() as built, Jobs() as jobs:
            booting = _Booting(built, jobs, folder)
            if checks:
                built.copy_project(booting.project)
            for program in WORKING:  # first, because they take longest
                if own := [name for of, name in checks if of == program]:
                    _fit(folder / program)
                    saved(folder / program / "bundle", "pca", {"n_components": 2})
                    files = {"program": f"{program}.py", "checks": "\n".join(own)}
                    booting.start(program, WORKING[program], "live.sh", files)
            booting.capture([name for name in MACHINES if name in chosen])
            yield booting
    except Unavailable as reason:
        pytest.skip(str(reason))


def _fit(directory: Path) -> None:
    """A detector of rows of four columns, fitted and judged here for a guest where that takes minutes."""
    rows = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
    detector = resolve("pca", {"n_components": 2}).fit(rows)
    scores, fitted = detector.decision_function(rows), directory / "fit"
    fitted.mkdir(parents=True)
    prepare(detector, fitted)
    middle = Threshold(float(np.median(scores)), "median")
    evaluation = evaluate(scores, (scores > middle.value).astype(np.int64), middle)
    (directory / "evaluation.json").write_text(json.dumps(encode(evaluation)))
    write_rows(fitted, rows, scores, rows, np.zeros(300, np.int64))


class _Booting(dict[str, Captured]):
    """Waits for a machine when it is asked for."""

    def __init__(self, built: Emulator, jobs: Jobs, folder: Path) -> None:
        self.version = built.version()
        self.lparcfg = built.lparcfg
        self.project = folder / "project"
        self.project.mkdir()
        self._built = built
        self._jobs = jobs
        self._boots: dict[str, str] = {}  # name of a machine -> of the boot
        self.folder = folder

    def start(self, name: str, machine: Machine, script: str, files: Mapping[str, str]) -> None:
        """Boot a machine and run a script in it, which finds ``files``, as soon as a CPU is free."""
        job = self.folder / name
        job.mkdir(exist_ok=True)
        shutil.copy(HERE / script, job / "run")
        for file, text in files.items():
            (job / file).write_text(text)
        command = self._built.command(machine, job, self.project)
        self._jobs.start(name, command, dict(os.environ), cwd=str(job), timeout_s=PATIENCE_S)

    def capture(self, names: Sequence[str]) -> None:
        """Boot machines to be read; those that differ in their state alone share a boot."""
        for name in names:
            first = next(other for other in names if MACHINES[name].shares_boot(MACHINES[other]))
            self._boots[name] = first
        for first in dict.fromkeys(self._boots.values()):
            states = [name for name, boot in self._boots.items() if boot == first]
            script = "".join(f"begin\n{MACHINES[name].before}\ncapture {name}\n" for name in states)
            if "lparcfg" in states and isinstance(self.lparcfg, Path):
                (self.folder / first).mkdir()
                shutil.copy(self.lparcfg, self.folder / first)
            self.start(first, MACHINES[first], "capture.sh", {"states": script})

    def ended(self, boot: str) -> tuple[Path, str, Outcome]:
        """Wait for a boot: its folder, what was printed in it and by QEMU, and how it ended."""
        outcome = self._jobs.outcome(boot)
        job = self.folder / boot
        log = (job / "log").read_text() if (job / "log").exists() else "nothing ran in the guest"
        return job, f"{outcome.told()}\n{log}", outcome

    def __missing__(self, name: str) -> Captured:
        job, log, outcome = self.ended(self._boots[name])
        assert (job / f"{name}.tar").exists(), log
        tree = job / name
        tree.mkdir()
        subprocess.run(["tar", "-x", "-C", tree, "-f", job / f"{name}.tar"], check=True)
        self[name] = Captured(name, MACHINES[name], tree, outcome.seconds, outcome.cpu_s)
        return self[name]


@pytest.fixture(scope="session", params=MACHINES)
def captured(request, booted, transcript) -> Captured:
    """One machine after the other."""
    if request.param == "lparcfg" and isinstance(booted.lparcfg, str):
        pytest.skip(booted.lparcfg)
    machine = booted[request.param]
    release, model = machine.answer("release").strip(), machine.answer("lscpu-summary")
    processor = re.search(r"^Model name: *([^,\n]*)", model, re.MULTILINE)
    smt = "; ".join(machine.answer("smt").split("\n")).strip("; ")
    transcript.append(
        f"{request.param}: {processor[1] if processor else 'unknown processor'}, "
        f"{len(machine.threads)} cores, {smt}, nodes {', '.join(map(str, machine.nodes))}; "
        f"Linux {release} on QEMU {booted.version}; boot of {machine.seconds:.0f} s, {machine.cpu_s:.0f} of CPU"
    )
    return machine


@pytest.fixture(scope="session")
def live(booted, transcript) -> Mapping[str, dict[str, Any]]:
    """What came of the checks of each program that was started, by name; and "log", all that was printed."""
    return _Checked(booted, transcript)


class _Checked(dict[str, "dict[str, Any]"]):
    """Waits for a program when its results are asked for."""

    def __init__(self, booting: _Booting, transcript: list[str]) -> None:
        self._booting = booting
        self._transcript = transcript
        for program in WORKING:
            threading.Thread(target=_plug, args=(booting.folder / program, WORKING[program]), daemon=True).start()

    def __missing__(self, program: str) -> dict[str, Any]:
        job, log, outcome = self._booting.ended(program)
        lines = (job / "results").read_text().splitlines() if (job / "results").exists() else []
        results = [json.loads(line) for line in lines]
        assert results, log
        passed = sum(result["error"] is None for result in results)
        self._transcript.append(
            f"{program}: POWER10, 2 nodes with an SMT4 core each and a core to plug in; QEMU {self._booting.version}; "
            f"{passed} of {len(results)} checks hold in {outcome.seconds:.0f} s, {outcome.cpu_s:.0f} of CPU"
        )
        self[program] = {result["name"]: result for result in results} | {"log": log}
        return self[program]


def _plug(job: Path, machine: Machine) -> None:
    """Plug the spare core in when the guest asks for it."""
    while not (job / "plug").exists():
        if (job / "code").exists():
            return
        time.sleep(0.2)
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.connect(str(job / "monitor"))
        core = machine.threads * 2
        monitor.sendall(f"device_add power10_v2.0-spapr-cpu-core,core-id={core},id=plugged\n".encode())
        while not (job / "code").exists() and monitor.recv(4096):
            pass
