"""EGBAD's nets for images: published sizes, learning on real digits, what they share with the dense form."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import softplus

from harness.datasets.base import load
from harness.detectors import registry
from harness.detectors.adversarial_tape import Game
from harness.detectors.export import prepare
from harness.detectors.image_nets import Nets
from harness.detectors.image_tape import ImageRecorder
from harness.detectors.opening import open_scorer
from harness.detectors.replicated import fit_together
from harness.errors import InputError
from harness.linalg import native
from harness.scoring.agreement import agreement
from harness.scoring.evaluate import evaluate
from harness.training.context import FitContext
from harness.training.replicas import Noise
from harness.training.tape import view


def test_the_nets_have_the_published_layers():
    nets = Nets(28, 200)
    shapes = [tuple(each.shape) for each in nets.encoder.parameters() if each.ndim > 1]
    assert shapes == [(32, 1, 3, 3), (64, 32, 3, 3), (128, 64, 3, 3), (200, 6272)]
    shapes = [tuple(each.shape) for each in nets.generator.parameters() if each.ndim > 1]
    assert shapes == [(1024, 200), (6272, 1024), (128, 64, 4, 4), (64, 1, 4, 4)]
    shapes = [tuple(each.shape) for each in nets.discriminator.parameters() if each.ndim > 1]
    assert shapes == [(64, 1, 4, 4), (64, 64, 4, 4), (512, 200), (1024, 3648), (1, 1024)]
    x, z = torch.randn(3, 1, 28, 28), torch.randn(3, 200)
    nets.eval()
    assert nets.encoder(x).shape == (3, 200)
    made = nets.generator(z)
    assert made.shape == (3, 1, 28, 28)
    assert made.abs().max() <= 1.0
    assert nets.discriminator(x, z).shape == (3,)


@pytest.fixture(scope="module")
def digits():
    return load("digits", options={"encoding": "signed", "anomalies": ["0"]}, synthetic="never")


def test_it_learns_scores_on_every_backend_and_survives_saving(digits, tmp_path):
    how = {"epochs": 4, "learning_rate": 1e-3, "latent": 16, "ema_decay": 0.9, "batch_size": 50}
    detector = registry.resolve("egbad-images", how).fit(digits.train_x[:600], digits.train_y[:600])
    scores = detector.decision_function(digits.test_x)
    np.testing.assert_array_equal(detector.decision_function(digits.test_x), scores)
    assert detector.history_[-1].losses["generator"] > 0
    reconstructed = [detector.decision_function(part).mean() for part in (digits.test_x, -digits.test_x)]
    assert reconstructed[0] < reconstructed[1]  # negatives of digits were never seen
    prepare(detector, tmp_path)
    np.testing.assert_array_equal(registry.load(tmp_path).decision_function(digits.test_x), scores)
    for backend in ("onnxruntime", "native") if native.extension is not None else ("onnxruntime",):
        for count in (1, 64):
            found = agreement(scores[:count], open_scorer(tmp_path, backend).score(digits.test_x[:count]))
            assert found.within, found.sentence()


def test_feature_matching_is_the_same_in_its_program(digits):
    how = {"epochs": 1, "learning_rate": 1e-3, "latent": 5, "batch_size": 50, "score_by": "feature-matching"}
    detector = registry.resolve("egbad-images", how).fit(digits.train_x[:200], digits.train_y[:200])
    rows = digits.test_x[:30]
    found = agreement(detector.decision_function(rows), evaluate(detector.program(), rows))
    assert found.within, found.sentence()


class Drawn:
    """EGBAD's round by autograd, with dropout and codes drawn as the tape draws them."""

    def __init__(self, nets: Nets, seed: int) -> None:
        self.nets, self.noise = copy.deepcopy(nets).train(), Noise([seed])

    def dropped(self, x: torch.Tensor) -> torch.Tensor:
        """Of images pixel by pixel, of each the rows of the batch."""
        if x.ndim == 2:
            return x * self.noise.keep(*x.shape, 0.5)[0]
        rows, channels, side, _ = x.shape
        mask = self.noise.keep(side**2 * rows, channels, 0.5)[0].view(side, side, rows, channels)
        return x * mask.permute(2, 3, 0, 1)

    def run(self, net: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
        for part in net:
            x = self.dropped(x) if isinstance(part, nn.Dropout) else part(x)
        return x

    def logits(self, images: list[torch.Tensor], codes: list[torch.Tensor], order: tuple[int, int]):
        judge = self.nets.discriminator
        seen = {half: self.run(judge.of_images, images[half]) for half in order}
        of_codes = self.run(judge.of_codes, torch.cat(codes))
        both = torch.cat([torch.cat([seen[0], seen[1]]), of_codes], dim=1)
        return judge.out(self.run(judge.joint, both)).view(-1).chunk(2)

    def losses(self, real: torch.Tensor, latent: int, order: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Those of the discriminator, both halves, and those of generator and encoder."""
        codes = self.noise.normal(len(real), latent)[0]
        fake, inferred = self.nets.generator(codes), self.nets.encoder(real)
        of_real, of_fake = self.logits([real, fake], [inferred, codes], order)
        judged = softplus(-of_real).mean() + softplus(of_fake).mean()
        return judged, torch.stack([softplus(-of_fake).mean(), softplus(of_real).mean()])


@pytest.mark.skipif(native.extension is None, reason="the native kernels are not built")
@pytest.mark.parametrize(("side", "latent", "batch"), [(8, 5, 6), (12, 16, 33)])
def test_a_native_round_has_the_gradients_of_autograd(side, latent, batch):
    """Of every parameter, in both steps of a round, and the statistics that they leave behind."""
    how = {"latent": latent, "batch_size": batch, "random_state": 3, "learning_rate": 1e-3, "ema_decay": 0.0}
    detector = registry.resolve("egbad-images", how)
    detector.build(side**2)
    torch.manual_seed(1)
    with torch.no_grad():
        for each in detector.net_.parameters():
            each.add_(0.05 * torch.randn_like(each))
    X = np.random.default_rng(0).uniform(-1, 1, (2 * batch, side**2)).astype(np.float32)
    images = torch.from_numpy(X).view(-1, 1, side, side)
    drawn = Drawn(detector.net_, 9)
    recorder = ImageRecorder(detector, Game((), latent, 0.5, 0.0), batch)
    numbers, memory = recorder.round(), recorder.writer.memory()
    for each in recorder.sides:
        each.load(memory)
    orders = [np.arange(batch), np.arange(batch, 2 * batch)]
    losses = recorder.writer.tape(memory).run(X, orders, np.random.Generator(np.random.SFC64(9)))[0]
    of_tape = {id(each.tensor): each for side_of in recorder.sides for each in side_of.kept}
    found = {}
    for name, tensor in detector.net_.named_parameters():
        placed = of_tape[id(tensor)]
        found[name] = np.empty(placed.places.size, np.float32)
        found[name][placed.places] = view(memory, placed.gradient)

    nets = drawn.nets
    judged, _ = drawn.losses(images[:batch], latent, (0, 1))
    makers = [*nets.encoder.parameters(), *nets.generator.parameters()]
    judges = list(nets.discriminator.parameters())
    expected = dict(zip(judges, torch.autograd.grad(judged, judges), strict=True))
    optimiser = torch.optim.Adam(judges, lr=1e-3, betas=(0.5, 0.999))
    for parameter in judges:
        parameter.grad = expected[parameter]
    optimiser.step()
    _, made = drawn.losses(images[batch:], latent, (1, 0))
    expected |= dict(zip(makers, torch.autograd.grad(made.sum(), makers), strict=True))
    assert [losses[list(each)].sum() for each in numbers] == pytest.approx([judged.item(), *made.tolist()], rel=1e-4)
    for name, parameter in nets.named_parameters():
        gradient = expected[parameter].numpy().ravel()
        scale = np.abs(gradient).max()
        np.testing.assert_allclose(found[name], gradient, rtol=1e-3, atol=3e-4 * scale + 3e-6, err_msg=name)
    for each in recorder.sides:
        each.write_back(memory)
    for name, buffer in detector.net_.named_buffers():
        if not name.endswith("num_batches_tracked"):
            np.testing.assert_allclose(buffer, nets.get_buffer(name), rtol=1e-3, atol=1e-3, err_msg=name)


@pytest.mark.skipif(native.extension is None, reason="the native kernels are not built")
def test_seeds_trained_natively_at_once_are_those_trained_alone(digits):
    how = {"epochs": 2, "learning_rate": 1e-3, "latent": 5, "batch_size": 40}
    rows, context = digits.train_x[:130], FitContext(trainer="native")
    together = [registry.resolve("egbad-images", {**how, "random_state": seed}) for seed in (3, 4)]
    fit_together(together, rows, context=context)
    alone = registry.resolve("egbad-images", {**how, "random_state": 4}).fit(rows, context=context)
    for path, expected in together[1].state().items():
        np.testing.assert_array_equal(alone.state()[path], expected, err_msg=path)
    assert [each.steps for each in alone.history_] == [3, 3]
    assert not alone.net_.training


def test_rows_that_are_no_square_image():
    with pytest.raises(InputError, match="square images"):
        registry.resolve("egbad-images").fit(np.zeros((10, 30)))
