"""Commands that run side by side while the tests wait for those they need: emulation is slow and single-threaded."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    name: str
    code: int
    out: str
    err: str
    seconds: float
    cpu_s: float

    def told(self) -> str:
        """What it said last, for a failing assertion."""
        return f"{self.name} ended with {self.code} after {self.seconds:.0f} s\n{self.out[-4000:]}\n{self.err[-4000:]}"


class Jobs:
    """Starts commands in the order given, as many at once as there are CPUs; use as a context manager."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0)))
        self._futures: dict[str, Future[Outcome]] = {}
        self._running: set[subprocess.Popen[bytes]] = set()
        self._guard = threading.Lock()
        self._stopped = False

    def __enter__(self) -> Jobs:
        return self

    def __exit__(self, *_: object) -> None:
        with self._guard:
            self._stopped = True
            for process in self._running:
                process.kill()
        self._pool.shutdown(cancel_futures=True)

    def start(self, name: str, argv: Sequence[str], env: Mapping[str, str], *, cwd: str, timeout_s: float) -> None:
        """Queue a command."""
        self._futures[name] = self._pool.submit(self._run, name, argv, env, cwd, timeout_s)

    def outcome(self, name: str) -> Outcome:
        """Wait for a command.

        Raises:
            TimeoutError: it took longer than it was given.
        """
        return self._futures[name].result()

    def _run(self, name: str, argv: Sequence[str], env: Mapping[str, str], cwd: str, timeout_s: float) -> Outcome:
        started = time.monotonic()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            with self._guard:
                if self._stopped:
                    raise RuntimeError("stopped")
                process = subprocess.Popen(argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
                self._running.add(process)
            limit = threading.Timer(timeout_s, process.kill)
            limit.start()
            _, status, usage = os.wait4(process.pid, 0)  # the only call that says what a single child has used
            process.returncode = os.waitstatus_to_exitcode(status)
            expired = limit.finished.is_set()
            limit.cancel()
            with self._guard:
                self._running.discard(process)
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode(errors="replace"))
        if expired:
            raise TimeoutError(f"{name} took longer than {timeout_s:g} s\n{texts[0][-4000:]}\n{texts[1][-4000:]}")
        return Outcome(name, process.returncode, *texts, time.monotonic() - started, usage.ru_utime + usage.ru_stime)
