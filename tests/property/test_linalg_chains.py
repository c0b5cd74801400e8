"""The dense chain against the same layers in float64."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.linalg import native
from harness.linalg.chain import DenseChain
from harness.linalg.layers import Layer

pytestmark = pytest.mark.skipif(native.extension is None, reason="the native kernels are not built")

ISAS = [isa.name for isa in native.isas() if isa.supported]


@st.composite
def nets(draw):
    head = draw(st.sampled_from(["none", "logit", "mse"]))
    widths = draw(st.lists(st.integers(1, 70), min_size=2, max_size=6))
    widths[-1] = {"logit": 1, "mse": widths[0]}.get(head, widths[-1])
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    layers = []
    for inputs, outputs in itertools.pairwise(widths):
        weight = (rng.standard_normal((outputs, inputs)) / np.sqrt(inputs)).astype(np.float32)
        bias = rng.standard_normal(outputs).astype(np.float32)
        activation = draw(st.sampled_from(native.ACTIVATIONS))
        layers.append(Layer(weight, bias, activation, 0.2 if activation == "leaky_relu" else 0.0))
    rows = draw(st.sampled_from([0, 1, 3, 8, 9, 17, 63, 64, 65, 130]))
    return head, layers, rng.standard_normal((rows, widths[0])).astype(np.float32)


def exact(head, layers, X):
    h = X.astype(np.float64)
    for weight, bias, activation, slope in layers:
        h = h @ weight.T.astype(np.float64) + bias
        match activation:
            case "relu":
                h = np.maximum(h, 0)
            case "leaky_relu":
                h = np.where(h < 0, slope * h, h)
            case "tanh":
                h = np.tanh(h)
            case "sigmoid":
                h = 1 / (1 + np.exp(-h))
    if head == "mse":
        return ((h - X) ** 2).mean(1)
    return h[:, 0] if head == "logit" else h


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=80, deadline=None)
@given(net=nets(), threads=st.sampled_from([1, 3]))
def test_scores_equal_the_layers_in_double_precision(isa, net, threads):
    head, layers, X = net
    chain = DenseChain(layers, head, threads=threads, isa=isa)
    expected = exact(head, layers, X)
    found = chain.score(X)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(chain.forward(X), exact("none", layers, X), rtol=2e-5, atol=2e-5)
    # a row scores the same alone, to the rounding of another order of summation
    for row in range(0, len(X), 40):
        np.testing.assert_allclose(chain.score(X[row : row + 1])[0], expected[row], rtol=2e-5, atol=2e-5)
    out = np.full_like(found, np.nan)
    assert chain.score(X, out) is out
    np.testing.assert_array_equal(out, found)


@pytest.mark.parametrize("isa", ISAS)
def test_any_array_of_rows_is_accepted(isa):
    rng = np.random.default_rng(0)
    layers = [(rng.standard_normal((4, 6)), rng.standard_normal(4), "tanh"), (rng.standard_normal((1, 4)), np.zeros(1))]
    chain = DenseChain(layers, "logit", isa=isa)
    X = rng.standard_normal((30, 12)).astype(np.float32)
    expected = chain.score(np.ascontiguousarray(X[:, :6]))
    np.testing.assert_array_equal(chain.score(X[:, :6]), expected)  # rows further apart than they are long
    np.testing.assert_array_equal(chain.score(np.asfortranarray(X[:, :6])), expected)
    np.testing.assert_array_equal(chain.score(X[:, :6].astype(np.float64)), expected)
    np.testing.assert_array_equal(chain.score(X[:, :6].tolist()), expected)
    np.testing.assert_array_equal(chain.score(X[::-1, :6])[::-1], expected)
    memory = np.zeros(30 * 6 * 4 + 1, np.uint8)
    odd = np.frombuffer(memory.data, np.float32, 180, offset=1).reshape(30, 6)
    odd[...] = X[:, :6]
    np.testing.assert_array_equal(chain.score(odd), expected)


@pytest.mark.parametrize("isa", ISAS)
def test_nan_and_infinity_stay_in_their_rows(isa):
    rng = np.random.default_rng(0)
    layers = [
        Layer(rng.standard_normal((20, 9)).astype(np.float32), np.zeros(20, np.float32), "relu"),
        Layer(rng.standard_normal((9, 20)).astype(np.float32), np.zeros(9, np.float32)),
    ]
    X = rng.standard_normal((70, 9)).astype(np.float32)
    clean = DenseChain(layers, "mse", isa=isa).score(X)
    X[5, 3], X[66, 0] = np.nan, np.inf
    dirty = DenseChain(layers, "mse", isa=isa).score(X)
    assert np.isnan(dirty[5])
    assert not np.isfinite(dirty[66])
    kept = np.delete(np.arange(70), [5, 66])
    np.testing.assert_array_equal(dirty[kept], clean[kept])
