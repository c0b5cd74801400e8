"""Several fronts and scorers: a card has one owner, and every answer is the one that a single process gives."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from support.bundles import saved
from support.cards import samples, stream

from harness.placement.model import MemoryBinding, Placement, thread_environment
from harness.serving.admission import Admission
from harness.serving.app import App
from harness.serving.batch import Batch
from harness.serving.card_snapshot import divide, join, model_digest, save
from harness.serving.cards import open_fraud
from harness.serving.exchange import Reply, Request
from harness.serving.fraud import Fraud
from harness.serving.fraud_parts import Elsewhere
from harness.serving.front_process import Others
from harness.serving.metrics import Metrics
from harness.serving.model import ServedModel
from harness.serving.relay import Link, Relay, owner
from harness.serving.scorer_process import FrontEnd, Handlers
from harness.serving.shared import SCORER, Shared, SharedQuota, name_of, socket_of
from harness.serving.spec import ServeSpec
from harness.serving.supervisor import shares


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parameters = {"epochs": 1, "hidden": (12, 6)}
    return saved(tmp_path_factory.mktemp("relay") / "b", "lstm", parameters, "tabformer", stride=5, rows=6000).directory


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("relay-rows") / "b", "autoencoder").directory


@dataclass
class Divided:
    """Fronts and scorers in one loop, over the sockets that they have as processes."""

    bundle: Path
    directory: Path
    fronts: int
    scorers: int
    queue_rows: int = 5000
    deadline_s: float = 100.0
    apps: list[App] = field(default_factory=list)
    handlers: list[Handlers] = field(default_factory=list)
    servers: list[asyncio.Server] = field(default_factory=list)
    frauds: list[Fraud | None] = field(default_factory=list)

    async def __aenter__(self) -> Divided:
        spec = ServeSpec(str(self.bundle), keys=50, deadline_s=self.deadline_s, queue_rows=self.queue_rows)
        loop = asyncio.get_running_loop()
        model = ServedModel.open(self.bundle, None, 1)
        for number in range(self.scorers):
            admission = Admission(queue_rows=self.queue_rows, deadline_s=self.deadline_s)
            fraud = open_fraud(spec, model, admission)
            handlers = Handlers(spec, model, fraud, admission)
            batch = Batch(handlers)
            path = str(socket_of(self.directory, number))
            self.servers.append(await loop.create_unix_server(lambda batch=batch: FrontEnd(batch), path))
            self.handlers.append(handlers)
            self.frauds.append(fraud)
        self.tasks: list[asyncio.Task[None]] = []
        without = ServedModel.open(self.bundle, None, 1, scoring=False)
        for number in range(self.fronts):
            links = [Link(str(socket_of(self.directory, each)), self.queue_rows) for each in range(self.scorers)]
            self.tasks += [asyncio.create_task(link.keep_open()) for link in links]
            others = Others(self.directory, number, links)
            admission = Admission(queue_rows=self.queue_rows, deadline_s=self.deadline_s)
            fraud = open_fraud(spec, without, admission, elsewhere=Elsewhere((1.0, None), 0, "native"))
            app = App(without, apis=("documents", "v2"), admission=admission, drift_window=100, token=None,
                      fraud=fraud, others=others)  # fmt: skip
            app.taker = Relay(app, links, number % self.scorers)
            self.apps.append(app)
            while not others.ready():
                await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self.tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        for server in self.servers:
            server.close()

    def ask(self, front: int, path: str, document: Any) -> asyncio.Future[Reply]:
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        taker = self.apps[front].taker
        assert taker is not None
        taker.take(Request("POST", path, {}, json.dumps(document).encode(), True), future.set_result)
        return future


class Alone:
    """One process, which is what the divided server has to equal."""

    def __init__(self, bundle: Path) -> None:
        model, admission = ServedModel.open(bundle, None, 1), Admission(queue_rows=5000, deadline_s=100)
        fraud = open_fraud(ServeSpec(str(bundle), keys=50), model, admission)
        self.app = App(model, apis=("documents", "v2"), admission=admission, drift_window=100, token=None, fraud=fraud)

    def ask(self, path: str, document: Any) -> Reply:
        replies: list[Reply] = []

        async def turn() -> None:
            Batch(self.app).take(Request("POST", path, {}, json.dumps(document).encode(), True), replies.append)
            await asyncio.sleep(0)

        asyncio.run(turn())
        return replies[0]


@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_answers_are_those_of_one_process_whatever_the_fronts_and_the_interleaving(
    data: st.DataObject, cards: Path
) -> None:
    fronts, scorers = data.draw(st.sampled_from([(1, 2), (2, 1), (4, 2)]))
    given_rows = {f"C{number}": samples(f"C{number}", count) for number, count in enumerate((9, 8, 3))}
    order = data.draw(st.permutations([name for name, rows in given_rows.items() for _ in rows]))
    alone, at = Alone(cards), dict.fromkeys(given_rows, 0)
    wholes: list[tuple[str, dict[str, Any]]] = []
    for name in order:
        wholes.append((name, stream(given_rows[name][at[name]] | {"TransactionID": at[name]})))
        at[name] += 1
    expected = [alone.ask("/predict_stream", document) for _, document in wholes]

    async def play(directory: Path) -> list[Reply]:
        async with Divided(cards, directory, fronts, scorers) as server:
            replies: dict[int, asyncio.Future[Reply]] = {}
            before: dict[str, asyncio.Future[Reply]] = {}
            for index, (name, document) in enumerate(wholes):
                if name in before:
                    await before[name]  # a card's next transaction follows its last answer
                before[name] = replies[index] = server.ask(
                    data.draw(st.integers(0, fronts - 1)), "/predict_stream", document
                )
            answers = [await replies[index] for index in range(len(wholes))]
            again = [await server.ask(0, "/predict_stream", wholes[-1][1]) for _ in range(2)]
            assert again == [answers[-1]] * 2  # sent again, to another front: as before
            held = [set(fraud.states.cards) for fraud in server.frauds if fraud is not None]
            assert sum(map(len, held)) == len(given_rows)  # no card is in two places
            assert all(owner(key, scorers) == number for number, keys in enumerate(held) for key in keys)
            assert len({app.metrics.in_flight for app in server.apps} | {0}) == 1
            return answers

    with TemporaryDirectory() as directory:
        for reply, other in zip(asyncio.run(play(Path(directory))), expected, strict=True):
            mine, its = json.loads(reply.body), json.loads(other.body)
            assert mine.pop("p_ensemble", 0) == pytest.approx(its.pop("p_ensemble", 0), abs=1e-6)
            assert mine.pop("p_lstm", 0) == pytest.approx(its.pop("p_lstm", 0), abs=1e-6)
            assert (reply.status, mine) == (other.status, its)


def test_rows_are_answered_to_the_byte_and_mistakes_too(rows: Path, tmp_path: Path) -> None:
    alone, features = Alone(rows), [0.0, "tcp", "http", "SF", *[1.0] * 37]
    infer = f"/v2/models/{alone.app.model.name}/infer"
    tensor = {
        "name": "features",
        "datatype": "FP32",
        "shape": [3, 0],
        "data": [0.5] * 3 * len(alone.app.model.features),
    }
    tensor["shape"] = [3, len(alone.app.model.features)]
    asked: list[tuple[str, Any]] = [
        ("/predict", {"features": features}), (infer, {"inputs": [tensor], "id": "a"}),
        ("/predict", {"features": features[1:]}), (infer, {"inputs": [{**tensor, "shape": [0, 1]}]}), ("/no", {}),
        ("/predict", {"features": [9.0, "udp", "private", "SF", *[0.0] * 37]}),
    ]  # fmt: skip

    async def play() -> list[Reply]:
        async with Divided(rows, tmp_path, 2, 1) as server:
            return list(await asyncio.gather(*(server.ask(i % 2, *each) for i, each in enumerate(asked))))

    assert asyncio.run(play()) == [alone.ask(*each) for each in asked]


def test_a_scorer_that_is_gone_or_slow_is_503_and_nothing_waits_without_a_bound(rows: Path, tmp_path: Path) -> None:
    body = {"features": [0.0, "tcp", "http", "SF", *[1.0] * 37]}

    async def play() -> None:
        async with Divided(rows, tmp_path, 1, 1, queue_rows=3) as server:
            over = await asyncio.gather(*(server.ask(0, "/predict", body) for _ in range(5)))
            assert [reply.status for reply in over] == [200, 200, 200, 503, 503]
            later = [await server.ask(0, "/predict", body) for _ in range(5)]  # what was answered waits no more
            assert [reply.status for reply in later] == [200] * 5
            others = server.apps[0].others
            assert isinstance(others, Others)
            (link,) = others.links
            under_way = [server.ask(0, "/predict", body) for _ in range(2)]
            await asyncio.sleep(0)  # sent, and not answered
            server.servers[0].close()
            assert link.transport is not None
            link.transport.abort()
            lost = await asyncio.gather(*under_way)
            assert {(reply.status, reply.headers) for reply in lost} == {(503, (("Retry-After", "1"),))}
            refused = await server.ask(0, "/predict", body)
            ready = server.apps[0].handle(Request("GET", "/v2/health/ready", {}, b"", True))
            assert (refused.status, ready.status if isinstance(ready, Reply) else 0) == (503, 503)
            assert (server.apps[0].metrics.in_flight, link.admission.waiting) == (0, 0)
        async with Divided(rows, tmp_path / "late", 1, 1, deadline_s=-1.0) as server:
            assert (await server.ask(0, "/predict", body)).status == 503  # it waited longer than it may

    (tmp_path / "late").mkdir()
    asyncio.run(play())


def test_counts_are_those_of_all_processes_and_outlive_each(cards: Path, tmp_path: Path) -> None:
    async def play() -> None:
        async with Divided(cards, tmp_path, 2, 2) as server:
            for index in range(12):
                await server.ask(index % 2, "/predict_stream", stream(samples(f"C{index % 3}")[index // 3]))
            for number, (handlers, fraud) in enumerate(zip(server.handlers, server.frauds, strict=True)):
                assert fraud is not None
                handlers.metrics.streams, handlers.metrics.cards = fraud.states.counts, len(fraud.states)
                Shared(tmp_path, name_of(SCORER, number)).publish(handlers.metrics, handlers.drift.state())
            for app in server.apps:
                app.count("/predict_stream", 200)
                assert isinstance(app.others, Others)
                app.others.shared.publish(app.metrics)
            text = server.apps[1].handle(Request("GET", "/metrics", {}, b"", True))
            assert isinstance(text, Reply)
            values = {
                (sample.name, *sample.labels.values()): sample.value
                for family in text_string_to_metric_families(text.body.decode()) for sample in family.samples
            }  # fmt: skip
            assert values["lparbench_requests_total", "/predict_stream", "200"] == 2
            assert values["lparbench_stream_keys",] == 3
            page = server.apps[0].handle(Request("GET", "/", {}, b"", True))
            assert isinstance(page, Reply)
            assert b"3 of at most 50" in page.body
            scores = server.handlers[0].metrics.scores
            assert scores is not None
            anew = Metrics(score_bounds=scores.bounds)  # of a scorer that takes the place of the first
            fraud = server.frauds[0]
            assert fraud is not None
            anew.streams = type(fraud.states.counts)()
            judged = server.handlers[0].drift
            judged.windows, judged.alarms = 5, 2
            Shared(tmp_path, name_of(SCORER, 0)).publish(server.handlers[0].metrics, judged.state())
            before = Shared(tmp_path, name_of(SCORER, 0)).go_on(anew)
            assert before == judged.state()
            server.handlers[1].drift.go_on(before)
            assert (server.handlers[1].drift.windows, server.handlers[1].drift.alarms) == (5, 2)
            assert (anew.cards, anew.streams.evicted["lost"]) == (0, len(fraud.states))

    asyncio.run(play())


def test_kept_cards_go_to_their_owners_and_come_back_in_order(cards: Path, tmp_path: Path) -> None:
    alone, digest = Alone(cards), model_digest(cards)
    for number in range(6):
        alone.ask("/predict_stream", stream(samples(f"C{number}")[0]))
    assert alone.app.fraud is not None
    states, path = alone.app.fraud.states, tmp_path / "cards"
    save(states, path, digest)
    before = path.read_bytes()
    parts = [tmp_path / f"part-{number}" for number in range(2)]
    assert divide(path, parts, digest, owner) == 6
    path.unlink()
    assert join(parts, path, digest) == 6
    assert path.read_bytes() == before


def test_cores_are_divided_between_scorers_and_fronts() -> None:
    def node(number: int, cores: int) -> Placement:
        cpus = tuple(range(64 * number, 64 * number + 2 * cores))
        return Placement(cpus, number, (number,), (number,), MemoryBinding((number,)), len(cpus), 2, cores,
                         thread_environment(cpus))  # fmt: skip

    (scorer,), fronts = shares([node(0, 4)], 3)
    assert scorer.cpus == (0, 1)
    assert [front.cpus for front in fronts] == [(2, 3), (4, 5), (6, 7)]
    assert (scorer.env["OMP_NUM_THREADS"], scorer.cores) == ("2", 1)
    scorers, fronts = shares([node(0, 3), node(1, 3)], 3)
    assert [each.cpus for each in scorers] == [(0, 1), (64, 65, 66, 67)]
    assert [front.cpus for front in fronts] == [(2, 3), (68, 69), (4, 5)]
    (scorer,), fronts = shares([node(0, 2)], 2)  # no core is left: all share
    assert {each.cpus for each in (scorer, *fronts)} == {(0, 1, 2, 3)}


def test_a_quota_holds_for_all_fronts_together(tmp_path: Path) -> None:
    table, now = tmp_path / "table", [100.0]
    table.touch()
    fronts = [SharedQuota(4.0, table, lambda: now[0]) for _ in range(2)]
    assert [fronts[i % 2].wait("10.0.0.1") for i in range(6)] == [0, 0, 0, 0, 1, 1]
    assert fronts[0].wait("10.0.0.2") == 0
    now[0] += 0.25
    assert [fronts[1].wait("10.0.0.1"), fronts[0].wait("10.0.0.1")] == [0, 1]


def test_missing_values_of_raw_rows_reach_the_scorer_row_by_row(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, rows in (("train", 800), ("test", 200)):
        lines = []
        for i in range(rows):
            lines.append(
                f"{'' if i % 10 == 0 else round(rng.normal(), 4)},{rng.normal():.4f},{int(rng.random() < 0.3)}"
            )
        (tmp_path / f"{name}.csv").write_text("\n".join(["a,b,label", *lines]))
    bundle = saved(
        tmp_path / "bundle", dataset=f"csv:{tmp_path / 'train.csv'}", test_files=str(tmp_path / "test.csv"),
        label="label",
    ).directory  # fmt: skip

    async def play() -> None:
        async with Divided(bundle, tmp_path, 2, 1) as server:
            monitor, given = server.handlers[0].drift, list[Any]()
            add = monitor.add
            monitor.add = lambda rows, scores, missing: (given.append(missing.tolist()), add(rows, scores, missing))[1]  # type: ignore[assignment,misc,union-attr]
            rows = [[None, 1.0], [0.5, 1.0], [0.5, None]]
            answers = [server.ask(0, "/predict", {"features": row}) for row in rows]
            assert [reply.status for reply in await asyncio.gather(*answers)] == [200] * 3
            answers = [server.ask(1, "/predict", {"features": row}) for row in rows[1:2]]
            assert [reply.status for reply in await asyncio.gather(*answers)] == [200]
            assert given == [[[True, False], [False, False], [False, True]], [[False, False]]]

    asyncio.run(play())
