"""AnoGAN's search as a graph and on the native kernels: it ends where that by autograd ends."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnxruntime
import pytest
import torch

from harness.detectors.anogan import AnoGAN
from harness.linalg import native
from harness.scoring.agreement import agreement
from harness.scoring.onnx_graph import Writer
from harness.scoring.onnx_search import Loss, Scribe
from harness.scoring.program import DenseLayer
from harness.scoring.search import CodeSearch, native_searcher
from harness.training.nets import layers_of

RULES = ("cross-entropy", "feature-matching")
RANDOM = np.random.default_rng(4)
X = RANDOM.normal(size=(100, 12)).astype(np.float32)
X[::20] *= 1000.0  # raw features are of such a size


@pytest.fixture(scope="module")
def fitted() -> AnoGAN:
    return AnoGAN(epochs=1, learning_rate=1e-3, ema_decay=0.5).fit(X)


@pytest.fixture(params=RULES)
def detector(fitted, request) -> AnoGAN:
    return fitted.set_params(score_by=request.param)  # training is the same


def by_onnxruntime(detector: AnoGAN, rows: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(detector.scoring_graph(), providers=["CPUExecutionProvider"])
    return session.run(None, {"rows": rows})[0]


@pytest.mark.parametrize("rule", RULES)
def test_value_and_gradient_are_autograds_also_at_the_kinks(rule):
    detector = AnoGAN(latent=5, generator=(7, 9), discriminator=(8, 6, 4), score_by=rule, weight=0.3, random_state=2)
    detector.build(12)
    generator, judge = detector.part("generator"), detector.part("discriminator")
    detector.net_.eval()
    with torch.no_grad():
        for layer in (generator[2], judge[3]):
            layer.weight[0] = 0.0  # a hidden unit at exactly 0
        generator[4].weight[3] = 0.0
        generator[4].bias[3] = 0.5
    rows = torch.randn(30, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 3
    rows[:, 3] = 0.5  # generated exactly
    code = torch.randn(30, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    loss = detector._loss(rows)(code)
    (expected,) = torch.autograd.grad(loss.sum(), code)

    writer = Writer()
    write = Scribe(writer, "v")
    how = CodeSearch(
        layers_of(generator), layers_of(judge), rule, 0.3, np.zeros(5, np.float32), np.ones(1), (0.9, 0.999), 1e-8
    )
    term = Loss(write, how, "rows")
    passed = term.forward(write, "code")
    value, gradient = run(writer, rows, code, (term.value(write, passed), term.gradient(write, passed)))
    np.testing.assert_allclose(value, loss.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(gradient, expected.numpy(), rtol=1e-10, atol=1e-12)


def run(writer: Writer, rows: torch.Tensor, code: torch.Tensor, outputs: tuple[str, ...]) -> list[np.ndarray]:
    from onnx import TensorProto, helper

    inputs = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in ("rows", "code")]
    wanted = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in outputs]
    graph = helper.make_graph(writer.nodes, "loss", inputs, wanted, writer.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"rows": rows.numpy(), "code": code.detach().numpy()})


@pytest.mark.parametrize("batch", [1, 30])
def test_five_hundred_steps_end_alike(detector, batch):
    assert detector.search_steps == 500
    verdict = agreement(detector.eager_scores(X[:batch]), by_onnxruntime(detector, X[:batch]))
    assert verdict.within, verdict.sentence()
    assert verdict.worst_relative < 1e-6, "in float64 no more than the last digit of a float32 score may differ"


@pytest.mark.parametrize("steps", [0, 1, 3, 10])
def test_every_step_is_the_same_and_changes_the_score(detector, steps):
    try:
        detector.set_params(search_steps=steps)
        eager, found = detector.eager_scores(X[:20]), by_onnxruntime(detector, X[:20])
        own = detector.decision_function(X[:20])
        detector.set_params(search_steps=steps + 1)
        assert (own != detector.decision_function(X[:20])).all()
    finally:
        detector.set_params(search_steps=500)
    np.testing.assert_allclose(found, eager, rtol=1e-6)
    np.testing.assert_allclose(own, eager, rtol=1e-6)


@pytest.mark.skipif(native.extension is None, reason="the native kernels are not built")
@pytest.mark.parametrize("isa", [isa.name for isa in native.isas() if isa.supported])
@pytest.mark.parametrize("batch", [1, 7, 100])
def test_the_native_search_ends_where_autograds_does(detector, isa, batch):
    scores = native_searcher(detector._code_search(), 2, isa=isa)(X[:batch])
    np.testing.assert_allclose(scores, detector.eager_scores(X[:batch]), rtol=1e-6)


@pytest.mark.skipif(native.extension is None, reason="the native kernels are not built")
def test_without_the_kernels_torch_searches(detector, monkeypatch):
    def refused(*given):
        raise AssertionError("the native search was asked")

    monkeypatch.setattr(native, "missing", lambda: "not built")
    monkeypatch.setattr("harness.scoring.search.native_searcher", refused)
    np.testing.assert_array_equal(detector.decision_function(X[:3]), detector.eager_scores(X[:3]))


def test_the_company_of_a_row_does_not_change_where_its_search_ends(detector):
    together = detector.decision_function(X[:30])
    alone = np.concatenate([detector.decision_function(X[index : index + 1]) for index in range(5)])
    np.testing.assert_allclose(alone, together[:5], rtol=0 if native.extension else 1e-6)


def test_equal_rows_score_equally_and_in_their_order(detector):
    order = [4, 2, 4, 9, 2, 4]
    found = by_onnxruntime(detector, X[order])
    assert found[0] == found[2] == found[5]
    assert found[1] == found[4]
    np.testing.assert_allclose(found, by_onnxruntime(detector, X[:10])[order], rtol=1e-6)


def test_an_activation_without_a_gradient_here_is_refused():
    layers = [DenseLayer(np.zeros((2, 2), np.float32), np.zeros(2, np.float32), "tanh")]
    how = CodeSearch(layers, layers, RULES[0], 0.1, np.zeros(2, np.float32), np.ones(1), (0.9, 0.999), 1e-8)
    with pytest.raises(TypeError, match="no gradient of tanh"):
        Loss(Scribe(Writer(), "v"), how, "rows")


@pytest.mark.skipif(native.extension is None, reason="the native kernels are not built")
def test_a_search_whose_parts_do_not_fit_is_refused():
    def net(*widths):
        made = [
            DenseLayer(np.ones((out, into), np.float32), np.zeros(out, np.float32)) for into, out in pairwise(widths)
        ]
        return made

    def search(generator, judge, rule="cross-entropy", latent=3):
        start = np.zeros(latent, np.float32)
        return native_searcher(CodeSearch(generator, judge, rule, 0.1, start, np.ones(2), (0.9, 0.999), 1e-8))

    with pytest.raises(ValueError, match="the judge takes 6 features, the generator makes 5"):
        search(net(3, 5), net(6, 1))
    with pytest.raises(ValueError, match="a logit is one output, got 2"):
        search(net(3, 5), net(5, 2))
    with pytest.raises(ValueError, match="start: expected contiguous numbers"):
        search(net(3, 5), net(5, 1), latent=4)
    bent = [DenseLayer(np.ones((5, 3), np.float32), np.zeros(5, np.float32), "tanh")]
    with pytest.raises(ValueError, match="layer 0: a search takes no activation but rectifiers"):
        search(bent, net(5, 4, 1), "feature-matching")
    with pytest.raises(ValueError, match="expected 5 features, got 4"):
        search(net(3, 5), net(5, 1))(np.zeros((2, 4), np.float32))
