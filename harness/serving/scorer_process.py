"""A scorer of a server with several fronts: ``python -m harness.serving.scorer_process DIR NUMBER``.

It alone has the model at work and the states of its cards; fronts reach it over a socket in the directory.
"""

from __future__ import annotations

import asyncio
import json
import marshal
import sys
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import numpy as np

from harness.datasets.card_rows import Transaction
from harness.decode import encode
from harness.serving.admission import Admission, refusal
from harness.serving.batch import Batch
from harness.serving.card_keeper import CardStep
from harness.serving.card_states import Answer
from harness.serving.cards import keep_cards, open_fraud
from harness.serving.exchange import Reply, Scoring
from harness.serving.fraud import Fraud
from harness.serving.loop import ended, new_loop, on_commands, settle
from harness.serving.metrics import Metrics
from harness.serving.model import Options, ServedModel
from harness.serving.relay import PARTS, Asked, Framed, RowsAsked
from harness.serving.scorer import Scorer
from harness.serving.shared import PUBLISHED_S, SCORER, Shared, made_anew, name_of, socket_of
from harness.serving.spec import ServeSpec, asked_of, part_of


class _Item(NamedTuple):
    """What a request asks for."""

    since: float
    rows: Any = None  # (n, ...) float32
    missing: Any = None  # as `Scoring.missing`
    way: int = 0
    card: tuple[str, tuple[Any, ...], str | None] | None = None


class Handlers:
    """Items to what a `Batch` takes."""

    def __init__(
        self, spec: ServeSpec, model: ServedModel, fraud: Fraud | None, admission: Admission, own: str | None = None
    ) -> None:
        self.metrics = Metrics(own, model.score_bounds, answers=False)
        self._scorer = Scorer(model, admission, self.metrics, spec.drift_window)
        self._fraud, self._admission, self._deadline_s = fraud, admission, spec.deadline_s
        self.drift = self._scorer.drift
        self.score = self._scorer.score
        self.settle = None if fraud is None else fraud.settle

    def handle(self, item: _Item) -> Reply | Scoring:
        """A payload for the front, or rows that are to be scored first.

        Raises:
            HttpError: it would be late, or is late already.
        """
        if monotonic() - item.since > self._deadline_s:
            raise refusal("deadline", 1)
        if item.card is not None:
            assert self._fraud is not None
            key, given, identity = item.card
            return self._fraud.keeper.take(CardStep(key, Transaction(*given), identity, _answer))
        self._admission.admit(len(item.rows))
        way = self._fraud.parts.score if item.way == PARTS and self._fraud is not None else None
        return Scoring(item.rows, lambda scores: Reply(200, scores.tobytes()), way, admitted=True, missing=item.missing)


def _answer(answer: Answer) -> Reply:
    return Reply(200, marshal.dumps((answer.have, answer.late, answer.scores)))


class FrontEnd(Framed):
    """One front's connection; its answers of a turn of the loop go together."""

    def __init__(self, batch: Batch[_Item]) -> None:
        super().__init__()
        self._batch = batch
        self._answers: list[tuple[int, int, bytes, tuple[tuple[str, str], ...], str]] = []

    def came(self, message: Any) -> None:
        """Of `Framed`."""
        asked = Asked(*message)
        for part in asked.rows:
            rows = RowsAsked(*part)
            values, start = np.frombuffer(bytearray(rows.values), dtype=np.float32).reshape(rows.shape), 0
            missing = np.frombuffer(rows.missing, dtype=np.bool_).reshape(len(values), -1) if rows.missing else None
            for number, count in rows.requests:
                mask = None if missing is None else missing[start : start + count]
                self._take(number, _Item(asked.since, values[start : start + count], mask, rows.way))
                start += count
        for number, key, given, identity in asked.cards:
            self._take(number, _Item(asked.since, card=(key, given, identity)))

    def _take(self, number: int, item: _Item) -> None:
        def done(reply: Reply) -> None:
            if not self._answers:
                asyncio.get_running_loop().call_soon(self._flush)
            self._answers.append((number, reply.status, reply.body, reply.headers, reply.reason))

        self._batch.take(item, done)

    def _flush(self) -> None:
        answers, self._answers = self._answers, []
        self.send(answers)


async def _serve(directory: Path, number: int, handlers: Handlers, fraud: Fraud | None) -> None:
    if fraud is not None:
        handlers.metrics.streams = fraud.states.counts
    shared = Shared(directory, name_of(SCORER, number))
    if (before := shared.go_on(handlers.metrics, 0 if fraud is None else len(fraud.states))) is not None:
        handlers.drift.go_on(before)
    batch: Batch[_Item] = Batch(handlers)

    def publish() -> None:
        if fraud is not None:
            handlers.metrics.cards = len(fraud.states)
        handlers.drift.catch_up()
        in_flight, handlers.metrics.in_flight = handlers.metrics.in_flight, 0  # the fronts count them
        shared.publish(handlers.metrics, handlers.drift.state())
        handlers.metrics.in_flight = in_flight

    publish()
    loop = asyncio.get_running_loop()
    stop, at_once = on_commands(loop)
    path = made_anew(socket_of(directory, number))
    server = await loop.create_unix_server(lambda: FrontEnd(batch), str(path))
    parts = None if fraud is None else encode(fraud.parts.elsewhere)
    print(json.dumps({"parts": parts}), flush=True)
    ending = {asyncio.create_task(event.wait()) for event in (stop, at_once)}
    while not (await asyncio.wait(ending, timeout=PUBLISHED_S, return_when=asyncio.FIRST_COMPLETED))[0]:
        publish()
    for each in ending:
        each.cancel()
    publish()
    server.close()


def main(directory: Path, number: int) -> int:
    """Score until a signal; then keep the cards where the spec says so."""
    spec, placement = asked_of(directory, f"{SCORER}-{number}")
    spec = part_of(spec, directory, number)
    options = Options(spec.thresholds, spec.as_published)
    model = ServedModel.open(Path(spec.bundle), spec.backend, len(placement.cpus), options)
    admission = Admission(queue_rows=spec.queue_rows * spec.fronts, deadline_s=spec.deadline_s)
    fraud = open_fraud(spec, model, admission)
    handlers = Handlers(spec, model, fraud, admission, name_of(SCORER, number))
    loop = new_loop()
    asyncio.set_event_loop(loop)
    settle()
    try:
        loop.run_until_complete(_serve(directory, number, handlers, fraud))
    finally:
        loop.close()
    if fraud is not None:
        keep_cards(spec, fraud)
    return 0


if __name__ == "__main__":
    sys.exit(ended(lambda: main(Path(sys.argv[1]), int(sys.argv[2]))))
