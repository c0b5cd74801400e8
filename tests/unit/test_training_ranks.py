"""P ranks over real gloo take the steps of one rank: uneven batches, class weights, clipping, early stopping, ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.ranks import seeded_apart
from torch import nn
from torch.nn import functional

from harness.detectors import registry
from harness.detectors.base import Detector
from harness.errors import MeasurementError
from harness.record.spec import REDUCTIONS, Reduction
from harness.training import loop
from harness.training.adam import Adam
from harness.training.context import FitContext, Schedule
from harness.training.loop import descend, train
from harness.training.rank_setting import RankSetting
from harness.training.ranks import Ranks, connect


def over(count: int, directory: Path, work: Callable[[Ranks], Any], reduce: Reduction = "gloo") -> list[Any]:
    """What ``work`` gives on each of ``count`` ranks, which are threads that talk over gloo or share memory."""
    store = str(directory / f"meet-{len(list(directory.iterdir()))}")
    with ThreadPoolExecutor(count) as pool:
        jobs = [
            pool.submit(lambda rank: work(connect(RankSetting(rank, count, store, answer_s=20.0, reduce=reduce))), rank)
            for rank in range(count)
        ]
        return [job.result(60) for job in jobs]


@pytest.fixture(autouse=True)
def _weights_of_their_own(monkeypatch):
    monkeypatch.setattr(loop, "seeded", seeded_apart)


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def rows_of(count: int, features: int = 6) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    labels = (generator.random(count) < 0.3).astype(np.int64)
    return generator.standard_normal((count, features)) + labels[:, None], labels


def weights_of(detector: Detector) -> np.ndarray:
    return np.concatenate([value.reshape(-1) for value in detector.state().values()])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("name", "reduce"), [("autoencoder", "gloo"), ("mlp", "gloo"), ("autoencoder", "native")])
def test_ranks_become_what_one_rank_becomes(name, reduce, tmp_path):
    X, y = rows_of(235)  # 5 passes of 10 steps, the last of 1 row: with 2 and 3 ranks one or two have none of it
    X, y = (X[y == 0], y[y == 0]) if name == "autoencoder" else (X, y)
    parameters = {"hidden": (7, 3), "batch_size": (len(X) - 1) // 9, "epochs": 5, "learning_rate": 1e-2}

    def fitted(ranks: Ranks | None) -> tuple[np.ndarray, list[float]]:
        detector = registry.resolve(name, parameters)
        type(detector).train_together([detector], X, y, FitContext(ranks=ranks, on_steps=lambda _: True))
        assert sum(epoch.steps for epoch in detector.history_) == 50
        assert sum(epoch.rows for epoch in detector.history_) == 5 * len(X)
        return weights_of(detector), [epoch.loss for epoch in detector.history_]

    alone, losses = fitted(None)
    for count in (1, 2, 3):
        for weights, seen in over(count, tmp_path, fitted, reduce):
            np.testing.assert_allclose(weights, alone, rtol=0, atol=1e-10)
            np.testing.assert_allclose(seen, losses, rtol=1e-6)  # reported in the float32 of the labels


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("weighted", [False, True])
def test_a_loss_of_class_weights_is_taken_over_all_ranks(weighted, tmp_path):
    X, y = rows_of(101)
    x, labels = torch.from_numpy(X), torch.from_numpy(y)
    weights = torch.tensor([0.6, 3.0])

    def fitted(ranks: Ranks | None) -> np.ndarray:
        net = nn.Linear(6, 2)
        with torch.no_grad():
            net.weight.copy_(torch.arange(12.0).view(2, 6) / 50)
            net.bias.zero_()
        optimiser = Adam(list(net.parameters()), 0.05)

        def step(indices: torch.Tensor) -> torch.Tensor:
            own = indices[0]
            loss = functional.cross_entropy(net(x[own]), labels[own], weight=weights)
            # by rows, as a mean over ranks does it, the gradient is another one
            return descend(loss, optimiser, 0.5, ranks=ranks, weight=weights[labels[own]].sum() if weighted else None)

        train(step, Schedule(len(x), 20, 9, (1,)), FitContext(ranks=ranks, max_steps=50))
        return torch.cat([each.detach().reshape(-1) for each in net.parameters()]).numpy()

    alone = fitted(None)
    for count in (1, 2, 3):
        for found in over(count, tmp_path, fitted):
            close = np.abs(found - alone).max() < 1e-10
            assert close == (weighted or count == 1)


def test_balanced_batches_and_early_stopping_are_those_of_one_rank(tmp_path):
    X, y = rows_of(240)
    X_val, y_val = rows_of(90)
    parameters = {"epochs": 9, "patience": 0, "dropout": 0.0, "batch_size": 37, "pretraining_epochs": 1}

    def fitted(ranks: Ranks) -> tuple[np.ndarray, int]:
        val = X_val.astype(np.float32)
        if ranks.rank:
            val = val[::-1].copy()  # another figure here must not end it at another time
        detector = registry.resolve("autoencoder-classifier", parameters)
        detector.fit(X, y, context=FitContext(X_val=val, y_val=y_val, ranks=ranks))
        return weights_of(detector), len(detector.history_)

    (one, epochs), *_ = over(1, tmp_path, fitted)
    assert 2 <= epochs < 10
    results = over(3, tmp_path, fitted)
    assert {count for _, count in results} == {epochs}
    for weights, _ in results:
        np.testing.assert_array_equal(weights, results[0][0])
    np.testing.assert_allclose(results[0][0], one, rtol=0, atol=2e-3)
    assert [bits.tobytes() for bits, _ in over(3, tmp_path, fitted)] == [bits.tobytes() for bits, _ in results]


def test_every_detector_that_ranks_may_train_sees_rows_one_by_one():
    parallel = [name for name in registry.BUILT_IN if registry.resolve(name).data_parallel]
    assert parallel == ["mlp", "autoencoder", "lstm", "ft-transformer", "cnn", "autoencoder-classifier"]
    for name in parallel:
        detector = registry.resolve(name)
        detector.build(8, 4 if detector.sequential else None)
        assert not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in detector.fitted_net().modules())


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_a_rank_that_is_gone_ends_the_others(reduce, tmp_path):
    def work(ranks: Ranks) -> str:
        if ranks.rank == 1:
            del ranks
            return "gone"
        try:
            for _ in range(100):
                ranks.together()
                threading.Event().wait(0.01)
        except MeasurementError as error:
            return (
                "ended" if f"rank {ranks.rank}: another rank is gone or does not answer" in str(error) else str(error)
            )
        return "goes on alone"

    assert sorted(over(3, tmp_path, work, reduce)) == ["ended", "ended", "gone"]


def test_sums_in_shared_memory_are_those_of_the_ranks_in_order(tmp_path):
    """Of growing and shrinking vectors, and one after the other without a moment between."""
    lengths = [3, 5000, 2, 5001, 1] * 20
    given = [
        [np.random.default_rng([rank, at]).standard_normal(n) for at, n in enumerate(lengths)] for rank in range(3)
    ]

    def work(ranks: Ranks) -> list[np.ndarray]:
        sums = [torch.from_numpy(values.copy()) for values in given[ranks.rank]]
        for values in sums:
            ranks._sum(values)
        return [values.numpy() for values in sums]

    wanted = [(first + second) + third for first, second, third in zip(*given, strict=True)]
    for sums in over(3, tmp_path, work, "native"):
        for own, whole in zip(sums, wanted, strict=True):
            np.testing.assert_array_equal(own, whole)
    assert not list(tmp_path.iterdir())


def test_ranks_that_differ_are_refused(tmp_path):
    def work(ranks: Ranks) -> str:
        ranks.same("data", [b"the same"])
        with pytest.raises(MeasurementError, match="the ranks have different data"):
            ranks.same("data", [str(ranks.rank).encode()])
        return "refused"

    assert over(2, tmp_path, work) == ["refused"] * 2
