"""A tape refuses what does not fit it before anything runs; its mixture and its blocks are those of float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.detectors.mixture import TINY, features, mixture_of
from harness.linalg import native
from harness.training.tape import Writer, view
from harness.training.tape_pixels import meeting

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


def run_once(writer: Writer, memory: np.ndarray) -> None:
    writer.tape(memory).run(ROWS, [np.zeros(writer.batch, np.int64)], np.random.Generator(np.random.SFC64(3)))


def filled(writer: Writer, seed: int) -> np.ndarray:
    """The memory with numbers everywhere, paddings included."""
    memory = writer.memory()
    memory[:] = np.random.default_rng(seed).normal(size=len(memory))
    return memory


ISAS = [each.name for each in native.isas() if each.supported]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("seed", range(6))
def test_sums_of_products_of_blocks_are_those_of_float64(seed, isa):
    """Of any shape, turned or not, added or not, with a bias, an activation, and blocks that nothing is said of."""
    rng = np.random.default_rng(seed)
    m, n, k, made, read, blocks = (int(rng.integers(1, most)) for most in (30, 150, 40, 5, 6, 4))
    turned, added, biased, leaky = (bool(seed >> bit & 1) or seed == 5 for bit in range(4))
    links = np.stack([rng.integers(0, most, 20) for most in (made, read, blocks)], axis=1)
    writer = Writer(features=2, batch=1)
    writer.gather(writer.value(1, 2), 0)
    a = writer.value(read * (k if turned else m), m if turned else k)
    b, c, d = writer.value(blocks * k, n), writer.value(made * m, n, spare=16), writer.value(made if seed % 2 else 1, n)
    number = 4 * writer.table(links, k if turned else m) + turned + 2 * added
    word = native.extension.ACTIVATIONS["leaky_relu" if leaky else "identity"]
    writer.operation("blocks", (a, b, c, d if biased else None), word=word, number=number, reals=(0.3,))
    memory = filled(writer, seed)
    x, w, before, bias = (view(memory, each).astype(np.float64) for each in (a, b, c, d))
    writer.tape(memory, isa).run(ROWS, [np.zeros(1, np.int64)], np.random.Generator(np.random.SFC64(3)))
    expected, bound = before.reshape(made, m, n).copy(), np.zeros((made, m, n))
    for block in set(links[:, 0].tolist()):
        total = before.reshape(made, m, n)[block] * added + bias[block % len(bias)] * biased
        for _, i, j in links[links[:, 0] == block]:
            left = x.reshape(read, -1, x.shape[1])[i]
            left = left.T if turned else left
            total = total + left @ w.reshape(blocks, k, n)[j]
            bound[block] += np.abs(left) @ np.abs(w.reshape(blocks, k, n)[j])
        expected[block] = np.where(total < 0, 0.3 * total, total) if leaky else total
    terms = len(links) * (k + 2)
    assert (np.abs(view(memory, c) - expected.reshape(-1, n)) <= terms * 2.0**-24 * (bound.reshape(-1, n) + 8)).all()


def test_rows_are_picked_and_numbers_collected():
    """What a convolution of one channel reads, and the sums of its gradient."""
    writer = Writer(features=2, batch=1)
    writer.gather(writer.value(1, 2), 0)
    image, patches, wide, back, bias = (writer.value(*shape) for shape in ((9, 5), (8, 5), (20, 2), (9, 5), (1, 1)))
    reads = np.array([[0, 3], [-1, 3], [8, 8], [1, -1]])
    writer.operation("pick", (image, None, patches), number=writer.table(reads.reshape(-1, 1)))
    writer.operation("collect", (wide, None, back, bias), number=writer.table(meeting(reads)))
    memory = filled(writer, 4)
    given, numbers = view(memory, image).copy(), view(memory, wide).astype(np.float64).reshape(4, 5, 2)
    start = float(view(memory, bias)[0, 0])
    run_once(writer, memory)
    expected = np.where(reads.reshape(-1, 1) >= 0, given[reads.ravel()], 0.0)
    np.testing.assert_array_equal(view(memory, patches), expected)
    sums = np.full((9, 5), start)
    for position, tap in zip(*np.nonzero(reads >= 0), strict=True):
        sums[reads[position, tap]] += numbers[position, :, tap]
    np.testing.assert_allclose(view(memory, back), sums, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "table", "block"),
    [
        ("blocks", [[0, 0, 0], [1, 0, 0]], 2),
        ("blocks", [[0, 1, 0]], 2),
        ("blocks", [[0, 0, 1]], 2),
        ("blocks", [[-1, 0, 0]], 2),
        ("blocks", [[0, 0, 0]], 0),
        ("blocks", [[0, 0, 0]], -(2**63)),
        ("blocks", [[0, 0]], 2),
        ("pick", [[0], [2]], 1),
        ("pick", [[0], [-2]], 1),
        ("pick", [[0]], 1),
        ("collect", [[0], [2]], 1),
        ("collect", [[2**62], [0]], 1),
    ],
)
def test_tables_that_lead_out_of_the_operands_are_refused(kind, table, block):
    writer = Writer(features=2, batch=1)
    a, b, c = (writer.value(2, 2) for _ in range(3))
    number = writer.table(np.array(table), block) * (4 if kind == "blocks" else 1)
    writer.operation(kind, (a, b, c), number=number)
    with pytest.raises(ValueError, match="operation 0 does not fit its operands"):
        writer.tape(writer.memory())
    with pytest.raises(ValueError, match="or tables their entries"):
        native.extension.Tape(
            native.select(None).index, writer.memory(), 2, 1, 0, 0, 0, 0, np.zeros((0, 4), "i8"),
            np.zeros((0, 7), "i8"), np.zeros((0, 4)), np.array([[1, 2, 2, 1]]), np.zeros(4, "i8"),
        )  # fmt: skip


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
