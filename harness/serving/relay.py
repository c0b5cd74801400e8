"""From a front to the scorers and back: what came in a turn of the loop goes as one message to each scorer.

Messages are lengths and `marshal`: both ends are this very program, on a socket in a directory of its user alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import marshal
import struct
import sys
from collections.abc import Callable
from time import monotonic
from typing import Any, NamedTuple, cast
from zlib import crc32

import numpy as np

from harness.serving.admission import Admission
from harness.serving.app import App
from harness.serving.batch import defect
from harness.serving.card_keeper import CardStep
from harness.serving.card_states import Answer
from harness.serving.exchange import Done, HttpError, Reply, Request, Rows, Scoring
from harness.serving.scorer import Mask, features, finished, missing_of

_LENGTH = struct.Struct(">I")
_AGAIN_S = 0.05
MODEL, PARTS = 0, 1  # ways of scoring: the model's own, and those of a fraud model


class RowsAsked(NamedTuple):
    """Rows of several requests, scored the same way."""

    way: int
    requests: list[tuple[int, int]]  # number and rows of each
    shape: tuple[int, ...]
    values: bytes  # float32
    missing: bytes  # which values of raw rows were missing, as `Scoring.missing`; none for none


class Asked(NamedTuple):
    """What a front asks of a scorer at once."""

    since: float  # seconds of the monotonic clock, which all processes share
    rows: list[RowsAsked]
    cards: list[tuple[int, str, tuple[Any, ...], str | None]]  # number, key, transaction, identity


class Framed(asyncio.Protocol):
    """Whole messages over a stream."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of asyncio.Protocol."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Of asyncio.Protocol."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(buffer)[0]
            if len(buffer) < end:
                return
            message = marshal.loads(memoryview(buffer)[_LENGTH.size : end].tobytes())  # noqa: S302 - see the module
            del buffer[:end]
            self.came(message)

    def came(self, message: Any) -> None:
        """A whole message."""
        raise NotImplementedError

    def send(self, message: Any) -> None:
        """Send one."""
        if self.transport is not None:
            data = marshal.dumps(message)
            self.transport.write(_LENGTH.pack(len(data)) + data)


class _Waiting(NamedTuple):
    outcome: Scoring | CardStep
    done: Done
    rows: int


class Link(Framed):
    """A front's end of the connection to one scorer, opened again whenever it is lost."""

    def __init__(self, path: str, queue_rows: int) -> None:
        super().__init__()
        self.up = False
        self.admission = Admission(queue_rows=queue_rows, deadline_s=float("inf"))
        self._path = path
        self._waiting: dict[int, _Waiting] = {}
        self._next: list[tuple[int, _Waiting]] = []
        self._number = 0
        self._since = 0.0

    async def keep_open(self) -> None:
        """Connect, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            if not self.up:
                with contextlib.suppress(OSError):
                    await loop.create_unix_connection(lambda: self, self._path)
            await asyncio.sleep(_AGAIN_S)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of asyncio.Protocol."""
        super().connection_made(transport)
        self._buffer.clear()
        self.up = True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - of asyncio.Protocol
        """The scorer is gone, and what it was asked with it."""
        self.up, self.transport = False, None
        lost = [*self._waiting.values(), *(waiting for _, waiting in self._next)]
        self._waiting.clear()
        self._next.clear()
        self.admission.waiting = 0
        for waiting in lost:
            waiting.done(unavailable().reply())

    def ask(self, outcome: Scoring | CardStep, done: Done, flush: Callable[[Link], None]) -> None:
        """Ask at the end of this turn of the loop.

        Raises:
            HttpError: the scorer is away, or too much waits for it.
        """
        if not self.up:
            raise unavailable()
        rows = len(outcome.rows) if isinstance(outcome, Scoring) else 1
        self.admission.admit(rows)
        if not self._next:
            self._since = monotonic()
            asyncio.get_running_loop().call_soon(flush, self)
        self._number += 1
        self._next.append((self._number, _Waiting(outcome, done, rows)))

    def flush(self, encode: Callable[[list[Scoring]], tuple[Rows, Mask | None]]) -> None:
        """Send what was asked; ``encode`` makes the features of rows, and says which raw values were missing."""
        waiting, self._next = self._next, []
        self._waiting.update(waiting)
        cards: list[tuple[int, str, tuple[Any, ...], str | None]] = []
        ways: dict[int, list[tuple[int, Scoring]]] = {}
        for number, each in waiting:
            if isinstance(each.outcome, CardStep):
                step = each.outcome
                cards.append((number, step.key, tuple(step.given), step.identity))
            else:
                way = MODEL if each.outcome.score is None else PARTS
                ways.setdefault(way, []).append((number, each.outcome))
        rows = []
        for way, asked in ways.items():
            values, mask = encode([scoring for _, scoring in asked])
            missing = b"" if mask is None or not mask.any() else mask.tobytes()
            counts = [(number, len(scoring.rows)) for number, scoring in asked]
            rows.append(tuple(RowsAsked(way, counts, values.shape, values.tobytes(), missing)))
        self.send((self._since, rows, cards))

    def fail(self, error: Exception) -> None:
        """Of what was asked last, none could be sent."""
        reply = defect(error)
        for number in list(self._waiting):
            self._take(number).done(reply)

    def came(self, message: Any) -> None:
        """Answers: of each its number, then a `Reply`, whose body is what was scored where its status is 200."""
        for number, status, body, headers, reason in message:
            waiting = self._take(number)
            if status != 200:
                waiting.done(Reply(status, body, headers=headers, reason=reason))
                continue
            try:
                reply = _answer(waiting.outcome, waiting.rows, body)
            except Exception as error:  # noqa: BLE001 - a defect costs its request alone
                reply = defect(error)
            waiting.done(reply)

    def _take(self, number: int) -> _Waiting:
        waiting = self._waiting.pop(number)
        self.admission.waiting -= waiting.rows
        return waiting


class Relay:
    """A front's `harness.serving.batch.Batch`, whose scorers are other processes.

    Args:
        app: handles requests as far as that goes without the scorer.
        links: to the scorers; a card's is that of its key, whatever front is asked.
        home: number of the scorer for rows that have no card.
    """

    def __init__(self, app: App, links: list[Link], home: int) -> None:
        self._app, self._links, self._home = app, links, home

    def take(self, request: Request, done: Done) -> None:
        """Of `harness.serving.exchange.Takes`."""
        metrics = self._app.metrics
        metrics.in_flight += 1

        def answered(reply: Reply) -> None:
            metrics.in_flight -= 1
            done(reply)

        try:
            outcome = self._app.asked(request)
            if not isinstance(outcome, Reply):
                link = self._links[self._home if isinstance(outcome, Scoring) else owner(outcome.key, len(self._links))]
                link.ask(outcome, answered, self._flush)
                return
        except HttpError as error:
            outcome = error.reply()
        except Exception as error:  # noqa: BLE001 - a defect costs its request alone
            outcome = defect(error)
        answered(outcome)

    def take_rows(self, scoring: Scoring, done: Done) -> bool:
        """Of `harness.serving.exchange.Takes`."""
        link, count, metrics = self._links[self._home], len(scoring.rows), self._app.metrics
        if not (link.up and link.admission.has_room(count)):
            return False
        metrics.in_flight += count

        def answered(reply: Reply) -> None:
            metrics.in_flight -= count
            done(reply)

        link.ask(scoring, answered, self._flush)
        return True

    def rows_together(self) -> int:
        """All: another process scores them."""
        return sys.maxsize

    def _flush(self, link: Link) -> None:
        try:
            link.flush(lambda batch: (features(self._app.model, batch), missing_of(self._app.model, batch)))
        except Exception as error:  # noqa: BLE001 - as above
            link.fail(error)


def owner(key: str, scorers: int) -> int:
    """Which scorer holds a card: the same one for every process and every start."""
    return crc32(key.encode()) % scorers


def unavailable() -> HttpError:
    """What a request gets whose scorer is away."""
    return HttpError(503, "the scorer is starting again", (("Retry-After", "1"),), "scorer")


def _answer(outcome: Scoring | CardStep, rows: int, body: bytes) -> Reply:
    if isinstance(outcome, CardStep):
        return outcome.finish(Answer(*marshal.loads(body)))  # noqa: S302 - see the module
    scores = np.frombuffer(body, dtype=np.float32)
    return finished(outcome, scores if outcome.score is None else scores.reshape(rows, -1))
