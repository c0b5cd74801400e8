"""Streams of card transactions: the document's requests and answers, and the scores of the window model."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from support.bundles import Saved, saved
from support.cards import samples, stream

from harness.datasets import card_features
from harness.datasets.cards import Transactions
from harness.datasets.table import categorical_of
from harness.detectors.fraud_ensemble import FraudEnsemble
from harness.errors import InputError
from harness.linalg import native
from harness.serving import card_log
from harness.serving.admission import Admission
from harness.serving.app import App
from harness.serving.batch import RequestBatch
from harness.serving.card_load import CardLoad, room_for
from harness.serving.card_log import CardLog, remove_parts
from harness.serving.card_snapshot import model_digest, restore, save
from harness.serving.card_states import CardStates
from harness.serving.cards import open_fraud, writable
from harness.serving.check import example
from harness.serving.exchange import HttpError, Reply, Request, Scoring, to_json
from harness.serving.fraud import Fraud
from harness.serving.fraud_parts import Parts
from harness.serving.generator import FAILED, Sent
from harness.serving.model import Options, ServedModel
from harness.serving.spec import ServeSpec

QUICK = {"epochs": 1, "hidden": (12, 6), "n_estimators": 5}
STEPS = 7


class Now:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.seconds = 1e9

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    return saved(tmp_path_factory.mktemp("fraud") / "bundle", "fraud-ensemble", QUICK, "tabformer", stride=5, rows=6000)


@pytest.fixture(scope="module")
def model(kept: Saved, request: pytest.FixtureRequest) -> ServedModel:
    return ServedModel.open(kept.directory, getattr(request, "param", "eager"), 1)


# windows scored whole, by torch; and by what each card has open, natively where the kernels are built
BOTH = pytest.mark.parametrize("model", ["eager", "onnxruntime"], indirect=True)


def served(model: ServedModel, *, most: int = 100, ttl_s: float = 1e6, clock: Callable[[], float] | None = None) -> App:
    admission = Admission(queue_rows=5000, deadline_s=100)
    assert model.cards is not None
    states = CardStates(most, ttl_s, model.steps or 1, model.cards.features, clock or Now())
    fraud = Fraud(Parts(model), model.cards, states, admission, lenient_dates=False)
    return App(model, apis=("documents", "v2"), admission=admission, drift_window=100, token=None, fraud=fraud)


def handled(app: App, path: str, document: Any) -> Reply | Scoring:
    try:
        return app.handle(Request("POST", path, {}, json.dumps(document).encode(), True))
    except HttpError as error:
        return error.reply()


def ask(app: App, path: str, document: Any) -> tuple[int, Any]:
    outcome = handled(app, path, document)
    reply = app.score([outcome])[0] if isinstance(outcome, Scoring) else outcome
    return reply.status, json.loads(reply.body)


def expected_features(
    rows: list[dict[str, Any]], kept: Saved, of: Callable[[Transactions], pd.DataFrame] = card_features.history
) -> tuple[np.ndarray, np.ndarray]:
    """Features as training makes them, of a table of all transactions, by the data set's own code; and their cards."""
    cards = {name: number for number, name in enumerate(dict.fromkeys(row["Card"] for row in rows))}
    times = pd.to_datetime([f"{row['Year']}-{row['Month']}-{row['Day']} {row['Time']}" for row in rows])
    frame = pd.DataFrame(
        {
            "user": 0,
            "card": [cards[row["Card"]] for row in rows],
            "minute": (times - pd.Timestamp(0)) // pd.Timedelta(minutes=1),
            "amount": [float(row["Amount"]) for row in rows],
            "mcc": [row.get("MCC", "") for row in rows],
        }
    )
    names = {"chip": "Use Chip", "merchant": "Merchant Name", "city": "Merchant City", "state": "Merchant State"}
    for name, raw in {**names, "errors": "Errors?"}.items():
        frame[name] = categorical_of([str(row.get(raw) or "") for row in rows])
    frame = frame.sort_values(["card"], kind="stable", ignore_index=True)
    assert kept.data.encoder is not None
    return kept.data.encoder.transform(of(Transactions(frame, len(frame)))), frame["card"].to_numpy()


def window_scores(rows: list[dict[str, Any]], kept: Saved) -> dict[int, np.ndarray]:
    """Of each card, the detector's own scores of its windows."""
    features, card = expected_features(rows, kept)
    scores = {}
    for number in np.unique(card):
        part = features[card == number]
        if len(part) >= STEPS:
            windows = sliding_window_view(part, STEPS, axis=0).transpose(0, 2, 1)
            scores[int(number)] = kept.detector.decision_function(np.ascontiguousarray(windows))
    return scores


@BOTH
def test_the_documents_nine_transactions_are_answered_in_its_shapes(model: ServedModel, kept: Saved) -> None:
    app, group = served(model), {"User": "U2", "Card": "C9"}
    answers = []
    for row in samples():
        status, answer = ask(app, "/predict_stream", stream(row))
        assert status == 200
        answers.append(answer)
    for count, answer in enumerate(answers[:6], 1):
        assert answer == {"status": "buffering", "group": group, "have": count, "need": 7 - count}
    expected = window_scores(samples(), kept)[0]
    for answer, score in zip(answers[6:], expected, strict=True):
        assert list(answer) == ["status", "group", "p_ensemble", "label", "p_lstm", "p_xgb"]
        assert (answer["status"], answer["group"]) == ("ok", group)
        assert answer["p_ensemble"] == pytest.approx(float(score), abs=1e-6)
        assert answer["p_ensemble"] == pytest.approx((answer["p_lstm"] + answer["p_xgb"]) / 2, abs=1e-6)
        assert answer["label"] == int(answer["p_ensemble"] >= 0.472982)


@BOTH
def test_records_at_once_give_the_windows_of_the_stream(model: ServedModel) -> None:
    app = served(model)
    ids = [row | {"TransactionID": f"t{i}"} for i, row in enumerate(samples())]
    request = {"records": ids[::-1], "threshold": 0.4, "return_components": True, "id_field": "TransactionID"}
    status, answer = ask(app, "/predict", request)
    assert status == 200
    assert answer["sequence_length"] == 7
    ends = [(each["end_index"], each["end_time"], each["end_id"]) for each in answer["predictions"]]
    assert ends == [
        (2, "2024-08-07 15:42:00", "t6"), (1, "2024-08-08 16:49:00", "t7"), (0, "2024-08-09 17:56:00", "t8"),
    ]  # fmt: skip
    keys = ["p_ensemble", "label", "p_lstm", "p_xgb", "group", "end_index", "end_time", "end_id"]
    assert all(list(each) == keys for each in answer["predictions"])
    streamed = [ask(app, "/predict_stream", stream(row))[1] for row in samples()][6:]
    for each, other in zip(answer["predictions"], streamed, strict=True):
        assert each["p_ensemble"] == pytest.approx(other["p_ensemble"], abs=1e-6)


@BOTH
def test_records_that_make_no_window_are_padded_or_said(model: ServedModel, kept: Saved) -> None:
    app = served(model)
    assert ask(app, "/predict", {"records": []}) == (200, {"predictions": [], "note": "No rows received"})
    short = {"records": samples(count=3)}
    assert ask(app, "/predict", short)[1]["note"] == "Not enough rows per group to form sequences"
    features, _ = expected_features(samples(count=3), kept)
    for policy, first in (("repeat", features[:1]), ("zero", np.zeros_like(features[:1]))):
        window = np.concatenate((np.repeat(first, 4, axis=0), features))[None]
        (prediction,) = ask(app, "/predict", {**short, "pad_policy": policy})[1]["predictions"]
        assert prediction["p_ensemble"] == pytest.approx(float(kept.detector.decision_function(window)[0]), abs=1e-6)
        assert (prediction["p_lstm"], prediction["label"]) == (None, None)


@BOTH
def test_weights_are_the_requests(model: ServedModel) -> None:
    app = served(model)
    for row in samples():
        ask(app, "/predict_stream", stream(row))
    request = {"records": samples(), "return_components": True}
    for weights, share in (({"lstm": 1, "xgb": 0}, 1.0), ({"lstm": 1, "xgb": 3}, 0.25), ({"lstm": 0.5}, 0.5)):
        for each in ask(app, "/predict", {**request, "weights": weights})[1]["predictions"]:
            assert each["p_ensemble"] == pytest.approx(share * each["p_lstm"] + (1 - share) * each["p_xgb"], abs=1e-6)


@BOTH
def test_health_says_what_scores(model: ServedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    natively = model.backend != "eager" and native.missing() is None
    app, calls = served(model), []
    answer = app.handle(Request("GET", "/health", {}, b"", True))
    assert isinstance(answer, Reply)
    way = ("native", "steps") if natively else ("eager", "windows")
    expected = {"backend": way[0], "predict": "windows", "predict_stream": way[1]}
    assert json.loads(answer.body)["scoring"] == expected
    torch = FraudEnsemble.probabilities
    monkeypatch.setattr(FraudEnsemble, "probabilities", lambda self, X: calls.append(len(X)) or torch(self, X))
    assert ask(app, "/predict", {"records": samples()})[0] == 200
    assert calls == ([] if natively else [3])


@BOTH
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_scores_are_the_window_models_whatever_the_interleaving(
    data: st.DataObject, model: ServedModel, kept: Saved
) -> None:
    cards = {f"C{number}": samples(f"C{number}", count) for number, count in enumerate((9, 8, 3))}
    for rows in cards.values():
        for row in rows:
            row["Merchant Name"] = f"Shop {data.draw(st.integers(0, 2))}"
            row["Use Chip"] = data.draw(st.sampled_from(["Swipe Transaction", "Online Transaction", "No"]))
            row["Amount"] = str(data.draw(st.integers(-5000, 50000)) / 100)
            row["MCC"] = data.draw(st.sampled_from(["5411", "7"]))
    order = data.draw(st.permutations([name for name, rows in cards.items() for _ in rows]))
    app, at, answers = served(model, most=3), dict.fromkeys(cards, 0), {name: [] for name in cards}
    waiting: list[tuple[str, Scoring]] = []

    def flush() -> None:
        if waiting:
            for (name, _), reply in zip(waiting, app.score([scoring for _, scoring in waiting]), strict=True):
                answers[name].append(json.loads(reply.body))
            waiting.clear()

    for name in order:
        outcome = handled(app, "/predict_stream", stream(cards[name][at[name]]))
        at[name] += 1
        if isinstance(outcome, Scoring):
            waiting.append((name, outcome))
        if data.draw(st.booleans()):  # the loop turns
            flush()
    flush()
    for name, rows in cards.items():
        expected = window_scores(rows, kept).get(0, np.empty(0))
        np.testing.assert_allclose([each["p_ensemble"] for each in answers[name]], expected, atol=2e-6)


@BOTH
def test_a_transaction_sent_again_is_answered_as_before(model: ServedModel) -> None:
    app = served(model)
    first = [ask(app, "/predict_stream", stream(row | {"TransactionID": i})) for i, row in enumerate(samples(count=8))]
    for i in (7, 6, 1):
        assert ask(app, "/predict_stream", stream(samples()[i] | {"TransactionID": i})) == first[i]
    with_text = ask(app, "/predict_stream", stream(samples()[0] | {"TransactionID": "7"}))  # another identity
    assert with_text[1]["status"] == "ok"
    assert with_text[1]["out_of_order"] is True
    assert app.fraud is not None
    assert (app.fraud.states.counts.duplicates, app.fraud.states.counts.out_of_order) == (3, 1)


@BOTH
def test_a_retry_that_overtakes_the_scorer_does_not_shift_the_window(model: ServedModel) -> None:
    app, plain = served(model), served(model)
    rows = [row | {"TransactionID": i} for i, row in enumerate(samples())]
    for row in rows[:6]:
        ask(app, "/predict_stream", stream(row))
    batch = [handled(app, "/predict_stream", stream(row)) for row in (rows[6], rows[6], rows[7], rows[6])]
    replies = [json.loads(reply.body) for reply in app.score(batch)]
    expected = [ask(plain, "/predict_stream", stream(row))[1] for row in rows[:8]]
    for reply, other in zip(replies, [expected[6], expected[6], expected[7], expected[6]], strict=True):
        assert reply["p_ensemble"] == pytest.approx(other["p_ensemble"], abs=1e-6)


def test_a_refused_transaction_was_not_taken(model: ServedModel) -> None:
    app = served(model)
    for row in samples(count=6):
        ask(app, "/predict_stream", stream(row))
    app.admission.waiting = 5000
    assert ask(app, "/predict_stream", stream(samples()[6]))[0] == 503
    app.admission.waiting = 0
    plain = served(model)
    expected = [ask(plain, "/predict_stream", stream(row))[1] for row in samples(count=7)][-1]
    assert ask(app, "/predict_stream", stream(samples()[6]))[1] == expected


@BOTH
def test_evictions_are_exact_and_an_evicted_card_begins_anew(model: ServedModel) -> None:
    now = Now()
    app = served(model, most=3, ttl_s=60, clock=now)
    assert app.fraud is not None
    states = app.fraud.states

    def send(card: str) -> int:
        return ask(app, "/predict_stream", stream(samples(card)[0]))[1]["have"]

    assert [send(card) for card in "abcab"] == [1, 1, 1, 2, 2]
    assert send("d") == 1  # c was used longest ago
    assert list(states.cards) == [f'[["User","U2"],["Card","{card}"]]' for card in "abd"]
    assert send("c") == 1  # and a after it
    assert send("a") == 1
    assert dict(states.counts.evicted) == {"capacity": 3}
    now.seconds += 59.9
    assert send("d") == 2
    now.seconds += 0.1
    text = app.handle(Request("GET", "/metrics", {}, b"", True))
    assert isinstance(text, Reply)
    metrics = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.body.decode()) for sample in family.samples
    }  # fmt: skip
    assert metrics["lparbench_stream_keys",] == 1
    assert metrics["lparbench_stream_evictions_total", "capacity"] == 3
    assert metrics["lparbench_stream_evictions_total", "ttl"] == 2
    assert send("d") == 3


@BOTH
def test_a_snapshot_gives_every_card_back(model: ServedModel, kept: Saved, tmp_path: Path) -> None:
    now = Now()
    before, whole = served(model, clock=now), served(model, clock=now)
    rows = [row | {"TransactionID": f"{row['Card']}{i}"} for c in "ab" for i, row in enumerate(samples(c))]
    for row in (*rows[:8], *rows[9:12]):
        assert ask(before, "/predict_stream", stream(row)) == ask(whole, "/predict_stream", stream(row))
    digest, path = model_digest(kept.directory), tmp_path / "cards.state"
    assert before.fraud is not None
    assert save(before.fraud.states, path, digest) == 2
    content = path.read_bytes()
    for other, text in (("0" * 64, "another model"), (digest, "or is damaged")):
        path.write_bytes(content if other != digest else content[:-100])
        with pytest.raises(InputError, match=text):
            restore(served(model).fraud.states, path, other)  # type: ignore[union-attr]
    path.write_bytes(content)
    after = served(model, clock=now)
    assert after.fraud is not None
    assert restore(after.fraud.states, path, digest) == 2
    assert path.exists()  # until its cards are elsewhere
    assert list(after.fraud.states.cards) == list(before.fraud.states.cards)
    assert ask(after, "/predict_stream", stream(rows[7])) == ask(whole, "/predict_stream", stream(rows[7]))
    for row in (rows[8], *rows[12:]):
        assert ask(after, "/predict_stream", stream(row)) == ask(whole, "/predict_stream", stream(row))


def test_a_process_that_is_killed_while_it_takes_cards_over_loses_none(
    model: ServedModel, kept: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, before = tmp_path / "cards.state", served(model, clock=time.time)
    for card in "abc":
        ask(before, "/predict_stream", stream(samples(card)[0]))
    assert before.fraud is not None
    assert save(before.fraud.states, path, model_digest(kept.directory)) == 3
    spec, admission = ServeSpec(str(kept.directory), keys=50, state=str(path)), Admission(queue_rows=9, deadline_s=9)
    sweep, swept = CardLog._sweep, list[int]()

    def killed(log: CardLog) -> None:
        if len(swept) == 2:
            raise KeyboardInterrupt
        swept.append(1)
        sweep(log)

    with monkeypatch.context() as patch:
        patch.setattr(CardLog, "_sweep", killed)
        with pytest.raises(KeyboardInterrupt):
            open_fraud(spec, model, admission)
    assert path.exists()  # the log has two cards of three
    fraud = open_fraud(spec, model, admission)
    assert fraud is not None
    assert len(fraud.states) == 3
    assert sorted(each.name for each in tmp_path.iterdir()) == ["cards.state.log0-2", "cards.state.restored"]


def test_a_load_of_cards_knows_what_every_answer_has_to_be(model: ServedModel) -> None:
    app, load = served(model), CardLoad(model, 12, 1.0, 3, "load-")

    def played(count: int, refused: frozenset[int] = frozenset()) -> Sent:
        bodies, cards = load.draw(count)
        assert len(bodies) == len(cards) == count
        statuses, answers = np.full(count, 200, dtype=np.int16), []
        for index, body in enumerate(bodies):
            app.admission.waiting = 10**6 if index in refused else 0
            try:
                outcome = app.handle(Request("POST", "/predict_stream", {}, body, True))
                reply = app.score([outcome])[0] if isinstance(outcome, Scoring) else outcome
            except HttpError as error:
                reply = error.reply()
            statuses[index] = reply.status
            answers.append({reply.body: 1} if reply.status == 200 else {})
        zeros = np.zeros(count, dtype=np.int64)
        return Sent(zeros, zeros, statuses, tuple(answers), 1)

    assert load.different(played(60)) == 0
    before = load.scored
    assert before > 0
    sent = played(80, refused=frozenset(range(3, 80, 7)))
    assert set(sent.statuses.tolist()) == {200, 503}
    assert load.different(sent) == 0  # what was refused is in no window
    assert load.scored > before
    sent = played(40)
    scored = [index for index, body in enumerate(sent.bodies) if b'"ok"' in next(iter(body))]
    wrong = json.loads(next(iter(sent.bodies[scored[0]])))
    wrong["p_ensemble"] += 0.001
    answers = list(sent.bodies)
    answers[scored[0]], answers[scored[1]] = {json.dumps(wrong).encode(): 1}, {b'{"status":"buffering","have":1}': 1}
    sent.statuses[scored[-1]] = FAILED  # nobody knows whether it was taken: its card is of no more use
    lost = load._sent[scored[-1]][0]
    assert load.different(Sent(sent.latencies_ns, sent.lags_ns, sent.statuses, tuple(answers), 1)) == 2
    assert not load._cards[lost].known
    big = CardLoad(model, 1000, 1.1, 1, "x")
    _, ranks = big.draw(4000)
    counts, shares = np.bincount(ranks, minlength=1000), np.arange(1, 1001) ** -1.1
    expected = 4000 * shares / shares.sum()
    assert ((counts - expected) ** 2 / expected)[:50].sum() < 86  # chi-squared, 50 degrees, 0.1 %
    with pytest.raises(InputError, match="keeps 50 at most"):
        room_for({"most_cards": 50}, 51)
    with pytest.raises(InputError, match="does not say that it keeps cards"):
        room_for(None, 1)


class Going(Now):
    """A clock that goes on with every look, so that no two uses of cards are at the same time."""

    def __call__(self) -> float:
        self.seconds += 1e-3
        return self.seconds


def logged(app: App, path: Path, digest: str = "m", part: str = "0/1") -> int | None:
    """A server whose cards are in a log; how many it took over."""
    assert app.fraud is not None
    app.fraud.log = CardLog(path, app.fraud.keeper, digest, part)
    recovered = app.fraud.log.recover()
    app.fraud.log.begin()
    return recovered


def held(app: App) -> list[Any]:
    """All that is known of every card."""
    assert app.fraud is not None
    states = app.fraud.states
    return [
        (key, card.seen, card.latest, card.used, card.past.minute, list(card.past.seen.items()), list(card.answers),
         states.rows(card).tolist())
        for key, card in states.cards.items()
    ]  # fmt: skip


@BOTH
def test_cards_come_back_whenever_the_process_is_killed(
    model: ServedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after any transaction, with files that are replaced all the time: as if it had not been."""
    monkeypatch.setattr(card_log, "_LEAST_BYTES", 3000)
    rng, path, clock = np.random.default_rng(5), tmp_path / "cards.log0", Going()
    app, whole = served(model, most=6, ttl_s=2.0, clock=clock), served(model, most=6, ttl_s=2.0, clock=Going())
    assert logged(app, path) is None
    assert whole.fraud is not None
    sent: list[dict[str, Any]] = []
    for number in range(240):
        card = f"C{rng.integers(9)}"
        row = samples(card)[number % 9] | {"TransactionID": number}
        if sent and rng.random() < 0.15:
            row = sent[-int(rng.integers(1, min(4, len(sent)) + 1))]  # again
        sent.append(row)
        whole.fraud.states._clock.seconds = clock.seconds  # type: ignore[attr-defined]
        mine, its = (ask(each, "/predict_stream", stream(row)) for each in (app, whole))
        assert (mine[0], mine[1].keys()) == (its[0], its[1].keys())
        assert mine[1].get("p_ensemble") == pytest.approx(its[1].get("p_ensemble"), abs=1e-6)
        if rng.random() < 0.3:
            with path.with_name(sorted(each.name for each in tmp_path.iterdir())[-1]).open("ab") as file:
                file.write(b'0badbeef {"kind":"taken","key":')  # it died within a line
            app = served(model, most=6, ttl_s=2.0, clock=clock)
            assert logged(app, path) is not None
            assert held(app) == held(whole)
    assert sum(each.stat().st_size for each in tmp_path.iterdir()) < 200_000
    assert sum(whole.fraud.states.counts.evicted.values()) > 20
    assert app.fraud is not None
    assert app.fraud.log is not None
    app.fraud.log.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_is_not_of_these_cards_is_not_taken_for_theirs(
    model: ServedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cards[1].log0"
    for part in ("0/2", "1/2"):
        app = served(model)
        logged(app, path.with_name(f"cards[1].log{part[0]}"), part=part)
        assert ask(app, "/predict_stream", stream(samples()[0]))[0] == 200
    with pytest.raises(InputError, match="of another model"):
        logged(served(model), path, "other", "0/2")
    assert logged(served(model), path, part="0/2") == 1
    assert logged(served(model), path) == 0  # all cards, and not a half of them
    remove_parts(path, 1)
    assert {each.name[:13] for each in tmp_path.iterdir()} == {"cards[1].log0"}
    boot = tmp_path / "boot_id"
    boot.write_text("another\n")
    logged(app := served(model), path)
    assert ask(app, "/predict_stream", stream(samples()[0]))[1]["have"] == 1
    monkeypatch.setattr(card_log, "_BOOT", boot)
    app = served(model)
    assert logged(app, path) == 0
    assert app.fraud is not None
    assert app.fraud.log is not None

    class Full:
        def write(self, _: bytes) -> int:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            pass

    app.fraud.log._file = Full()  # type: ignore[assignment]
    for row in samples()[:2]:
        assert ask(app, "/predict_stream", stream(row))[0] == 200
    assert capsys.readouterr().err.count("No space left on device: the cards are lost if this process is killed") == 1
    assert [each.name for each in tmp_path.iterdir()] == ["boot_id"]  # none that lacks what was taken


def test_the_disk_has_a_transaction_before_its_answer_and_after_another_boot(
    model: ServedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    path, rows, fsync = tmp_path / "cards.log0", samples(), os.fsync
    app = served(model)
    assert app.fraud is not None
    app.fraud.log = CardLog(path, app.fraud.keeper, "m", durable=True)
    app.fraud.log.begin()

    def synced(file: int) -> None:
        lines = path.with_name("cards.log0-1").read_bytes().count(b'"taken"')
        events.append(f"{lines} on the disk")
        fsync(file)

    monkeypatch.setattr(os, "fsync", synced)

    async def turns() -> None:
        batch = RequestBatch(app)
        for number in range(0, 9, 3):  # the first are answered without a score
            for row in rows[number : number + 3]:
                body = to_json(stream(row | {"TransactionID": row["Day"]}))
                asked = Request("POST", "/predict_stream", {}, body, True)
                batch.take(asked, lambda reply: events.append(str(reply.status)))
            await asyncio.sleep(0)

    asyncio.run(turns())
    assert events == [event for taken in (3, 6, 9) for event in (f"{taken} on the disk", "200", "200", "200")]
    monkeypatch.setattr(card_log, "_BOOT", tmp_path / "boot_id")
    (tmp_path / "boot_id").write_text("another\n")
    again = served(model)
    assert logged(again, path) == 1
    assert [each[:3] for each in held(again)] == [each[:3] for each in held(app)]

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    assert ask(app, "/predict_stream", stream(rows[0]))[0] == 200
    app.fraud.log.sync()
    assert not list(tmp_path.glob("cards.log0-*"))  # none that lacks what was taken


def _edited(path: Path, at: int, line: bytes) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:at], line, *lines[at + 1 :]]))


def test_a_log_one_line_of_which_was_edited_is_refused(model: ServedModel, tmp_path: Path) -> None:
    """A last line without its end is what a killed process was about to write; any other was whole once."""
    path = tmp_path / "cards.log0"
    app = served(model)
    logged(app, path)
    for number, row in enumerate(samples()[:4]):
        assert ask(app, "/predict_stream", stream(row | {"TransactionID": number}))[0] == 200
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    wrong = card_log.Held(card_log.StoredCard("C0", 3, 3, 0.0, 1, 1, (), ()), "AAAA", ())
    many = card_log.Held(card_log.StoredCard("C0", 0, 2**63 - 1, 0.0, 1, 1, (), ()), "", ())  # seen
    for line in (lines[2].replace(b'"taken"', b'"gone!"'), card_log.line_of(wrong), card_log.line_of(many), b"\n"):
        file.write_bytes(whole)
        _edited(file, 2, line)
        with pytest.raises(InputError, match="line 3 is damaged"):
            logged(served(model), path)
    file.write_bytes(whole[:-9])
    assert logged(served(model), path) == 1


def test_states_of_cards_are_kept_in_a_file_and_nowhere_else(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("pipe", "loop", "x" * 250, "none/cards"):
        with pytest.raises(InputError, match="--state"):
            writable(tmp_path / name)
    writable(tmp_path / "cards")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"Amount": "many"}, "record.Amount: expected an amount such as $12.34"),
    ({"Amount": True}, "record.Amount: expected an amount"),
    ({"Amount": 10**400}, "record.Amount: expected an amount"),
    ({"Time": "25:00"}, "record.Time: expected a time such as 06:21"),
    ({"Month": 13}, "record: 2024-13-1 is no date"),
    ({"Year": "MMXXIV"}, "record.Year: expected a whole number"),
    ({"Merchant Name": None}, "record.Merchant Name: expected a text"),
    ({"User": None}, "record.User: expected a text or a whole number"),
    ({"Card": [1]}, "record.Card: expected a text or a whole number"),
    ({"TransactionID": {}}, "record.TransactionID: expected a text or a whole number"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_a_wrong_field_is_named_and_changes_nothing(model: ServedModel, change: dict[str, Any], message: str) -> None:
    app = served(model)
    status, answer = ask(app, "/predict_stream", stream(samples()[0] | change))
    assert (status, answer["error"][: len(message)]) == (400, message)
    assert app.fraud is not None
    assert not app.fraud.states.cards
    if "TransactionID" not in change:
        status, answer = ask(app, "/predict", {"records": [samples()[0], samples()[0] | change]})
        assert (status, answer["error"][:11]) == (400, "records[1]:" if "Month" in change else "records[1].")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"record": None}, "record: expected an object"),
        ({"record": {"User": 1}}, "record.Year is missing"),
        ({"group_keys": "User"}, "group_keys: expected a list"),
        ({"group_keys": ["User", "User"]}, "group_keys: expected a list"),
        ({"group_keys": [["User"]]}, "group_keys: expected a list"),
        ({"group_keys": ["Purse"]}, "record.Purse is missing"),
        ({"threshold": "high"}, "threshold: expected a finite number"),
        ({"weights": {"lstm": -1}}, "weights: expected no weight below zero"),
        ({"weights": {"lstm": 0, "xgb": 0}}, "weights: expected a positive sum of lstm and xgb"),
        ({"weights": {"lstm": "x"}}, "weights.lstm: expected a finite number"),
        ({"return_components": 1}, "return_components: expected true or false"),
        ({"id_field": 7}, "id_field: expected the name of a column"),
    ],
)
def test_a_wrong_wish_is_named(model: ServedModel, change: dict[str, Any], message: str) -> None:
    status, answer = ask(served(model), "/predict_stream", stream(samples()[0]) | change)
    assert (status, answer["error"][: len(message)]) == (400, message)


def test_half_a_surrogate_pair_is_no_text(model: ServedModel) -> None:
    status, answer = ask(served(model), "/predict_stream", stream(samples("\ud800")[0]))
    assert (status, answer["error"]) == (400, "the body is not JSON: a text holds half a surrogate pair")


@pytest.mark.parametrize(
    ("name", "part", "backend"),
    [("lstm", "p_lstm", "onnxruntime"), ("lstm", "p_lstm", None), ("xgboost", "p_xgb", "onnxruntime")],
)
def test_a_model_of_a_single_part_has_no_other(name: str, part: str, backend: str | None, tmp_path: Path) -> None:
    parameters = {"lstm": {"epochs": 1, "hidden": (12, 6)}, "xgboost": {"n_estimators": 5}}[name]
    kept = saved(tmp_path / "bundle", name, parameters, "tabformer", stride=5, rows=6000)
    app = served(ServedModel.open(kept.directory, backend, 1))
    answers = [ask(app, "/predict_stream", stream(row))[1] for row in samples()]
    assert [answer["status"] for answer in answers].count("ok") == (3 if name == "lstm" else 9)
    features, _ = expected_features(samples(), kept)
    windows = sliding_window_view(features, STEPS, axis=0).transpose(0, 2, 1)
    expected = 1 / (1 + np.exp(-kept.detector.decision_function(np.ascontiguousarray(windows)).astype(float)))
    np.testing.assert_allclose([answer[part] for answer in answers[6:]], expected, atol=1e-5)
    assert {answer["p_ensemble"] - answer[part] for answer in answers[6:]} == {0}
    assert {answer[other] for answer in answers[6:] for other in {"p_lstm", "p_xgb"} - {part}} == {None}
    status, answer = ask(app, "/predict_stream", stream(samples()[0], weights={part.removeprefix("p_"): 0}))
    assert (status, "positive sum" in answer["error"]) == (400, True)


def test_what_cannot_be_kept_is_refused_at_the_start(kept: Saved, model: ServedModel, tmp_path: Path) -> None:
    admission = Admission(queue_rows=10, deadline_s=1)
    spec = ServeSpec(str(kept.directory), keys=10**9, room_bytes=1 << 30)
    with pytest.raises(InputError, match=r"1,000,000,000 cards take about .* GiB; 1\.0 GiB are available") as error:
        open_fraud(spec, model, admission)
    keys = int((error.value.remedy or "").removeprefix("--keys "))
    assert open_fraud(ServeSpec(str(kept.directory), keys=keys, room_bytes=1 << 30), model, admission) is not None
    for room, most in ((1 << 26, 900), (1 << 40, 100_000)):
        fraud = open_fraud(ServeSpec(str(kept.directory), room_bytes=room), model, admission)
        assert fraud is not None
        assert most / 2 < fraud.states.most <= most
    for state in (tmp_path, tmp_path / "none" / "cards"):
        with pytest.raises(InputError, match="cannot be written"):
            open_fraud(ServeSpec(str(kept.directory), state=str(state)), model, admission)
    state = tmp_path / "cards"
    for content, check in ((b"junk", True), (b"junk", False), (b"", True)):  # a check finds what a start would
        state.write_bytes(content)
        with pytest.raises(InputError, match="holds no states of cards, or is damaged") as refused:
            open_fraud(ServeSpec(str(kept.directory), state=str(state), check=check), model, admission)
        assert "pickle" not in refused.value.message
        assert [path.name for path in tmp_path.iterdir()] == ["cards"]
    rows = ServedModel.open(saved(tmp_path / "rows").directory, "onnxruntime", 1)
    with pytest.raises(InputError, match="--state is for cards"):
        open_fraud(ServeSpec("x", state="y"), rows, admission)


def test_a_check_asks_every_route(model: ServedModel) -> None:
    app = served(model)
    for path in ("/predict", "/predict_stream", f"/v2/models/{model.name}/infer"):
        assert ask(app, path, example(app, path))[0] == 200


def test_the_documents_own_columns_are_those_of_training_to_the_nanosecond(tmp_path: Path) -> None:
    kept = saved(tmp_path / "bundle", "lstm", {"epochs": 1, "hidden": (8, 4)}, "tabformer", stride=5, rows=6000,
                 features="document", encoding="onehot-minmax")  # fmt: skip
    rows = samples()
    for row in rows:
        row["Errors?"] = None
    expected, _ = expected_features(rows, kept, card_features.document)
    time = kept.data.feature_names.index("time")
    others = [index for index in range(expected.shape[1]) if index != time]
    for as_published in (False, True):
        model = ServedModel.open(kept.directory, "eager", 1, Options(as_published=as_published))
        app = served(model)
        for row in rows:
            ask(app, "/predict_stream", stream(row))
        assert app.fraud is not None
        (card,) = app.fraud.states.cards.values()
        held = app.fraud.states.rows(card)
        np.testing.assert_array_equal(held[:, others], expected[-7:, others])
        assert (held[:, time] == expected[-7:, time]).all() != as_published
