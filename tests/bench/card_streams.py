"""Cards beyond what a server keeps: memory, evictions, and every score against the window model.

``python tests/bench/card_streams.py BUNDLE [--http] [--cards 100000 --transactions 1000000 --keys 50000]``: BUNDLE is a
saved ``lstm`` or ``fraud-ensemble`` of TabFormer cards. Transactions of cards drawn at random go to the handlers of a
server in this process, in batches, or with ``--http`` to an `lparbench serve`, a batch at once on one connection, so
that they are taken in their order. Expected scores and evictions come from a model of its own: a list of every card's
rows and an ordered dictionary. Exit code 1 when a score differs, the evictions do, or memory is not flat within 5 %.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import socket
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np

from harness.datasets.card_features import CardPast
from harness.datasets.card_rows import CardEncoder
from harness.detectors.registry import load
from harness.serving.admission import Admission
from harness.serving.app import App
from harness.serving.card_states import CardStates
from harness.serving.exchange import Reply, Request, Scoring
from harness.serving.fraud import Fraud
from harness.serving.fraud_parts import Parts
from harness.serving.model import ServedModel
from harness.serving.transactions import transaction

BATCH = 256
TOLERANCE = 2e-6  # of a probability
FLAT = 0.05
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Outcome:
    """What was seen."""

    windows: int
    different: int
    evicted: int
    expected_evictions: int
    resident_bytes: tuple[int, ...]  # at every tenth of the transactions

    @property
    def spread(self) -> float:
        """Of the memory after the first tenth, relative to its middle."""
        held = np.array(self.resident_bytes)
        return float((held.max() - held.min()) / (held.max() + held.min()))

    @property
    def right(self) -> bool:
        """Whether all scores and evictions are those expected."""
        return (self.different, self.evicted) == (0, self.expected_evictions)


class Server(Protocol):
    """What takes transactions."""

    def post(self, records: Sequence[dict[str, Any]]) -> list[Any]:
        """The answers to transactions, taken in their order."""
        ...

    def evicted(self) -> int:
        """Cards that were forgotten for want of room."""
        ...

    def resident_bytes(self) -> int:
        """Memory of its process."""
        ...


class Handlers:
    """The handlers of a server, without HTTP."""

    def __init__(self, bundle: Path, keys: int) -> None:
        model = ServedModel.open(bundle, None, 1)
        assert model.cards is not None
        self._states = CardStates(keys, 1e9, model.steps or 1, model.cards.features, lambda: 0.0)
        admission = Admission(queue_rows=10**9, deadline_s=1e9)
        fraud = Fraud(Parts(model), model.cards, self._states, admission, lenient_dates=False)
        self._app = App(
            model, apis=("documents",), admission=admission, drift_window=2000, token=None, fraud=fraud
        )  # fmt: skip

    def post(self, records: Sequence[dict[str, Any]]) -> list[Any]:
        """Of `Server`."""
        bodies = [json.dumps({"record": record}).encode() for record in records]
        outcomes = [self._app.handle(Request("POST", "/predict_stream", {}, body, True)) for body in bodies]
        scored = iter(self._app.score([outcome for outcome in outcomes if isinstance(outcome, Scoring)]))
        replies = [outcome if isinstance(outcome, Reply) else next(scored) for outcome in outcomes]
        return [json.loads(reply.body) for reply in replies]

    def evicted(self) -> int:
        """Of `Server`."""
        return self._states.counts.evicted["capacity"]

    def resident_bytes(self) -> int:
        """Of `Server`."""
        gc.collect()
        return _resident(os.getpid())


class Served:
    """A server over HTTP, on one connection."""

    def __init__(self, url: str, pid: int) -> None:
        address = urlsplit(url)
        self._pid, self._host = pid, f"{address.hostname}:{address.port}"
        self._link = socket.create_connection((address.hostname, address.port), timeout=600)
        self._link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._link.makefile("rb")

    def post(self, records: Sequence[dict[str, Any]]) -> list[Any]:
        """Of `Server`."""
        requests = []
        for record in records:
            body = json.dumps({"record": record}).encode()
            head = f"POST /predict_stream HTTP/1.1\r\nHost: {self._host}\r\nContent-Length: {len(body)}\r\n\r\n"
            requests.append(head.encode() + body)
        self._link.sendall(b"".join(requests))
        return [json.loads(self._answer()) for _ in records]

    def evicted(self) -> int:
        """Of `Server`."""
        self._link.sendall(f"GET /metrics HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())
        (count,) = re.findall(rb'lparbench_stream_evictions_total\{reason="capacity"\} (\d+)', self._answer())
        return int(count)

    def resident_bytes(self) -> int:
        """Of `Server`."""
        return _resident(self._pid)

    def _answer(self) -> bytes:
        status, length = self._file.readline(), 0
        assert b" 200 " in status, status
        while (line := self._file.readline()) != b"\r\n":
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        return self._file.read(length)


@contextmanager
def served(bundle: Path, keys: int) -> Iterator[Served]:
    """`lparbench serve` of a bundle."""
    options = ["--port", "0", "--keys", str(keys), "--key-ttl", "1000d", "--deadline", "1000s"]
    command = [sys.executable, "-m", "harness", "serve", str(bundle), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            described = json.loads(process.stdout.readline())
            yield Served(described["url"], process.pid)
        finally:
            process.kill()


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def record(card: int, number: int, rng: np.random.Generator) -> dict[str, Any]:
    """A transaction."""
    day = number // 40_000
    return {
        "User": card // 2, "Card": card % 2, "Year": 2024, "Month": 1 + day // 28 % 12, "Day": 1 + day % 28,
        "Time": f"{number // 1700 % 24:02d}:{number // 28 % 60:02d}", "Amount": f"${rng.exponential(40):.2f}",
        "Merchant Name": str(rng.integers(5000)), "Merchant City": f"City {rng.integers(90)}", "Errors?": None,
        "Use Chip": "Chip Transaction", "MCC": 5411, "Merchant State": "S1",
    }  # fmt: skip


def run(server: Server, bundle: Path, *, cards: int, transactions: int, keys: int, seed: int = 0) -> Outcome:
    """Post the transactions and compare."""
    model = ServedModel.open(bundle, None, 1, scoring=False)
    detector, encoder, rng = load(bundle), CardEncoder(model.bundle.encoder), np.random.default_rng(seed)
    steps, logits = model.steps or 1, model.bundle.manifest.provenance.detector == "lstm"
    kept: OrderedDict[int, tuple[CardPast, list[np.ndarray]]] = OrderedDict()
    evictions = windows = different = 0
    resident = []
    for start in range(0, transactions, BATCH):
        records: list[dict[str, Any]] = []
        expected: list[np.ndarray | None] = []
        for number in range(start, min(start + BATCH, transactions)):
            card = int(rng.integers(cards))
            records.append(record(card, number, rng))
            if card not in kept:
                if len(kept) == keys:
                    kept.popitem(last=False)
                    evictions += 1
                kept[card] = CardPast(), []
            kept.move_to_end(card)
            past, rows = kept[card]
            rows.append(encoder.encode([transaction(records[-1], "")], [past])[0])
            del rows[:-steps]
            expected.append(np.stack(rows) if len(rows) == steps else None)
        answers = server.post(records)
        whole = [window for window in expected if window is not None]
        different += sum(
            answer["status"] != ("buffering" if window is None else "ok")
            for answer, window in zip(answers, expected, strict=True)
        )
        if whole:
            given = [
                answer.get("p_ensemble") for answer, window in zip(answers, expected, strict=True) if window is not None
            ]
            different += compare(given, detector.decision_function(np.stack(whole)), logits=logits)
            windows += len(whole)
        if len(resident) < 10 * start // transactions:
            resident.append(server.resident_bytes())
    return Outcome(windows, different, server.evicted(), evictions, tuple(resident))


def compare(given: Sequence[float | None], scores: np.ndarray, *, logits: bool) -> int:
    """Answers that are not the detector's."""
    expected = 1 / (1 + np.exp(-scores.astype(np.float64))) if logits else scores
    values = np.array([np.nan if each is None else each for each in given])
    return int((~(np.abs(values - expected) <= TOLERANCE)).sum())


def main() -> int:
    """Print the outcome."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--http", action="store_true", help="over HTTP, to a server of its own")
    parser.add_argument("--cards", type=int, default=100_000)
    parser.add_argument("--transactions", type=int, default=1_000_000)
    parser.add_argument("--keys", type=int, default=50_000)
    chosen = parser.parse_args()
    sizes = {"cards": chosen.cards, "transactions": chosen.transactions, "keys": chosen.keys}
    if chosen.http:
        with served(chosen.bundle, chosen.keys) as server:
            outcome = run(server, chosen.bundle, **sizes)
    else:
        outcome = run(Handlers(chosen.bundle, chosen.keys), chosen.bundle, **sizes)
    where = "over HTTP to one server" if chosen.http else "to the handlers, in process"
    print(
        f"{chosen.transactions:,} transactions of {chosen.cards:,} cards {where}, which keeps {chosen.keys:,}: "
        f"{outcome.windows:,} windows, {outcome.different} answers differ; {outcome.evicted:,} cards evicted, "
        f"{outcome.expected_evictions:,} expected; memory after the first tenth ± {outcome.spread:.1%}: "
        + ", ".join(f"{value / 2**20:.0f}" for value in outcome.resident_bytes) + " MiB"
    )  # fmt: skip
    return int(not outcome.right or outcome.spread > FLAT)


if __name__ == "__main__":
    sys.exit(main())
