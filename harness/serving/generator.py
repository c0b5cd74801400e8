"""Open-loop HTTP load: requests leave when the schedule says, and latency counts from there.

One thread and one epoll carry sender and receiver, so that no lock or thread switch stands between the schedule and the
socket. A request whose connections are all busy waits here, and that wait is the server's; the wait of a request that
found one free is the generator's own lag.
"""

from __future__ import annotations

import contextlib
import gc
import re
import select
import socket
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.measure.clock import Clock

FAILED = 0  # status of a request whose connection was lost, or that was not answered
_SPIN_NS = 2_000_000  # epoll sleeps in whole milliseconds; nearer arrivals are waited for awake
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)
_RECEIVE = 1 << 13  # bytes: more would cost an allocation of that size for every short answer
_REMEMBERED = 256  # heads of answers


@dataclass(frozen=True)
class Target:
    """Where requests go."""

    host: str
    port: int
    path: str = "/predict"
    headers: tuple[tuple[str, str], ...] = ()

    def request(self, body: bytes) -> bytes:
        """The bytes of a request."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in self.headers)
        host = f"[{self.host}]" if ":" in self.host else self.host
        head = f"POST {self.path} HTTP/1.1\r\nHost: {host}:{self.port}\r\nContent-Type: application/json\r\n{lines}"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass(frozen=True, eq=False)
class Sent:
    """Outcome of each request, in schedule order, times in nanoseconds.

    Attributes:
        latencies_ns: from the scheduled time to the whole answer; to the end of the trial where there was none.
        lags_ns: from when it could leave (scheduled, and a connection free) to when it left.
        statuses: of HTTP; `FAILED` without an answer.
        bodies: of each payload, the distinct answers it got with status 200, each with how many.
        wall_ns: from the start of the schedule to the last answer.
    """

    latencies_ns: NDArray[np.int64]
    lags_ns: NDArray[np.int64]
    statuses: NDArray[np.int16]
    bodies: tuple[dict[bytes, int], ...]
    wall_ns: int


@dataclass(slots=True, eq=False)
class _Connection:
    socket: socket.socket
    free_since: int
    index: int = -1  # of the request under way
    lane: int = -1  # where requests have a connection of their own
    queue: deque[int] = field(default_factory=deque)  # requests that wait for it
    buffer: bytes = b""
    unsent: bytes = b""


class _Head(NamedTuple):
    status: int
    length: int  # of the body
    closes: bool


@dataclass(slots=True)
class _Trial:
    target: Target
    requests: list[bytes]
    due: list[int]
    clock: Clock
    latencies: list[int]
    lags: list[int]
    statuses: list[int]
    bodies: list[dict[bytes, int]]
    poll: select.epoll
    lanes: list[int] | None = None  # of each request, the number of its connection
    links: list[_Connection] = field(default_factory=list)  # by that number
    free: deque[_Connection] = field(default_factory=deque)
    open: dict[int, _Connection] = field(default_factory=dict)
    heads: dict[bytes, _Head] = field(default_factory=dict)
    done: int = 0
    ended: int = 0

    def connect(self, lost: _Connection | None = None) -> None:
        """Open a connection more, in place of one that is lost."""
        link = socket.create_connection((self.target.host, self.target.port), timeout=10)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.setblocking(False)
        connection = _Connection(link, self.clock.now_ns())
        self.open[link.fileno()] = connection
        self.poll.register(link.fileno(), select.EPOLLIN)
        if self.lanes is None:
            self.free.append(connection)
        elif lost is None:
            connection.lane = len(self.links)
            self.links.append(connection)
        else:
            connection.lane, connection.queue = lost.lane, lost.queue
            self.links[lost.lane] = connection
            self.go_on(connection, connection.free_since)

    def offer(self, index: int, now: int) -> None:
        """Send a request on a free connection, or on its own once that is free."""
        if self.lanes is None:
            self.send(self.free.popleft(), index, now)
            return
        connection = self.links[self.lanes[index]]
        connection.queue.append(index)
        if connection.index < 0 and len(connection.queue) == 1:
            self.go_on(connection, now)

    def go_on(self, connection: _Connection, now: int) -> None:
        """Send what waits for a connection that is free."""
        if connection.queue:
            self.send(connection, connection.queue.popleft(), now)

    def send(self, connection: _Connection, index: int, now: int) -> None:
        """Send a request on a connection that is free."""
        connection.index = index
        self.lags[index] = now - max(self.due[index], connection.free_since)
        data = self.requests[index % len(self.requests)]
        try:
            sent = connection.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.lose(connection, now)
            return
        if sent < len(data):
            connection.unsent = data[sent:]
            self.poll.modify(connection.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def resume(self, connection: _Connection) -> None:
        """Send what is left of a request."""
        try:
            sent = connection.socket.send(connection.unsent)
        except OSError:
            return  # reading tells why
        connection.unsent = connection.unsent[sent:]
        if not connection.unsent:
            self.poll.modify(connection.socket.fileno(), select.EPOLLIN)

    def receive(self, connection: _Connection, now: int) -> None:
        """Take what came; note the answer when it is whole."""
        try:
            data = connection.socket.recv(_RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.lose(connection, now)
            return
        buffer = connection.buffer + data if connection.buffer else data
        start = buffer.find(b"\r\n\r\n") + 4
        head = None if start < 4 else self.heads.get(buffer[:start]) or self.read_head(buffer[:start])
        if head is None or len(buffer) < start + head.length:
            connection.buffer = buffer
            return
        connection.buffer = b""
        index = connection.index
        if index < 0:  # nobody asked
            self.lose(connection, now)
            return
        self.finish(index, head.status, now)
        if head.status == 200:
            answers = self.bodies[index % len(self.requests)]
            body = buffer[start:]
            answers[body] = answers.get(body, 0) + 1
        connection.index, connection.free_since = -1, now
        if head.closes:
            self.lose(connection, now)
        elif self.lanes is None:
            self.free.append(connection)
        else:
            self.go_on(connection, now)

    def read_head(self, text: bytes) -> _Head | None:
        """An answer's head; those of a server are mostly alike, to the byte, so the last are remembered."""
        length = _LENGTH.search(text)
        if length is None:
            return None
        if len(self.heads) >= _REMEMBERED:
            self.heads.clear()
        head = self.heads[text] = _Head(int(text[9:12]), int(length[1]), _CLOSES.search(text) is not None)
        return head

    def finish(self, index: int, status: int, now: int) -> None:
        """Note how a request ended."""
        self.latencies[index] = now - self.due[index]
        self.statuses[index] = status
        self.done += 1
        self.ended = now

    def lose(self, connection: _Connection, now: int) -> None:
        """Note the loss of a connection, and open another."""
        if connection.index >= 0:
            self.finish(connection.index, FAILED, now)
        else:
            with contextlib.suppress(ValueError):
                self.free.remove(connection)
        self.close(connection)
        with contextlib.suppress(OSError):  # fewer are left; without any the trial ends
            self.connect(connection)

    def close(self, connection: _Connection) -> None:
        """Forget a connection."""
        del self.open[connection.socket.fileno()]
        self.poll.unregister(connection.socket.fileno())
        connection.socket.close()


def generate(
    target: Target,
    payloads: Sequence[bytes],
    schedule_ns: NDArray[np.int64],
    *,
    connections: int,
    patience_s: float,
    clock: Clock,
    lanes: NDArray[np.int64] | None = None,
) -> Sent:
    """Send one request per entry of the schedule, payloads in turn.

    Args:
        target: where to.
        payloads: bodies.
        schedule_ns: times from the start, rising, shape (n,).
        connections: kept open; no more requests than these are under way.
        patience_s: after the last scheduled time, for answers that are still out.
        clock: where time comes from.
        lanes: of each request a number, shape (n,); those with the same are sent in order, each after the answer to
            the one before.

    Raises:
        OSError: no connection can be opened.
    """
    count = len(schedule_ns)
    with select.epoll() as poll:
        trial = _Trial(
            target, [target.request(body) for body in payloads], [], clock, [0] * count, [0] * count, [FAILED] * count,
            [{} for _ in payloads], poll, None if lanes is None else (lanes % connections).tolist(),
        )  # fmt: skip
        for _ in range(connections):
            trial.connect()
        origin = clock.now_ns()
        trial.due = [origin + offset for offset in schedule_ns.tolist()]
        deadline = trial.due[-1] + round(patience_s * 1e9)
        collecting = gc.isenabled()
        gc.disable()  # a collection would make requests late
        try:
            next_one = _run(trial, count, deadline)
        finally:
            if collecting:
                gc.enable()
        now = clock.now_ns()
        for connection in list(trial.open.values()):
            if connection.index >= 0:
                trial.latencies[connection.index] = now - trial.due[connection.index]
            trial.close(connection)
        waited = [index for connection in trial.links for index in connection.queue]
        for index in [*waited, *range(next_one, count)]:  # never sent
            trial.latencies[index] = max(now, trial.due[index]) - trial.due[index]
    return Sent(
        np.array(trial.latencies, dtype=np.int64),
        np.array(trial.lags, dtype=np.int64)[:next_one],
        np.array(trial.statuses, dtype=np.int16),
        tuple(trial.bodies),
        max(trial.ended, now if trial.done < count else 0) - origin,
    )


def _run(trial: _Trial, count: int, deadline: int) -> int:
    """Send and receive until all is answered or it is too late; how many were sent."""
    index, now_ns, due, free, links = 0, trial.clock.now_ns, trial.due, trial.free, trial.open
    laned = trial.lanes is not None
    while trial.done < count and links:
        now = now_ns()
        while index < count and due[index] <= now and (free or laned):
            trial.offer(index, now)
            index += 1
            now = now_ns()
        if now > deadline:
            break
        if index < count and (free or laned or trial.done == index):
            left = due[index] - now
            timeout = 0.0 if left < _SPIN_NS else (left - _SPIN_NS) * 1e-9
        else:
            timeout = 0.1
        for number, event in trial.poll.poll(timeout):
            connection = links.get(number)
            if connection is None:
                continue
            if event & select.EPOLLOUT:
                trial.resume(connection)
            if event & ~select.EPOLLOUT:
                trial.receive(connection, now_ns())
    return index
