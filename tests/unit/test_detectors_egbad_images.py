"""EGBAD's nets for images: published sizes, learning on real digits, what they share with the dense form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.datasets.base import load
from harness.detectors import registry
from harness.detectors.export import prepare
from harness.detectors.image_nets import Nets
from harness.detectors.opening import open_scorer
from harness.errors import InputError
from harness.linalg import native
from harness.scoring.agreement import agreement
from harness.scoring.evaluate import evaluate


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


def test_rows_that_are_no_square_image():
    with pytest.raises(InputError, match="square images"):
        registry.resolve("egbad-images").fit(np.zeros((10, 30)))
