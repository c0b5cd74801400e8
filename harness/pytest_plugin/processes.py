"""Runs a test again in pinned processes of its own, each timing one side once."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from harness.compare.facts import Facts, facts_of
from harness.compare.observations import Key, Problem, ProblemKind, Side, observe_processes
from harness.decode import decode_json_file, encode
from harness.errors import MeasurementError
from harness.measure.estimates import process_estimate
from harness.placement.apply import apply
from harness.placement.model import Placement, settings_of
from harness.placement.verify import mismatches
from harness.process_tree import die_with_parent
from harness.pytest_plugin.options import RUN_AGAIN
from harness.pytest_plugin.originals import Patches
from harness.pytest_plugin.serve import FAILURE_FILE, Failure, Reply
from harness.pytest_plugin.warm import WorkerDiedError, objects_given, pool_of, start
from harness.pytest_plugin.worker import (
    BASELINE,
    CANDIDATE,
    FEWEST_SAMPLES,
    JOB_FILE,
    FunctionJob,
    FunctionOutcome,
    Timed,
    measure,
)
from harness.record.model import ProcessRecord
from harness.scratch import scratch
from harness.workers.process import no_room, read_outcome

# Workers that the blocks of a side alternate between. Two where the sides are of different workers, whose addresses and
# hash seeds would pass for a difference of the code; what is stored has the noise of one in that of its sessions.
_LAYOUTS = 2
FIRST_LAYOUT = _LAYOUTS
_PATIENCE_S = 120.0  # beyond the time a series is given, for imports and fixtures of the test
_SERIES_PATIENCE = 20.0
_ONLY_HERE = {
    "setup": "a fixture cannot be set up",
    "collect": "the test cannot be collected",
    "plugins": "plugins that pytest.main was given as objects cannot be loaded",
}


@dataclass(frozen=True)
class Place:
    """This machine, and where on it the processes are pinned."""

    fingerprint: Facts
    placement: Placement


@dataclass
class Processes:
    """The processes of one call in a test, block by block; every block holds one process per side, in shuffled order.

    Attributes:
        index: which call of the fixture in the test.
        calls: what each side times, for a fork of this very process where the test cannot be set up a second time.
        base: checkout in which the side "baseline" runs the same test; None: both are functions of this one.
        patches: what the test has replaced, which is set aside while this runs.
        notes: how it was measured, where that is not in forks of a warm worker.
    """

    item: pytest.Item
    place: Place
    sides: tuple[str, ...]
    seconds: float
    seed: int
    created: str
    index: int = 0
    calls: Mapping[str, Timed] = field(default_factory=dict)
    base: Path | None = None
    patches: Patches = field(default_factory=Patches)
    notes: list[str] = field(default_factory=list)
    _blocks: dict[str, list[ProcessRecord]] = field(default_factory=dict)
    _mismatches: dict[str, list[str]] = field(default_factory=dict)
    _rounds: int = 0  # the first series of blocks, or one that confirms it and is measured by other workers
    _fork: bool = True
    _here: bool = False
    _few: bool = False

    def add(self, blocks: int) -> tuple[Side, ...]:
        """Run that many more blocks; gives all so far, in the order of ``sides``."""
        measured = len(self._blocks.get(self.sides[0], ()))
        with scratch("pytest") as directory:
            for block in range(measured, measured + blocks):
                generator = random.Random(f"{self.seed}/{block}")  # noqa: S311 - order of measurements, not a secret
                for order, side in enumerate(generator.sample(self.sides, len(self.sides))):
                    process, wrong = self._enough(directory, side, block, order)
                    self._blocks.setdefault(side, []).append(process)
                    self._mismatches.setdefault(side, []).extend(wrong)
        return tuple(self._side(side) for side in self.sides)

    def fresh(self, blocks: int) -> tuple[Side, ...]:
        """That many blocks and no earlier ones."""
        self._begin()
        return self.add(blocks)

    def _begin(self) -> None:
        self._blocks, self._mismatches = {}, {}
        self._rounds = min(2, self._rounds + 1)  # each is a set of workers with all that the suite imports

    def pairs(self) -> Callable[[int], tuple[Side, Side]]:
        """Begin anew; gives what adds blocks and gives both sides so far."""
        self._begin()

        def add(blocks: int) -> tuple[Side, Side]:
            first, second = self.add(blocks)
            return first, second

        return add

    @property
    def key(self) -> Key:
        """What the processes measure."""
        call = f" #{self.index + 1}" if self.index else ""
        return Key(f"{self.item.nodeid}{call}", "function", "", "", 0)

    def samples(self, side: str) -> list[float]:
        """Seconds per call of every sample so far."""
        series = [series for process in self._blocks.get(side, ()) for series in process.series]
        return [ns * 1e-9 / each.inner for each in series for ns in each.durations_ns[each.warmup :]]

    def _enough(self, within: Path, side: str, block: int, order: int) -> tuple[ProcessRecord, tuple[str, ...]]:
        """One process, or several taken for one where the test asks for few rounds in each."""
        self._few = False
        whole: ProcessRecord | None = None
        wrong: tuple[str, ...] = ()
        for attempt in range(FEWEST_SAMPLES):
            directory = within / f"{block}-{side}-{attempt}"
            directory.mkdir()
            process, problems = self._process(directory, side, block, order)
            wrong += problems
            whole = process if whole is None or process.failure is not None else _joined(whole, process)
            if process.failure is not None or not self._few or len(whole.series[0].durations_ns) >= FEWEST_SAMPLES:
                break
        assert whole is not None
        return whole, tuple(dict.fromkeys(wrong))

    def _process(self, directory: Path, side: str, block: int, order: int) -> tuple[ProcessRecord, tuple[str, ...]]:
        """One process of one side, and where it was not placed as asked for.

        Fails the test when what it times raises, or when it cannot be measured in the way that the test was written.

        Raises:
            MeasurementError: the test fails in the base revision.
            LparbenchError: a disk is full.
        """
        placement = self.place.placement
        root = self.base if side == BASELINE else None
        job = FunctionJob(
            nodeid=self.item.nodeid,
            side=CANDIDATE if root else side,
            index=self.index,
            seconds=self.seconds,
            cpus=placement.cpus,
            fork=self._fork,
            patched=bool(self.patches) or root is not None,
        )
        (directory / JOB_FILE).write_text(json.dumps(encode(job)))
        if not self._here and (objects := objects_given(self.item.config)):
            return self._set_up_here(Failure("plugins", "", ", ".join(objects)), directory, side, block, order)
        if self._here and root is None:
            pid, status = self._forked_here(directory, job, self.calls[side]), 0
        else:
            try:
                reply = self._asked(directory, root, block)
            except WorkerDiedError as error:
                return failed(block, order, 0, str(error)), ()
            if reply.unsound is not None:
                self._fork = False
                self.notes.append(f"{self.item.nodeid}: every process imports the tests again: {reply.unsound}")
                return self._process(directory, side, block, order)
            pid, status = reply.pid, reply.status
        outcome = read_outcome(directory, FunctionOutcome)
        if outcome is not None:
            self._few = outcome.few
            wrong = mismatches(placement, outcome.observation)
            return _measured(block, order, pid, outcome), wrong if outcome.clock is None else (*wrong, outcome.clock)
        why = (
            decode_json_file(Failure, directory / FAILURE_FILE)
            if (directory / FAILURE_FILE).exists()
            else Failure("end", "", f"the process ended without a result (status {status})")
        )
        if (full := no_room(directory, why.text, RUN_AGAIN)) is not None:
            raise full
        if why.when in _ONLY_HERE and root is None and not self._here and self.calls:
            return self._set_up_here(why, directory, side, block, order)
        if why.when == "call" and root is not None:  # nothing is known of this revision by it
            raise MeasurementError(f"the test fails in the base revision: {why.line or why.text}")
        if why.when == "call":
            pytest.fail(
                f"lparbench: the test failed in its worker process, in which it runs alone:\n{why.text}", pytrace=False
            )
        return failed(block, order, pid, f"{why.when} in the worker: {why.line}"), ()

    def _asked(self, directory: Path, root: Path | None, block: int) -> Reply:
        timeout_s = _PATIENCE_S + _SERIES_PATIENCE * self.seconds
        config = self.item.config
        if not self._fork:
            warm = start(config, self.place.placement, root)
            with warm.stack:
                return warm.ask(directory, timeout_s)
        layout = _LAYOUTS * self._rounds + (block % _LAYOUTS if self.base else 0)
        warm = pool_of(config).worker(self.place.placement, root, layout)
        try:
            return warm.ask(directory, timeout_s)
        except WorkerDiedError:
            pool_of(config).drop(warm)
            raise

    def _set_up_here(
        self, why: Failure, directory: Path, side: str, block: int, order: int
    ) -> tuple[ProcessRecord, tuple[str, ...]]:
        """What is only here (a port that this session holds, a test whose name holds an address): fork where it is."""
        what = _ONLY_HERE[why.when]
        if threading.active_count() > 1:
            names = ", ".join(sorted(thread.name for thread in threading.enumerate()[1:]))
            text = f"{what} in a second process ({why.line}), nor forked with its threads ({names})"
            return failed(block, order, 0, text), ()
        self._here = True
        self.notes.append(f"{self.item.nodeid}: measured in forks of this process: {what} twice ({why.line})")
        (directory / FAILURE_FILE).unlink(missing_ok=True)
        return self._process(directory, side, block, order)

    def _forked_here(self, directory: Path, job: FunctionJob, timed: Timed) -> int:
        """Fork this process with all its fixtures, time there, and wait; gives its process id."""
        parent = os.getpid()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the threads there are belong to BLAS, which knows of forks
            child = os.fork()
        if not child:
            try:
                die_with_parent(parent)
                apply(self.place.placement)
                measure(directory, job, timed, self.patches)
            except BaseException:  # noqa: BLE001 - whatever it was, this process ends here
                failure = Failure("call", traceback.format_exc())
                (directory / FAILURE_FILE).write_text(json.dumps(encode(failure)))
            os._exit(0)
        deadline = time.monotonic() + _PATIENCE_S + _SERIES_PATIENCE * self.seconds
        while os.waitpid(child, os.WNOHANG)[0] == 0:
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                break
            time.sleep(0.005)
        return child

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


def _joined(first: ProcessRecord, second: ProcessRecord) -> ProcessRecord:
    """Two processes of few samples as one of more."""
    (a,), (b,) = first.series, second.series
    durations, flags = a.durations_ns + b.durations_ns, a.flags + b.flags
    estimate = process_estimate(durations, flags, inner=a.inner, warmup=0)
    series = replace(
        a,
        durations_ns=durations,
        flags=flags,
        warmup=0,
        estimate_s=estimate.undisturbed_s,
        estimate_all_s=estimate.median_s,
    )
    return replace(second, wall_s=(first.wall_s or 0) + (second.wall_s or 0), series=(series,))


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


def _conditions(placement: Placement) -> Facts:
    return facts_of(
        {
            "nodes": placement.nodes,
            "cpus": placement.cpus,
            "threads": placement.threads,
            "threads_per_core": placement.threads_per_core,
            "memory_policy": str(placement.memory_policy),
            **settings_of(placement.env),
        }
    )
