"""A tape refuses what does not fit it before anything runs."""

from __future__ import annotations

import numpy as np
import pytest

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
