"""Every kernel against float64, with an error bound that follows from the number of terms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.linalg import native
from harness.linalg.backend_native import NativeBackend
from harness.linalg.backends import backend
from harness.linalg.interface import BACKENDS, Epilogue, from_bfloat16, to_bfloat16

pytestmark = pytest.mark.skipif(native.extension is None, reason="the native kernels are not built")

ISAS = [isa.name for isa in native.isas() if isa.supported]
EPS = 2.0**-24  # unit roundoff of float32
TINY = 2.0**-149

sizes = st.one_of(st.integers(0, 20), st.integers(0, 70), st.sampled_from([8, 16, 32, 41, 64, 121]))


@st.composite
def problems(draw, dtypes=("float32", "bfloat16", "int8")):
    dtype = draw(st.sampled_from(dtypes))
    batch, m, n, k = draw(st.integers(0, 4)), draw(sizes), draw(sizes), draw(sizes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([1.0, 1e-20, 3e-39, 1e15]))

    def operand(rows, columns):
        shared = draw(st.booleans())
        transposed = draw(st.booleans())
        padding = draw(st.sampled_from([0, 1, 5]))
        shape = (1 if shared else batch, *((columns, rows) if transposed else (rows, columns)))
        if dtype == "int8":
            whole = rng.integers(-128, 128, (shape[0], shape[1], shape[2] + padding), dtype=np.int8)
        else:
            whole = (rng.standard_normal((shape[0], shape[1], shape[2] + padding)) * scale).astype(np.float32)
            whole = to_bfloat16(whole) if dtype == "bfloat16" else whole
        view = whole[:, :, : shape[2]]
        return view.swapaxes(1, 2) if transposed else view

    a, b = operand(m, k), operand(k, n)
    if a.shape[0] == b.shape[0] == 1 != batch:
        a = np.repeat(a, batch, axis=0)
    return dtype, a, b, rng


def widened(dtype, x):
    return from_bfloat16(x).astype(np.float64) if dtype == "bfloat16" else x.astype(np.float64)


def bound(magnitude, k):
    """Of a sum of k products and a few more terms whose magnitudes sum to ``magnitude``, in float32, in any order."""
    terms = k + 5
    return terms * EPS / (1 - terms * EPS) * magnitude + terms * TINY


def flushed(isa, dtype, k):
    """What a kernel may lose that takes denormal operands and results for zero: AVX-512's and AMX's of bfloat16 do."""
    smallest_normal = 2.0**-126
    flushes = native.select(isa).kernel(dtype).startswith(("vdpbf16ps", "tdpbf16ps"))
    return (k + 3) * smallest_normal if flushes else 0.0


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=150, deadline=None)
@given(problem=problems())
def test_plain_products_are_within_the_bound(isa, problem):
    dtype, a, b, _rng = problem
    found = NativeBackend(isa).matmul(a, b)
    exact = widened(dtype, a) @ widened(dtype, b)
    if dtype == "int8":
        assert np.array_equal(found, exact.astype(np.int64).astype(np.int32))
    else:
        magnitude = np.abs(widened(dtype, a)) @ np.abs(widened(dtype, b))
        k = a.shape[2]
        assert np.all(np.abs(found - exact) <= bound(magnitude, k) + flushed(isa, dtype, k))


ACTIVATED = {
    "identity": lambda x, s: x,
    "relu": lambda x, s: np.maximum(x, 0),
    "leaky_relu": lambda x, s: np.where(x < 0, s * x, x),
    "tanh": lambda x, s: np.tanh(x),
    "sigmoid": lambda x, s: 1 / (1 + np.exp(-x)),
}


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=150, deadline=None)
@given(
    problem=problems(dtypes=("float32", "bfloat16")),
    alpha=st.sampled_from([1.0, -0.5, 0.0]),
    beta=st.sampled_from([0.0, 1.0, 0.25]),
    bias=st.sampled_from(["none", "column", "columns", "row", "rows"]),
    activation=st.sampled_from(native.ACTIVATIONS),
    threads=st.sampled_from([1, 3]),
)
def test_epilogues_are_within_the_bound(isa, problem, alpha, beta, bias, activation, threads):
    dtype, a, b, rng = problem
    batch, m, n = max(len(a), len(b)) if min(len(a), len(b)) else 0, a.shape[1], b.shape[2]
    shapes = {"column": (n,), "columns": (batch, 1, n), "row": (m, 1), "rows": (batch, m, 1)}
    added = None if bias == "none" else rng.standard_normal(shapes[bias]).astype(np.float32)
    old = rng.standard_normal((batch, m, n)).astype(np.float32)
    out = np.full_like(old, np.nan) if beta == 0.0 else old.copy()
    slope = 0.1
    NativeBackend(isa, threads).matmul(a, b, out, Epilogue(alpha, beta, added, activation, slope))

    wide_a, wide_b = widened(dtype, a), widened(dtype, b)
    terms = [
        alpha * (wide_a @ wide_b),
        beta * old.astype(np.float64),
        0.0 if added is None else added.astype(np.float64),
    ]
    magnitude = abs(alpha) * (np.abs(wide_a) @ np.abs(wide_b)) + np.abs(terms[1]) + np.abs(terms[2])
    with np.errstate(over="ignore"):
        exact = ACTIVATED[activation](sum(terms), slope)
    # no activation here is steeper than 1, and each is computed to a few units in the last place
    k = a.shape[2]
    assert np.all(np.abs(out - exact) <= bound(magnitude, k) + 6 * EPS * np.abs(exact) + flushed(isa, dtype, k))


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=60, deadline=None)
@given(m=st.integers(1, 20), n=st.integers(1, 40), k=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_infinities_and_nan_reach_exactly_the_entries_they_should(isa, m, n, k, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((m, k)).astype(np.float32), rng.standard_normal((k, n)).astype(np.float32)
    for x in (a, b):
        x.flat[rng.integers(x.size, size=2)] = rng.choice([np.nan, np.inf, -np.inf, 0.0], 2)
    with np.errstate(invalid="ignore"):
        exact = np.einsum("ik,kj->ij", a.astype(np.float64), b.astype(np.float64))
    for activation in ("identity", "relu", "leaky_relu"):
        found = NativeBackend(isa).matmul(a, b, None, Epilogue(activation=activation, slope=0.1))
        with np.errstate(invalid="ignore"):
            expected = ACTIVATED[activation](exact, 0.1)
        expected[np.isnan(exact)] = np.nan
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
        np.testing.assert_array_equal(found[np.isinf(expected)], expected[np.isinf(expected)])
        np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shift", [1, 2, 3, 4, 8, 12])
def test_addresses_need_no_alignment(isa, shift):
    rng = np.random.default_rng(shift)
    exact_a, exact_b = (
        rng.standard_normal((2, 7, 9)).astype(np.float32),
        rng.standard_normal((2, 9, 21)).astype(np.float32),
    )

    def shifted(x):
        memory = np.zeros(x.nbytes + 16, np.uint8)
        view = np.frombuffer(memory.data, np.float32, x.size, offset=shift).reshape(x.shape)
        view[...] = x
        return view

    out = shifted(np.zeros((2, 7, 21), np.float32))
    NativeBackend(isa).matmul(shifted(exact_a), shifted(exact_b), out)
    np.testing.assert_allclose(out, exact_a @ exact_b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("isa", ISAS)
def test_layouts_without_contiguous_rows(isa):
    rng = np.random.default_rng(1)
    a = rng.standard_normal((5, 30, 40)).astype(np.float32)[::2, ::3, ::2]
    b = rng.standard_normal((6, 60, 20)).astype(np.float32)[::-2, ::-3, ::2]
    out = np.zeros((3, 10, 30), np.float32)[:, :, ::3]
    returned = NativeBackend(isa).matmul(a, b, out)
    assert returned is out
    np.testing.assert_allclose(out, a @ b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", BACKENDS)
@settings(max_examples=25, deadline=None)
@given(problem=problems())
def test_every_backend_keeps_the_same_contract(name, problem):
    dtype, a, b, rng = problem
    if dtype == "bfloat16" and name == "onnxruntime":
        return
    kernels = backend(name)
    found = kernels.matmul(a, b)
    magnitude = np.abs(widened(dtype, a)) @ np.abs(widened(dtype, b))
    exact = widened(dtype, a) @ widened(dtype, b)
    assert found.shape == exact.shape
    assert found.dtype == (np.int32 if dtype == "int8" else np.float32)
    if dtype == "int8":
        assert np.array_equal(found, exact)
        return
    # Libraries may flush denormal products to zero, and sum with a wider error constant than ours
    assert np.all(np.abs(found - exact) <= 2 * bound(magnitude, a.shape[2]) + a.shape[2] * 2.0**-126)
    added = rng.standard_normal(b.shape[2]).astype(np.float32)
    biased = kernels.matmul(a, b, None, Epilogue(bias=added, activation="relu"))
    np.testing.assert_allclose(
        biased, np.maximum(found + added, 0), rtol=1e-5, atol=1e-5 * max(1.0, magnitude.max(initial=0))
    )
