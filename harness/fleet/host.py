"""The host's end of a fleet: one request from standard input, one answer to standard output, and nothing left behind.

While it works it listens on its standard input, which ssh closes when the coordinator, the network between or the ssh
client is gone; then it ends as on SIGTERM, with all that it started.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from harness import __version__
from harness.advice.engine import evaluate
from harness.content import user_cache
from harness.decode import decode, encode
from harness.errors import InputError, LparbenchError
from harness.fleet.protocol import AnswerKind, BundleFile, Looked, Model, Refused, Request, closing, opening
from harness.parsing import parse_json
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot
from harness.record.spec import RunSpec
from harness.record.store import encode as to_bytes
from harness.record.store import record_text
from harness.runs.design import code_of
from harness.runs.engine import Progress
from harness.runs.part import take_part
from harness.runs.run import run_once
from harness.scratch import scratch, scratch_top
from harness.training.rank_setting import RankGroup
from harness.workers.executor import Executor, ProcessExecutor

_LOCK = "fleet.lock"  # below the cache of the user
_LONGEST_REQUEST = 1 << 20
_GRACE_S = 15.0  # between SIGTERM and SIGKILL


def serve(progress: Progress) -> None:
    """Read a request and answer it.

    Raises:
        InputError: standard input holds no request.
    """
    line = _first_line()
    try:
        request = decode(Request, parse_json(line.decode("utf-8"), "the request"), "the request")
    except UnicodeDecodeError:
        raise InputError("the request is not UTF-8.", remedy="`lparbench fleet run` makes requests.") from None
    with _apart_from_output() as answer:
        kind, body = _answer(request, progress)
        answer.write(opening(request.token, kind) + body + closing(request.token))


def _answer(request: Request, progress: Progress) -> tuple[AnswerKind, bytes]:
    try:
        if request.version != __version__:
            raise InputError(f"lparbench {__version__} is here, and {request.version} asks.")
        with _ended_with_channel(request.timeout_s):
            if request.spec is None:
                return "looked", json.dumps(encode(_look())).encode()
            if code_of(request.spec) or any(name.endswith(".toml") for name in request.spec.workloads):
                raise InputError("a fleet runs the workloads of the product, no code or file of somebody's.")
            group, executor = request.group, ProcessExecutor()
            with _alone():
                if group is not None and group.first:
                    take_part(request.spec, group, executor, progress)
                    return "trained", b""
                if request.bundle:
                    return "model", json.dumps(encode(_model(request.spec, group, executor, progress))).encode()
                return "record", to_bytes(record_text(run_once(request.spec, executor, progress, group=group)))
    except LparbenchError as error:
        return "refused", json.dumps(encode(Refused(str(error)))).encode()


def _model(spec: RunSpec, group: RankGroup | None, executor: Executor, progress: Progress) -> Model:
    """Do a run whose one workload is saved; its record and the files of the bundle."""
    with scratch("bundle") as folder:
        run = run_once(replace(spec, save=str(folder)), executor, progress, group=group)
        files = sorted(folder.glob("*/*"))
        packed = tuple(BundleFile(path.name, base64.b64encode(path.read_bytes()).decode()) for path in files)
        return Model(record_text(run), packed)


def _look() -> Looked:
    facts = probe(SysRoot())
    findings = evaluate(facts).findings
    return Looked(__version__, _machine_id(), time.time(), facts, findings, is_measuring(), _disk_free())


def _disk_free() -> int | None:
    with contextlib.suppress(OSError):
        return shutil.disk_usage(scratch_top()).free
    return None


def _machine_id() -> str | None:
    with contextlib.suppress(OSError):
        text = Path("/etc/machine-id").read_text(encoding="ascii", errors="replace").strip()
        return hashlib.sha256(text.encode()).hexdigest()[:16] if text else None
    return None


def _first_line() -> bytes:
    if os.isatty(0):
        raise InputError("this is what `lparbench fleet` starts on a host.", remedy="See: lparbench fleet run --help")
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)  # what follows is for whoever listens until the channel closes
        line += byte
        if not byte or len(line) > _LONGEST_REQUEST:
            raise InputError("standard input holds no request.", remedy="`lparbench fleet run` makes requests.")
    return line


@contextlib.contextmanager
def _apart_from_output() -> Iterator[_Output]:
    """Standard output for the answer alone: what libraries print goes to standard error."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield _Output(kept)
    finally:
        os.close(kept)


class _Output:
    def __init__(self, handle: int) -> None:
        self._handle = handle

    def write(self, content: bytes) -> None:
        """All of it, however much the channel takes at once."""
        view = memoryview(content)
        while view:
            view = view[os.write(self._handle, view) :]


@contextlib.contextmanager
def _ended_with_channel(timeout_s: float) -> Iterator[None]:
    """End this process when its standard input closes, or after so many seconds."""
    done = threading.Event()

    def end() -> None:
        if done.is_set():
            return
        os.kill(os.getpid(), signal.SIGTERM)
        if not done.wait(_GRACE_S):
            os.kill(os.getpid(), signal.SIGKILL)

    def listen() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        end()

    timer = threading.Timer(timeout_s, end)
    timer.daemon = True
    timer.start()
    threading.Thread(target=listen, daemon=True).start()
    try:
        yield
    finally:
        done.set()
        timer.cancel()


def is_measuring() -> bool:
    """Whether a fleet measures here now, of those of this user; the lock is looked at, and not taken."""
    cache = user_cache()
    try:
        number = None if cache is None else (cache / _LOCK).stat().st_ino
        locks = Path("/proc/locks").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return False
    return any(" FLOCK " in line and f":{number} " in line for line in locks)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One fleet at a time measures here, of those of this user; the kernel frees the lock of a process that is gone."""
    cache = user_cache()
    try:
        if cache is None:
            raise OSError
        cache.mkdir(parents=True, exist_ok=True)
        lock = os.open(cache / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:  # a home directory that cannot be written: no lock, and no reason not to measure
        yield
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise InputError("another fleet is measuring on this host.", remedy="Wait until it has ended.") from None
    try:
        yield
    finally:
        os.close(lock)
