"""Chains in bfloat16 and int8: each layer against the same rounding done by NumPy, whole chains against float32."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.linalg import native
from harness.linalg.chain import DenseChain
from harness.linalg.interface import from_bfloat16, to_bfloat16

pytestmark = pytest.mark.skipif(native.extension is None, reason="the native kernels are not built")

ISAS = [isa.name for isa in native.isas() if isa.supported]


def random_layer(rng, inputs, outputs, activation="identity"):
    weight = (rng.standard_normal((outputs, inputs)) / np.sqrt(inputs)).astype(np.float32)
    return weight, rng.standard_normal(outputs).astype(np.float32), activation


def quantised(x):
    """Whole numbers and scales of the rows of ``x``."""
    largest = np.abs(x).max(axis=1, keepdims=True).astype(np.float32)
    inverse = np.divide(np.float32(127), largest, out=np.zeros_like(largest), where=largest > 0)
    return np.rint(x * inverse).astype(np.float64), largest.astype(np.float64) / 127


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
@settings(max_examples=40, deadline=None)
@given(
    rows=st.sampled_from([1, 2, 63, 64, 65, 200]),
    inputs=st.integers(1, 70),
    outputs=st.integers(1, 70),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_layer_rounds_as_stated(isa, dtype, rows, inputs, outputs, seed):
    rng = np.random.default_rng(seed)
    weight, bias, _ = layer = random_layer(rng, inputs, outputs)
    x = (rng.standard_normal((rows, inputs)) * 10.0 ** rng.integers(-3, 4, (rows, 1))).astype(np.float32)
    x[0] = 0.0
    if dtype == "bfloat16":
        wide, narrow = from_bfloat16(to_bfloat16(x)).astype(np.float64), from_bfloat16(to_bfloat16(weight))
        exact, magnitude = wide @ narrow.T, np.abs(wide) @ np.abs(narrow.T)
    else:
        (q, scale), (w, weight_scale) = quantised(x), quantised(weight)
        exact = q @ w.T * scale * weight_scale.T
        magnitude = np.abs(q) @ np.abs(w.T) * scale * weight_scale.T
    found = DenseChain([layer], "none", dtype, threads=1, isa=isa).score(x)
    assert np.all(np.abs(found - exact - bias) <= (inputs + 8) * 2.0**-24 * (magnitude + np.abs(bias)) + 1e-30)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize(("head", "last"), [("logit", 1), ("mse", 41), ("none", 5)])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh"])
def test_a_chain_is_near_the_one_in_float32(isa, dtype, head, last, activation):
    rng = np.random.default_rng(3)
    layers = [
        (*random_layer(rng, 41, 33, activation), 0.1),
        (*random_layer(rng, 33, 18, activation), 0.1),
        random_layer(rng, 18, last),
    ]
    x = rng.standard_normal((150, 41)).astype(np.float32)
    exact = DenseChain(layers, head, threads=1, isa=isa).score(x)
    found = DenseChain(layers, head, dtype, threads=2, isa=isa).score(x)
    assert found.shape == exact.shape
    # errors of 2^-9 (bfloat16) and of half a step of the largest value's 127th (int8), through three layers
    assert np.abs(found - exact).max() < 0.05 * np.abs(exact).max()
    assert not np.array_equal(found, exact), "the products ran in float32"


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_stays_visible(dtype, bad):
    rng = np.random.default_rng(4)
    x = rng.standard_normal((3, 9)).astype(np.float32)
    x[1, 4] = bad
    found = DenseChain([random_layer(rng, 9, 2)], "none", dtype, threads=1).score(x)
    assert np.isfinite(found[[0, 2]]).all()
    assert not np.isfinite(found[1]).any()
