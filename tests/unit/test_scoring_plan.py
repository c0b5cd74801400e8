"""What a native plan refuses, and that the two vocabularies of steps are one."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest

from harness.linalg import native
from harness.scoring import plan, program
from harness.scoring.builder import Builder
from harness.scoring.evaluate import evaluate

kernels = native.extension
pytestmark = pytest.mark.skipif(kernels is None, reason="the native kernels are not built")
ISA = next((isa.index for isa in native.isas() if isa.supported), 0)


def floats(*shape: int, kind: type = np.float32) -> np.ndarray:
    return np.ones(shape, kind)


def numbers(*entries: int) -> np.ndarray:
    return np.array(entries, np.int64)


def step(kind: str, word: int = 0, inputs: Any = (0,), arrays: Any = (), number: int = 1) -> tuple[Any, ...]:
    return kernels.STEPS[kind], word, list(inputs), list(arrays), 0.0, number


def trees(**changed: np.ndarray) -> list[np.ndarray]:
    """One tree of three nodes; node 0 has the children 1 and 2."""
    arrays = {
        "feature": np.zeros((1, 3), np.int32), "threshold": floats(1, 3), "left": np.array([[1, 1, 2]], np.int32),
        "right": np.array([[2, 1, 2]], np.int32), "value": floats(1, 3),
    }  # fmt: skip
    return list({**arrays, **changed}.values())


def tree(*entries: int) -> np.ndarray:
    return np.array([entries], np.int32)


def transformer(word: int = 0, number: int = 2, **changed: np.ndarray) -> list[Any]:
    """A transformer of two tokens, a number and a category of three codes, four features and an inner net of three."""
    arrays = {
        "tokens": floats(7, 4), "columns": np.array([[1, 0], [2, 3]]), "blocks": floats(1, 64 + 20 + 3 * 9),
        "last": floats(1, 36),
    }  # fmt: skip
    return [step("transformer", word, (0,), list({**arrays, **changed}.values()), number), step("reduce", 1, (1,))]


def convolution(*arrays: np.ndarray, number: int = 3) -> list[Any]:
    return [step("convolution", 0, (0,), arrays, number), step("reduce", 1, (1,))]


def patches(*, word: int = 0, number: int = 1, value: int = 0, **changed: np.ndarray) -> list[Any]:
    """Two patches of two pixels each, of three, and a layer of two outputs."""
    arrays = {"weight": floats(2, 2), "bias": floats(2), "pixels": pairs(0, 1, -1, 2), **changed}
    return [step("patches", word, (value,), list(arrays.values()), number), step("reduce", 1, (value + 1,))]


def gates(**changed: np.ndarray) -> list[np.ndarray]:
    """A layer of an LSTM of two units, for three time steps of one feature."""
    return list({"of_inputs": floats(8, 1), "of_hidden": floats(8, 2), "bias": floats(8), **changed}.values())


def pairs(*entries: int) -> np.ndarray:
    return np.array(entries).reshape(-1, 2)


SUM = step("reduce", 1)
FAULTS: dict[str, tuple[list[Any], str]] = {
    "no step": ([], "make no score"),
    "a score of two features": ([step("activation")], "make no score"),
    "a score in double": ([SUM, step("convert", 1, (1,))], "make no score"),
    "a value that is not made yet": ([step("reduce", 0, (1,))], "step 0 does not fit"),
    "a negative value": ([step("reduce", 0, (-1,))], "step 0 does not fit"),
    "no value": ([step("concat", 0, ())], "step 0 does not fit"),
    "two values to reduce": ([step("reduce", 0, (0, 0))], "step 0 does not fit"),
    "an unknown kind": ([(99, 0, [0], [], 0.0, 0)], "kind 99 is unknown"),
    "an unknown reduction": ([step("reduce", 9)], "step 0 does not fit"),
    "an unknown operator": ([step("elementwise", 4, (0, 0))], "step 0 does not fit"),
    "an unknown activation": ([step("activation", 9)], "step 0 does not fit"),
    "an unknown precision": ([step("convert", 2)], "step 0 does not fit"),
    "values of two precisions": ([step("convert", 1), step("concat", 0, (0, 1))], "step 1 does not fit"),
    "widths that do not fit": (
        [step("columns", 0, (0,), [numbers(0, 1)]), step("elementwise", 0, (0, 1))], "step 1 does not fit",
    ),
    "a column that is not there": ([step("columns", 0, (0,), [numbers(0, 3)])], "step 0 does not fit"),
    "a column before the first": ([step("columns", 0, (0,), [numbers(-1)])], "step 0 does not fit"),
    "columns that are no whole numbers": ([step("columns", 0, (0,), [floats(1)])], "step 0 does not fit"),
    "no columns": ([step("columns", 0, (0,), [numbers()])], "step 0 does not fit"),
    "a weight of other features": ([step("dense", 0, (0,), [floats(1, 4), floats(1)])], "step 0 does not fit"),
    "a bias of other outputs": ([step("dense", 0, (0,), [floats(2, 3), floats(1)])], "step 0 does not fit"),
    "no bias": ([step("dense", 0, (0,), [floats(2, 3)])], "step 0 does not fit"),
    "a weight in double for floats": (
        [step("dense", 0, (0,), [floats(1, 3, kind=np.float64), floats(1)])], "step 0 does not fit",
    ),
    "constants of other features": ([step("constant", 0, (0,), [floats(2)])], "step 0 does not fit"),
    "too many arrays": ([step("trees", 0, (0,), [*trees(), *trees()])], "at most 8"),
    "a child that is not there": ([step("trees", 0, (0,), trees(left=tree(3, 1, 2)))], "step 0 does not fit"),
    "a negative child": ([step("trees", 0, (0,), trees(right=tree(-1, 1, 2)))], "step 0 does not fit"),
    "a circle": ([step("trees", 0, (0,), trees(left=tree(1, 0, 2), right=tree(1, 0, 2)))], "step 0 does not fit"),
    "a feature that trees do not get": ([step("trees", 0, (0,), trees(feature=tree(3, 0, 0)))], "step 0 does not fit"),
    "trees of two sizes": ([step("trees", 0, (0,), trees(value=floats(1, 2)))], "step 0 does not fit"),
    "trees over doubles": ([step("convert", 1), step("trees", 0, (1,), trees())], "step 1 does not fit"),
    "neighbours of other features": ([step("neighbour", 0, (0,), [floats(4, 2)])], "step 0 does not fit"),
    "more neighbours than there are": ([step("neighbour", 0, (0,), [floats(4, 3)], 5)], "step 0 does not fit"),
    "the nearest but none": ([step("neighbour", 0, (0,), [floats(4, 3)], 0)], "step 0 does not fit"),
    "gates that are no four parts": ([step("cell")], "step 0 does not fit"),
    "a cell of another width": (
        [step("columns", 0, (0,), [numbers(0, 1, 2, 0)]), step("cell", 0, (1, 0))], "step 1 does not fit",
    ),
    "hidden values of no cell": ([step("columns", 0, (0,), [numbers(0, 1, 2, 0)]), step("hidden", 0, (1,))], "step 1"),
    "an LSTM of doubles": ([step("convert", 1), step("lstm", 0, (1,), gates(), 3)], "step 1 does not fit"),
    "an LSTM without bias": ([step("lstm", 0, (0,), gates()[:2], 3)], "step 0 does not fit"),
    "an LSTM in an unknown direction": ([step("lstm", 2, (0,), gates(), 3)], "step 0 does not fit"),
    "time steps that do not divide": ([step("lstm", 0, (0,), gates(), 2)], "step 0 does not fit"),
    "no time steps": ([step("lstm", 0, (0,), gates(), 0)], "step 0 does not fit"),
    "more time steps than features": ([step("lstm", 0, (0,), gates(), 2**40)], "step 0 does not fit"),
    "three gates of four": ([step("lstm", 0, (0,), gates(of_inputs=floats(6, 1)), 3)], "step 0 does not fit"),
    "hidden values of another width": ([step("lstm", 0, (0,), gates(of_hidden=floats(8, 3)), 3)], "step 0 does"),
    "gates of no units": (
        [step("lstm", 0, (0,), [floats(0, 1), floats(0, 0), floats(0)], 3)], "step 0 does not fit",
    ),
    "a bias of other gates": ([step("lstm", 0, (0,), gates(bias=floats(7)), 3)], "step 0 does not fit"),
    "gates in double": ([step("lstm", 0, (0,), gates(bias=floats(8, kind=np.float64)), 3)], "step 0 does not fit"),
    "doubles to normalise": ([step("convert", 1), step("normalise", 0, (1,))], "step 1 does not fit"),
    "a transformer of doubles": (
        [step("convert", 1), step("transformer", 0, (1,), transformer()[0][3], 2)], "step 1 does not fit",
    ),
    "an unknown form": (transformer(4), "step 0 does not fit"),
    "heads that do not divide the width": (transformer(number=3), "step 0 does not fit"),
    "no heads": (transformer(number=0), "step 0 does not fit"),
    "more heads than features": (transformer(number=8), "step 0 does not fit"),
    "a token of a column that is not there": (transformer(columns=pairs(1, 0, 3, 3)), "step 0 does not fit"),
    "a token before the first column": (transformer(columns=pairs(-2, 0, 2, 3)), "step 0 does not fit"),
    "codes of no column": (transformer(columns=pairs(1, 0, -1, 3)), "step 0 does not fit"),
    "a negative count of codes": (transformer(columns=pairs(1, 0, 2, -3)), "step 0 does not fit"),
    "fewer embeddings than codes": (transformer(columns=pairs(1, 0, 2, 4)), "step 0 does not fit"),
    "no tokens": (transformer(tokens=floats(0, 4), columns=pairs()), "step 0 does not fit"),
    "tokens of no features": (transformer(tokens=floats(7, 0)), "step 0 does not fit"),
    "a block of no inner width": (transformer(blocks=floats(1, 64 + 20)), "step 0 does not fit"),
    "a block of half an inner feature": (transformer(blocks=floats(1, 64 + 20 + 5)), "step 0 does not fit"),
    "a gated block of another size": (transformer(1), "step 0 does not fit"),
    "a last attention of another width": (transformer(last=floats(1, 37)), "step 0 does not fit"),
    "a last attention in two rows": (transformer(last=floats(2, 36)), "step 0 does not fit"),
    "columns of tokens as floats": (transformer(columns=floats(2, 2)), "step 0 does not fit"),
    "blocks in double": (transformer(blocks=floats(1, 111, kind=np.float64)), "step 0 does not fit"),
    "too few arrays for a transformer": ([step("transformer", 0, (0,), [floats(7, 4)], 2), SUM], "step 0 does not fit"),
    "six arrays of trees": ([step("trees", 0, (0,), [*trees(), floats(1)])], "step 0 does not fit"),
    "a pixel that is not there": (patches(pixels=pairs(0, 1, -1, 3)), "step 0 does not fit"),
    "a pixel before the first": (patches(pixels=pairs(0, 1, -2, 2)), "step 0 does not fit"),
    "pixels as floats": (patches(pixels=floats(2, 2)), "step 0 does not fit"),
    "no patches": (patches(pixels=pairs()), "step 0 does not fit"),
    "patches of no pixels": (patches(weight=floats(2, 0), pixels=np.zeros((2, 0), np.int64)), "step 0 does not fit"),
    "a weight of other patches": (patches(weight=floats(2, 3)), "step 0 does not fit"),
    "a weight of patches in double": (patches(weight=floats(2, 2, kind=np.float64)), "step 0 does not fit"),
    "a bias of other patches": (patches(bias=floats(3)), "step 0 does not fit"),
    "patches of no outputs": (patches(weight=floats(0, 2), bias=floats(0)), "step 0 does not fit"),
    "channels that do not divide": (patches(number=2), "step 0 does not fit"),
    "no channels of a pixel": (patches(number=0), "step 0 does not fit"),
    "more channels than there are": (patches(number=2**40), "step 0 does not fit"),
    "an unknown activation of patches": (patches(word=9), "step 0 does not fit"),
    "patches of doubles": ([step("convert", 1), *patches(value=1)], "step 1 does not fit"),
    "too few arrays for patches": ([step("patches", 0, (0,), [floats(2, 2), floats(2)], 1), SUM], "step 0 does not"),
    "a convolution of doubles": (
        [step("convert", 1), step("convolution", 0, (1,), [floats(1, 3), floats(1)], 3)], "step 1 does not fit",
    ),
    "a convolution without bias": (convolution(floats(1, 3)), "step 0 does not fit"),
    "no convolution": (convolution(), "step 0 does not fit"),
    "an even number of taps": (convolution(floats(1, 2), floats(1)), "step 0 does not fit"),
    "half a tap": (convolution(floats(2, 3), floats(2), floats(1, 3), floats(1)), "step 0 does not fit"),
    "no taps": (convolution(floats(1, 0), floats(1)), "step 0 does not fit"),
    "no channels": (convolution(floats(0, 3), floats(0)), "step 0 does not fit"),
    "a convolution's bias of other channels": (convolution(floats(2, 3), floats(3)), "step 0 does not fit"),
    "a convolution's weight in double": (
        convolution(floats(1, 3, kind=np.float64), floats(1)), "step 0 does not fit",
    ),
    "positions that do not divide": (convolution(floats(1, 3), floats(1), number=2), "step 0 does not fit"),
    "no positions": (convolution(floats(1, 3), floats(1), number=0), "step 0 does not fit"),
    "an array with gaps": ([step("constant", 0, (0,), [floats(6)[::2]])], "expected contiguous"),
    "an array of another type": ([step("constant", 0, (0,), [np.ones(3, np.int16)])], "expected contiguous"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_plan_that_cannot_run_is_refused(fault):
    steps, message = FAULTS[fault]
    with pytest.raises((ValueError, TypeError), match=message):
        kernels.Plan(ISA, 3, steps, 0, 1)


def test_doubles_are_not_multiplied_in_a_lower_precision():
    wide = [step("convert", 1), step("dense", 0, (1,), [floats(1, 3, kind=np.float64), floats(1, kind=np.float64)])]
    with pytest.raises(ValueError, match="step 1 does not fit"):
        kernels.Plan(ISA, 3, [*wide, step("convert", 0, (2,))], kernels.DTYPES["bfloat16"], 1)


def test_the_transformer_that_the_refusals_spoil_runs_in_float32_alone():
    assert kernels.Plan(ISA, 3, transformer(), 0, 1).run(floats(5, 3)).shape == (5,)
    with pytest.raises(ValueError, match="step 0 does not fit"):
        kernels.Plan(ISA, 3, transformer(), kernels.DTYPES["int8"], 1)


def test_the_words_of_a_program_are_those_of_the_kernels():
    kinds = {kind.__dataclass_fields__["kind"].default for kind in get_args(program.Step)}
    assert set(kernels.STEPS) == kinds
    assert tuple(kernels.ACTIVATIONS) == program.ACTIVATIONS
    assert tuple(kernels.OPERATORS) == program.OPERATORS
    assert tuple(kernels.REDUCTIONS) == program.REDUCTIONS


def test_a_value_that_a_layer_reads_twice_is_multiplied_once():
    generator = np.random.default_rng(0)
    builder = Builder(5)
    half = builder.with_constant("multiply", program.ROWS, 0.5)
    layers = [
        program.DenseLayer(generator.standard_normal((4, width)).astype(np.float32), np.zeros(4, np.float32), "tanh")
        for width in (10, 15, 10)
    ]
    twice = builder.dense(builder.concat(program.ROWS, program.ROWS), layers[0])
    thrice = builder.dense(builder.concat(program.ROWS, half, program.ROWS), layers[1])
    shown = builder.concat(half, half)  # somebody else reads it too
    both = builder.concat(twice, thrice, builder.dense(shown, layers[2]), shown)
    made = builder.finish(builder.reduce("sum", both))
    X = generator.standard_normal((70, 5)).astype(np.float32)
    for rows in (X, X[:1], X[:7]):
        exact = evaluate(made, rows.astype(np.float64))
        np.testing.assert_allclose(plan.compiled(made)(rows), exact, rtol=1e-5, atol=1e-5)
    steps = plan.coded(made)
    assert sorted(step[3][0].shape for step in steps if step[0] == kernels.STEPS["dense"]) == [(4, 5), (4, 10), (4, 10)]


@pytest.mark.parametrize("dtype", native.DTYPES)
def test_layers_of_equal_weights_keep_their_own_biases_and_activations(dtype):
    if kernels.isas()[ISA][2][kernels.DTYPES[dtype]] is None:
        pytest.skip(f"no kernel for {dtype} here")
    weight = np.eye(3, dtype=np.float32)
    first = step("dense", 0, (0,), [weight, np.array([0, 0, -8], np.float32)])
    second = step("dense", 1, (1,), [weight.copy(), np.array([1, 2, 4], np.float32)])
    run = kernels.Plan(ISA, 3, [first, second, step("reduce", 1, (2,))], kernels.DTYPES[dtype], 1).run
    for count in (1, 7, 40):
        np.testing.assert_allclose(run(floats(count, 3)), np.full(count, 5), rtol=0.01)  # what int8 rounds off


@pytest.mark.parametrize("count", [1, 7, 40])
def test_gates_of_any_size_are_open_or_shut_and_nan_stays(count):
    """Biases of the gates, in the order input, forget, candidate, output, far beyond where exponentials overflow."""
    wide, x = 1e30, np.zeros((count, 3), np.float32)
    for biases, expected in (
        ((wide, wide, wide, wide), np.tanh(3.0)),  # every step adds one to the cell
        ((wide, -wide, -wide, wide), -np.tanh(1.0)),
        ((wide, wide, wide, -wide), 0.0),
        ((-wide, wide, wide, wide), 0.0),
        ((wide, wide, np.inf, np.inf), np.tanh(3.0)),
        *((tuple(np.where(np.arange(4) == place, np.nan, 0.0)), np.nan) for place in range(4)),
    ):
        of_gates = [np.zeros((4, 1), np.float32), np.zeros((4, 1), np.float32), np.array(biases, np.float32)]
        steps = [step("lstm", 0, (0,), of_gates, 3), step("columns", 0, (1,), [numbers(2)])]
        np.testing.assert_allclose(kernels.Plan(ISA, 3, steps, 0, 1).run(x), np.full(count, expected), 2e-7, 1e-10)


@pytest.mark.parametrize("count", [1, 8, 70])
def test_a_row_at_the_threshold_goes_left_and_one_above_it_or_nan_right(count):
    above = np.nextafter(np.float32(1), np.float32(2))
    X = np.array([[1, 0, 0], [above, 0, 0], [np.nan, 0, 0], [-1, 0, 0]], np.float32)
    steps = [step("trees", 0, (0,), trees(value=np.array([[0, 10, 20]], np.float32)))]
    run = kernels.Plan(ISA, 3, steps, 0, 1).run
    for row, expected in zip(X, (10, 20, 20, 10), strict=True):
        np.testing.assert_array_equal(run(np.tile(row, (count, 1))), np.full(count, expected, np.float32))


def new_stream(steps: int = 3, weight: np.ndarray | None = None, **changed: np.ndarray) -> Any:
    return kernels.Stream(ISA, steps, [tuple(gates(**changed))], floats(2) if weight is None else weight, 0.0)


@pytest.mark.parametrize(
    ("streams", "x"),
    [
        ([2], floats(1, 1)), ([-1], floats(1, 1)), ([2**63], floats(1, 1)), ([True, 0.0], floats(2, 1)),
        ([], floats(1, 1)), ([0, 1], floats(1, 1)), (numbers(0, 2), floats(2, 1)), (numbers(), floats(1, 1)),
        (np.zeros(1, np.int32), floats(1, 1)), (numbers(0, 0, 0)[::2], floats(2, 1)), ((0,), floats(1, 1)),
        ([0], floats(1, 2)), ([0], floats(1)), (None, floats(1, 1)), ([0], None),
    ],
)  # fmt: skip
def test_a_stream_refuses_what_does_not_fit_before_it_changes_anything(streams, x):
    rows = np.array([[0.5], [-1.0], [2.0]], np.float32)
    scores = []
    for refused in (False, True):
        stream = new_stream()
        stream.reserve(2)
        for row in rows:
            if refused:
                with pytest.raises((ValueError, TypeError, OverflowError)):
                    stream.score(streams, x)
            scores.append(stream.score([0], row[None])[0])
    np.testing.assert_array_equal(scores[:3], scores[3:])
    assert np.isfinite(scores[2])


def test_room_grows_with_what_streams_have_open_and_a_restart_forgets_it():
    rows = np.array([[0.5], [-1.0], [2.0], [1.0]], np.float32)
    stream = new_stream()
    stream.reserve(1)
    stream.score([0] * 2, rows[:2])
    stream.reserve(3)
    stream.reserve(1)  # which takes nothing away
    (of_three,) = stream.score([0], rows[2:3])
    assert np.isnan(stream.score([2], rows[2:3])[0])
    stream.restart(0)
    made = stream.score(numbers(0, 0, 0), rows[1:].astype(np.float64))
    assert np.isnan(made[:2]).all()
    assert np.isfinite([of_three, made[2]]).all()
    assert of_three != made[2]
    for wrong in (-1, 2**62):
        with pytest.raises(ValueError, match="streams"):
            stream.reserve(wrong)
    for wrong in (-1, 3):
        with pytest.raises(ValueError, match="streams"):
            stream.restart(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0}, {"steps": 2**40}, {"weight": floats(3)}, {"bias": floats(6)}, {"of_hidden": floats(8, 3)},
        {"of_inputs": floats(8, 2)[:, ::2]},
    ],
)  # fmt: skip
def test_layers_that_make_no_stream(wrong):
    with pytest.raises((ValueError, TypeError)):
        new_stream(**wrong)
