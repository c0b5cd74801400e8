"""A program gives the same scores in NumPy, ONNX Runtime and torch, for every operation there is."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from harness.detectors.image_program import Image, convolve, flattened, unflattened
from harness.detectors.lstm_net import gates_of
from harness.detectors.unrolled import both_ways
from harness.errors import InputError
from harness.linalg import native
from harness.scoring import plan
from harness.scoring import program as programs
from harness.scoring.agreement import agreement
from harness.scoring.backend_compile import as_function, missing_operation
from harness.scoring.builder import Builder, score_of_chain
from harness.scoring.elementary import elementary
from harness.scoring.evaluate import evaluate
from harness.scoring.onnx_graph import graph
from harness.training.nets import layers_of

ROWS = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)


def by_onnxruntime(program: programs.Program, X: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph(program).SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"rows": X})[0]


def check(program: programs.Program) -> np.ndarray:
    exact = evaluate(program, ROWS.astype(np.float64))
    found = by_onnxruntime(program, ROWS)
    assert found.shape == (50,)
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(evaluate(program, ROWS), exact, rtol=1e-4, atol=1e-5)
    return exact


@pytest.mark.parametrize("kind", programs.ACTIVATIONS)
def test_activations_fused_and_alone(kind):
    generator = np.random.default_rng(1)
    layer = programs.DenseLayer(
        generator.normal(size=(4, 6)).astype(np.float32), generator.normal(size=4).astype(np.float32), kind, 0.2
    )
    builder = Builder(6)
    x = builder.dense(programs.ROWS, layer)
    if kind not in ("identity", "leaky_relu"):
        x = builder.activation(x, kind)
    check(builder.finish(builder.reduce("sum", x)))


@pytest.mark.parametrize("kind", programs.REDUCTIONS)
@pytest.mark.parametrize("operator", programs.OPERATORS)
def test_reductions_and_operators(kind, operator):
    builder = Builder(6)
    shifted = builder.with_constant("add", programs.ROWS, 5.0)
    scaled = builder.with_constant("multiply", shifted, np.linspace(1, 2, 6))
    both = builder.concat(builder.elementwise(operator, programs.ROWS, scaled), shifted)
    per_row = builder.reduce("mean", scaled)
    check(builder.finish(builder.reduce(kind, builder.elementwise(operator, both, per_row))))


def test_normalised_features_have_mean_0_and_variance_1():
    builder = Builder(6)
    normal = builder.normalise(programs.ROWS)
    total = check(builder.finish(builder.reduce("mean", normal)))
    np.testing.assert_allclose(total, 0.0, atol=1e-12)
    builder = Builder(6)
    squares = check(builder.finish(builder.reduce("square_mean", builder.normalise(programs.ROWS))))
    wide = ROWS.astype(np.float64).var(axis=1)
    np.testing.assert_allclose(squares, wide / (wide + 1e-5), rtol=1e-9)


def test_steps_whose_graph_is_their_modules_are_refused():
    builder = Builder(8)
    _, hidden = builder.recur(programs.ROWS)
    with pytest.raises(InputError, match="No graph of a cell step"):
        graph(builder.finish(hidden))


@pytest.mark.parametrize("steps", [1, 3])
def test_lstms_are_torchs_own_and_those_of_every_backend_that_has_them(steps):
    torch.manual_seed(0)
    net = nn.LSTM(6 // steps, 5, batch_first=True, bidirectional=True)
    gates = [gates_of(net, backwards=backwards).arrays() for backwards in (False, True)]
    builder = Builder(6)
    weights = np.linspace(-1.0, 1.0, 10 * steps, dtype=np.float32)
    weighted = builder.with_constant("multiply", both_ways(builder, programs.ROWS, steps, *gates), weights)
    program = builder.finish(builder.reduce("sum", weighted))
    with torch.no_grad():
        expected = net(torch.from_numpy(ROWS).view(-1, steps, 6 // steps))[0].reshape(-1, 10 * steps).numpy() @ weights
    for same in (program, elementary(program)):
        np.testing.assert_allclose(evaluate(same, ROWS), expected, rtol=1e-4, atol=1e-5)
    d, h = 6 // steps, 5
    assert program.macs_per_row == 2 * (steps * 4 * h * d + (steps - 1) * 4 * h * h - h * d)
    if native.extension is not None:
        assert agreement(expected, plan.compiled(program)(ROWS)).within
        assert agreement(expected, plan.compiled(program, "bfloat16")(ROWS), "bfloat16").within
    with pytest.raises(InputError, match="No graph of a lstm step"):
        graph(program)
    assert missing_operation(program) == "lstm"


def test_convolutions_are_torchs_own_and_those_of_every_backend_that_has_them():
    torch.manual_seed(0)
    parts = [nn.Conv1d(2, 5, 3, padding=1), nn.Conv1d(5, 7, 5, padding=2)]
    net = nn.Sequential(parts[0], nn.ReLU(), parts[1], nn.ReLU())
    builder = Builder(6)
    layers = [(part.weight.detach().numpy(), part.bias.detach().numpy()) for part in parts]
    convolved = builder.convolve(programs.ROWS, 3, layers)
    program = builder.finish(builder.reduce("sum", convolved))
    with torch.no_grad():
        expected = net(torch.from_numpy(ROWS).view(-1, 3, 2).mT).amax(dim=2).sum(dim=1).numpy()
    np.testing.assert_allclose(check(elementary(program)), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(evaluate(program, ROWS), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(as_function(program)(torch.from_numpy(ROWS)), expected, rtol=1e-4, atol=1e-5)
    assert program.macs_per_row == 3 * (2 * 3 * 5 + 5 * 5 * 7)
    if native.extension is not None:
        assert agreement(expected, plan.compiled(program, "bfloat16")(ROWS), "bfloat16").within
    with pytest.raises(InputError, match="No graph of a convolution step"):
        graph(program)


@pytest.mark.parametrize(("taps", "stride", "padding"), [(3, 1, 1), (4, 2, 1), (3, 2, 0), (2, 3, 2), (1, 1, 0)])
def test_convolutions_of_images_are_torchs_own_on_every_backend_that_has_them(taps, stride, padding):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5), nn.LeakyReLU(0.2), nn.Dropout(0.5),
        nn.ConvTranspose2d(5, 3, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU(),
        nn.ConvTranspose2d(3, 4, 5, stride=3, padding=1), nn.Tanh(),
        nn.Conv2d(4, 3, taps, stride=stride, padding=padding), nn.Sigmoid(),
        nn.ConvTranspose2d(3, 1, 5, stride=3, padding=1), nn.BatchNorm2d(1), nn.Tanh(),
    )  # fmt: skip
    images = torch.randn(20, 2, 4, 4)
    for _ in range(5):
        net(images)
    net.eval()
    with torch.no_grad():
        made = net(images)
    head = programs.DenseLayer(
        np.random.default_rng(1).normal(size=(1, made[0].numel())).astype(np.float32), np.ones(1)
    )
    expected = made.flatten(1).double().numpy() @ head.weight[0] + 1.0

    builder = Builder(32)
    image = convolve(builder, Image(programs.ROWS, np.arange(16).reshape(4, 4).T, 2), net)  # column by column
    program = builder.finish(builder.dense(image.value, flattened(image, head)))
    rows = images.permute(0, 3, 2, 1).reshape(20, -1).numpy()
    np.testing.assert_allclose(evaluate(program, rows), expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(as_function(program)(torch.from_numpy(rows)), expected, rtol=1e-3, atol=1e-4)
    if native.extension is not None:
        for count in (1, 20):
            assert agreement(expected[:count], plan.compiled(program)(rows[:count])).within
        with pytest.raises(ValueError, match="does not fit"):  # there are products of float32 only
            plan.compiled(program, "bfloat16")
    with pytest.raises(InputError, match="No graph of a patches step"):
        graph(program)


def test_outputs_that_torch_takes_for_an_image():
    layer = programs.DenseLayer(np.arange(36, dtype=np.float32).reshape(12, 3), np.arange(12, dtype=np.float32))
    made = unflattened(layer, 3)
    as_torch = nn.Unflatten(1, (3, 2, 2))(torch.arange(12.0).reshape(1, 12))
    np.testing.assert_array_equal(made.bias.reshape(2, 2, 3), as_torch[0].permute(1, 2, 0))
    np.testing.assert_array_equal(made.weight, layer.weight[made.bias.astype(int)])


def test_an_image_that_no_program_enlarges():
    with pytest.raises(TypeError, match="transposed convolution"):
        convolve(Builder(4), Image.of(programs.ROWS, 2), [nn.ConvTranspose2d(1, 1, 3, stride=2)])


def test_columns_are_taken_in_their_order_and_again():
    builder = Builder(6)
    chosen = builder.columns(programs.ROWS, [4, 0, 4])
    weighted = builder.with_constant("multiply", chosen, np.array([1.0, 10.0, 100.0]))
    found = check(builder.finish(builder.reduce("sum", weighted)))
    np.testing.assert_allclose(found, 101.0 * ROWS[:, 4] + 10.0 * ROWS[:, 0], rtol=1e-5)


def test_a_torch_net_becomes_a_program_with_folded_normalisation():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.LeakyReLU(0.1), nn.Dropout(0.5), nn.Linear(8, 5, bias=False), nn.Tanh(),
        nn.Linear(5, 4), nn.Softplus(), nn.Linear(4, 3), nn.Sigmoid(), nn.Linear(3, 1),
    )  # fmt: skip
    net.train()
    for _ in range(20):
        net(torch.randn(64, 6) * 3 + 1)
    net.eval()
    with torch.no_grad():
        expected = net(torch.from_numpy(ROWS)).view(-1).numpy()
    np.testing.assert_allclose(check(score_of_chain(layers_of(net))), expected, rtol=1e-4, atol=1e-5)


def test_what_is_no_dense_net():
    with pytest.raises(TypeError, match="Conv1d"):
        layers_of(nn.Sequential(nn.Conv1d(1, 1, 1)))
    with pytest.raises(TypeError, match="right before it"):
        layers_of(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.BatchNorm1d(2)))


def test_arithmetic_is_counted():
    builder = Builder(6)
    layers = [programs.DenseLayer(np.zeros((4, 6), np.float32), np.zeros(4, np.float32), "relu")]
    program = builder.finish(builder.reduce("sum", builder.chain(programs.ROWS, layers)))
    assert (program.macs_per_row, program.weights) == (24, 28)
