"""DAGMM scores as float64 arithmetic says, on every backend and in any order of summation, far within the tolerance.

A row whose code is near zero has a cosine similarity that hangs on the last digits of the code; where these were
float32's, a backend that sums in another order (an instruction set with wider vectors) came out beyond the tolerance.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.detectors import registry
from harness.detectors.dagmm import DAGMM
from harness.detectors.export import prepare
from harness.detectors.mixture import Mixture, features
from harness.detectors.opening import open_scorer
from harness.linalg import chain
from harness.scoring.agreement import RELATIVE, agreement
from harness.scoring.artifacts import read
from harness.scoring.backend_compile import as_function
from harness.scoring.evaluate import evaluate

BOUND = RELATIVE["float32"] / 4  # where two backends err apart, their difference still is half the tolerance
FEATURES = 41


@pytest.fixture(scope="module", params=[{"code": 2}, {"objective": "variational"}], ids=["energy", "variational"])
def case(request: pytest.FixtureRequest) -> tuple[DAGMM, np.ndarray, np.ndarray]:
    """A detector, rows, and their scores in float64 from the same weights."""
    generator = np.random.default_rng(2)
    X = generator.normal(size=(4000, FEATURES)).astype(np.float32)
    X[::97] *= 30.0
    detector = registry.resolve("dagmm", {"epochs": 2, "batch_size": 500, **request.param}).fit(X)
    assert isinstance(detector, DAGMM)
    return detector, X[:2000], exact(detector, X[:2000])


def exact(detector: DAGMM, X: np.ndarray) -> np.ndarray:
    """The scores by torch in float64, without the detector's own scoring."""
    net, x = copy.deepcopy(detector.net_).double().eval(), torch.from_numpy(X).double()
    state = detector.state()
    mixture = Mixture(*(torch.from_numpy(state[name]).double() for name in ("shares", "means", "factors")))
    with torch.no_grad():
        code = net["encoder"](x)
        z = features(x, code, net["decoder"](code))
        return (-torch.logsumexp(mixture.joint(z), dim=1)).numpy()


def worst(truth: np.ndarray, scores: np.ndarray) -> float:
    return agreement(truth.astype(np.float32), scores).worst_relative


def test_every_backend_is_near_float64(case: tuple[DAGMM, np.ndarray, np.ndarray], tmp_path: Path) -> None:
    detector, X, truth = case
    prepare(detector, tmp_path)
    backends = ["eager", "onnxruntime", *(["native"] if chain.available() else [])]
    for backend in backends:
        for batch in (1, 7, len(X)):
            scores = open_scorer(tmp_path, backend).score(X[:batch])
            difference = np.abs(scores - truth[:batch]) / np.maximum(np.abs(truth[:batch]), np.median(np.abs(truth)))
            assert difference.max() < BOUND, (backend, batch)
    program = read(tmp_path).program()
    assert worst(truth, evaluate(program, X)) < BOUND
    assert worst(truth, evaluate(program, X.astype(np.float64))) < BOUND
    assert worst(truth, as_function(program)(torch.from_numpy(X)).numpy()) < BOUND


@pytest.mark.parametrize("seed", range(6))
def test_no_order_of_summation_matters(case: tuple[DAGMM, np.ndarray, np.ndarray], seed: int) -> None:
    """Features and hidden units in another order: the same function, summed otherwise."""
    detector, X, truth = case
    generator = np.random.default_rng(seed)
    order = torch.from_numpy(generator.permutation(FEATURES))
    shuffled = copy.deepcopy(detector)
    encoder, decoder = ([layer for layer in shuffled.part(name) if hasattr(layer, "weight")]
                        for name in ("encoder", "decoder"))  # fmt: skip
    with torch.no_grad():
        encoder[0].weight.copy_(encoder[0].weight[:, order].clone())
        decoder[-1].weight.copy_(decoder[-1].weight[order].clone())
        decoder[-1].bias.copy_(decoder[-1].bias[order].clone())
        for layers in (encoder, decoder):
            for below, above in pairwise(layers):
                units = torch.from_numpy(generator.permutation(below.out_features))
                below.weight.copy_(below.weight[units].clone())
                below.bias.copy_(below.bias[units].clone())
                above.weight.copy_(above.weight[:, units].clone())
    moved = registry.resolve("dagmm", detector.get_params())
    moved.take_shape(FEATURES)
    moved.restore(shuffled.state())
    rows = np.ascontiguousarray(X[:, order.numpy()])
    assert worst(truth, moved.decision_function(rows)) < BOUND
    assert worst(truth, evaluate(moved.program(), rows)) < BOUND
