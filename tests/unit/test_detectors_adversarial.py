"""Written-out gradients of the GANs, of DSEBM and of DAGMM against autograd on the papers' losses, dropout and all."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.detectors import registry
from harness.detectors.adversarial import Adversarial
from harness.detectors.replicated import fit_together
from harness.linalg import native
from harness.training.context import FitContext
from harness.training.replicas import Noise

ROWS, FEATURES, BATCH, STEPS, SEED = 90, 11, 30, 3, 7
HOW = {"random_state": SEED, "epochs": 1, "batch_size": BATCH, "latent": 6, "learning_rate": 1e-3, "ema_decay": 0.0}


class Plain:
    """The nets of a detector as they are before training, dropout drawn from the same source as the detector's."""

    def __init__(self, detector: Adversarial) -> None:
        detector.build(FEATURES)
        self.nets = copy.deepcopy(detector.net_).train()
        self.noise = Noise([SEED])

    def run(self, path: str, x: Tensor) -> Tensor:
        for layer in self.nets.get_submodule(path):
            x = x * self.noise.keep(*x.shape, layer.p)[0] if isinstance(layer, nn.Dropout) else layer(x)
        return x

    def judged(self, prefix: str, joint: tuple[str, ...], real: Tensor, inferred: Tensor, fake: Tensor, codes: Tensor):
        """Logits of the genuine and of the generated pairs, every net's mask drawn for both at once."""
        x = torch.cat([self.run(f"{prefix}.x", real), self.run(f"{prefix}.x", fake)])
        both = torch.cat([x, self.run(f"{prefix}.z", torch.cat([inferred, codes]))], dim=1)
        for name in joint:
            both = self.run(f"{prefix}.{name}", both)
        return both.chunk(2)

    def cycled(self, path: str, true: Tensor, again: Tensor):
        return self.run(path, torch.cat([torch.cat([true, true], 1), torch.cat([true, again], 1)])).chunk(2)


def cost(pair: tuple[Tensor, Tensor], first: float) -> Tensor:
    one, other = pair
    targets = torch.full_like(one, first), torch.full_like(other, 1.0 - first)
    return sum(functional.binary_cross_entropy_with_logits(x, y) for x, y in zip(pair, targets, strict=True))


def egbad_losses(plain: Plain, real: Tensor, codes: Tensor, first: float) -> Tensor:
    fake, inferred = plain.run("generator", codes), plain.run("encoder", real)
    return cost(plain.judged("discriminator", ("joint", "out"), real, inferred, fake, codes), first)


def alad_losses(plain: Plain, real: Tensor, codes: Tensor, first: float, code_cycle: bool = True) -> Tensor:
    fake, inferred = plain.run("generator", codes), plain.run("encoder", real)
    again, codes_again = plain.run("generator", inferred), plain.run("encoder", fake)
    found = cost(plain.judged("pair", ("joint",), real, inferred, fake, codes), first)
    found = found + cost(plain.cycled("cycle", real, again), first)
    if code_cycle or first == 1.0:
        found = found + cost(plain.cycled("code_cycle", codes, codes_again), first)
    return found


def trained_plainly(detector: Adversarial, X: Tensor, losses: Callable[..., Tensor]) -> dict[str, Tensor]:
    """The weights after ``STEPS`` steps of both sides by autograd."""
    plain = Plain(detector)
    makers = [*plain.nets["encoder"].parameters(), *plain.nets["generator"].parameters()]
    judges = [each for each in plain.nets.parameters() if not any(each is maker for maker in makers)]
    sides = [
        (torch.optim.Adam(group, lr=1e-3, betas=(0.5, 0.999)), first) for group, first in ((judges, 1.0), (makers, 0.0))
    ]
    order = torch.Generator().manual_seed(SEED)
    orders = [torch.randperm(len(X), generator=order) for _ in sides]
    for step in range(STEPS):
        for drawn, (optimiser, first) in zip(orders, sides, strict=True):
            optimiser.zero_grad()
            batch = X[drawn[step * BATCH : (step + 1) * BATCH]]
            losses(plain, batch, plain.noise.normal(BATCH, HOW["latent"])[0], first).backward()
            optimiser.step()
    return plain.nets.state_dict()


CASES = [
    ("egbad", {}, egbad_losses),
    ("alad", {}, alad_losses),
    ("alad", {"code_cycle": False}, lambda *given: alad_losses(*given, code_cycle=False)),
]
TRAINERS = ["torch", *(["native"] if native.extension is not None else [])]
# the bias before a normalisation has no gradient: Adam makes steps of the rounding errors, which change nothing
UNDONE = {"pair.x.0.bias", "pair.x.1.running_mean", "pair.x.1.num_batches_tracked"}


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize(("name", "more", "losses"), CASES)
def test_training_is_that_of_autograd(name, more, losses, trainer):
    X = np.random.default_rng(1).normal(size=(ROWS, FEATURES)).astype(np.float32)
    expected = trained_plainly(registry.resolve(name, {**HOW, **more}), torch.from_numpy(X), losses)
    context = FitContext(max_steps=STEPS, trainer=trainer)
    fitted = registry.resolve(name, {**HOW, **more}).fit(X, context=context)
    for path, found in fitted.state().items():
        if path not in UNDONE:
            np.testing.assert_allclose(found, expected[path].numpy(), rtol=1e-4, atol=2e-5, err_msg=path)


@pytest.mark.skipif(native.extension is None, reason="the native kernels are not built")
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("anogan", {}),
        ("anogan", {"dropout": 0.0, "slope": 0.0}),
        ("egbad", {"encoder": (9, 5)}),
        ("alad", {}),
        ("dsebm", {"hidden": (9, 17, 5), "noise": 0.7}),
        ("dsebm", {"hidden": (3,)}),
        ("dagmm", {"encoder": (9, 5)}),
        ("dagmm", {"objective": "variational", "code": 2, "n_components": 3, "dropout": 0.0}),
    ],
)
def test_the_kernels_train_several_seeds_as_torch_does(name, more):
    """Moving averages, losses and scores, over whole epochs of batches of an odd number; each seed as alone."""
    X = np.random.default_rng(1).normal(size=(ROWS, FEATURES)).astype(np.float32)
    how = {**HOW, **more, "epochs": 2, "batch_size": 29, "ema_decay": 0.5}
    how = {key: value for key, value in how.items() if key in registry.resolve(name, {}).get_params()}
    sides = []
    for trainer in TRAINERS:
        detectors = [registry.resolve(name, {**how, "random_state": seed}) for seed in (3, 4)]
        fit_together(detectors, X, context=FitContext(trainer=trainer))
        sides.append(detectors)
    for ours, theirs in zip(*sides, strict=True):
        for epoch, other in zip(ours.history_, theirs.history_, strict=True):
            assert epoch.losses == pytest.approx(other.losses, rel=1e-5)
            assert (epoch.steps, epoch.rows) == (other.steps, other.rows)
        for path, expected in theirs.state().items():
            if path not in UNDONE:
                np.testing.assert_allclose(ours.state()[path], expected, rtol=1e-3, atol=3e-5, err_msg=path)
    alone = registry.resolve(name, {**how, "random_state": 4}).fit(X, context=FitContext(trainer="native"))
    for path, expected in sides[-1][1].state().items():
        np.testing.assert_array_equal(alone.state()[path], expected, err_msg=path)


@pytest.mark.skipif(native.extension is None, reason="the native kernels are not built")
def test_a_native_round_reports_its_laps():
    laps: list[int] = []
    X = np.zeros((ROWS, FEATURES), np.float32)
    context = FitContext(trainer="native", lap_steps=2, on_steps=lambda steps: laps.append(steps) or True)
    registry.resolve("egbad", {**HOW, "epochs": 2}).fit(X, context=context)
    assert laps == [2, 1] * 2
