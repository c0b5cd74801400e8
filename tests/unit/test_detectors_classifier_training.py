"""Recurrent and convolutional classifiers trained on the native kernels learn what they learn with torch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.detectors import registry
from harness.detectors.classifier_training import NativeClassifier, NativeForm
from harness.detectors.flow_nets import ConvolutionalNet, RecurrentNet
from harness.detectors.lstm_net import Layers, focal_loss
from harness.linalg import native
from harness.training.adam import Adam
from harness.training.context import FitContext

pytestmark = pytest.mark.skipif(native.extension is None, reason="the native kernels are not built")

FEATURES, SEED = 9, 11


@dataclass(frozen=True)
class Case:
    """A net, what it is natively, its inputs, and its loss."""

    build: Callable[[], nn.Module]
    form: NativeForm
    logits: Callable[[nn.Module, Tensor], Tensor]
    loss: Callable[[Tensor, Tensor], Tensor] = functional.binary_cross_entropy_with_logits

    def net(self) -> nn.Module:
        """With scales, shifts and biases that are not 1 and 0, and values that are not next to 0."""
        torch.manual_seed(7)
        net = self.build()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.copy_(
                    2.0 * parameter if parameter.ndim > 1 else parameter + 0.3 * torch.randn_like(parameter)
                )
        return net.train()

    def batch(self, rows: int, seed: int = 3) -> tuple[Tensor, Tensor]:
        """Rows or windows, and labels."""
        source = torch.Generator().manual_seed(seed)
        x = torch.randn(rows, self.form.steps, self.form.features, generator=source)
        return x, torch.randint(0, 2, (rows,), generator=source)

    def exact(self, net: nn.Module, rows: int) -> tuple[float, dict[str, Tensor]]:
        """Loss and gradients in float64."""
        x, y = self.batch(rows)
        wide = copy.deepcopy(net).double()
        loss = self.loss(self.logits(wide, x.double()), y.double())
        loss.backward()
        return loss.item(), {
            name: torch.zeros_like(each) if each.grad is None else each.grad for name, each in wide.named_parameters()
        }


def flow_logits(net: nn.Module, x: Tensor) -> Tensor:
    """`RecurrentNet` behind its features."""
    assert isinstance(net, RecurrentNet)
    for layer in net.layers:
        x = layer(x)[0]
    x = x + net.attention(x)
    return net.head(net.norm(x[:, -1])).view(-1)


def recurrent_net(hidden: tuple[int, ...], heads: int) -> RecurrentNet:
    """With a first layer that takes `FEATURES`."""
    net = RecurrentNet(FEATURES, hidden, heads, 0.0)
    net.layers[0] = nn.LSTM(FEATURES, hidden[0], batch_first=True, bidirectional=True)
    return net


def recurrent_case(hidden: tuple[int, ...], heads: int, steps: int) -> Case:
    form = NativeForm(
        "recurrent", FEATURES, hidden, (0.0,) * len(hidden), steps=steps, directions=2, heads=heads, normalised=True,
        hidden=hidden[-1],
    )  # fmt: skip
    return Case(lambda: recurrent_net(hidden, heads), form, flow_logits)


def lstm_case(hidden: tuple[int, ...], steps: int) -> Case:
    form = NativeForm(
        "recurrent", FEATURES, hidden, (0.0,) * len(hidden), steps=steps, gamma=3.0, weights=(1.0 - 0.9, 0.9)
    )
    return Case(
        lambda: Layers(FEATURES, hidden, (0.0,) * len(hidden)), form, lambda net, x: net(x),
        lambda logits, y: focal_loss(logits, y, 3.0, 0.9),
    )  # fmt: skip


def branch_logits(net: nn.Module, x: Tensor) -> Tensor:
    """`ConvolutionalNet` behind its features."""
    assert isinstance(net, ConvolutionalNet)
    pooled = torch.cat([branch(x).amax(dim=2) for branch in net.branches], dim=1)
    return net.head(pooled).view(-1)


def cnn_case(branches: tuple[int, ...], channels: int, features: int) -> Case:
    form = NativeForm("convolutions", features, branches, (0.0,) * len(branches), channels=channels, hidden=64)
    return Case(lambda: ConvolutionalNet(features, branches, channels, 0.0), form, branch_logits)


CASES = {
    "lstm": lstm_case((32, 16), 5),
    "lstm of odd sizes": lstm_case((21, 5), 4),
    "lstm of a row": lstm_case((16,), 1),
    "bilstm": recurrent_case((32, 16), 8, 1),
    "bilstm over steps": recurrent_case((16, 32), 4, 5),
    "bilstm of odd sizes": recurrent_case((19, 6), 3, 3),
    "cnn": cnn_case((3, 7), 16, 20),
    "cnn of odd sizes": cnn_case((1, 5, 9), 5, 3),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("isa", [isa.name for isa in native.isas() if isa.supported])
def test_gradients_are_autograds_within_what_rounding_may_amount_to(monkeypatch, isa, name):
    """A sum of n products in float32 is the exact one of factors that are n 2^-24 off.

    Behind a normalisation over the batch gradients are differences, of terms as large as any.
    """
    case, rows = CASES[name], 23
    net = case.net()
    form = case.form
    widths = max(form.sizes) * form.channels if form.channels else form.directions * sum(form.sizes)
    terms = 2 * (widths + form.hidden) + 3 * rows * form.steps  # along the longest path, there and back
    loss, gradients = case.exact(net, rows)
    generator = torch.Generator().manual_seed(5)
    largest = max(float(each.abs().max()) for each in gradients.values())
    bounds = dict.fromkeys(gradients, torch.tensor(terms * 2.0**-24 * largest))
    for _ in range(2):
        moved = copy.deepcopy(net).double()
        with torch.no_grad():
            for parameter in moved.parameters():
                signs = torch.randint(0, 2, parameter.shape, generator=generator) * 2 - 1
                parameter.mul_(1.0 + terms * 2.0**-24 * signs)
        others = case.exact(moved, rows)[1]
        for parameter, gradient in gradients.items():
            bounds[parameter] = torch.maximum(bounds[parameter], (others[parameter] - gradient).abs().max())
    x, y = case.batch(rows)
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        of_loss, found = NativeClassifier(net, case.form, learning_rate=1e-3, isa=isa).gradients(x, y)
        assert of_loss == pytest.approx(loss, rel=1e-5)
        assert set(found) == set(gradients)
        for parameter, gradient in gradients.items():
            assert bounds[parameter] <= 1e-3 * largest, parameter
            assert (found[parameter].double() - gradient).abs().max() <= bounds[parameter] + 1e-12, parameter


@pytest.mark.parametrize("name", CASES)
def test_gradients_of_bfloat16_products_are_off_by_the_rounding_of_their_operands(name):
    """An operand is off by 2^-8 at most, in either direction: over n products in a row the square root of 2n times.

    Or, where a normalisation over the batch magnifies it, as far as parameters that are so much off take it, twice.
    """
    case, rows = CASES[name], 23
    net, form = case.net(), case.form
    gradients = case.exact(net, rows)[1]
    products = 2 * (len(form.sizes) * (1 + form.steps) + 3 * (form.heads > 0) + 2)
    share = (2 * products) ** 0.5 * 2.0**-8
    generator, moved = torch.Generator().manual_seed(5), copy.deepcopy(net).double()
    with torch.no_grad():
        for parameter in moved.parameters():
            parameter.mul_(1.0 + 2.0**-8 * (torch.randint(0, 2, parameter.shape, generator=generator) * 2 - 1))
    whole, others = length_of(gradients), case.exact(moved, rows)[1]
    bound = max(share, 2 * length_of({each: others[each] - gradients[each] for each in gradients}) / whole)
    found = {
        isa.name: NativeClassifier(net, form, learning_rate=1e-3, dtype="bfloat16", isa=isa.name).gradients(
            *case.batch(rows)
        )[1]
        for isa in native.isas() if isa.supported
    }  # fmt: skip
    for of_isa in found.values():
        assert 2.0**-10 < length_of({each: of_isa[each] - gradients[each] for each in gradients}) / whole < bound
        apart = {each: of_isa[each] - found["portable"][each] for each in gradients}
        assert length_of(apart) <= 1e-4 * whole  # by sums that round to another neighbour


def length_of(tensors: dict[str, Tensor]) -> float:
    """The root of the sum of squares."""
    return float(sum(each.double().square().sum() for each in tensors.values()) ** 0.5)


@pytest.mark.parametrize("name", CASES)
def test_fifty_steps_are_those_of_torch(name):
    """Against float64: as near as torch's float32 is, clipped or not, with running statistics.

    The biases of keys are left out: they change no score, their gradient is 0, and Adam makes steps of its rounding.
    """
    case, steps, rate = CASES[name], 50, 1e-3
    longest = 1.0 if case.form.normalised else None
    natively = case.net()
    trained = NativeClassifier(natively, case.form, learning_rate=rate, weight_decay=1e-2, max_grad_norm=longest)
    nets = {dtype: case.net().to(dtype) for dtype in (torch.float32, torch.float64)}
    optimisers = {
        dtype: Adam([each for each in net.parameters() if each.requires_grad], rate, weight_decay=1e-2)
        for dtype, net in nets.items()
    }
    losses: dict[object, list[float]] = {"native": [], torch.float32: [], torch.float64: []}
    for step in range(steps):
        x, y = case.batch(12, seed=step % 5)
        trained.learning_rate = rate if step < 40 else rate / 2
        losses["native"].append(trained.step(x, y))
        for dtype, net in nets.items():
            optimisers[dtype].learning_rate = trained.learning_rate
            net.zero_grad()
            loss = case.loss(case.logits(net, x.to(dtype)), y.to(dtype))
            loss.backward()
            if longest is not None:
                nn.utils.clip_grad_norm_(net.parameters(), longest)
            optimisers[dtype].step()
            losses[dtype].append(loss.item())
    trained.write_back()
    apart: dict[object, float] = {}
    wide = nets[torch.float64].state_dict()
    for key, net in (("native", natively), (torch.float32, nets[torch.float32])):
        apart[key] = 0.0
        for parameter, value in net.state_dict().items():
            difference = (value.double() - wide[parameter].double()).abs()
            if parameter == "attention.projection.bias":
                difference[len(difference) // 3 : 2 * len(difference) // 3] = 0
            apart[key] = max(apart[key], float(difference.max()))
    assert losses[torch.float64][-1] < 0.9 * losses[torch.float64][0]
    np.testing.assert_allclose(losses["native"], losses[torch.float64], rtol=1e-4)
    assert apart["native"] <= 4 * apart[torch.float32]


def kept(stream: int, row: int, step: int, count: int, share: float) -> Tensor:
    """What numbers are multiplied by that dropout may take, from the bits that NumPy draws of the same generator."""
    source = np.random.Philox(counter=[0, stream, row, step], key=[SEED, 0])
    bits = source.random_raw(-(-count // 4)).view(np.uint16)[:count]
    return torch.from_numpy((bits >= round(share * 65536)) / (1.0 - share))


def test_dropout_is_autograds_with_the_same_masks():
    rows, step, shares, share = 7, 1, (0.25, 0.375), 0.5
    case = recurrent_case((16, 32), 4, 3)
    form = replace(case.form, dropout=shares, hidden_dropout=share)
    net = case.net()
    trained = NativeClassifier(net, form, learning_rate=1e-3, seed=SEED)
    x, y = case.batch(rows)
    trained.step(x, y)
    trained.write_back()
    wide = copy.deepcopy(net).double()
    assert isinstance(wide, RecurrentNet)
    h = x.double()
    for index, layer in enumerate(wide.layers):
        h = layer(h)[0]
        masks = [kept(index, row, step, h[row].numel(), shares[index]).view(h[row].shape) for row in range(rows)]
        h = h * torch.stack(masks)
    inner = functional.relu(wide.head[0](wide.norm((h + wide.attention(h))[:, -1])))
    inner = inner * torch.stack([kept(2, row, step, 32, share) for row in range(rows)])
    loss = case.loss(wide.head[3](inner).view(-1), y.double())
    loss.backward()
    of_loss, found = trained.gradients(x, y)
    assert of_loss == pytest.approx(loss.item(), rel=1e-5)
    largest = max(float(parameter.grad.abs().max()) for parameter in wide.parameters())
    for name, parameter in wide.named_parameters():
        assert (found[name].double() - parameter.grad).abs().max() <= 2e-5 * largest, name


DETECTORS = {
    "lstm": {"hidden": (16, 8), "dropout": (0.0, 0.0), "learning_rate": 3e-3},
    "bilstm": {"hidden": (16, 8), "heads": 4, "dropout": 0.0, "learning_rate": 1e-3},
    "cnn": {"channels": 8, "dropout": 0.0, "learning_rate": 1e-3},
}


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_is_trained_natively_as_with_torch(name):
    generator = np.random.default_rng(4)
    X = generator.normal(size=(150, 3, 6)).astype(np.float32)
    y = (X[:, -1, 0] + X[:, 0, 1] > 1.0).astype(int)
    how = {**DETECTORS[name], "epochs": 4, "batch_size": 64, "plateau": 0}
    fits = {}
    for trainer in ("torch", "native"):
        context = FitContext(X_val=X[:60], y_val=y[:60], trainer=trainer)
        fits[trainer] = registry.resolve(name, how).fit(X, y, context=context)
    assert fits["native"].trains_natively
    for ours, theirs in zip(fits["native"].history_, fits["torch"].history_, strict=True):
        assert ours.losses == pytest.approx(theirs.losses, rel=1e-4)
        assert ours.validation == pytest.approx(theirs.validation, abs=0.02)
        assert (ours.steps, ours.rows) == (theirs.steps, theirs.rows)
    scores = [fits[trainer].decision_function(X) for trainer in ("native", "torch")]
    np.testing.assert_allclose(*scores, atol=2e-3)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_with_its_dropout_learns(name):
    generator = np.random.default_rng(4)
    X = generator.normal(size=(200, 2, 6)).astype(np.float32)
    y = (X[:, -1, 0] > 0.5).astype(int)
    sizes = {} if name == "cnn" else {"hidden": (32, 16)}
    how = {**sizes, "epochs": 15, "batch_size": 50, "learning_rate": 1e-2}
    detector = registry.resolve(name, how).fit(X, y, context=FitContext(trainer="native"))
    assert detector.history_[-1].loss < 0.5 * detector.history_[0].loss
    assert (detector.predict(X) == y).mean() > 0.9


def test_what_does_not_fit_is_refused():
    assert native.extension is not None
    case = CASES["lstm"]
    net = case.net()
    trained = NativeClassifier(net, case.form, learning_rate=1e-3)
    x, y = case.batch(4)
    with pytest.raises(ValueError, match="expected contiguous rows of 45 features, got 4 x 36"):
        trained.step(x[:, :4], y)
    with pytest.raises(ValueError, match="labels: expected 4 contiguous numbers, got 3"):
        trained.step(x, y[:3])
    with pytest.raises(ValueError, match="got 0 x 45"):
        trained.step(x[:0], y[:0])
    for wrong in ({"steps": 0}, {"features": 8}, {"heads": 3}, {"sizes": (32, 17)}, {"dropout": (0.0, 1.0)}):
        with pytest.raises(ValueError, match="do not fit each other"):
            NativeClassifier(net, replace(case.form, **wrong), learning_rate=1e-3)
