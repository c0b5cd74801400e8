"""The FT-Transformer trained on the native kernels learns what it learns with torch."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional

from harness.detectors import registry
from harness.detectors.transformer import Preset, Transformer
from harness.detectors.transformer_training import NativeTransformer, decays
from harness.linalg import native
from harness.training.adam import Adam
from harness.training.context import FitContext

pytestmark = pytest.mark.skipif(native.extension is None, reason="the native kernels are not built")

SMALL = Preset(32, 4, 2, 48, 0.0, 0.0, "encoder")
FEATURES, CATEGORIES = 9, ((2, 5), (4, 3))
RATES = {"learning_rate": 1e-3, "weight_decay": 1e-2}


def net_of(preset: Preset = SMALL, categories: tuple[tuple[int, int], ...] = CATEGORIES) -> Transformer:
    """With scales and shifts that are not 1 and 0."""
    torch.manual_seed(7)
    net = Transformer(FEATURES, preset, categories)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return net


def batch_of(rows: int, seed: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows with codes, of which some are unknown; labels, weights that sum to 1, and hidden features."""
    source = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, FEATURES, generator=source)
    for column, count in CATEGORIES:
        x[:, column] = torch.randint(-1, count + 2, (rows,), generator=source).float()
    y = torch.randint(0, 2, (rows,), generator=source)
    weights = 0.1 + torch.rand(rows, generator=source)
    return x, y, weights / weights.sum(), torch.rand(rows, FEATURES, generator=source) < 0.4


def exact(net: Transformer, rows: int, *, masked: bool) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients in float64."""
    x, y, weights, hidden = batch_of(rows)
    wide = copy.deepcopy(net).double()
    if masked:
        loss = wide.masked_loss(x.double(), hidden)
    else:
        loss = (functional.cross_entropy(wide(x.double()), y, reduction="none") * weights.double()).sum()
    loss.backward()
    named = wide.named_parameters()
    return loss.item(), {
        name: torch.zeros_like(each) if each.grad is None else each.grad.clone() for name, each in named
    }


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("isa", [isa.name for isa in native.isas() if isa.supported])
def test_gradients_are_autograds_within_what_rounding_may_amount_to(monkeypatch, isa, masked):
    """A sum of n products in float32 is the exact one of factors that are n 2^-24 off."""
    rows, net = 19, net_of()
    terms = SMALL.inner + rows * (FEATURES + 1)
    loss, gradients = exact(net, rows, masked=masked)
    generator = torch.Generator().manual_seed(5)
    bounds = {name: terms * 2.0**-24 * gradient.abs().max() for name, gradient in gradients.items()}
    for _ in range(2):
        moved = copy.deepcopy(net).double()
        with torch.no_grad():
            for parameter in moved.parameters():
                signs = torch.randint(0, 2, parameter.shape, generator=generator) * 2 - 1
                parameter.mul_(1.0 + terms * 2.0**-24 * signs)
        others = exact(moved, rows, masked=masked)[1]
        for name, gradient in gradients.items():
            bounds[name] = torch.maximum(bounds[name], (others[name] - gradient).abs().max())
    x, y, weights, hidden = batch_of(rows)
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        trained = NativeTransformer(net, FEATURES, masked=masked, isa=isa, **RATES)
        of_loss, found = trained.gradients(x, hidden if masked else y, None if masked else weights)
        assert of_loss == pytest.approx(loss, rel=1e-5)
        for name, gradient in gradients.items():
            assert bounds[name] <= 1e-3 * max(float(each.abs().max()) for each in gradients.values()), name
            assert (found[name].double() - gradient).abs().max() <= bounds[name] + 1e-12, name


@pytest.mark.parametrize("masked", [False, True])
def test_gradients_of_bfloat16_products_are_off_by_the_rounding_of_their_operands(masked):
    """An operand is off by 2^-8 at most, in either direction: over n products in a row the square root of 2n times.

    Of the longest path there and back: six products in each block, and those of the head.
    """
    net, (x, y, weights, hidden) = net_of(), batch_of(19)
    gradients = exact(net, 19, masked=masked)[1]
    products = 2 * (6 * SMALL.blocks + (1 if masked else 2))
    share = (2 * products) ** 0.5 * 2.0**-8
    found = {
        isa.name: NativeTransformer(net, FEATURES, masked=masked, dtype="bfloat16", isa=isa.name, **RATES).gradients(
            x, hidden if masked else y, None if masked else weights
        )[1]
        for isa in native.isas() if isa.supported
    }  # fmt: skip
    whole = length_of(gradients)
    for of_isa in found.values():
        assert 2.0**-10 < length_of({name: of_isa[name] - gradients[name] for name in gradients}) / whole < share
        for name, gradient in gradients.items():
            assert (of_isa[name] - gradient).norm() <= share * max(gradient.norm(), whole / len(gradients)), name
        others = {name: of_isa[name] - found["portable"][name] for name in gradients}
        assert length_of(others) <= 1e-4 * whole  # by sums that round to another neighbour


def length_of(tensors: dict[str, torch.Tensor]) -> float:
    """The root of the sum of squares."""
    return float(sum(each.double().square().sum() for each in tensors.values()) ** 0.5)


@pytest.mark.parametrize("masked", [False, True])
def test_fifty_steps_are_those_of_torch(masked):
    """Against float64: as near as torch's float32 is, whose error is of the same kind.

    The biases of keys are left out: they change no score, their gradient is 0, and Adam makes steps of its rounding.
    """
    steps, class_weights = 50, torch.tensor([0.7, 1.9])
    natively = net_of()
    trained = NativeTransformer(natively, FEATURES, masked=masked, **RATES)
    nets = {dtype: net_of().to(dtype) for dtype in (torch.float32, torch.float64)}
    optimisers = {}
    for dtype, net in nets.items():
        named = list(net.named_parameters())
        optimisers[dtype] = Adam(
            [each for name, each in named if decays(name, each)], RATES["learning_rate"],
            weight_decay=RATES["weight_decay"], undecayed=[each for name, each in named if not decays(name, each)],
        )  # fmt: skip
    losses: dict[object, list[float]] = {"native": [], torch.float32: [], torch.float64: []}
    for step in range(steps):
        x, y, _, hidden = batch_of(12, seed=step % 5)
        losses["native"].append(trained.restore(x, hidden) if masked else trained.classify(x, y, class_weights))
        for dtype, net in nets.items():
            rows = x.to(dtype)
            for parameter in net.parameters():
                parameter.grad = None
            loss = (
                net.masked_loss(rows, hidden) if masked
                else functional.cross_entropy(net(rows), y, weight=class_weights.to(dtype))
            )  # fmt: skip
            loss.backward()
            optimisers[dtype].step()
            losses[dtype].append(loss.item())
    trained.write_back()
    width = SMALL.width
    apart: dict[object, list[float]] = {"native": [], torch.float32: []}
    wide = dict(nets[torch.float64].named_parameters())
    for key, net in (("native", natively), (torch.float32, nets[torch.float32])):
        for name, parameter in net.named_parameters():
            difference = (parameter.double() - wide[name]).abs().detach()
            if name.endswith("projection.bias"):
                difference[width : 2 * width] = 0
            apart[key].append(float(difference.max()))
    assert losses[torch.float64][-1] < 0.9 * losses[torch.float64][0]
    np.testing.assert_allclose(losses["native"], losses[torch.float64], rtol=1e-4)
    assert max(apart["native"]) <= 4 * max(apart[torch.float32])


def test_a_detector_is_trained_natively_as_with_torch():
    generator = np.random.default_rng(4)
    X = generator.normal(size=(150, 6)).astype(np.float32)
    X[:, 3] = generator.integers(0, 4, 150)
    y = (X[:, 0] + X[:, 3] > 1.0).astype(int)
    how = {"categorical": [3], "epochs": 3, "batch_size": 64, "learning_rate": 1e-3}
    fits = {}
    for trainer in ("torch", "native"):
        context = FitContext(X_val=X[:40], y_val=y[:40], trainer=trainer)
        fits[trainer] = registry.resolve("ft-transformer", how).fit(X, y, context=context)
    assert fits["native"].trains_natively
    for ours, theirs in zip(fits["native"].history_, fits["torch"].history_, strict=True):
        assert ours.losses == pytest.approx(theirs.losses, rel=1e-4)
        assert ours.validation == pytest.approx(theirs.validation, abs=0.02)
        assert (ours.steps, ours.rows) == (theirs.steps, theirs.rows)
    scores = [fits[trainer].decision_function(X) for trainer in ("native", "torch")]
    np.testing.assert_allclose(*scores, atol=2e-3)


def test_trained_in_bfloat16_a_detector_scores_nearly_the_same():
    """Areas of two points of a hundred at most apart: a task of 200 rows, of which one changes the area by as much."""
    generator = np.random.default_rng(4)
    X = generator.normal(size=(400, 6)).astype(np.float32)
    y = (X[:, 0] + X[:, 3] > 0.5).astype(int)
    how = {"epochs": 6, "batch_size": 32, "learning_rate": 1e-3}
    areas, losses = {}, {}
    for dtype in ("float32", "bfloat16"):
        context = FitContext(trainer="native", dtype=dtype)
        detector = registry.resolve("ft-transformer", how).fit(X[:200], y[:200], context=context)
        losses[dtype] = [epoch.loss for epoch in detector.history_[1:]]
        areas[dtype] = roc_auc_score(y[200:], detector.decision_function(X[200:]))
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"][-1] < 0.7 * losses["bfloat16"][0]
    assert areas["bfloat16"] > 0.9
    assert areas["bfloat16"] == pytest.approx(areas["float32"], abs=0.02)


PUBLISHED = Preset(48, 4, 2, 32, 0.25, 0.375, "rtdl")
SEED = 11


def kept(stream: int, row: int, step: int, shape: tuple[int, int], share: float) -> torch.Tensor:
    """What a number is multiplied by that dropout may take, from the bits that NumPy draws of the same generator."""
    source = np.random.Philox(counter=[0, stream, row, step], key=[SEED, 0])
    bits = source.random_raw(-(-shape[0] * shape[1] // 4)).view(np.uint16)[: shape[0] * shape[1]]
    return torch.from_numpy((bits >= round(share * 65536)) / (1.0 - share)).view(shape)


def published_logits(net: Transformer, x: torch.Tensor, step: int) -> torch.Tensor:
    """The net in training, with what is dropped written out."""
    h = net.tokens(x)
    rows, tokens, width = h.shape
    padded, heads = -(-tokens // 16) * 16, PUBLISHED.heads
    for index, block in enumerate(net.blocks):
        first_only = index == len(net.blocks) - 1
        asking = 1 if first_only else tokens
        normal = block.norm_attention(h)
        projected = functional.linear(normal, block.projection.weight, block.projection.bias)
        q, k, v = (part.view(rows, tokens, heads, -1).transpose(1, 2) for part in projected.chunk(3, dim=2))
        shares = torch.softmax(q[:, :, :asking] @ k.transpose(2, 3) / (width // heads) ** 0.5, dim=-1)
        columns = 16 if first_only else padded
        first, shape = index * (heads + 1), (tokens, columns)
        masks = [
            [kept(first + head, row, step, shape, 0.25)[:, :asking].t() for head in range(heads)] for row in range(rows)
        ]
        mixed = (shares * torch.stack([torch.stack(each) for each in masks])) @ v
        h = h[:, :asking] + block.out(mixed.transpose(1, 2).flatten(2))
        value, gate = block.up(block.norm_inner(h)).chunk(2, dim=2)
        dropped = torch.stack([kept(first + heads, row, step, (asking, PUBLISHED.inner), 0.375) for row in range(rows)])
        h = h + block.down(value * functional.relu(gate) * dropped)
    return net.head(h[:, 0])


def test_the_published_form_and_its_dropout_are_autograds():
    rows, net = 11, net_of(PUBLISHED)
    x, y, weights, _ = batch_of(rows)
    trained = NativeTransformer(net, FEATURES, masked=False, seed=SEED, **RATES)
    for step in range(2):
        wide = copy.deepcopy(net).double()
        loss = (
            functional.cross_entropy(published_logits(wide, x.double(), step), y, reduction="none") * weights.double()
        ).sum()
        loss.backward()
        of_loss, found = trained.gradients(x, y, weights)
        assert of_loss == pytest.approx(loss.item(), rel=1e-5)
        largest = max(float(parameter.grad.abs().max()) for parameter in wide.parameters())
        for name, parameter in wide.named_parameters():
            assert (found[name].double() - parameter.grad).abs().max() <= 2e-5 * largest, name
        trained.classify(x, y, torch.ones(2))
        trained.write_back()


def test_the_published_form_is_trained_natively():
    generator = np.random.default_rng(4)
    X = generator.normal(size=(64, 5)).astype(np.float32)
    y = (X[:, 0] > 0).astype(int)
    how = {"preset": "rtdl-default", "pretraining_epochs": 0, "epochs": 12, "learning_rate": 1e-3, "batch_size": 32}
    detector = registry.resolve("ft-transformer", how).fit(X, y, context=FitContext(trainer="native"))
    assert detector.history_[-1].loss < 0.5 * detector.history_[0].loss
    assert (detector.predict(X) == y).mean() > 0.9


def test_what_does_not_fit_is_refused():
    assert native.extension is not None
    net = net_of()
    trained = NativeTransformer(net, FEATURES, masked=False, **RATES)
    x, y, weights, hidden = batch_of(4)
    with pytest.raises(ValueError, match="expected contiguous rows of 9 features, got 8"):
        trained.classify(x[:, :8], y, torch.ones(2))
    with pytest.raises(ValueError, match="labels: row 2 has neither 0 nor 1"):
        trained.gradients(x, torch.tensor([0, 1, 2, 0]), weights)
    with pytest.raises(TypeError, match="labels: expected"):
        trained.restore(x, hidden)
    with pytest.raises(ValueError, match="at least one row"):
        trained.classify(x[:0], y[:0], torch.ones(2))
    masked = NativeTransformer(net, FEATURES, masked=True, **RATES)
    with pytest.raises(ValueError, match="hidden: expected contiguous 4 x 9"):
        masked.restore(x, hidden[:3])
    with pytest.raises(ValueError, match="do not fit each other"):
        NativeTransformer(net, FEATURES - 1, masked=False, **RATES)
