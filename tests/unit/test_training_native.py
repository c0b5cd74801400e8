"""The native backend gives the scores of the program in float64, whatever the program's shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness import decode
from harness.detectors.autoencoder import Autoencoder
from harness.detectors.export import prepare
from harness.detectors.mlp import MLP
from harness.detectors.opening import open_scorer
from harness.detectors.registry import resolve
from harness.detectors.replicated import fit_together
from harness.detectors.vae import VAE
from harness.linalg import chain
from harness.scoring.agreement import agreement
from harness.scoring.artifacts import TRAINING_FILE, read
from harness.scoring.backend_native import as_chain, open_backend
from harness.scoring.builder import Builder
from harness.scoring.evaluate import evaluate
from harness.scoring.program import ROWS, DenseLayer
from harness.training.context import FitContext
from harness.training.native_spec import NativeTraining, dense_trainer, trained_form

pytestmark = pytest.mark.skipif(not chain.available(), reason="the native kernels are not built here")
RANDOM = np.random.default_rng(5)
X = RANDOM.normal(size=(600, 12)).astype(np.float32)
Y = (X[:, 0] > 0.8).astype(np.int64)


def layer(inputs: int, outputs: int, activation: str = "relu") -> DenseLayer:
    weight = RANDOM.normal(size=(outputs, inputs)).astype(np.float32)
    return DenseLayer(weight, RANDOM.normal(size=outputs).astype(np.float32), activation)


@pytest.mark.parametrize("detector", [MLP(epochs=1), Autoencoder(epochs=1)], ids=["logit", "mse"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_a_whole_chain_agrees_with_float64(detector, dtype: str, tmp_path: Path) -> None:
    detector.fit(X, Y)
    assert "native" in prepare(detector, tmp_path).backends
    if not chain.available(dtype):
        pytest.skip(f"no kernel for {dtype} on this machine")
    exact = evaluate(detector.program(), X.astype(np.float64)).astype(np.float32)
    found = open_scorer(tmp_path, "native", dtype).score(X)
    verdict = agreement(exact, found, dtype)
    assert verdict.within, verdict.sentence()
    assert as_chain(detector.program()) is not None


def test_a_program_of_several_chains_and_foreign_activations_agrees_too(tmp_path: Path) -> None:
    builder = Builder(12)
    code = builder.chain(ROWS, [layer(12, 6, "tanh"), layer(6, 3, "softplus")])
    both = builder.concat(code, builder.chain(ROWS, [layer(12, 5)]))
    program = builder.finish(builder.reduce("l2", builder.chain(both, [layer(8, 9, "sigmoid"), layer(9, 4)])))
    assert as_chain(program) is None

    class Holder(MLP):
        def program(self):
            return program

    detector = Holder(epochs=1).fit(X, Y)
    prepare(detector, tmp_path)
    artifacts = read(tmp_path)
    exact = evaluate(artifacts.program(), X.astype(np.float64)).astype(np.float32)
    verdict = agreement(exact, open_backend(artifacts, "float32", 1).score(X))
    assert verdict.within, verdict.sentence()


@pytest.mark.parametrize("kind", [MLP, Autoencoder])
def test_native_training_follows_the_same_loss_curve(kind: type[MLP] | type[Autoencoder]) -> None:
    on_torch = kind(epochs=3, random_state=4, learning_rate=1e-3).fit(X, Y)
    natively = kind(epochs=3, random_state=4, learning_rate=1e-3).fit(X, Y, context=FitContext(trainer="native"))
    for ours, theirs in zip(natively.history_, on_torch.history_, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-5)
        assert (ours.steps, ours.rows) == (theirs.steps, theirs.rows)
    np.testing.assert_allclose(natively.decision_function(X), on_torch.decision_function(X), rtol=1e-3, atol=1e-4)
    assert natively.threshold_ == pytest.approx(on_torch.threshold_, rel=1e-3)


@pytest.mark.parametrize("output", ["linear", "sigmoid"])
def test_a_variational_autoencoder_trains_natively_as_on_torch(output: str) -> None:
    """Same orders, same noise: the same detector up to rounding, each seed of several as alone."""
    rows = X if output == "linear" else 1.0 / (1.0 + np.exp(-X))
    how = {"epochs": 3, "latent": 3, "output": output, "learning_rate": 1e-3, "divergence_weight": 0.5}
    on_torch = [VAE(random_state=seed, **how).fit(rows) for seed in (4, 5)]
    natively = [VAE(random_state=seed, **how) for seed in (4, 5)]
    fit_together(natively, rows, context=FitContext(trainer="native"))
    for ours, theirs in zip(natively, on_torch, strict=True):
        for epoch, other in zip(ours.history_, theirs.history_, strict=True):
            assert epoch.losses == pytest.approx(other.losses, rel=1e-5)
            assert (epoch.steps, epoch.rows) == (other.steps, other.rows)
        np.testing.assert_allclose(ours.decision_function(rows), theirs.decision_function(rows), rtol=1e-4, atol=1e-5)
        for name, weights in theirs.state().items():
            np.testing.assert_allclose(ours.state()[name], weights, rtol=1e-3, atol=1e-5, err_msg=name)


def test_awareness_of_anomalies_is_trained_on_torch() -> None:
    how = {"epochs": 1, "awareness_epochs": 1, "latent": 3}
    assert VAE(**how).native_training() is None
    asked = VAE(**how).fit(X, Y, context=FitContext(trainer="native"))
    np.testing.assert_array_equal(asked.decision_function(X), VAE(**how).fit(X, Y).decision_function(X))


@pytest.mark.parametrize("output", ["linear", "sigmoid"])
def test_an_exported_variational_autoencoder_goes_on_training_natively(output: str, tmp_path: Path) -> None:
    rows = X if output == "linear" else 1.0 / (1.0 + np.exp(-X))
    detector = VAE(epochs=1, latent=3, output=output).fit(rows)
    prepare(detector, tmp_path)
    artifacts = read(tmp_path)
    chained = as_chain(artifacts.program())
    how = decode.decode_json_file(NativeTraining, tmp_path / TRAINING_FILE)
    trainer = dense_trainer(trained_form(chained[0], how), how)
    noise = RANDOM.standard_normal((len(rows), trainer.latent), dtype=np.float32)
    losses = trainer.epoch(rows, order=np.arange(len(rows)), batch_size=64, noise=noise)
    assert len(losses) == 10
    again = chained[0][: how.sampled + 1]
    code = rows[:64]
    for part in again:
        code = np.maximum(code @ part.weight.T + part.bias, 0 if part.activation == "relu" else -np.inf)
    code = code + noise[:64]  # log-variances of zero
    for part in chained[0][how.sampled + 1 :]:
        code = np.maximum(code @ part.weight.T + part.bias, 0 if part.activation == "relu" else -np.inf)
    if output == "linear":
        expected = np.square(code - rows[:64]).sum(axis=1).mean()
    else:
        expected = (np.logaddexp(0, code) - code * rows[:64]).sum(axis=1).mean()
    assert losses[0, 1] == pytest.approx(expected, rel=1e-4)


def test_native_training_reports_every_lap() -> None:
    laps: list[int] = []
    context = FitContext(trainer="native", lap_steps=4, on_steps=lambda steps: laps.append(steps) or True)
    MLP(epochs=2).fit(X, Y, context=context)
    assert laps == [4, 4, 2] * 2  # 600 rows are ten batches of at most 64


def test_a_detector_without_dense_layers_is_native_too(tmp_path: Path) -> None:
    detector = resolve("knn", {"max_samples": 50}).fit(X, Y)
    made = prepare(detector, tmp_path)
    assert "native" in made.backends
    assert made.unavailable == {}
    verdict = agreement(detector.decision_function(X), open_scorer(tmp_path, "native", "float32").score(X))
    assert verdict.within, verdict.sentence()
