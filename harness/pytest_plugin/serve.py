"""A worker's pytest: collects as its parent did, then runs one test per request, each in a fork of its own."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import socket
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.decode import decode_json_file, encode
from harness.errors import LparbenchError
from harness.process_tree import die_with_parent
from harness.pytest_plugin.options import WORKER_OPTION, checkout_of, session_key
from harness.pytest_plugin.worker import JOB_FILE, FunctionJob
from harness.record.files import write_file
from harness.workers.process import OUTCOME_FILE

FAILURE_FILE = "failure.json"
ORIGIN_VARIABLE = "LPARBENCH_ORIGIN"  # the checkout that worktrees were made from: nothing may be imported from it
GATED_FIXTURES = frozenset({"lparbench", "benchmark"})


class Request(NamedTuple):
    """What is served: what is to be timed, and where the outcome goes."""

    directory: Path
    job: FunctionJob


request_key = pytest.StashKey[Request]()


@dataclass(frozen=True)
class Ready:
    """What a worker says once it has collected.

    Attributes:
        nodeids: of the tests.
        gated: of those that name a fixture of the gate among their arguments.
        foreign: files it imported from the checkout that it is not to import from.
        failed: files that cannot be collected -> why.
    """

    nodeids: tuple[str, ...]
    gated: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """How a request ended: the process that ran it and its status, or why it must not be forked."""

    pid: int
    status: int
    unsound: str | None = None


@dataclass(frozen=True)
class Failure:
    """What a test raised in a worker: in ``setup`` or ``call``, with its traceback, and in one line."""

    when: str
    text: str
    line: str = ""

    @staticmethod
    def of(when: str, report: pytest.TestReport) -> Failure:
        """From pytest's report."""
        crash = getattr(report.longrepr, "reprcrash", None)
        text = report.longreprtext.strip()
        return Failure(when, text, (crash.message if crash is not None else text).splitlines()[-1])


def serve(session: pytest.Session) -> None:
    """Answer requests, one directory with a job per line, until the parent hangs up; does not return."""
    items: dict[str, pytest.Item] = {}
    for item in session.items:
        items.setdefault(item.nodeid, item)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("\0" + session.config.getoption(WORKER_OPTION))
        with connection.makefile("rw", encoding="utf-8") as stream:
            gated = tuple(nodeid for nodeid, item in items.items() if is_gated(item))
            failed = session.config.stash[session_key].failed
            _send(stream, Ready(tuple(items), gated, _foreign(), failed))
            gc.collect()
            gc.freeze()
            for line in stream:
                directory = Path(json.loads(line))
                job = decode_json_file(FunctionJob, directory / JOB_FILE)
                _send(stream, _served(items, directory, job))
                if not job.fork:
                    break
    os._exit(0)  # nothing of the session's end (reports, caches) is for a worker


def is_gated(item: pytest.Item) -> bool:
    """Whether a test uses a fixture of the gate."""
    return not GATED_FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))


def note_failure(config: pytest.Config, report: pytest.TestReport) -> None:
    """Keep what failed before there was an outcome."""
    request = config.stash.get(request_key, None)
    if request is None or report.passed or (request.directory / OUTCOME_FILE).exists():
        return
    _write(request.directory, Failure.of((report.when or "call") if report.failed else "skip", report))


def _send(stream: object, message: Ready | Reply) -> None:
    print(json.dumps(encode(message)), file=stream, flush=True)  # type: ignore[call-overload]


def _write(directory: Path, failure: Failure) -> None:
    if not (directory / FAILURE_FILE).exists():  # the first is the cause
        write_file(directory / FAILURE_FILE, json.dumps(encode(failure)).encode(), durable=False)


def _served(items: Mapping[str, pytest.Item], directory: Path, job: FunctionJob) -> Reply:
    item = items.get(job.nodeid)
    if item is None:
        _write(directory, Failure("collect", "", "it is not among the tests that the worker collected"))
        return Reply(os.getpid(), 0)
    if not job.fork:
        _run(item, directory, job)
        return Reply(os.getpid(), 0)
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads > 1:
        return Reply(os.getpid(), 0, f"importing the tests left {threads - 1} threads running, which a fork would lose")
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return Reply(child, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    try:
        die_with_parent(parent)
        _run(item, directory, job)
    except BaseException:  # noqa: BLE001 - whatever it was, this process ends here
        with contextlib.suppress(LparbenchError):  # a full disk, which the parent sees
            _write(directory, Failure("call", traceback.format_exc()))
    finally:
        os._exit(0)


def _run(item: pytest.Item, directory: Path, job: FunctionJob) -> None:
    item.config.stash[request_key] = Request(directory, job)
    item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
    if not (directory / OUTCOME_FILE).exists():
        _write(directory, Failure("end", "", "the test did not call it there"))


def _foreign() -> tuple[str, ...]:
    """Files imported from elsewhere than the worktree that has them: from the original checkout, or as installed."""
    origin = os.environ.get(ORIGIN_VARIABLE)
    if origin is None:
        return ()
    own, here, prefix = str(Path(__file__).resolve().parents[1]), checkout_of(Path.cwd()), os.path.realpath(sys.prefix)
    packages = _packages_of(here)
    foreign = []
    for name, module in list(sys.modules.items()):
        file = os.path.realpath(getattr(module, "__file__", None) or "")
        if not file.startswith(os.sep) or file.startswith((f"{here}{os.sep}", own + os.sep)):
            continue
        of_origin = file.startswith(origin + os.sep) and not file.startswith(prefix + os.sep)
        if name in packages or (of_origin and "site-packages" not in file):
            foreign.append(file)
    return tuple(sorted(foreign))


def _packages_of(checkout: Path) -> frozenset[str]:
    """Names of the packages of a project: in its top folder, and in the folders there that are no packages."""
    folders = [child for child in checkout.iterdir() if child.is_dir() and not child.name.startswith(".")]
    tops = [checkout, *(folder for folder in folders if not _is_package(folder))]
    names = {child.name for top in tops for child in top.iterdir() if _is_package(child)}
    return frozenset(names - {"tests", "test", "docs"})


def _is_package(folder: Path) -> bool:
    return (folder / "__init__.py").is_file()
