"""Cards beyond what a server keeps: memory, evictions, and every score against the window model.

``python tests/bench/card_streams.py BUNDLE [--cards 100000 --transactions 1000000 --keys 50000]``: BUNDLE is a saved
``lstm`` or ``fraud-ensemble`` of TabFormer cards. Transactions of cards drawn at random are posted to the routes of the
server in batches, without HTTP. Expected scores and evictions come from a model of its own: a list of every card's rows
and an ordered dictionary.
"""

from __future__ import annotations

import argparse
import gc
import json
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def record(card: int, number: int, rng: np.random.Generator) -> dict[str, Any]:
    """A transaction."""
    day = number // 40_000
    return {
        "User": card // 2, "Card": card % 2, "Year": 2024, "Month": 1 + day // 28 % 12, "Day": 1 + day % 28,
        "Time": f"{number // 1700 % 24:02d}:{number // 28 % 60:02d}", "Amount": f"${rng.exponential(40):.2f}",
        "Merchant Name": str(rng.integers(5000)), "Merchant City": f"City {rng.integers(90)}", "Errors?": None,
        "Use Chip": "Chip Transaction", "MCC": 5411, "Merchant State": "S1",
    }  # fmt: skip


def run(bundle: Path, *, cards: int, transactions: int, keys: int, seed: int = 0) -> Outcome:
    """Post the transactions and compare."""
    model = ServedModel.open(bundle, "eager", 1)
    assert model.cards is not None
    states = CardStates(keys, 1e9, model.steps or 1, model.cards.features, lambda: 0.0)
    admission = Admission(queue_rows=10**9, deadline_s=1e9)
    fraud = Fraud(Parts(model), model.cards, states, admission, lenient_dates=False)
    app = App(model, apis=("documents",), admission=admission, drift_window=2000, token=None, fraud=fraud)
    detector, encoder, rng = load(bundle), CardEncoder(model.bundle.encoder), np.random.default_rng(seed)
    kept: OrderedDict[int, tuple[CardPast, list[np.ndarray]]] = OrderedDict()
    evictions = windows = different = 0
    resident = []
    for start in range(0, transactions, BATCH):
        scoring: list[Scoring] = []
        expected: list[np.ndarray] = []
        for number in range(start, min(start + BATCH, transactions)):
            card = int(rng.integers(cards))
            row = record(card, number, rng)
            if card not in kept:
                if len(kept) == keys:
                    kept.popitem(last=False)
                    evictions += 1
                kept[card] = CardPast(), []
            kept.move_to_end(card)
            past, rows = kept[card]
            rows.append(encoder.encode([transaction(row, "")], [past])[0])
            del rows[: -states.steps]
            outcome = app.handle(Request("POST", "/predict_stream", {}, json.dumps({"record": row}).encode(), True))
            if isinstance(outcome, Scoring):
                scoring.append(outcome)
                expected.append(np.stack(rows))
            elif b"buffering" not in outcome.body or len(rows) == states.steps:
                different += 1
        if scoring:
            different += compare(app.score(scoring), detector.decision_function(np.stack(expected)), fraud)
            windows += len(scoring)
        if len(resident) < 10 * start // transactions:
            gc.collect()
            resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4096)
    return Outcome(windows, different, states.counts.evicted["capacity"], evictions, tuple(resident))


def compare(replies: list[Reply], scores: np.ndarray, fraud: Fraud) -> int:
    """Answers that are not the detector's."""
    if fraud.parts.weights[1] is None:  # an LSTM's scores are logits
        scores = 1 / (1 + np.exp(-scores.astype(np.float64)))
    given = np.array([json.loads(reply.body)["p_ensemble"] for reply in replies])
    return int((np.abs(given - scores) > TOLERANCE).sum())


def main() -> None:
    """Print the outcome."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--cards", type=int, default=100_000)
    parser.add_argument("--transactions", type=int, default=1_000_000)
    parser.add_argument("--keys", type=int, default=50_000)
    arguments = parser.parse_args()
    outcome = run(arguments.bundle, cards=arguments.cards, transactions=arguments.transactions, keys=arguments.keys)
    print(
        f"{outcome.windows:,} windows, {outcome.different} scores differ; {outcome.evicted:,} cards evicted, "
        f"{outcome.expected_evictions:,} expected; memory after the first tenth ± {outcome.spread:.1%}: "
        + ", ".join(f"{value / 2**20:.0f}" for value in outcome.resident_bytes) + " MiB"
    )  # fmt: skip


if __name__ == "__main__":
    main()
