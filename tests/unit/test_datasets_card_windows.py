"""Training and scoring on more card transactions than the memory holds."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.transactions import write_transactions

from harness.datasets import card_windows, csvfile
from harness.datasets.base import load
from harness.datasets.encoded import EncodedDataset
from harness.detectors.lstm import LSTM
from harness.detectors.streaming import CardStream, card_layout, score_of_cards
from harness.errors import InputError
from harness.scoring.row_source import read_rows
from harness.training.context import FitContext
from harness.training.ranks import Ranks
from harness.training.streamed import StreamedBatches


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csvfile, "_BLOCK_BYTES", 1 << 16)
    monkeypatch.setattr(card_windows, "SLICE_ROWS", 301)
    monkeypatch.setattr(card_windows, "BUFFER_BYTES", 1 << 20)


def _file(directory: Path, rows: int, mean_rows: int = 150) -> Path:
    folder = directory / str(rows) / "tabformer"
    folder.mkdir(parents=True)
    path = folder / "card_transaction.v1.csv"
    write_transactions(path, rows, seed=3, mean_rows=mean_rows, bursts=0.01)
    return path


def _loaded(path: Path, transactions: int = 1_000_000, **options: object) -> EncodedDataset:
    chosen = {"streamed": True, "transactions": transactions, "stride": 2, "validation": 0.2, **options}
    return load("tabformer", directory=path.parent.parent, synthetic="never", options=chosen)


def _sorted(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    rows = np.column_stack([x.reshape(len(x), -1), y])
    return rows[np.lexsort(rows.T)]


def test_the_stream_has_the_windows_that_are_read_at_once_whatever_the_order_of_the_cards(tmp_path: Path) -> None:
    path = _file(tmp_path, 3_000)
    lines = path.read_text().splitlines()
    for again in (False, True):
        data = _loaded(path)
        assert data.streamed is not None
        batches = list(data.streamed.batches(64, seed=5))
        assert [len(y) for _, y in batches[:-1]] == [64] * (len(batches) - 1)
        x, y = (np.concatenate(part) for part in zip(*batches, strict=True))
        assert len(y) == data.streamed.rows == len(data.train_x)
        np.testing.assert_array_equal(_sorted(x, y), _sorted(data.train_x, data.train_y))
        assert (x != np.concatenate([x for x, _ in data.streamed.batches(64, seed=6)])).any(), "another order"
        expected = data.train_x[data.train_y == 1]
        anomalies = data.streamed.anomalies(seed=0)
        np.testing.assert_array_equal(
            _sorted(anomalies, np.ones(len(anomalies))), _sorted(expected, np.ones(len(expected)))
        )
        assert 0 < len(anomalies) < len(y) / 5
        if not again:  # all cards at once, as in a file by time
            stamps = [tuple(int(part) for part in line.replace(":", ",").split(",")[2:7]) for line in lines[1:]]
            by_time = [line for _, line in sorted(zip(stamps, lines[1:], strict=True), key=lambda pair: pair[0])]
            path.write_text("\n".join([lines[0], *by_time]) + "\n")


def test_a_card_whose_rows_are_not_in_time_order_is_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, 1_000)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *lines[1:60], lines[5], *lines[60:]]) + "\n")
    with pytest.raises(InputError, match="user 0, card 0: a transaction follows a later one"):
        _loaded(path)


def test_ranks_share_the_batches_of_a_stream(tmp_path: Path) -> None:
    source = _loaded(_file(tmp_path, 1_500)).streamed
    assert source is not None
    alone = list(StreamedBatches(source, 50, 7, balanced=True).of_pass(1))
    ranks = [
        list(StreamedBatches(source, 50, 7, balanced=True, ranks=Ranks(None, at, 3)).of_pass(1)) for at in range(3)
    ]
    for (count, whole), *parts in zip(alone, *ranks, strict=True):
        assert whole[1].sum() == count // 2, "half are anomalies"
        for which in (0, 1):
            np.testing.assert_array_equal(np.concatenate([part[which] for _, part in parts]), whole[which])


def test_memory_of_training_and_of_scoring_does_not_grow_with_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card_windows, "ANOMALY_BYTES", 1 << 17)
    paths = [_file(tmp_path, rows, mean_rows=rows // 15) for rows in (2_000, 8_000)]
    loaded = [_loaded(path, transactions=rows) for path, rows in zip(paths, (600, 2_400), strict=True)]
    sources, data = [each.streamed for each in loaded], loaded[0]
    detector = LSTM(hidden=(4,), dropout=(0.0,), epochs=1, batch_size=64)
    detector.fit(
        data.train_x, data.train_y, context=FitContext(data.validation_x, data.validation_y, streamed=data.streamed)
    )
    assert [epoch.rows for epoch in detector.history_] == [data.rows["train"]]
    assert data.rows["train"] > 3 * len(data.train_x)
    assert data.encoder is not None

    def trained(index: int) -> None:
        source = sources[index]
        assert source is not None
        assert sum(count for count, _ in StreamedBatches(source, 64, 0, balanced=True).of_pass(0)) == source.rows

    def scored(index: int) -> None:
        assert data.encoder is not None
        layout = card_layout(data.encoder)
        score = score_of_cards(data.encoder, CardStream(detector), "cards")
        with paths[index].open("rb") as stream:
            scores = [score(rows.frame) for rows in read_rows(stream, "cards", layout, 1 << 16)]
        assert sum(map(len, scores)) > 0

    for work in (trained, scored):
        small, large = (_peak(lambda: work(index)) for index in (0, 1))  # noqa: B023 - called at once
        assert large < 1.3 * small


def _peak(work: Callable[[], None]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
