"""The fraud document's routes: ``POST /predict`` for records at once, ``POST /predict_stream`` for transactions singly.

Requests and answers have the document's shapes; its sample client works unchanged. Corrected against its server: an
error of the client is status 400 and names the field; the number of cards is bounded; a transaction that is sent again
under its identity does not shift the window; what is no date is an error; weights are checked; a transaction that is
refused for want of time was not taken into its card's window.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.datasets.card_features import CardPast
from harness.datasets.card_rows import CardEncoder, Transaction
from harness.serving import transactions
from harness.serving.admission import Admission
from harness.serving.card_keeper import CardKeeper, CardStep, finite
from harness.serving.card_log import CardLog
from harness.serving.card_states import Answer, CardStates, card_bytes
from harness.serving.exchange import HttpError, Reply, Request, Rows, Scoring, to_json
from harness.serving.fraud_parts import Parts
from harness.serving.json_input import field_error, parse_object, take
from harness.serving.transactions import Group

MOST_RECORDS = 4096
_PADS = ("none", "repeat", "zero")


class _Wishes(NamedTuple):
    """How a request wants its answer."""

    weights: tuple[float, float] | None  # of LSTM and trees; None: the model's own
    threshold: float | None
    components: bool


class _End(NamedTuple):
    """The transaction that ends a window."""

    group: Group
    place: int  # among the records
    minute: int
    identity: str | int | None


class Fraud:
    """The routes for one model.

    Args:
        parts: scores windows.
        encoder: of raw transactions.
        states: of cards.
        admission: refuses what would be late, before a card's window takes it.
        lenient_dates: what is no date becomes 1970-01-01, as in the document's server.
    """

    def __init__(
        self, parts: Parts, encoder: CardEncoder, states: CardStates, admission: Admission, *, lenient_dates: bool
    ) -> None:
        self.states = states
        self.log: CardLog | None = None
        self.keeper = CardKeeper(encoder, states, admission, parts.score, parts.advances(states.most))
        self.parts, self._encoder = parts, encoder
        self._lenient = lenient_dates

    @property
    def settle(self) -> Callable[[], None] | None:
        """Of `harness.serving.batch.Handlers`: waits until the disk has the log, where that is asked for."""
        return self.log.sync if self.log is not None and self.log.durable else None

    @property
    def card_bytes(self) -> int:
        """Memory of a card, about."""
        history, open_bytes = self._encoder.history, self.parts.open_bytes
        return card_bytes(self.states.steps, self.states.width, history=history, open_bytes=open_bytes)

    def describe(self, cards: int) -> dict[str, Any]:
        """For ``GET /health``, with the document's keys; ``cards`` are kept now."""
        return {
            "sequence_length": self.states.steps,
            "num_features": self.states.width,
            "weights": dict(zip(("lstm", "xgb"), self.parts.weights, strict=True)),
            "scoring": {
                "backend": self.parts.backend,
                "predict": "windows",
                "predict_stream": "steps" if self.parts.open_bytes else "windows",
            },
            "expected_columns": transactions.EXPECTED_COLUMNS,
            "cards": cards,
            "most_cards": self.states.most,
        }

    def predict(self, request: Request) -> Reply | Scoring:
        """``POST /predict``: every window of the records, each group in the order of time; no card's state is used."""
        document = parse_object(request.body)
        records = take(document, "records", list, "a list of transactions")
        if not records:
            return _none("No rows received")
        if len(records) > MOST_RECORDS:
            raise HttpError(413, f"records: {len(records)} of them; at most {MOST_RECORDS} are taken")
        wishes, pad = self._wishes(document), document.get("pad_policy", "none")
        if pad not in _PADS:
            raise field_error("pad_policy", f"one of {', '.join(_PADS)}", pad)
        windows, ends = self._windows(document, records, pad)
        if not windows:
            return _none("Not enough rows per group to form sequences")

        def finish(scores: NDArray[np.float32]) -> Reply:
            predictions = []
            for values, end in zip(scores[:, :3].tolist(), ends, strict=True):
                place = {"group": end.group, "end_index": end.place, "end_time": transactions.shown_time(end.minute)}
                predictions.append({**self._shown(finite(values), wishes), **place, "end_id": end.identity})
            return Reply(200, to_json({"predictions": predictions, "sequence_length": self.states.steps}))

        return Scoring(np.stack(windows), finish, self.parts.score)

    def predict_stream(self, request: Request) -> CardStep:
        """``POST /predict_stream``: the next transaction of a card, taken into its window."""
        document = parse_object(request.body)
        record = take(document, "record", dict, "an object")
        wishes, keys = self._wishes(document), transactions.group_keys(document)
        given = transactions.transaction(record, "record", lenient_dates=self._lenient)
        group = transactions.group_of(record, keys, "record")
        name = self._identity(document, record, "record")

        def finish(answer: Answer) -> Reply:
            return self._answered(answer, group, wishes)

        return CardStep(transactions.key_of(group), given, None if name is None else repr(name), finish)

    def _answered(self, answer: Answer, group: Group, wishes: _Wishes) -> Reply:
        late = {"out_of_order": True} if answer.late else {}
        if answer.have < self.states.steps:
            need = self.states.steps - answer.have
            return Reply(
                200, to_json({"status": "buffering", "group": group, "have": answer.have, "need": need, **late})
            )
        assert answer.scores is not None
        shown = self._shown(answer.scores, wishes)
        ordered = {name: shown[name] for name in ("p_ensemble", "label", "p_lstm", "p_xgb")}
        return Reply(200, to_json({"status": "ok", "group": group, **ordered, **late}))

    def _windows(self, document: dict[str, Any], records: list[Any], pad: str) -> tuple[list[Rows], list[_End]]:
        """Windows of the records and what ends each, group by group."""
        keys, steps = transactions.group_keys(document), self.states.steps
        groups: dict[str, list[tuple[Transaction, _End]]] = {}
        for index, record in enumerate(records):
            path = f"records[{index}]"
            given = transactions.transaction(record, path, lenient_dates=self._lenient)
            group = transactions.group_of(record, keys, path)
            end = _End(group, index, given.minute, self._identity(document, record, path, default=None))
            groups.setdefault(transactions.key_of(group), []).append((given, end))
        windows: list[Rows] = []
        ends: list[_End] = []
        for members in sorted(groups.values(), key=_by_values):
            members.sort(key=lambda member: member[0].minute)
            rows = self._encoder.encode([given for given, _ in members], [CardPast()] * len(members))
            if len(rows) < steps and pad != "none":
                first = rows[:1] if pad == "repeat" else np.zeros_like(rows[:1])
                rows = np.concatenate((np.repeat(first, steps - len(rows), axis=0), rows))
            count = max(0, len(rows) - steps + 1)
            windows += [rows[start : start + steps] for start in range(count)]
            ends += [end for _, end in members[len(members) - count :]]
        return windows, ends

    def _identity(
        self, document: dict[str, Any], record: dict[str, Any], path: str, default: str | None = "TransactionID"
    ) -> str | int | None:
        name = document.get("id_field", default)
        if name is None:
            return None
        if not isinstance(name, str):
            raise field_error("id_field", "the name of a column", name)
        return transactions.identity(record, name, path)

    def _wishes(self, document: dict[str, Any]) -> _Wishes:
        threshold = document.get("threshold")
        if threshold is not None:
            threshold = _finite_number("threshold", threshold)
        components = document.get("return_components", False)
        if components is not None and not isinstance(components, bool):
            raise field_error("return_components", "true or false", components)
        return _Wishes(self._weights(document.get("weights")), threshold, bool(components))

    def _weights(self, given: Any) -> tuple[float, float] | None:
        if not given:  # the document's default, for null and an empty object too
            return None
        if not isinstance(given, dict):
            raise field_error("weights", "an object with lstm and xgb", given)
        weights = [_finite_number(f"weights.{name}", given.get(name, 0.5)) for name in ("lstm", "xgb")]
        if min(weights) < 0:
            raise field_error("weights", "no weight below zero", given)
        used = [weight for weight, own in zip(weights, self.parts.weights, strict=True) if own is not None]
        if not 0 < sum(used) < float("inf"):
            raise field_error("weights", f"a positive sum of {' and '.join(self.parts.names)}", given)
        return weights[0], weights[1]

    def _shown(self, values: tuple[float | None, ...], wishes: _Wishes) -> dict[str, Any]:
        """What is said of a window of `Parts.score`."""
        ensemble, lstm, trees = values
        if wishes.weights is not None:
            present = [(p, w) for p, w in zip((lstm, trees), wishes.weights, strict=True) if p is not None]
            ensemble = sum(p * w for p, w in present) / sum(w for _, w in present)
        if ensemble is None:
            raise HttpError(500, "the score is not finite")
        label = None if wishes.threshold is None else int(ensemble >= wishes.threshold)
        lstm, trees = (p if wishes.components else None for p in (lstm, trees))
        return {"p_ensemble": ensemble, "label": label, "p_lstm": lstm, "p_xgb": trees}


def _none(note: str) -> Reply:
    return Reply(200, to_json({"predictions": [], "note": note}))


def _finite_number(path: str, value: Any) -> float:
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
            return float(value)
    except OverflowError:
        value = str(value)
    raise field_error(path, "a finite number", value)


def _by_values(members: list[tuple[Transaction, _End]]) -> list[tuple[bool, str | int]]:
    """The order of groups, as pandas has it."""
    return [(isinstance(value, str), value) for value in members[0][1].group.values()]
