"""Native plans: every kind of step against float64 within a bound from its number of terms, and any order of steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.linalg import native
from harness.scoring import plan, program, tokens
from harness.scoring.builder import Builder
from harness.scoring.elementary import elementary
from harness.scoring.evaluate import activate, evaluate, neighbourhoods
from harness.scoring.program import ROWS, DenseLayer, Program

pytestmark = pytest.mark.skipif(native.extension is None, reason="the native kernels are not built")

ISAS = [isa.name for isa in native.isas() if isa.supported]
U = 2.0**-24
COUNTS = (0, 1, 2, 7, 8, 9, 13, 16, 63, 64, 65, 130)


@st.composite
def whole_numbers(draw):
    """A program over small whole numbers that float32 holds exactly, whatever the order of its sums, and rows."""
    width = draw(st.integers(1, 40))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    builder = Builder(width)
    values = [(ROWS, width, 4.0)]  # name, features, largest magnitude
    for _ in range(draw(st.integers(1, 14))):
        name, features, most = draw(st.sampled_from(values))
        kind = draw(st.sampled_from(["dense", "abs", "relu", "elementwise", "constant", "reduce", "concat", "columns"]))
        match kind:
            case "dense":
                outputs = draw(st.integers(1, 40))
                weight, bias = generator.integers(-1, 2, (outputs, features)), generator.integers(-3, 4, outputs)
                made, largest = builder.dense(name, DenseLayer(weight, bias, "relu")), features * most + 3
                features = outputs
            case "elementwise":
                other, width_of_other, most_of_other = draw(st.sampled_from(values))
                if width_of_other != features and 1 not in (features, width_of_other):
                    continue
                operator = draw(st.sampled_from(["add", "subtract"]))
                made, largest = builder.elementwise(operator, name, other), most + most_of_other
                features = max(features, width_of_other)
            case "constant":
                number = generator.integers(-2, 3, draw(st.sampled_from([1, features])))
                made, largest = builder.with_constant("multiply", name, number), 2 * most
            case "reduce":
                by = draw(st.sampled_from(["sum", "abs_sum", "min", "max"]))
                made, largest, features = builder.reduce(by, name), features * most, 1
            case "concat":
                other, width_of_other, most_of_other = draw(st.sampled_from(values))
                made, largest = builder.concat(name, other, name), max(most, most_of_other)
                features = 2 * features + width_of_other
            case "columns":
                numbers = generator.integers(0, features, draw(st.integers(1, 30)))
                made, largest, features = builder.columns(name, numbers), most, len(numbers)
            case _:
                made, largest = builder.activation(name, kind), most
        if largest * features > 2**22 or features > 500:
            break
        values.append((made, features, largest))
    score = builder.reduce("sum", values[-1][0])
    rows = generator.integers(-4, 5, (draw(st.sampled_from(COUNTS)), width)).astype(np.float32)
    return builder.finish(score), rows


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=80, deadline=None)
@given(case=whole_numbers(), threads=st.sampled_from([1, 3]))
def test_any_steps_in_any_order_give_exactly_the_scores_of_whole_numbers(isa, case, threads):
    made, rows = case
    run = plan.compiled(made, threads=threads, isa=isa)
    np.testing.assert_array_equal(run(rows), evaluate(made, rows.astype(np.float64)))
    out = np.full(len(rows), np.nan, np.float32)
    assert run(rows, out) is out
    for row in range(0, len(rows), 30):
        assert run(rows[row : row + 1])[0] == out[row]


@st.composite
def rows_of(draw, most: int = 90):
    """Rows of any size of numbers, and a generator."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.sampled_from(COUNTS)), draw(st.integers(1, most))
    scale = 10.0 ** draw(st.integers(-4, 3))
    return (scale * generator.standard_normal(shape)).astype(np.float32), generator


def near(made: Program, X: np.ndarray, bound: np.ndarray | float, isa: str) -> None:
    """Scores within ``bound`` of those in float64."""
    exact = evaluate(made, X.astype(np.float64))
    assert (np.abs(plan.compiled(made, isa=isa)(X) - exact) <= bound + 1e-37).all()


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=40, deadline=None)
@given(drawn=rows_of(), outputs=st.integers(1, 70), activation=st.sampled_from(program.ACTIVATIONS), wide=st.booleans())
def test_a_dense_step(isa, drawn, outputs, activation, wide):
    X, generator = drawn
    X = X / max(1.0, float(np.abs(X).max(initial=0.0)))
    k = X.shape[1]
    layer = DenseLayer(
        (generator.standard_normal((outputs, k)) / np.sqrt(k)).astype(np.float32),
        generator.standard_normal(outputs).astype(np.float32), activation, 0.2,
    )  # fmt: skip
    builder = Builder(k)
    made = builder.dense(builder.convert(ROWS, "float64") if wide else ROWS, layer)
    column = int(generator.integers(outputs))
    chosen = builder.columns(made, [column])
    finished = builder.finish(builder.convert(chosen, "rows") if wide else chosen)
    size = np.abs(X).astype(float) @ np.abs(layer.weight[column]).astype(float) + abs(float(layer.bias[column]))
    value = evaluate(finished, X.astype(np.float64))
    slope = np.abs(value) + 1.0 if activation == "exp" else 1.0
    terms = 0.0 if wide else (k + 8) * U * size * slope
    near(finished, X, terms + 8 * U * np.abs(value), isa)


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=60, deadline=None)
@given(drawn=rows_of(), by=st.sampled_from(program.REDUCTIONS), wide=st.booleans())
def test_a_reduction(isa, drawn, by, wide):
    X, _ = drawn
    n, x = X.shape[1], X.astype(np.float64)
    builder = Builder(n)
    made = builder.reduce(by, builder.convert(ROWS, "float64") if wide else ROWS)
    finished = builder.finish(builder.convert(made, "rows") if wide else made)
    value = np.abs(evaluate(finished, x))
    sizes = {
        "mean": np.abs(x).mean(1), "sum": np.abs(x).sum(1), "log_sum_exp": 1.0 + np.abs(x).max(1, initial=0.0),
        "min": 0.0, "max": 0.0,
    }  # fmt: skip
    terms = 0.0 if wide else (n + 4) * U * sizes.get(by, value)
    near(finished, X, terms + 4 * U * value, isa)


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=40, deadline=None)
@given(drawn=rows_of(), operator=st.sampled_from(program.OPERATORS), narrow=st.sampled_from(["", "left", "right"]))
def test_an_operator(isa, drawn, operator, narrow):
    X, generator = drawn
    n, column = X.shape[1], int(generator.integers(X.shape[1]))
    builder = Builder(n)
    other = builder.columns(ROWS, generator.permutation(n))
    left = builder.columns(ROWS, [0]) if narrow == "left" else ROWS
    right = builder.columns(ROWS, [0]) if narrow == "right" else other
    made = builder.finish(builder.columns(builder.elementwise(operator, left, right), [column]))
    exact = evaluate(made, X.astype(np.float64))
    near(made, X, U * np.abs(exact), isa)  # one rounding


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=30, deadline=None)
@given(drawn=rows_of(30), before=st.booleans(), shown=st.booleans())
def test_a_step_of_an_lstm(isa, drawn, before, shown):
    X, generator = drawn
    n = X.shape[1]
    builder = Builder(n)
    gates = builder.columns(ROWS, generator.integers(n, size=4 * n))
    cell, hidden = builder.recur(gates, ROWS if before else None)
    column = int(generator.integers(n))
    made = builder.finish(builder.columns(hidden if shown else cell, [column]))
    carried = np.abs(X[:, column].astype(np.float64)) if before else 0.0
    near(made, X, 16 * U * (1.0 + carried), isa)


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=30, deadline=None)
@given(
    drawn=rows_of(30), steps=st.integers(1, 9), units=st.sampled_from([1, 5, 15, 16, 17, 40]), backwards=st.booleans()
)
def test_a_layer_of_an_lstm(isa, drawn, steps, units, backwards):
    """Weights so small that no step magnifies what the step before has of rounding errors: they add up at most."""
    X, generator = drawn
    d, X = X.shape[1], np.tile(X / max(1.0, float(np.abs(X).max(initial=0.0))), steps)
    X = (X * generator.uniform(-1, 1, X.shape[1])).astype(np.float32)
    shapes = ((4 * units, d), (4 * units, units), (4 * units,))
    gates = tuple(generator.uniform(-1 / shape[-1], 1 / shape[-1], shape).astype(np.float32) for shape in shapes)
    builder = Builder(steps * d)
    hidden = builder.lstm(ROWS, steps, gates, backwards=backwards)
    made = builder.finish(builder.columns(hidden, [int(generator.integers(steps * units))]))
    near(made, X, steps * (d + units + 32) * U, isa)


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=30, deadline=None)
@given(drawn=rows_of())
def test_normalised_features(isa, drawn):
    X, generator = drawn
    n, x, column = X.shape[1], X.astype(np.float64), int(generator.integers(X.shape[1]))
    builder = Builder(n)
    made = builder.finish(builder.columns(builder.normalise(ROWS), [column]))
    deviation = np.sqrt(x.var(axis=1) + tokens.EPSILON)
    largest = np.abs(x).max(axis=1, initial=0.0) / deviation
    near(made, X, (n + 8) * U * (1.0 + largest) * (1.0 + np.abs(evaluate(made, x))), isa)


@st.composite
def transformers(draw):
    """A transformer of any sizes and form with its rows: numbers, and codes of which some are unknown."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    heads, size, inner = draw(st.integers(1, 5)), draw(st.integers(1, 12)), draw(st.integers(1, 130))
    width, blocks, gated = heads * size, draw(st.integers(0, 3)), draw(st.booleans())
    features = draw(st.sampled_from([1, 2, 5, 15, 16, 40, 95, 97, 130]))
    counts = np.where(generator.random(features) < 0.2, generator.integers(1, 6, features), 0)
    columns = np.array([(-1, 0), *((column, count) for column, count in enumerate(counts))], dtype=np.int64)
    times = 2 if gated else 1
    shapes = [(3 * width, width), (width, width), (times * inner, width), (width, inner)]
    layers = [part for out, of in shapes for part in (generator.standard_normal((blocks, out * of)) / np.sqrt(of),
                                                      generator.standard_normal((blocks, out)) / 4)]  # fmt: skip
    last = generator.standard_normal((1, 2 * width**2 + width)) / np.sqrt(width)
    rows = generator.standard_normal((draw(st.sampled_from(COUNTS[:8])), features))
    coded = np.flatnonzero(counts)
    rows[:, coded] = generator.integers(-1, 7, (len(rows), len(coded)))
    table = generator.standard_normal((2 * len(columns) + int(counts.sum()), width))
    net = tokens.Transformer(
        table.astype(np.float32), columns, np.concatenate(layers, axis=1).astype(np.float32), last.astype(np.float32),
        heads, gated, draw(st.booleans()),
    )  # fmt: skip
    return net, rows.astype(np.float32)


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=25, deadline=None)
@given(drawn=transformers(), threads=st.sampled_from([1, 3]))
def test_a_transformer(isa, drawn, threads):
    net, X = drawn
    exact = net.run(X.astype(np.float64))
    builder = Builder(X.shape[1])
    made = builder.transform(ROWS, net)
    generator = np.random.default_rng(len(X))
    column = int(generator.integers(net.outputs))
    finished = builder.finish(builder.columns(made, [column]))
    found = plan.compiled(finished, threads=threads, isa=isa)(X)
    np.testing.assert_array_equal(plan.compiled(finished, threads=2, isa=isa)(X), found)
    bound = np.zeros(len(X))
    for _ in range(12):  # of a row, one move differs from another by a factor of seven
        bound = np.maximum(bound, np.abs(moved(net, generator).run(X.astype(np.float64)) - exact).max(axis=1))
    assert (np.abs(found - exact[:, column]) <= 2 * bound + 4 * U * np.abs(exact[:, column])).all()


def moved(net: tokens.Transformer, generator: np.random.Generator) -> tokens.Transformer:
    """The transformer with every weight moved by what the rounding of a sum of the longest number of terms may amount
    to: a product in float32 is the exact one of weights that are so near.
    """
    terms = 8 + max(net.width, len(net.columns), net.blocks.shape[1] // net.width - 4 * net.width)

    def near_to(array: np.ndarray) -> np.ndarray:
        return array * (1.0 + terms * U * generator.choice([-1.0, 1.0], array.shape))

    return replace(net, tokens=near_to(net.tokens), blocks=near_to(net.blocks), last=near_to(net.last))


@st.composite
def convolutions(draw):
    """Rows of positions, and weights (outputs, inputs, taps) with biases of up to four convolutions."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    positions, channels = draw(st.integers(1, 60)), draw(st.sampled_from([1, 1, 2, 3, 16]))
    rows = generator.standard_normal((draw(st.sampled_from(COUNTS[:-1])), positions * channels))
    layers = []
    for _ in range(draw(st.integers(1, 4))):
        taps, outputs = draw(st.sampled_from([1, 3, 5, 7, 11])), draw(st.sampled_from([1, 2, 16, 16, 33, 48]))
        weight = generator.standard_normal((outputs, channels, taps)) / np.sqrt(channels * taps)
        layers.append((weight.astype(np.float32), generator.standard_normal(outputs).astype(np.float32)))
        channels = outputs
    return rows.astype(np.float32), positions, layers


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=25, deadline=None)
@given(drawn=convolutions(), threads=st.sampled_from([1, 3]))
def test_convolutions(isa, drawn, threads):
    X, positions, layers = drawn
    builder = Builder(X.shape[1])
    made = builder.convolve(ROWS, positions, layers)
    column = int(np.random.default_rng(len(X)).integers(len(layers[-1][0])))
    finished = builder.finish(builder.columns(made, [column]))
    values, error = X.astype(np.float64), np.zeros(X.shape)
    for weight, bias in layers:
        matrix = weight.astype(np.float64).transpose(0, 2, 1).reshape(len(weight), -1)
        k = matrix.shape[1]
        near, near_error = (neighbourhoods(part, positions, k) for part in (values, error))
        size = np.abs(near) @ np.abs(matrix).T + np.abs(bias)
        moved_by = near_error @ np.abs(matrix).T + (k + 8) * U * size
        values, error = (
            part.reshape(len(X), positions * len(weight)) for part in (np.maximum(near @ matrix.T + bias, 0), moved_by)
        )
    exact, bound = (part.reshape(len(X), positions, len(weight))[:, :, column].max(axis=1) for part in (values, error))
    np.testing.assert_allclose(evaluate(finished, X.astype(np.float64)), exact, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(evaluate(elementary(finished), X.astype(np.float64)), exact, rtol=1e-9, atol=1e-9)
    found = plan.compiled(finished, threads=threads, isa=isa)(X)
    assert (np.abs(found - exact) <= 2 * bound).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("image", [False, True])
def test_products_of_more_features_than_are_taken_at_a_time(isa, image):
    """Of a net of images, and of a few rows of any: parts of the sum are added, and then comes the activation."""
    generator = np.random.default_rng(5)
    features, outputs = 2100, 83
    X = generator.standard_normal((64, features)).astype(np.float32)
    weight = (generator.standard_normal((outputs, features)) / 40).astype(np.float32)
    layer = DenseLayer(weight, generator.standard_normal(outputs).astype(np.float32), "leaky_relu", 0.2)
    for column in (0, 31, 32, outputs - 1):
        builder = Builder(features)
        same = DenseLayer(np.ones((1, 1), np.float32), np.zeros(1, np.float32))
        value = builder.patches(ROWS, same, np.arange(features)[:, None], 1) if image else ROWS
        made = builder.columns(builder.dense(value, layer), [column])
        run = plan.compiled(builder.finish(made), isa=isa)
        z = X.astype(np.float64) @ weight[column] + layer.bias[column]
        bound = (features + 8) * U * (np.abs(X) @ np.abs(weight[column]) + abs(layer.bias[column]))
        for rows in (1, 2, 12, 64):
            assert (np.abs(run(X[:rows]) - np.where(z < 0, 0.2 * z, z)[:rows]) <= bound[:rows]).all()


@st.composite
def patches(draw):
    """Rows of pixels, the pixels that patches read, and a layer."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pixels, channels = draw(st.integers(1, 40)), draw(st.sampled_from([1, 1, 2, 3, 16, 17]))
    shape = draw(st.sampled_from([1, 5, 64, 65, 130])), draw(st.sampled_from([1, 2, 9]))
    outputs = draw(st.sampled_from([1, 2, 16, 33, 65]))
    rows = generator.standard_normal((draw(st.sampled_from(COUNTS)), pixels * channels)).astype(np.float32)
    weight = (generator.standard_normal((outputs, shape[1] * channels)) / 4).astype(np.float32)
    layer = DenseLayer(
        weight, generator.standard_normal(outputs).astype(np.float32),
        draw(st.sampled_from(["identity", "relu", "leaky_relu", "tanh", "abs"])), 0.2,
    )  # fmt: skip
    return rows, generator.integers(-1, pixels, shape), channels, layer


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=25, deadline=None)
@given(drawn=patches(), threads=st.sampled_from([1, 3]))
def test_patches(isa, drawn, threads):
    X, numbers, channels, layer = drawn
    builder = Builder(X.shape[1])
    column = int(np.random.default_rng(len(X)).integers(len(numbers) * len(layer.bias)))
    finished = builder.finish(builder.columns(builder.patches(ROWS, layer, numbers, channels), [column]))
    patch, output = divmod(column, len(layer.bias))
    split = X.astype(np.float64).reshape(len(X), X.shape[1] // channels, channels)
    read = np.concatenate(
        [split[:, n] if n >= 0 else np.zeros((len(X), channels)) for n in numbers[patch]], axis=1
    )  # fmt: skip
    weight = layer.weight[output].astype(np.float64)
    exact = activate(read @ weight + layer.bias[output], layer.activation, layer.slope)
    bound = (len(weight) + 8) * U * (np.abs(read) @ np.abs(weight) + abs(layer.bias[output])) + 4 * U
    np.testing.assert_allclose(evaluate(finished, X.astype(np.float64)), exact, rtol=1e-12, atol=1e-12)
    found = plan.compiled(finished, threads=threads, isa=isa)(X)
    assert (np.abs(found - exact) <= 2 * bound).all()


@pytest.mark.parametrize("isa", ISAS)
def test_gelu_at_the_ends(isa):
    builder = Builder(1)
    run = plan.compiled(builder.finish(builder.activation(ROWS, "gelu")), isa=isa)
    X = np.array([[-np.inf], [-100], [-3], [-1e-30], [0], [1e-30], [3], [100], [1e30], [np.inf], [np.nan]], np.float32)
    for rows in (X, np.repeat(X, 8, axis=0)):
        found, x = run(rows), rows[:, 0].astype(np.float64)
        finite = np.isfinite(x)
        np.testing.assert_allclose(found[finite], activate(x[finite], "gelu", 0.0), rtol=3e-7, atol=3e-9)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(x))
        np.testing.assert_array_equal(found[x == np.inf], np.inf)
        np.testing.assert_allclose(found[x == -np.inf], 0.0, atol=1e-30)


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=40, deadline=None)
@given(drawn=rows_of(50), count=st.integers(1, 700), k=st.integers(1, 9), copies=st.booleans(), far=st.booleans())
def test_the_kth_nearest_is_found_among_equal_and_near_ones(isa, drawn, count, k, copies, far):
    X, generator = drawn
    n = X.shape[1]
    sample = (np.abs(X).max(initial=1.0) * generator.standard_normal((count, n))).astype(np.float32)
    if copies and len(X):  # neighbours at no distance, and at next to none
        sample[::2] = X[generator.integers(len(X), size=len(sample[::2]))]
        sample[::4] *= np.float32(1 + 2e-7)
    if far:  # large coordinates that nearly cancel
        X, sample = X + np.float32(1000), sample + np.float32(1000)
    builder = Builder(n)
    made = builder.finish(builder.neighbour_distance(ROWS, sample, min(k, count)))
    differences = X[:, None, :].astype(np.float64) - sample[None].astype(np.float64)
    exact = np.sort(np.sqrt(np.square(differences).sum(2)), axis=1)[:, min(k, count) - 1] if len(X) else np.zeros(0)
    found = plan.compiled(made, isa=isa)(X)
    assert (np.abs(found - exact) <= (n + 4) * U * exact + 1e-22).all()


def test_a_distance_beyond_the_square_root_of_the_format():
    builder = Builder(3)
    sample = np.array([[0, 0, 0], [3e30, 0, 0]], np.float32)
    run = plan.compiled(builder.finish(builder.neighbour_distance(ROWS, sample, 2)))
    X = np.array([[3e30, 4e30, 0], [0, 0, np.nan]], np.float32)
    for rows in (X, np.repeat(X, 20, axis=0)):
        found = run(rows)
        np.testing.assert_allclose(found[: len(rows) // 2], 5e30, rtol=1e-6)
        assert np.isnan(found[len(rows) // 2 :]).all()


@pytest.mark.parametrize("by", ["min", "max", "sum", "log_sum_exp", "l2"])
def test_nan_stays_in_its_row_and_is_not_lost(by):
    builder = Builder(5)
    run = plan.compiled(builder.finish(builder.reduce(by, ROWS)))
    X = np.random.default_rng(0).standard_normal((70, 5)).astype(np.float32)
    clean = run(X)
    for column in range(5):
        dirty = X.copy()
        dirty[[3, 66], column] = np.nan
        found = run(dirty)
        assert np.isnan(found[[3, 66]]).all()
        assert np.isnan(run(dirty[3:4])).all()
        kept = np.delete(np.arange(70), [3, 66])
        np.testing.assert_array_equal(found[kept], clean[kept])
