"""The optimiser does what torch's does, and does not load the graph compiler to do it."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from harness.training.adam import Adam
from harness.training.early_stopping import ReduceLROnPlateau

GENERATOR = torch.Generator().manual_seed(3)


def tensors() -> list[torch.Tensor]:
    return [torch.randn(shape, generator=GENERATOR) for shape in ((40,), (6, 5), (7,))]


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_equals_torchs_as_the_learning_rate_changes_and_gradients_are_missing(weight_decay):
    ours = tensors()
    theirs = [one.clone().requires_grad_() for one in ours]
    mine = Adam(ours[:2], 1e-2, betas=(0.5, 0.999), weight_decay=weight_decay, undecayed=ours[2:])
    groups = [{"params": theirs[:2]}, {"params": theirs[2:], "weight_decay": 0.0}]
    plain = torch.optim.AdamW(groups, lr=1e-2, betas=(0.5, 0.999), weight_decay=weight_decay)
    for index in range(20):
        rate = 1e-2 / (1 + index)
        mine.learning_rate = rate
        for group in plain.param_groups:
            group["lr"] = rate
        for place, gradient in enumerate(tensors()):
            missing = index % 3 == place  # as of a head that this loss does not use
            ours[place].grad = theirs[place].grad = None if missing else gradient
        mine.step()
        plain.step()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other.detach(), rtol=1e-6, atol=1e-7)


def test_the_learning_rate_falls_as_torchs_does():
    figures = np.random.default_rng(2).random(200).cumsum() / np.arange(1, 201)
    figures[50:90] = figures[:50].max() * (1.0 + np.linspace(0.0, 2e-4, 40))  # rises too small to notice
    weight = torch.zeros(3)
    mine = Adam([weight], 1.0)
    ours = ReduceLROnPlateau(mine, 3)
    plain = torch.optim.SGD([weight], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(plain, "max", factor=0.5, patience=3, eps=0.0)
    rates = []
    for figure in figures:
        ours.offer(figure)
        theirs.step(figure)
        assert mine.learning_rate == plain.param_groups[0]["lr"]
        rates.append(mine.learning_rate)
    assert len(set(rates)) > 5


def test_training_does_not_load_the_graph_compiler():
    code = """
import sys
import numpy as np
from harness.detectors.registry import resolve
X = np.random.default_rng(0).normal(size=(64, 16)).astype(np.float32)
for name in ("mlp", "autoencoder", "egbad", "cnn", "autoencoder-classifier", "ft-transformer", "egbad-images"):
    resolve(name, {"epochs": 1, "batch_size": 32}).fit(X, np.arange(64) % 2)
    if "torch._dynamo" in sys.modules:
        sys.exit(name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
