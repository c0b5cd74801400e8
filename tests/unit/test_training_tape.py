"""A tape refuses what does not fit it before anything runs, and its mixture has autograd's gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.detectors.mixture import TINY, features, mixture_of
from harness.linalg import native
from harness.training.tape import Writer, view

pytestmark = pytest.mark.skipif(native.extension is None, reason="the native kernels are not built")
ROWS = np.arange(12, dtype=np.float32).reshape(6, 2)


def drawn() -> tuple[Writer, np.ndarray]:
    """Two batches of two rows, to which a product with drawn numbers is added."""
    writer = Writer(features=2, batch=2)
    x, z, out = writer.value(2, 2), writer.value(2, 2), writer.value(2, 2)
    writer.gather(x, 0)
    writer.normal(z)
    writer.operation("product", (x, z, out))
    return writer, writer.memory()


def test_a_tape_runs_its_operations_step_by_step():
    writer, memory = drawn()
    tape = writer.tape(memory)
    losses = tape.run(ROWS, [np.array([5, 0, 1, 2])], np.random.Generator(np.random.SFC64(3)))
    assert losses.shape == (2, 0)
    source = np.random.Generator(np.random.SFC64(3))
    numbers = [source.standard_normal((2, 2), dtype=np.float32) for _ in range(2)]
    last = native.extension is not None and writer.at(2 * 2 * 16, 2, 2)
    np.testing.assert_allclose(view(memory, last), ROWS[[1, 2]] @ numbers[1], rtol=1e-6)


def test_what_does_not_fit_is_refused():
    writer, memory = drawn()
    tape = writer.tape(memory)
    source = np.random.Generator(np.random.SFC64(3))
    with pytest.raises(IndexError, match="row 6 is outside the 6 rows"):
        tape.run(ROWS, [np.array([5, 6])], source)
    with pytest.raises(ValueError, match="expected contiguous rows of 2 features, got 1"):
        tape.run(ROWS[:, :1], [np.array([5, 0])], source)
    with pytest.raises(ValueError, match="orders: expected 1 x 2"):
        tape.run(ROWS, [np.array([5, 0]), np.array([5, 0])], source)
    with pytest.raises(ValueError, match="values: they do not fit the memory"):
        writer.tape(memory[:64])
    writer.operation("gate", (writer.value(2, 2), None, writer.value(2, 3)))
    with pytest.raises(ValueError, match="operation 3 does not fit its operands"):
        writer.tape(writer.memory())


@pytest.mark.parametrize("bound", [False, True])
@pytest.mark.parametrize(("rows", "width", "components"), [(40, 3, 4), (9, 1, 1), (70, 16, 5)])
def test_the_gradients_of_a_mixture_are_autograds_in_float64(bound, rows, width, components):
    writer = Writer(features=2, batch=rows)
    writer.gather(writer.value(rows, 2), 0)
    z, logits = writer.value(rows, width), writer.value(rows, components)
    of_z, of_logits = writer.like(z), writer.like(logits)
    number = writer.loss(2)
    writer.operation("mixture", (z, logits, of_z, of_logits), word=int(bound), number=number, reals=(0.3, 0.02, 0.1))
    memory = writer.memory()
    generator = np.random.default_rng(2)
    for value in (z, logits):
        view(memory, value)[:] = generator.normal(size=(rows, value.columns))
    exact = [torch.from_numpy(view(memory, value).astype(np.float64)).requires_grad_() for value in (z, logits)]
    losses = writer.tape(memory).run(np.zeros((1, 2), np.float32), [np.zeros(rows, np.int64)], generator)
    membership = torch.softmax(exact[1], dim=1)
    mixture = mixture_of(exact[0], membership, 0.1)
    joint = mixture.joint(exact[0])
    energy = -torch.logsumexp(joint, dim=1).mean()
    if bound:
        energy = (membership * (membership.clamp_min(TINY).log() - joint)).sum(dim=1).mean()
    narrow = mixture.factors.square().sum(dim=-1).reciprocal().sum()
    (0.3 * energy + 0.02 * narrow).backward()
    np.testing.assert_allclose(losses[0], [energy.item(), narrow.item()], rtol=1e-6)
    for value, tensor in zip((of_z, of_logits), exact, strict=True):
        scale = float(tensor.grad.abs().max())
        np.testing.assert_allclose(view(memory, value), tensor.grad.numpy(), rtol=1e-5, atol=1e-6 * scale + 1e-12)


def test_the_gradient_through_distance_and_cosine_is_autograds():
    rows, width = 30, 7
    writer = Writer(features=2, batch=rows)
    writer.gather(writer.value(rows, 2), 0)
    x, y, z, of_y = (writer.value(rows, columns) for columns in (width, width, 3, width))
    of_z = writer.like(z)
    writer.operation("features", (x, y, z))
    writer.operation("features_gradient", (x, y, of_y, of_z), number=writer.loss(1))
    memory = writer.memory()
    generator = np.random.default_rng(2)
    for value in (x, y, of_z):
        view(memory, value)[:] = generator.normal(size=(rows, value.columns))
    view(memory, y)[3] = view(memory, x)[3]  # at no distance
    left, right, code, given = (
        torch.from_numpy(view(memory, value).astype(np.float64)) for value in (x, y, writer.columns_of(z, 0, 1), of_z)
    )
    losses = writer.tape(memory).run(np.zeros((1, 2), np.float32), [np.zeros(rows, np.int64)], generator)
    right.requires_grad_()
    error = (left - right).square().sum(dim=1).mean()
    made = features(left, code, right)
    (error + (made[:, 1:] * given[:, 1:]).sum()).backward()
    np.testing.assert_allclose(losses[0], error.item(), rtol=1e-6)
    np.testing.assert_allclose(view(memory, z)[:, 1:], made[:, 1:].detach(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(view(memory, of_y), right.grad, rtol=1e-4, atol=1e-5)
