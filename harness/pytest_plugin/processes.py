"""Runs a test again in fresh pinned processes, each timing one side once."""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.compare.observations import Facts, Key, Problem, ProblemKind, Side, facts_of, observe_processes
from harness.decode import encode
from harness.placement.plan import Placement
from harness.placement.verify import mismatches
from harness.pytest_plugin.options import SIDE_OPTION, WORKER_OPTION, plugin_name_key
from harness.pytest_plugin.worker import JOB_FILE, FunctionJob, FunctionOutcome
from harness.record.model import ProcessRecord
from harness.workers.process import read_outcome, worker_process

_PATIENCE_S = 120.0  # beyond the time a series is given, for imports and fixtures of the test
_SERIES_PATIENCE = 20.0
_QUOTED_LINES = 4  # of a failed worker's output: pytest's last line alone is a summary


@dataclass(frozen=True)
class Place:
    """This machine, and where on it the processes are pinned."""

    fingerprint: Facts
    placement: Placement


@dataclass
class Processes:
    """The processes of one test, block by block; every block holds one process per side, in shuffled order."""

    item: pytest.Item
    place: Place
    sides: tuple[str, ...]
    seconds: float
    seed: int
    created: str
    _blocks: dict[str, list[ProcessRecord]] = field(default_factory=dict)
    _mismatches: dict[str, list[str]] = field(default_factory=dict)

    def add(self, blocks: int) -> tuple[Side, ...]:
        """Run that many more blocks; gives all so far, in the order of ``sides``."""
        measured = len(self._blocks.get(self.sides[0], ()))
        with tempfile.TemporaryDirectory(prefix="lparbench-pytest-") as scratch:
            for block in range(measured, measured + blocks):
                generator = random.Random(f"{self.seed}/{block}")  # noqa: S311 - order of measurements, not a secret
                for order, side in enumerate(generator.sample(self.sides, len(self.sides))):
                    directory = Path(scratch) / f"{block}-{side}"
                    directory.mkdir()
                    process, wrong = self._process(directory, side, block, order)
                    self._blocks.setdefault(side, []).append(process)
                    self._mismatches.setdefault(side, []).extend(wrong)
        return tuple(self._side(side) for side in self.sides)

    @property
    def key(self) -> Key:
        """What the processes measure."""
        return Key(self.item.nodeid, "function", "", "", 0)

    def _process(self, directory: Path, side: str, block: int, order: int) -> tuple[ProcessRecord, tuple[str, ...]]:
        """One process of one side, and where it was not placed as asked for."""
        placement = self.place.placement
        (directory / JOB_FILE).write_text(json.dumps(encode(FunctionJob(self.seconds, placement.cpus))))
        timeout_s = _PATIENCE_S + _SERIES_PATIENCE * self.seconds
        with worker_process(
            _test_command(self.item, directory, side),
            directory,
            placement,
            cwd=self.item.config.rootpath,
            environment=_environment(),
        ) as worker:
            status = worker.wait(timeout_s)
        outcome = read_outcome(directory, FunctionOutcome)
        if outcome is not None:
            return _measured(block, order, worker.pid, outcome), mismatches(placement, outcome.observation)
        if status in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
            failure = "the test did not call lparbench in its worker process"
        else:
            failure = worker.cause_of_death(status, timeout_s, lines=_QUOTED_LINES)
        return failed(block, order, worker.pid, failure), ()

    def _side(self, side: str) -> Side:
        observation = observe_processes(
            self.key,
            self._blocks[side],
            lambda series: series.name == "call",
            problems=[Problem(ProblemKind.PLACEMENT, text) for text in dict.fromkeys(self._mismatches[side])],
            conditions=_conditions(self.place.placement),
        )
        return Side(side, self.created, self.place.fingerprint, {self.key: observation})


def failed(block: int, order: int, pid: int, failure: str) -> ProcessRecord:
    """The record of a process that left no outcome."""
    return ProcessRecord(block, order, 0, pid=pid, failure=failure)


def _measured(block: int, order: int, pid: int, outcome: FunctionOutcome) -> ProcessRecord:
    return ProcessRecord(
        block=block,
        order=order,
        random_state=0,
        pid=pid,
        wall_s=outcome.wall_s,
        rss_peak_bytes=outcome.rss_peak_bytes,
        steal_share=outcome.steal_share,
        cpus_allowed=outcome.observation.cpus_allowed,
        cpus_sampled=outcome.observation.cpus_sampled,
        page_nodes=None if outcome.observation.page_nodes is None else dict(outcome.observation.page_nodes),
        series=(outcome.series,),
    )


def _test_command(item: pytest.Item, directory: Path, side: str) -> list[str]:
    """pytest on this one test, asked to time one side; the suite's own extra options are left out."""
    config = item.config
    ini = ["-c", str(config.inipath)] if config.inipath else []
    return [
        *(sys.executable, "-m", "pytest", item.nodeid, f"--rootdir={config.rootpath}", *ini),
        *("-o", "addopts=", "-p", config.stash[plugin_name_key], "-p", "no:cacheprovider", "-q", "--no-header"),
        *("--no-summary", WORKER_OPTION, str(directory), SIDE_OPTION, side),
    ]


def _environment() -> dict[str, str]:
    """This process's own, in which the worker imports what this process can import."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    return {**environment, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}


def _conditions(placement: Placement) -> Facts:
    return facts_of(
        {
            "nodes": placement.nodes,
            "cpus": placement.cpus,
            "threads": placement.threads,
            "threads_per_core": placement.threads_per_core,
            "memory_policy": placement.memory_policy,
            "thread_environment": placement.env,
        }
    )
