"""Layers from torch, folded normalisation, the choice of an instruction set, and life without the native kernels."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from harness.errors import InputError
from harness.linalg import native
from harness.linalg.backends import backend
from harness.linalg.chain import HEADS, DenseChain, available
from harness.linalg.interface import BACKENDS, Epilogue, from_bfloat16, to_bfloat16
from harness.linalg.layers import Layer, checked, from_torch
from harness.linalg.trainer import LOSSES


def test_a_normalised_torch_net_scores_the_same_as_a_chain():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Sequential(nn.Linear(7, 12), nn.BatchNorm1d(12), nn.LeakyReLU(0.3), nn.Dropout(0.5)),
        nn.Linear(12, 5, bias=False), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 1), nn.Sigmoid(),
    )  # fmt: skip
    with torch.no_grad():
        for _ in range(20):
            model(torch.randn(32, 7) * 3 + 1)  # running statistics away from 0 and 1
    model.eval()
    X = np.random.default_rng(0).standard_normal((50, 7)).astype(np.float32)
    chain = DenseChain(from_torch(model), "logit")
    np.testing.assert_allclose(chain.score(X), model(torch.from_numpy(X)).detach()[:, 0], atol=1e-6)
    assert len(chain.layers) == 3


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.ReLU(), nn.Linear(3, 3)),
        nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Tanh()),
        nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.BatchNorm1d(3)),
        nn.Sequential(nn.Linear(3, 3), nn.Softmax(dim=1)),
    ],
)
def test_nets_that_are_no_chain_are_refused(model):
    with pytest.raises(InputError, match="has no place in a chain"):
        from_torch(model)


@pytest.mark.skipif(native.extension is None, reason="the native kernels are not built")
def test_python_and_the_kernels_have_the_same_words():
    kernels = native.extension
    pairs = [
        (kernels.DTYPES, native.DTYPES),
        (kernels.ACTIVATIONS, (*native.ACTIVATIONS, "softplus", "exp", "abs", "gelu")),  # the last four in plans only
        (kernels.LOSSES, LOSSES),
        (kernels.HEADS, HEADS),
        (kernels.BIAS_AXES, ("none", "row", "column")),
    ]
    for numbers, words in pairs:
        assert set(numbers) == set(words)
        assert sorted(numbers.values()) == list(range(len(words)))
    # the C constants are spelled as the words are
    header = (Path(__file__).parents[2] / "kernels/drivers/lparbench_kernels.h").read_text()
    spelled = {
        "lpb_dtype": [f"LPB_{word.upper()}" for word in native.DTYPES],
        "lpb_activation": [f"LPB_{word.upper()}" for word in kernels.ACTIVATIONS],
        "lpb_loss": [f"LPB_LOSS_{word.upper()}" for word in LOSSES],
        "lpb_head": [f"LPB_HEAD_{word.upper()}" for word in HEADS],
    }
    for enum, constants in spelled.items():
        body = re.search(rf"typedef enum \{{([^}}]*)\}} {enum};", header)[1]
        assert sorted(re.findall(r"\bLPB_[A-Z0-9_]+\b", body)) == sorted(constants)


def test_layers_that_do_not_fit_are_named():
    first, second = Layer(np.ones((3, 4)), np.zeros(3)), Layer(np.ones((2, 5)), np.zeros(2))
    with pytest.raises(InputError, match="layer 1: takes 5 inputs, gets 3"):
        checked([first, second])
    with pytest.raises(InputError, match="at least one layer"):
        checked([])
    with pytest.raises(InputError, match=r"layer 0: expected a weight .* got \(3, 4\) and \(4,\)"):
        checked([(np.ones((3, 4)), np.zeros(4))])
    with pytest.raises(InputError, match="activation 'softmax', expected one of identity, relu"):
        checked([(np.ones((3, 4)), np.zeros(3), "softmax")])
    with pytest.raises(InputError, match="slope"):
        checked([(np.ones((3, 4)), np.zeros(3), "leaky_relu", -1.0)])
    with pytest.raises(InputError, match="head 'logit' needs a single output"):
        DenseChain([first], "logit")
    with pytest.raises(InputError, match="as many outputs as inputs"):
        DenseChain([first], "mse")
    with pytest.raises(InputError, match="head 'softmax'"):
        DenseChain([first], "softmax")


@pytest.mark.skipif(native.extension is None, reason="the native kernels are not built")
def test_the_chosen_instruction_set_is_announced():
    layers = [(np.ones((3, 4)), np.zeros(3))]
    names = [isa.name for isa in native.isas()]
    assert names[-1] == "portable"
    assert DenseChain(layers).isa == next(isa.name for isa in native.isas() if isa.supported)
    assert DenseChain(layers, isa="portable").isa == "portable"
    assert backend("native").ran_on("float32").isa == native.select().name
    with pytest.raises(InputError, match="instruction set 'neon': expected one of"):
        DenseChain(layers, isa="neon")
    with pytest.raises(ValueError, match="expected 4 features, got 5"):
        DenseChain(layers).score(np.zeros((2, 5), np.float32))


@pytest.mark.parametrize("name", BACKENDS)
def test_arguments_that_do_not_fit_are_told(name):
    if name == "native" and native.extension is None:
        pytest.skip("the native kernels are not built")
    kernels = backend(name)
    a, b = np.ones((2, 3, 4), np.float32), np.ones((2, 4, 5), np.float32)
    for left, right, epilogue, message in [
        (a, np.ones((2, 3, 5), np.float32), Epilogue(), "do not fit"),
        (a, np.ones((3, 4, 5), np.float32), Epilogue(), "do not fit"),
        (a.astype(np.float64), b, Epilogue(), "float64"),
        (a[0, 0], b, Epilogue(), "dimensions"),
        (a, b, Epilogue(beta=1.0), "beta needs an out"),
        (a, b, Epilogue(bias=np.ones(4, np.float32)), "bias"),
        (a, b, Epilogue(activation="softmax"), "activation"),
        (np.ones((2, 2), np.int8), np.ones((2, 2), np.int8), Epilogue(alpha=2.0), "int8"),
    ]:
        with pytest.raises(InputError, match=message):
            kernels.matmul(left, right, None, epilogue)
    with pytest.raises(InputError, match="out of"):
        kernels.matmul(a, b, np.ones((2, 3, 4), np.float32))
    with pytest.raises(InputError, match="GEMM backend 'cuda'"):
        backend("cuda")


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_says_what_it_runs_on(name):
    if name == "native" and native.extension is None:
        pytest.skip("the native kernels are not built")
    ran_on = backend(name).ran_on("float32")
    assert ran_on.backend == name
    assert all([ran_on.isa, ran_on.kernel, ran_on.library])


def test_bfloat16_rounds_to_nearest_even():
    x = np.array([1.0, 1.00390625, 1.01171875, -3.3895314e38, np.inf, -np.inf, np.nan, 1e-40], np.float32)
    expected = torch.from_numpy(x).to(torch.bfloat16).to(torch.float32).numpy()
    np.testing.assert_array_equal(from_bfloat16(to_bfloat16(x)), expected)


WITHOUT = """
import sys, warnings
sys.modules["harness.linalg._native"] = None
import numpy as np
from harness.errors import InputError
from harness.linalg import native
from harness.linalg.chain import DenseChain, available
from harness.linalg.backends import backend
from harness.linalg.trainer import DenseTrainer

rng = np.random.default_rng(0)
layers = [
    (rng.standard_normal((6, 9)), rng.standard_normal(6), "relu"),
    (rng.standard_normal((9, 6)), rng.standard_normal(9), "tanh"),
]
X = rng.standard_normal((20, 9)).astype(np.float32)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    chain = DenseChain(layers, "mse")
    DenseChain(layers, "none")
assert len(caught) == 1 and "not built" in str(caught[0].message) and "torch" in str(caught[0].message), caught
assert not available() and chain.isa == "torch" and native.isas() == ()
h = np.tanh(np.maximum(X @ layers[0][0].T + layers[0][1], 0) @ layers[1][0].T + layers[1][1])
np.testing.assert_allclose(chain.score(X), ((h - X) ** 2).mean(1), rtol=1e-4)
np.testing.assert_allclose(chain.forward(X), h, rtol=1e-4, atol=1e-5)
out = np.empty(20, np.float32)
assert chain.score(X, out) is out
for make in (lambda: backend("native"), lambda: DenseTrainer(layers, "mse", learning_rate=1e-3)):
    try:
        make()
    except InputError as error:
        assert "not built" in str(error)
    else:
        raise AssertionError("expected a clear refusal")
assert backend("torch").matmul(X, X.T.copy()).shape == (20, 20)
"""


def test_without_the_extension_torch_stands_in_and_says_so():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_default_threads_are_those_of_the_placement(monkeypatch):
    import os

    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert native.default_threads() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert native.default_threads() == len(os.sched_getaffinity(0))


def test_available_is_what_the_chain_does():
    if native.extension is None:
        assert not available()
    else:
        assert available()
        assert DenseChain([(np.ones((1, 2)), np.zeros(1))]).isa != "torch"
