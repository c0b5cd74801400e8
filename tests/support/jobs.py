"""Commands that run side by side while the tests wait for those they need: emulation is slow and single-threaded."""

from __future__ import annotations

import os
import subprocess
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

    def told(self) -> str:
        """What it said last, for a failing assertion."""
        return f"{self.name} ended with {self.code} after {self.seconds:.0f} s\n{self.out[-4000:]}\n{self.err[-4000:]}"


class Jobs:
    """Starts commands in the order given, as many at once as there are CPUs; use as a context manager."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0)))
        self._futures: dict[str, Future[Outcome]] = {}
        self._running: set[subprocess.Popen[str]] = set()
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
        with self._guard:
            if self._stopped:
                raise RuntimeError("stopped")
            process = subprocess.Popen(
                argv,
                env=env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
            self._running.add(process)
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            process.kill()
            out, err = process.communicate()
            raise TimeoutError(f"{name} took longer than {timeout_s:g} s\n{out[-4000:]}\n{err[-4000:]}") from error
        finally:
            with self._guard:
                self._running.discard(process)
        return Outcome(name, process.returncode, out, err, time.monotonic() - started)
