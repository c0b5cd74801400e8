"""The host's end of a fleet on a Dask worker: it starts lparbench there as sshd would, and hands over what it prints.

The coordinator calls these functions by their names with bytes and words alone. What is measured is a process of its
own, without what Dask put into the environment. While it measures, the worker's threads are kept off the cores of its
placement, and the timers of the worker and of its nanny rest. It ends when nobody asks for it any more, as it ends
under ssh when the channel closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import secrets
import select
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Protocol

from harness import __version__
from harness.decode import decode
from harness.errors import LparbenchError
from harness.fleet.protocol import LARGEST, Request
from harness.interpreter import environment, program
from harness.parsing import parse_json
from harness.placement.plan import plan
from harness.platform import limits
from harness.platform.probe import read_topology
from harness.platform.sysroot import SysRoot

TOO_MUCH = -1  # in place of an exit code
_POLL_S = 0.5  # between looks at the size of an answer and at the lease; the end itself is waited for
_PATIENCE_S = 10.0  # of one call that waits for the end
_REST_S = 3 * _PATIENCE_S  # of a nanny's timers, after each call that waits
_NANNY_S = 5.0
_GRACE_S = 20.0  # the program ends by itself when its standard input closes; then it is killed
_SAID = 4096  # bytes of standard error that are kept
_BEATS = ("heartbeat", "keep-alive")  # without these the scheduler takes a worker to be gone
# What a session of ssh has, the product's own, and where libraries are that were not installed by root.
_KEPT = ("HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "CONDA_PREFIX")
_KEPT_PREFIXES = ("LC_", "XDG_", "LPARBENCH_")


class _Timer(Protocol):
    def start(self) -> None: ...

    def stop(self) -> None: ...


class _Loop(Protocol):
    def add_callback(self, callback: object) -> None: ...


class _Nanny(Protocol):
    def run(self, *, function: bytes, args: bytes) -> Awaitable[Mapping[str, object]]: ...


class Worker(Protocol):
    """What is used of a Dask worker; a nanny has timers too."""

    periodic_callbacks: Mapping[str, _Timer]
    loop: _Loop
    nanny: str | None

    def rpc(self, address: str) -> _Nanny:
        """Operations of another server of Dask's."""
        ...


async def who(dask_worker: Worker | None = None) -> tuple[str, str, tuple[str, ...]]:
    """This host's name, the version of lparbench here, and what of Dask's runs on while something is measured."""
    import dask

    samplers = [thread.name.lower() for thread in threading.enumerate() if thread.name == "Profile"]
    if find_spec("gilknocker") and dask.config.get("distributed.admin.system-monitor.gil.enabled", default=False):
        samplers.append("gil")
    if not await _nanny_rests(dask_worker, 0.0):
        samplers.append("timers of the nanny")
    allowed = os.sched_getaffinity(0)
    if sum(bool(allowed & {*core.cpus}) for core in read_topology(SysRoot()).cores) == 1:
        samplers.append("the heartbeat, on the only core")
    return socket.gethostname(), __version__, tuple(samplers)


def begin(request: bytes, words: tuple[str, ...], lease_s: float, dask_worker: Worker | None = None) -> str | None:
    """Start lparbench with a request, and the word under which its answer is asked for; None while another measures.

    Args:
        request: a line.
        words: how lparbench is started; none for that of this worker.
        lease_s: seconds after which it ends when nobody asks.
        dask_worker: given by Dask.
    """
    for word, other in list(_at_work.items()):
        if other.abandoned():
            del _at_work[word]
    cores = _cores_of(request)
    if cores and any(other.cores for other in _at_work.values()):
        return None
    word = secrets.token_hex(8)
    _at_work[word] = _Program(request, words, lease_s, cores, dask_worker)
    return word


async def collect(word: str, dask_worker: Worker | None = None) -> tuple[int, bytes, bytes] | None:
    """Exit code, standard output and the end of standard error; None when it is at work for some seconds more."""
    program = _at_work[word]
    if program.cores and not program.over:
        await _nanny_rests(dask_worker, _REST_S)
    over, loop = asyncio.Event(), asyncio.get_running_loop()
    program.then(lambda: loop.call_soon_threadsafe(over.set))
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(over.wait(), _PATIENCE_S)
    ended = program.ended()
    if ended is not None:
        del _at_work[word]
    return ended


def rest(seconds: float, dask_worker: Worker) -> None:
    """Called in a nanny: its timers rest from now on for so long."""
    global _waking
    if _waking is not None:
        _waking.cancel()
    timers = [timer for name, timer in dask_worker.periodic_callbacks.items() if name not in _BEATS]
    for timer in timers:
        timer.stop()

    def wake() -> None:
        for timer in timers:
            timer.start()

    _waking = asyncio.get_running_loop().call_later(seconds, wake)


_waking: asyncio.TimerHandle | None = None


async def _nanny_rests(worker: Worker | None, seconds: float) -> bool:
    """Have the timers of a worker's nanny rest, which tick fifty times a second; False where it does not."""
    address = getattr(worker, "nanny", None)
    if worker is None or address is None:
        return True
    asked = worker.rpc(address).run(function=pickle.dumps(rest), args=pickle.dumps((seconds,)))
    try:
        return (await asyncio.wait_for(asked, _NANNY_S)).get("status") == "OK"
    except Exception:  # noqa: BLE001 - whatever ails it: it goes on ticking
        return False


def end(word: str) -> None:
    """Nobody wants the answer any more."""
    left = _at_work.pop(word, None)
    if left is not None:
        left.give_up()


class _Program:
    """One lparbench at work."""

    def __init__(
        self, request: bytes, words: Sequence[str], lease_s: float, cores: set[int], worker: Worker | None
    ) -> None:
        self.cores = cores
        self._output, self._errors = (tempfile.TemporaryFile() for _ in range(2))  # noqa: SIM115 - `ended` closes them
        self._lease_s = lease_s
        self._until = time.monotonic() + lease_s
        before = os.sched_getaffinity(0)
        self._process = subprocess.Popen(
            [*words, "fleet", "host"] if words else program("harness", "fleet", "host"),
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=self._errors,
            env=environment(clean(os.environ)),
        )
        self._over = threading.Event()
        self._then: list[Callable[[], object]] = []
        _keep_threads_on(before - cores if cores else set())
        given = {} if worker is None or not cores else worker.periodic_callbacks
        timers = [timer for name, timer in given.items() if name not in _BEATS]
        for timer in timers:
            timer.stop()
        threading.Thread(target=self._watch, args=(request, before, timers, worker), daemon=True).start()

    def ended(self) -> tuple[int, bytes, bytes] | None:
        """See ``collect``."""
        self._until = time.monotonic() + self._lease_s
        if not self._over.is_set():
            return None
        size = os.fstat(self._output.fileno()).st_size
        with self._output, self._errors:
            last = _tail(self._errors)
            if size > LARGEST:
                return TOO_MUCH, b"", last
            self._output.seek(0)
            return self._process.returncode, self._output.read(), last

    def then(self, call: Callable[[], object]) -> None:
        """What to call, from any thread, when it is over."""
        self._then.append(call)
        if self._over.is_set():
            call()

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._over.is_set()

    def abandoned(self) -> bool:
        """Whether nobody will ask for the answer."""
        return self.over and time.monotonic() > self._until

    def give_up(self) -> None:
        """End it."""
        self._until = 0.0

    def _watch(self, request: bytes, before: set[int], timers: Iterable[_Timer], worker: Worker | None) -> None:
        assert self._process.stdin is not None
        try:
            with contextlib.suppress(OSError), self._process.stdin as channel:
                channel.write(request)
                channel.flush()
                while self._process.poll() is None and time.monotonic() < self._until and not self._too_much():
                    _until_ended(self._process)
            try:
                self._process.wait(0 if self._too_much() else _GRACE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        finally:
            _keep_threads_on(before if self.cores else set())
            for timer in timers:
                assert worker is not None
                worker.loop.add_callback(timer.start)
            self._over.set()
            for call in self._then:
                with contextlib.suppress(RuntimeError):  # who asked is gone
                    call()

    def _too_much(self) -> bool:
        return os.fstat(self._output.fileno()).st_size > LARGEST


_at_work: dict[str, _Program] = {}


def clean(given: Mapping[str, str]) -> dict[str, str]:
    """The environment of a session, without what Dask and whoever started its worker put into it."""
    return {key: value for key, value in given.items() if key in _KEPT or key.startswith(_KEPT_PREFIXES)}


def _cores_of(request: bytes) -> set[int]:
    """The CPUs of all cores that a request will be measured on."""
    with contextlib.suppress(LparbenchError, UnicodeDecodeError):  # the program says what is wrong with it
        spec = decode(Request, parse_json(request.decode(), "the request"), "the request").spec
        if spec is not None:
            root = SysRoot()
            topology = read_topology(root)
            placement = plan(
                topology,
                cores=spec.cores,
                threads_per_core=spec.threads_per_core,
                node=spec.node,
                limits=limits.collect(root),
            )
            return {cpu for core in topology.cores if {*core.cpus} & {*placement.cpus} for cpu in core.cpus}
    return set()


def _keep_threads_on(cpus: set[int]) -> None:
    """Move all threads of this process; where no CPU is left for them they stay."""
    for task in Path("/proc/self/task").iterdir() if cpus else ():
        with contextlib.suppress(OSError):  # it has ended
            os.sched_setaffinity(int(task.name), cpus)


def _until_ended(process: subprocess.Popen[bytes]) -> None:
    """Wait for its end, for some time."""
    try:
        handle = os.pidfd_open(process.pid)
    except (AttributeError, OSError):  # Linux before 5.3
        time.sleep(_POLL_S)
        return
    try:
        waiting = select.poll()
        waiting.register(handle, select.POLLIN)
        waiting.poll(1000 * _POLL_S)
    finally:
        os.close(handle)


def _tail(stream: IO[bytes]) -> bytes:
    stream.seek(max(0, os.fstat(stream.fileno()).st_size - _SAID))
    return stream.read()
