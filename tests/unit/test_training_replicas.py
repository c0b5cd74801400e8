"""Replicas trained together become what they become alone, and both what plain torch makes of the same net."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from harness.detectors import registry
from harness.detectors.replicated import fit_together
from harness.errors import InputError
from harness.evaluation.thresholds import highest_f1
from harness.training.context import FitContext
from harness.training.nets import stack
from harness.training.replicas import Noise, Replicas


def net_of_everything(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(7, 9), nn.BatchNorm1d(9), nn.LeakyReLU(0.1), nn.Linear(9, 8), nn.Tanh(), nn.Linear(8, 6),
        nn.Sigmoid(), nn.Linear(6, 5), nn.Softplus(), nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3),
    )  # fmt: skip


def test_a_chain_has_the_gradients_of_autograd():
    nets = [net_of_everything(seed) for seed in range(3)]
    plain = [copy.deepcopy(net).train() for net in nets]
    together = Replicas(nets, [0.1] * 3)
    x = torch.randn(3, 20, 7, generator=torch.Generator().manual_seed(1))
    stacked = x.clone().requires_grad_()
    y = together.net()(stacked)
    (y.square().sum(dim=(1, 2)) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    for index, net in enumerate(plain):
        inputs = x[index].clone().requires_grad_()
        expected = net(inputs)
        ((index + 1) * expected.square().sum()).backward()
        torch.testing.assert_close(y[index], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(stacked.grad[index], inputs.grad, rtol=1e-3, atol=1e-4)
        for name, parameter in net.named_parameters():
            found = together._gradients[name][index]
            wanted = parameter.grad.t() if parameter.ndim == 2 else parameter.grad[None]
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
    together.write_back()
    for net, expected_net in zip(nets, plain, strict=True):
        torch.testing.assert_close(net[1].running_var, expected_net[1].running_var, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(net[0].weight, expected_net[0].weight)
        assert not net.training


def test_a_chain_that_does_not_learn_still_passes_gradients_on():
    together = Replicas([net_of_everything(0)], [0.1])
    x = torch.randn(1, 20, 7, requires_grad=True)
    together.net()(x, learn=False).sum().backward()
    assert x.grad.abs().sum() > 0
    assert together.gradient.abs().sum() == 0


def test_dropout_keeps_the_share_and_its_gradient():
    net = nn.Sequential(nn.Linear(4, 1000), nn.LeakyReLU(0.2), nn.Dropout(0.3))
    together = Replicas([net], [0.1], noise=Noise([5]))
    x = torch.randn(1, 50, 4, requires_grad=True)
    y = together.net()(x)
    assert (y == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    y.sum().backward()
    slope = torch.where(net[0](x[0]) >= 0, 1.0, 0.2) * (y[0] != 0) / 0.7
    torch.testing.assert_close(x.grad[0], slope @ net[0].weight, rtol=1e-3, atol=1e-3)


def test_noise_of_a_replica_does_not_depend_on_the_others():
    alone, among = Noise([8]), Noise([3, 8, 4])
    for _ in range(2):
        torch.testing.assert_close(alone.normal(6, 5)[0], among.normal(6, 5)[1], rtol=0, atol=0)
        torch.testing.assert_close(alone.keep(6, 5, 0.5)[0], among.keep(6, 5, 0.5)[1], rtol=0, atol=0)


@pytest.fixture(scope="module")
def rows():
    generator = np.random.default_rng(4)
    y = (generator.random(700) < 0.4).astype(np.int64)
    X = generator.normal(size=(700, 10)) + y[:, None] * generator.normal(size=10)
    return X.astype(np.float32), y


def plainly_trained_mlp(X: np.ndarray, y: np.ndarray, seed: int, rate: float) -> nn.Sequential:
    """The published loop in plain torch: module, loss, clipping and optimiser as anyone would write them."""
    torch.manual_seed(seed)
    net = stack((10, 64, 32, 1), "relu")
    optimiser = torch.optim.Adam(net.parameters(), lr=rate)
    order = torch.Generator().manual_seed(seed)
    inputs, targets = torch.from_numpy(X), torch.from_numpy(y).float()
    for _ in range(3):
        shuffled = torch.randperm(len(X), generator=order)
        for start in range(0, len(X), 64):
            batch = shuffled[start : start + 64]
            optimiser.zero_grad()
            functional.binary_cross_entropy_with_logits(net(inputs[batch]).view(-1), targets[batch]).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 0.2)
            optimiser.step()
    return net


def test_replicas_become_what_plain_torch_makes_of_each(rows):
    X, y = rows
    settings = [(1, 1e-3), (2, 1e-3), (2, 1e-2)]
    detectors = [
        registry.resolve("mlp", {"random_state": seed, "learning_rate": rate, "epochs": 3, "max_grad_norm": 0.2})
        for seed, rate in settings
    ]
    fit_together(detectors, X, y)
    for detector, (seed, rate) in zip(detectors, settings, strict=True):
        expected = plainly_trained_mlp(X, y, seed, rate)(torch.from_numpy(X)).view(-1).detach().numpy()
        np.testing.assert_allclose(detector.decision_function(X), expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", ["mlp", "autoencoder"])
def test_together_is_as_alone(name, rows):
    X, y = rows
    together = [registry.resolve(name, {"random_state": seed, "epochs": 4}) for seed in (1, 2, 3)]
    fit_together(together, X, y)
    for detector in together:
        alone = registry.resolve(name, {"random_state": detector.random_state, "epochs": 4}).fit(X, y)
        np.testing.assert_allclose(detector.decision_function(X), alone.decision_function(X), rtol=1e-3, atol=1e-4)
        assert [epoch.loss for epoch in detector.history_] == pytest.approx(
            [epoch.loss for epoch in alone.history_], rel=1e-4
        )
    assert not np.allclose(together[0].decision_function(X), together[1].decision_function(X), rtol=1e-2)


def test_listeners_hear_the_mean_over_replicas(rows):
    X, y = rows
    heard = []
    detectors = [registry.resolve("autoencoder", {"random_state": seed, "epochs": 2}) for seed in (1, 2)]
    fit_together(detectors, X, y, context=FitContext(on_epoch=heard.append))
    assert heard[1].loss == pytest.approx(np.mean([detector.history_[1].loss for detector in detectors]))


def test_what_are_no_replicas(rows):
    X, y = rows
    with pytest.raises(InputError, match="replicas differ in batch_size"):
        fit_together([registry.resolve("mlp"), registry.resolve("mlp", {"batch_size": 32})], X, y)
    others = [
        registry.resolve("sklearn.ensemble:IsolationForest", {"n_estimators": 3, "random_state": s}) for s in (1, 2)
    ]
    fit_together(others, X, y)
    assert all(detector.n_features_in_ == 10 for detector in others)


def test_the_epoch_with_the_highest_validation_f1_is_kept():
    generator = np.random.default_rng(8)
    X = generator.normal(size=(1200, 6)).astype(np.float32)
    y = (np.arange(1200) % 4 == 0).astype(np.int64)
    X[y == 1] *= 2.5
    how = {"epochs": 4, "learning_rate": 0.02, "ema_decay": 0.5, "latent": 3, "batch_size": 100}
    context = FitContext(X_val=X[800:], y_val=y[800:])
    after = []
    for epochs in range(1, 5):
        one = registry.resolve("egbad", {**how, "epochs": epochs}).fit(X[:800], y[:800], context=context)
        after.append(highest_f1(one.decision_function(X[800:]), y[800:]))
    detectors = [registry.resolve("egbad", {**how, "keep": "validation", "random_state": seed}) for seed in (0, 1)]
    fit_together(detectors, X[:800], y[:800], context=context)
    kept = highest_f1(detectors[0].decision_function(X[800:]), y[800:])
    assert kept == pytest.approx(max(after), abs=0.01)  # two replicas at once, rounded otherwise
    assert max(after) > after[-1] + 0.01  # else this test says nothing
    with pytest.raises(InputError, match="keep = 'validation' needs"):
        registry.resolve("egbad", {"keep": "validation"}).fit(X, y)
