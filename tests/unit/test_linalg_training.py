"""The native trainer against autograd and torch's own Adam."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from harness.errors import InputError
from harness.linalg import native
from harness.linalg.layers import Layer, from_torch
from harness.linalg.trainer import DenseTrainer, Sampling, epoch_together

pytestmark = pytest.mark.skipif(native.extension is None, reason="the native kernels are not built")

ISAS = [isa.name for isa in native.isas() if isa.supported]
ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.1),
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


def net(widths, activation, last=False, seed=0):
    torch.manual_seed(seed)
    parts = []
    for index, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        parts.append(nn.Linear(inputs, outputs))
        if last or index < len(widths) - 2:
            parts.append(ACTIVATIONS[activation]())
    return nn.Sequential(*parts)


def data(rows, features, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((rows, features)).astype(np.float32)
    return X, (X[:, 0] * X[:, -1] > 0).astype(np.float32)


def torch_loss(model, loss, X, y):
    rows, output = torch.from_numpy(X), model(torch.from_numpy(X))
    if loss == "bce":
        return functional.binary_cross_entropy_with_logits(output[:, 0], torch.from_numpy(y))
    return functional.mse_loss(output, rows)


CASES = [
    ("bce", [41, 64, 32, 1], "relu", False),
    ("mse", [41, 32, 16, 8, 16, 32, 41], "relu", False),
    ("mse", [7, 5, 7], "sigmoid", True),
    ("mse", [9, 1, 9], "tanh", False),
    ("mse", [1, 3, 1], "tanh", True),
    ("bce", [121, 33, 1, 1], "leaky_relu", False),
    ("bce", [5, 1], "relu", False),
]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("loss", "widths", "activation", "last"), CASES)
@pytest.mark.parametrize("rows", [1, 7, 64])
def test_gradients_equal_autograd_to_rounding(isa, loss, widths, activation, last, rows):
    model = net(widths, activation, last)
    X, y = data(rows, widths[0])
    trainer = DenseTrainer(from_torch(model), loss, learning_rate=1e-3, isa=isa)
    found_loss, found = trainer.gradients(X, y if loss == "bce" else None)
    model.double()
    wide = torch_loss(model, loss, X.astype(np.float64), y.astype(np.float64))
    wide.backward()
    assert found_loss == pytest.approx(wide.item(), rel=1e-5)
    linear = [part for part in model if isinstance(part, nn.Linear)]
    for layer, exact in zip(found, linear, strict=True):
        scale = max(float(exact.weight.grad.abs().max()), float(exact.bias.grad.abs().max()))
        np.testing.assert_allclose(layer.weight, exact.weight.grad, rtol=0, atol=4e-6 * scale)
        np.testing.assert_allclose(layer.bias, exact.bias.grad, rtol=0, atol=4e-6 * scale)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    ("loss", "widths", "clip"), [("bce", [41, 64, 32, 1], 0.05), ("mse", [41, 32, 8, 32, 41], None)]
)
def test_the_loss_curve_is_that_of_torch(isa, loss, widths, clip):
    model = net(widths, "relu")
    X, y = data(1000, widths[0])
    trainer = DenseTrainer(from_torch(model), loss, learning_rate=1e-3, betas=(0.5, 0.999), max_grad_norm=clip, isa=isa)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.5, 0.999))
    for epoch in range(3):
        order = np.random.default_rng(epoch).permutation(len(X))
        if epoch == 2:
            trainer.set_learning_rate(3e-3)
            optimiser.param_groups[0]["lr"] = 3e-3
        losses = trainer.epoch(X, y if loss == "bce" else None, order=order, batch_size=64)
        expected = []
        for start in range(0, len(X), 64):
            chosen = order[start : start + 64]
            optimiser.zero_grad()
            value = torch_loss(model, loss, X[chosen], y[chosen])
            value.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimiser.step()
            expected.append(value.item())
        assert len(losses) == 16
        np.testing.assert_allclose(losses, expected, rtol=2e-4)
    for layer, trained in zip(trainer.layers(), (p for p in model if isinstance(p, nn.Linear)), strict=True):
        np.testing.assert_allclose(layer.weight, trained.weight.detach(), atol=2e-4)


@pytest.mark.parametrize("threads", [1, 2])
def test_trainers_together_become_what_they_become_alone(threads):
    X, y = data(300, 12)
    starts = [from_torch(net([12, 20, 1], "relu", seed=seed)) for seed in range(3)]
    rates = [1e-3, 1e-2, 1e-3]
    orders = [np.random.default_rng(seed).permutation(300) for seed in range(3)]
    alone = [DenseTrainer(layers, "bce", learning_rate=rate) for layers, rate in zip(starts, rates, strict=True)]
    together = [DenseTrainer(layers, "bce", learning_rate=rate) for layers, rate in zip(starts, rates, strict=True)]
    for _ in range(2):
        single = [t.epoch(X, y, order=order, batch_size=32) for t, order in zip(alone, orders, strict=True)]
        joint = epoch_together(together, X, y, orders=orders, batch_size=32, threads=threads)
        np.testing.assert_array_equal(joint, single)
    for one, other in zip(alone, together, strict=True):
        for left, right in zip(one.layers(), other.layers(), strict=True):
            np.testing.assert_array_equal(left.weight, right.weight)


def variational(features, hidden, latent, weight=0.6):
    """Encoder and decoder as one dictionary, and the loss of both in torch: (loss, its part without the divergence)."""
    nets = nn.ModuleDict({
        "encoder": net([features, hidden, 2 * latent], "relu", seed=1),
        "decoder": net([latent, hidden, features], "tanh", seed=2),
    })  # fmt: skip

    def loss(kind, X, noise):
        x = torch.from_numpy(X)
        mean, log_variance = nets["encoder"](x).chunk(2, dim=1)
        again = nets["decoder"](mean + (0.5 * log_variance).exp() * torch.from_numpy(noise))
        if kind == "gaussian":
            errors = functional.mse_loss(again, x, reduction="none")
        else:
            errors = functional.binary_cross_entropy_with_logits(again, x, reduction="none")
        divergences = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1.0)
        error = errors.sum(dim=1).mean()
        return error + weight * divergences.sum(dim=1).mean(), error

    return nets, loss


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", ["gaussian", "bernoulli"])
@pytest.mark.parametrize(("features", "latent"), [(41, 8), (17, 1), (1, 3), (33, 21)])
@pytest.mark.parametrize("rows", [1, 33])
def test_gradients_through_a_drawn_code_equal_autograd_to_rounding(isa, kind, features, latent, rows):
    nets, wide_loss = variational(features, 20, latent)
    X = np.random.default_rng(3).random((rows, features), dtype=np.float32)
    noise = np.random.default_rng(4).standard_normal((rows, latent), dtype=np.float32)
    layers = from_torch(nets, sampled=1)
    trainer = DenseTrainer(layers, kind, learning_rate=1e-3, sampling=Sampling(1, 0.6), isa=isa)
    found_loss, found = trainer.gradients(X, noise=noise)
    nets.double()
    exact_loss, _ = wide_loss(kind, X.astype(np.float64), noise.astype(np.float64))
    exact_loss.backward()
    assert found_loss == pytest.approx(exact_loss.item(), rel=1e-5)
    linear = [part for part in nets.modules() if isinstance(part, nn.Linear)]
    for layer, exact in zip(found, linear, strict=True):
        scale = max(float(exact.weight.grad.abs().max()), float(exact.bias.grad.abs().max()))
        np.testing.assert_allclose(layer.weight, exact.weight.grad, rtol=0, atol=4e-6 * scale)
        np.testing.assert_allclose(layer.bias, exact.bias.grad, rtol=0, atol=4e-6 * scale)


def test_a_variational_epoch_is_that_of_torch_and_together_as_alone():
    nets, loss = variational(12, 16, 3)
    start = from_torch(nets, sampled=1)
    how = {"learning_rate": 1e-3, "sampling": Sampling(1, 0.6)}
    alone, *together = (DenseTrainer(start, "gaussian", **how) for _ in range(3))
    X, _ = data(200, 12)
    order = np.random.default_rng(0).permutation(200)
    noise = np.random.default_rng(1).standard_normal((200, 3), dtype=np.float32)
    losses = alone.epoch(X, order=order, batch_size=64, noise=noise)
    optimiser = torch.optim.Adam(nets.parameters(), lr=1e-3)
    for index, (found, error) in enumerate(losses):
        part = slice(64 * index, 64 * (index + 1))
        expected = loss("gaussian", X[order[part]], noise[part])
        assert (found, error) == pytest.approx([each.item() for each in expected], rel=1e-5)
        optimiser.zero_grad()
        expected[0].backward()
        optimiser.step()
    assert len(losses) == 4  # the last batch is smaller
    linear = [part for part in nets.modules() if isinstance(part, nn.Linear)]
    for layer, trained in zip(alone.layers(), linear, strict=True):
        np.testing.assert_allclose(layer.weight, trained.weight.detach(), atol=2e-5)
    orders, noises = [order, order[::-1]], [noise, noise[::-1]]
    joint = epoch_together(together, X, orders=orders, batch_size=64, noises=noises, threads=2)
    np.testing.assert_array_equal(joint[0], losses)
    assert not np.array_equal(joint[0], joint[1])


def test_the_padding_of_a_smaller_last_batch_does_not_leak():
    X, _ = data(70, 41)
    layers = from_torch(net([41, 8, 41], "sigmoid", last=True))
    order = np.arange(70)
    grown = DenseTrainer(layers, "mse", learning_rate=1e-3)
    grown.epoch(X, order=order[:64], batch_size=64)
    fresh = DenseTrainer(grown.layers(), "mse", learning_rate=1e-3)
    np.testing.assert_array_equal(grown.gradients(X[64:])[1][0].weight, fresh.gradients(X[64:])[1][0].weight)


def test_bad_input_is_told_before_anything_is_lost():
    layers = from_torch(net([4, 3, 1], "relu"))
    X, y = data(10, 4)
    trainer = DenseTrainer(layers, "bce", learning_rate=1e-3)
    before = trainer.layers()
    with pytest.raises(IndexError, match="row 10 is outside the 10 rows"):
        trainer.epoch(X, y, order=np.array([0, 10]), batch_size=2)
    with pytest.raises(ValueError, match="expected contiguous rows of 4 features, got 3"):
        trainer.epoch(X[:, :3], y, order=np.arange(10), batch_size=2)
    with pytest.raises(ValueError, match="y: expected 10"):
        trainer.epoch(X, y[:9], order=np.arange(10), batch_size=2)
    with pytest.raises(InputError, match="batch_size 0"):
        trainer.epoch(X, y, order=np.arange(10), batch_size=0)
    with pytest.raises(TypeError, match="y: expected"):
        trainer.epoch(X, None, order=np.arange(10), batch_size=2)
    np.testing.assert_array_equal(trainer.layers()[0].weight, before[0].weight)
    with pytest.raises(InputError, match="single output and no activation"):
        DenseTrainer([Layer(np.ones((1, 4), np.float32), np.zeros(1, np.float32), "sigmoid")], "bce", learning_rate=1)
    with pytest.raises(InputError, match="as many outputs as inputs"):
        DenseTrainer(layers, "mse", learning_rate=1e-3)


def test_what_cannot_be_sampled_is_refused():
    nets, _ = variational(12, 16, 3)
    layers = from_torch(nets, sampled=1)
    X, _ = data(10, 12)
    for sampling in (None, Sampling(0)):
        with pytest.raises(InputError, match="inputs, gets"):
            DenseTrainer(layers, "gaussian", learning_rate=1e-3, sampling=sampling)
    with pytest.raises(InputError, match="sampled 3: expected a layer without an activation, before the last"):
        DenseTrainer(from_torch(net([4, 3, 4, 3, 4], "relu")), "mse", learning_rate=1e-3, sampling=Sampling(3))
    with pytest.raises(InputError, match="'bernoulli' needs a last layer without an activation"):
        DenseTrainer(from_torch(net([4, 3, 4], "relu", last=True)), "bernoulli", learning_rate=1e-3)
    trainer = DenseTrainer(layers, "gaussian", learning_rate=1e-3, sampling=Sampling(1))
    with pytest.raises(ValueError, match="noise: expected 10 contiguous rows of 3 numbers, got 9 x 3"):
        trainer.epoch(X, order=np.arange(10), batch_size=5, noise=np.zeros((9, 3), np.float32))
    with pytest.raises(TypeError, match="noise: expected"):
        trainer.gradients(X)


def test_a_trainer_in_use_refuses_a_second_thread():
    import threading

    X, y = data(20000, 41)
    trainer = DenseTrainer(from_torch(net([41, 64, 32, 1], "relu")), "bce", learning_rate=1e-3)
    order = np.tile(np.arange(20000), 20)
    running = threading.Thread(target=trainer.epoch, args=(X, y), kwargs={"order": order, "batch_size": 64})
    running.start()
    refused = 0
    while running.is_alive():
        try:
            trainer.gradients(X[:10], y[:10])
        except RuntimeError as error:
            refused += "in use by another thread" in str(error)
    running.join()
    assert refused
