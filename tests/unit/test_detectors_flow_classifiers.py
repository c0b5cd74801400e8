"""The optimised flow classifiers: their feature pipeline, published sizes, and what makes the failing form fail."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.detectors import registry
from harness.detectors.flow_features import FlowFeatures
from harness.detectors.flow_nets import RecurrentNet
from harness.errors import InputError
from harness.scoring.builder import Builder
from harness.scoring.evaluate import evaluate
from harness.scoring.program import ROWS
from harness.training.context import FitContext


@pytest.fixture(scope="module")
def flows() -> tuple[np.ndarray, np.ndarray]:
    """Forty features of which six tell the classes apart; one is constant."""
    generator = np.random.default_rng(5)
    y = (generator.random(1500) < 0.3).astype(int)
    X = generator.normal(size=(1500, 40)).astype(np.float32)
    X[:, [3, 8, 15, 22, 27, 33]] += 1.5 * y[:, None]
    X[:, 11] = 4.0
    return X, y


class TestFeatures:
    def test_31_become_53_become_50(self, flows):
        X, y = flows
        features = FlowFeatures(40)
        features.fit(X, y)
        assert features._all(torch.from_numpy(X)).shape == (1500, 53)
        made = features(torch.from_numpy(X))
        assert made.shape == (1500, 50)
        torch.testing.assert_close(made.mean(dim=0), torch.zeros(50), atol=1e-4, rtol=0)
        torch.testing.assert_close(made.std(dim=0), torch.ones(50), atol=1e-3, rtol=0)
        chosen = features.get_buffer("base").tolist()
        assert set(chosen[:6]) == {3, 8, 15, 22, 27, 33}
        assert 11 not in chosen

    def test_they_are_what_they_are_called(self, flows):
        X, y = flows
        features = FlowFeatures(40)
        features.fit(X, y)
        base = X[:, features.get_buffer("base").numpy()]
        made = features._all(torch.from_numpy(X)).numpy()
        np.testing.assert_allclose(made[:, :31], base)
        np.testing.assert_allclose(made[:, 31], base[:, 0] * base[:, 1], rtol=1e-6)
        np.testing.assert_allclose(made[:, 40], base[:, 3] * base[:, 4], rtol=1e-6)
        np.testing.assert_allclose(made[:, 41], base[:, 0] / (np.abs(base[:, 1]) + 1), rtol=1e-5)
        np.testing.assert_allclose(made[:, 45], base[:, :15].mean(axis=1), atol=1e-5)
        np.testing.assert_allclose(made[:, 46], base[:, :15].std(axis=1), rtol=1e-4)
        np.testing.assert_allclose(made[:, 51], base[:, 15:].max(axis=1))
        np.testing.assert_allclose(made[:, 52], base[:, 15:].min(axis=1))

    def test_as_steps_of_a_program_they_are_the_same(self, flows):
        X, y = flows
        features = FlowFeatures(40)
        features.fit(X, y)
        builder = Builder(40)
        weights = np.linspace(-1.0, 1.0, 50, dtype=np.float32)
        weighted = builder.with_constant("multiply", features.write(builder, ROWS), weights)
        found = evaluate(builder.finish(builder.reduce("sum", weighted)), X.astype(np.float64))
        expected = features.double()(torch.from_numpy(X).double()).numpy() @ weights
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_the_recurrent_net_has_the_documents_parameters():
    net = RecurrentNet(83, (256, 128, 64), 8, 0.4)
    counts = [sum(each.numel() for each in layer.parameters()) for layer in net.layers]
    assert counts == [630_784, 657_408, 164_864]
    assert sum(each.numel() for each in net.attention.parameters()) == 66_048


def test_attention_is_torchs_own():
    torch.manual_seed(0)
    ours = RecurrentNet(40, (8, 8, 8), 4, 0.0).attention
    theirs = torch.nn.MultiheadAttention(16, 4, batch_first=True)
    theirs.in_proj_weight.data.copy_(ours.projection.weight.data)
    theirs.in_proj_bias.data.copy_(ours.projection.bias.data)
    theirs.out_proj.load_state_dict(ours.out.state_dict())
    x = torch.randn(3, 5, 16)
    torch.testing.assert_close(ours(x), theirs(x, x, x)[0])


def test_the_recurrent_net_reads_windows_and_wants_the_length_it_was_fitted_on(flows):
    X, y = flows
    windows = np.stack([X[:-2], X[1:-1], X[2:]], axis=1)
    how = {"hidden": (8, 8, 8), "heads": 2, "epochs": 1}
    detector = registry.resolve("bilstm", how).fit(windows, y[2:])
    earlier = windows.copy()
    earlier[:, 0] += 3.0
    assert not np.allclose(detector.decision_function(windows), detector.decision_function(earlier))
    with pytest.raises(InputError, match="windows of 3 steps, not 2"):
        detector.decision_function(windows[:, 1:])


def test_the_failing_form_has_no_gradient_and_the_mended_one_learns(flows):
    X, y = flows
    how = {"channels": 8, "epochs": 3, "batch_size": 64, "dropout": 0.0, "learning_rate": 1e-3}
    failing = {**how, "branches": (3, 5, 7, 9), "initialisation": "unit-normal", "output": "probability"}
    detector = registry.resolve("cnn", failing).fit(X, y)
    assert detector.history_[-1].loss > 20.0  # a certain and wrong answer costs 100
    assert np.mean(np.abs(detector.decision_function(X)) > 17.0) > 0.8  # whose sigmoid is 0 or 1 in float32
    assert (detector.predict(X) == y).mean() < 0.75
    mended = registry.resolve("cnn", {**how, "epochs": 12}).fit(X, y)
    assert (mended.predict(X) == y).mean() > 0.9


def test_the_best_epoch_on_validation_rows_is_kept_and_training_ends_by_patience(flows):
    X, y = flows
    how = {"epochs": 40, "patience": 2, "pretraining_epochs": 0, "learning_rate": 0.05, "batch_size": 64}
    context = FitContext(X_val=X[1000:], y_val=y[1000:])
    detector = registry.resolve("autoencoder-classifier", how).fit(X[:1000], y[:1000], context=context)
    assert len(detector.history_) < 40
    from sklearn.metrics import average_precision_score

    kept = average_precision_score(y[1000:], detector.decision_function(X[1000:]))
    whole = registry.resolve("autoencoder-classifier", {**how, "epochs": len(detector.history_), "patience": 99})
    last = whole.fit(X[:1000], y[:1000]).decision_function(X[1000:])
    assert kept >= average_precision_score(y[1000:], last)
