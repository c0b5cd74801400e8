"""The optimiser does what torch's does, and does not load the graph compiler to do it."""

import subprocess
import sys

import pytest
import torch

from harness.detectors.optimiser import Adam


def test_equals_torchs_adam_as_the_learning_rate_changes():
    generator = torch.Generator().manual_seed(3)
    start = torch.randn(40, generator=generator)
    ours, slope = start.clone(), torch.zeros(40)
    theirs = start.clone().requires_grad_()
    mine = Adam([ours], [slope], 1e-2, betas=(0.5, 0.999))
    plain = torch.optim.Adam([theirs], lr=1e-2, betas=(0.5, 0.999))
    for index in range(20):
        rate = 1e-2 / (1 + index)
        gradient = torch.randn(40, generator=generator)
        mine.learning_rate = plain.param_groups[0]["lr"] = rate
        slope.copy_(gradient)
        theirs.grad = gradient
        mine.step()
        plain.step()
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["mlp", "autoencoder", "egbad"])
def test_training_does_not_load_the_graph_compiler(name):
    code = f"""
import sys
import numpy as np
from harness.detectors.registry import resolve
X = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)
resolve({name!r}, {{"epochs": 1, "batch_size": 32}}).fit(X, np.arange(64) % 2)
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
