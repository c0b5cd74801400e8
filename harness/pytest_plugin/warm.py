"""Workers that have imported the suite and fork for every test: started as the session was, kept until its end."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

import pytest

from harness.decode import decode
from harness.errors import InputError
from harness.placement.model import Placement
from harness.pytest_plugin.options import RUN_AGAIN, WORKER_OPTION, checkout_of, session_key
from harness.pytest_plugin.serve import Ready, Reply
from harness.scratch import scratch
from harness.workers.process import WorkerProcess, worker_process

_IMPORT_PATIENCE_S = 600.0
_QUOTED_LINES = 4  # of a failed worker's output: pytest's last line alone is a summary
# What a worker must not inherit: coverage's and profilers' hooks into child processes, and what xdist and pytest set.
_TRACERS = ("COVERAGE_PROCESS_", "COV_CORE_", "PYTHONTRACEMALLOC", "PYTHONPROFILEIMPORTTIME", "PYTEST_XDIST_")
# Options that name a file which opening would truncate, and those that would share a folder.
_FILES = {"log_file": "--log-file", "report_log": "--report-log"}
_START = "import sys; sys.path[:] = [p for p in sys.path if p]; import pytest; sys.exit(pytest.main())"


class WorkerDiedError(Exception):
    """A worker ended, or hung, without an answer; says why."""


@dataclass
class Warm:
    """One worker."""

    worker: WorkerProcess
    connection: socket.socket
    stream: TextIO
    ready: Ready
    stack: contextlib.ExitStack

    def ask(self, directory: Path, timeout_s: float) -> Reply:
        """Have the job in ``directory`` done.

        Raises:
            WorkerDiedError: there was no answer in time.
            LparbenchError: a disk is full.
        """
        self.connection.settimeout(timeout_s)
        try:
            self.stream.write(json.dumps(str(directory)) + "\n")
            self.stream.flush()
            return decode(Reply, json.loads(self.stream.readline()), "worker")
        except (OSError, ValueError) as error:
            status = None if isinstance(error, TimeoutError) else self.worker.wait(1.0)
            if status is not None and (full := self.worker.out_of_room(RUN_AGAIN)) is not None:
                raise full from None
            raise WorkerDiedError(self.worker.cause_of_death(status, timeout_s, lines=_QUOTED_LINES)) from None


@dataclass
class Pool:
    """The workers of a session."""

    config: pytest.Config
    _warm: dict[tuple[object, ...], Warm] = field(default_factory=dict)
    _dead: dict[tuple[object, ...], Exception] = field(default_factory=dict)

    def worker(self, placement: Placement, root: Path | None, layout: int) -> Warm:
        """The worker of a layout in the checkout ``root`` (None: the session's own), started where there is none.

        Each has its own addresses and hash seed.

        Raises:
            WorkerDiedError: it could not be started, now or before.
            InputError: it imported the project from elsewhere.
            LparbenchError: a disk is full.
        """
        key = (placement.cpus, placement.memory_nodes, root, layout)
        if key in self._dead:
            raise self._dead[key]
        if key not in self._warm:
            try:
                self._warm[key] = start(self.config, placement, root)
            except (WorkerDiedError, InputError) as error:
                self._dead[key] = error
                raise
        return self._warm[key]

    def drop(self, warm: Warm) -> None:
        """End a worker that no longer answers."""
        self._warm = {key: other for key, other in self._warm.items() if other is not warm}
        warm.stack.close()

    def close(self) -> None:
        """End them all."""
        while self._warm:
            self._warm.popitem()[1].stack.close()


_pool_key = pytest.StashKey[Pool]()


def pool_of(config: pytest.Config) -> Pool:
    """The pool of the session, which ends with it."""
    if _pool_key not in config.stash:
        config.stash[_pool_key] = Pool(config)
        config.stash[session_key].at_end.append(config.stash[_pool_key].close)
    return config.stash[_pool_key]


def start(config: pytest.Config, placement: Placement, root: Path | None) -> Warm:
    """A worker under ``placement`` that has collected what the session collected.

    Raises:
        WorkerDiedError: it ended before.
        LparbenchError: a disk is full.
        InputError: it imported the project from elsewhere than ``root``.
    """
    address = f"lparbench-{uuid.uuid4().hex}"
    session = config.stash[session_key]
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(scratch("pytest"))
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind("\0" + address)
        listener.listen(1)
        moved = _Moved(config, root)
        worker = stack.enter_context(
            worker_process(
                _command(config, address, directory, moved),
                directory,
                placement,
                cwd=Path(moved(str(session.cwd))),
                environment=_environment(session.environment, [moved(part) for part in session.path if part], moved),
            )
        )
        connection = stack.enter_context(_accepted(listener, worker))
        stream = stack.enter_context(connection.makefile("rw", encoding="utf-8"))
        try:
            ready = decode(Ready, json.loads(stream.readline()), "worker")
        except (OSError, ValueError):
            raise _dead(worker, worker.wait(1.0)) from None
        if ready.foreign:
            raise InputError(
                f"both sides would measure the same code: {ready.foreign[0]} is imported, which is not in the worktree"
                f" {root or checkout_of(config.rootpath)} of the revision.",
                remedy="Take the project out of the environment (pip uninstall), so that it is imported from the"
                " worktree, or install it per worktree: --prepare COMMAND.",
            )
        return Warm(worker, connection, stream, ready, stack.pop_all())
    raise AssertionError("an exit stack does not swallow exceptions")


class _Moved:
    """Paths of the session's checkout as those of another."""

    def __init__(self, config: pytest.Config, root: Path | None) -> None:
        self.root = root
        self._from = str(checkout_of(config.rootpath))

    def __call__(self, text: str) -> str:
        if self.root is None:
            return text
        head, separator, rest = text.partition(self._from)
        whole = separator and (not rest or rest[0] in "/:") and (not head or head[-1] in "=:")
        return f"{head}{self.root}{rest}" if whole else text


@contextlib.contextmanager
def _accepted(listener: socket.socket, worker: WorkerProcess) -> Iterator[socket.socket]:
    listener.settimeout(0.5)
    deadline = time.monotonic() + _IMPORT_PATIENCE_S
    while True:
        try:
            connection = listener.accept()[0]
            break
        except TimeoutError:
            status = worker.status()
            if status is not None or time.monotonic() > deadline:
                raise _dead(worker, status) from None
    with connection:
        connection.settimeout(_IMPORT_PATIENCE_S)
        yield connection


def _dead(worker: WorkerProcess, status: int | None) -> Exception:
    """The error for a worker that ended before it was ready."""
    full = None if status is None else worker.out_of_room(RUN_AGAIN)
    return full or WorkerDiedError(worker.cause_of_death(status, _IMPORT_PATIENCE_S, lines=_QUOTED_LINES))


def objects_given(config: pytest.Config) -> tuple[str, ...]:
    """Names of the plugins that only this process has: objects that ``pytest.main`` was given."""
    plugins = config.invocation_params.plugins or ()
    return tuple(getattr(each, "__name__", type(each).__name__) for each in plugins if _loadable(each) is None)


def _loadable(plugin: object) -> str | None:
    """The name by which another process loads a plugin; None for an object, and a module that is a program."""
    name = plugin.__name__ if isinstance(plugin, ModuleType) else plugin
    return name if isinstance(name, str) and name != "__main__" else None


def _command(config: pytest.Config, address: str, directory: Path, moved: _Moved) -> list[str]:
    """pytest as the session was started, without coverage and distribution, and with files of its own."""
    given = _given(config, directory, moved)
    at = given.index("--") if "--" in given else len(given)
    own = [WORKER_OPTION, address, f"--basetemp={directory / 'tmp'}", "--assert=plain"]  # rewriting takes a second
    own += [f"{flag}={os.devnull}" for name, flag in _FILES.items() if config.getoption(name, None)]
    own += ["--no-cov"] if config.pluginmanager.hasplugin("pytest_cov") else []
    own += ["-n", "0"] if config.pluginmanager.hasplugin("xdist") else []
    loaded = filter(None, map(_loadable, config.invocation_params.plugins or ()))
    own += [part for name in loaded for part in ("-p", name)]
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return [sys.executable, *flags, "-c", _START, *given[:at], *own, *given[at:]]


def _given(config: pytest.Config, directory: Path, moved: _Moved) -> list[str]:
    """The arguments of the session, without the paths that another checkout does not have: its tests are not there."""
    arguments = [str(argument) for argument in config.invocation_params.args]
    here = Path(moved(str(config.stash[session_key].cwd)))
    paths = set() if moved.root is None or config.getoption("pyargs") else {*arguments} & {*map(str, config.args)}
    absent = {path for path in paths if not (here / moved(path).partition("::")[0]).exists()}
    given = [moved(argument) for argument in arguments if argument not in absent]
    if absent and absent == paths:  # without any, pytest would take all that there are
        (directory / "nothing").mkdir()
        given.insert(0, str(directory / "nothing"))
    return given


def _environment(environment: dict[str, str], path: list[str], moved: _Moved) -> dict[str, str]:
    """The session's own, in which the worker imports what the session can import."""
    kept: dict[str, Any] = {name: value for name, value in environment.items() if not name.startswith(_TRACERS)}
    kept.pop("PYTEST_CURRENT_TEST", None)
    own = [str(folder) for folder in (moved.root / "src", moved.root) if folder.is_dir()] if moved.root else []
    return {**kept, "PYTHONPATH": os.pathsep.join([*own, *path])}
