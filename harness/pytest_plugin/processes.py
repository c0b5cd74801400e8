"""Runs a test again in fresh pinned processes, each timing one side once."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.compare.observations import Key, Side, observe_blocks
from harness.placement.plan import Placement
from harness.placement.verify import Observation as Found
from harness.placement.verify import mismatches
from harness.pytest_plugin import plugin
from harness.pytest_plugin.plugin import SIDE_OPTION, WORKER_OPTION
from harness.pytest_plugin.worker import OUTCOME_FILE, REQUEST_FILE
from harness.record.model import Block, Series

_PATIENCE_S = 120.0  # beyond the time a series is given, for imports and fixtures of the test
_SERIES_PATIENCE = 20.0
_TAIL = 300


@dataclass(frozen=True)
class Place:
    """This machine, and where on it the processes are pinned."""

    fingerprint: dict[str, Any]
    plan: Placement


@dataclass
class Processes:
    """The processes of one test, block by block; every block holds one process per side, in shuffled order."""

    item: pytest.Item
    place: Place
    sides: tuple[str, ...]
    seconds: float
    seed: int
    created: str
    _blocks: dict[str, list[Block]] = field(default_factory=dict)
    _wrong: dict[str, list[str]] = field(default_factory=dict)

    def add(self, blocks: int) -> tuple[Side, ...]:
        """Run that many more blocks; gives all so far, in the order of ``sides``."""
        have = len(self._blocks.get(self.sides[0], ()))
        with tempfile.TemporaryDirectory(prefix="lparbench-pytest-") as scratch:
            for block in range(have, have + blocks):
                generator = random.Random(f"{self.seed}/{block}")  # noqa: S311 - order of measurements, not a secret
                for order, side in enumerate(generator.sample(self.sides, len(self.sides))):
                    directory = Path(scratch) / f"{block}-{side}"
                    directory.mkdir()
                    found, wrong = self._process(directory, side, block, order)
                    self._blocks.setdefault(side, []).append(found)
                    self._wrong.setdefault(side, []).extend(wrong)
        return tuple(self._side(side) for side in self.sides)

    def _process(self, directory: Path, side: str, block: int, order: int) -> tuple[Block, tuple[str, ...]]:
        plan = self.place.plan
        (directory / REQUEST_FILE).write_text(json.dumps({"seconds": self.seconds, "cpus": list(plan.cpus)}))
        (directory / "plan.json").write_text(json.dumps(plan.to_json()))
        command = [
            *(sys.executable, "-m", "harness.placement.launch", "--plan", str(directory / "plan.json"), "--"),
            *_test_command(self.item, directory, side),
        ]
        failure, pid = _run(
            command, self.item.config.rootpath, _PATIENCE_S + _SERIES_PATIENCE * self.seconds, directory
        )
        outcome = _outcome(directory)
        if outcome is None:
            return _dead(block, order, pid, failure or "the test did not call lparbench in its worker process"), ()
        found = Found.from_json(outcome["observation"])
        values = outcome["series"]
        series = Series(**{**values, "durations_ns": tuple(values["durations_ns"]), "flags": tuple(values["flags"])})
        return (
            Block(
                index=block,
                order=order,
                seed=self.seed,
                pid=pid,
                wall_s=outcome["wall_s"],
                rss_peak_bytes=None,
                steal_share=outcome["steal_share"],
                cpus_allowed=found.cpus_allowed,
                cpus_sampled=found.cpus_sampled,
                page_nodes=found.page_nodes_json(),
                series=(series,),
            ),
            mismatches(plan, found),
        )

    @property
    def key(self) -> Key:
        """What the processes measure."""
        return Key(self.item.nodeid, "function", "", "", 0)

    def _side(self, side: str) -> Side:
        observation = observe_blocks(
            self.key,
            self._blocks[side],
            lambda one: one.name == "call",
            problems=tuple(dict.fromkeys(self._wrong[side])),
            conditions=_conditions(self.place.plan),
        )
        return Side(side, self.created, self.place.fingerprint, {self.key: observation})


def _test_command(item: pytest.Item, directory: Path, side: str) -> list[str]:
    """pytest on this one test, told to time one side; the suite's own extra options are left out."""
    config = item.config
    name = config.pluginmanager.get_name(plugin) or plugin.__name__
    ini = ["-c", str(config.inipath)] if config.inipath else []
    return [
        *(sys.executable, "-m", "pytest", item.nodeid, f"--rootdir={config.rootpath}", *ini),
        *("-o", "addopts=", "-p", name, "-p", "no:cacheprovider", "-q", "--no-header", "--no-summary"),
        *(WORKER_OPTION, str(directory), SIDE_OPTION, side),
    ]


def _run(command: list[str], cwd: Path, patience_s: float, directory: Path) -> tuple[str | None, int]:
    """Cause of failure in words, None when it ended well; and the process's number."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    environment["PYTHONPATH"] = os.pathsep.join(part for part in sys.path if part)
    with (directory / "output.txt").open("wb") as output, _group(command, cwd, environment, output.fileno()) as process:
        try:
            status = process.wait(patience_s)
        except subprocess.TimeoutExpired:
            return f"hung: no result within {patience_s:.0f} s, so it was killed", process.pid
    if status in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
        return None, process.pid
    said = (directory / "output.txt").read_text(encoding="utf-8", errors="replace")[-_TAIL:].strip()
    return f"its worker process ended with status {status}: {' / '.join(said.splitlines()[-4:])}", process.pid


@contextlib.contextmanager
def _group(
    command: list[str], cwd: Path, environment: dict[str, str], output: int
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, which is gone on every way out."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _outcome(directory: Path) -> dict[str, Any] | None:
    try:
        outcome: dict[str, Any] = json.loads((directory / OUTCOME_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return outcome


def _dead(block: int, order: int, pid: int, failure: str) -> Block:
    return Block(
        index=block,
        order=order,
        seed=0,
        pid=pid,
        wall_s=None,
        rss_peak_bytes=None,
        steal_share=None,
        cpus_allowed=None,
        cpus_sampled=None,
        page_nodes=None,
        failure=failure,
    )


def _conditions(plan: Placement) -> dict[str, Any]:
    return {
        "nodes": list(plan.nodes),
        "cpus": list(plan.cpus),
        "threads": plan.threads,
        "threads_per_core": plan.threads_per_core,
        "memory_policy": plan.memory_policy,
        "thread_environment": dict(plan.env),
    }
