"""The ONNX graph of a score that is searched for: Adam down a written-out gradient, as the body of a loop.

Everything is float64, as `harness.scoring.search` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.scoring.onnx_graph import Writer
from harness.scoring.program import ROWS, SCORE, DenseLayer
from harness.scoring.search import CodeSearch


def searching_graph(search: CodeSearch) -> bytes:
    """The graph from ``rows`` (n, d) to ``score`` (n,), serialised; equal rows are searched once.

    Raises:
        TypeError: a net has an activation other than ReLU and leaky ReLU.
    """
    from onnx import TensorProto

    writer = Writer()
    write = Scribe(writer, "v")
    writer.node_of_many("Unique", [ROWS], ["distinct", "", "places"], axis=0)
    rows = write("Cast", "distinct", to=TensorProto.DOUBLE)
    loss = Loss(write, search, rows)
    shape = write("Concat", write("Shape", rows, end=1), write.integers(len(search.start)), axis=0)
    start = write("Expand", write.numbers(search.start), shape)
    still = write("Mul", start, write.numbers(0.0))
    code, *_ = _loop(write, search, loss, (start, still, still))
    scores = write("Gather", loss.value(write, loss.forward(write, code)), "places")
    writer.node("Cast", [scores], SCORE, to=TensorProto.FLOAT)
    serialised: bytes = writer.model(search.generator[-1].weight.shape[0]).SerializeToString()
    return serialised


class Scribe:
    """Writes nodes under names of its own choice, and float64 constants."""

    def __init__(self, writer: Writer, prefix: str) -> None:
        self.writer = writer
        self._prefix = prefix

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """One node; the name of its output."""
        name = f"{self._prefix}{len(self.writer.nodes)}"
        self.writer.node(operator, list(inputs), name, **attributes)
        return name

    def numbers(self, values: NDArray[Any] | float) -> str:
        """A constant."""
        return self.writer.constant(np.asarray(values, dtype=np.float64))

    def integers(self, *values: int) -> str:
        """A constant vector of whole numbers."""
        return self.writer.constant(np.array(values, dtype=np.int64))


@dataclass(frozen=True)
class _Passed:
    """What the way forward leaves for value and gradient."""

    gap: str  # generated row less the row
    judged: str  # logit, or generated features less the row's
    generator_gates: list[str]
    judge_gates: list[str]


class Loss:
    """The loss of codes (n, latent) for ``rows`` (n, d), and its gradient with respect to the codes."""

    def __init__(self, write: Scribe, search: CodeSearch, rows: str) -> None:
        matching = search.rule == "feature-matching"
        self._rows = rows
        self._generator = _Net(write, search.generator)
        self._judge = _Net(write, search.judging)
        self._features = self._judge.forward(write, rows)[0] if matching else None
        self._shares = write.numbers(1.0 - search.weight), write.numbers(search.weight)
        self._features_axis = write.integers(1)

    def forward(self, write: Scribe, code: str) -> _Passed:
        """Generate, and judge what was generated."""
        made, generator_gates = self._generator.forward(write, code)
        judged, judge_gates = self._judge.forward(write, made)
        if self._features is not None:
            judged = write("Sub", judged, self._features)
        return _Passed(write("Sub", made, self._rows), judged, generator_gates, judge_gates)

    def value(self, write: Scribe, passed: _Passed) -> str:
        """The loss (n,)."""
        of_rows, of_judge = self._shares
        distance = self._sum(write, write("Abs", passed.gap))
        if self._features is not None:
            judged = self._sum(write, write("Abs", passed.judged))
        else:  # ONNX Runtime has no Softplus in float64
            small = write("Exp", write("Neg", write("Abs", passed.judged)))
            large = write("Relu", write("Neg", passed.judged))
            judged = self._sum(write, write("Add", large, write("Log", write("Add", small, write.numbers(1.0)))))
        return write("Add", write("Mul", distance, of_rows), write("Mul", judged, of_judge))

    def gradient(self, write: Scribe, passed: _Passed) -> str:
        """The gradient (n, latent); that of an absolute value is 0 at 0, that of a ReLU its slope below 0."""
        of_rows, of_judge = self._shares
        if self._features is not None:
            slope = write("Sign", passed.judged)
        else:
            slope = write("Neg", write("Sigmoid", write("Neg", passed.judged)))
        through_judge = self._judge.backward(write, write("Mul", slope, of_judge), passed.judge_gates)
        direct = write("Mul", write("Sign", passed.gap), of_rows)
        return self._generator.backward(write, write("Add", direct, through_judge), passed.generator_gates)

    def _sum(self, write: Scribe, x: str) -> str:
        return write("ReduceSum", x, self._features_axis, keepdims=0)


class _Net:
    """Dense layers, forwards and back to their input; a gate is an activation's slope where it stands, (n, out)."""

    def __init__(self, write: Scribe, layers: Sequence[DenseLayer]) -> None:
        self._zero, self._one = write.numbers(0.0), write.numbers(1.0)
        self._layers = [
            (write.numbers(layer.weight), write.numbers(layer.bias), self._slope(write, layer)) for layer in layers
        ]

    def forward(self, write: Scribe, x: str) -> tuple[str, list[str]]:
        """The output, and the gate of each layer; empty where it has no activation."""
        gates = []
        for weight, bias, slope in self._layers:
            x = write("Gemm", x, weight, bias, transB=1)
            gate = ""
            if slope:
                gate = write("Where", write("Greater", x, self._zero), self._one, slope)
                x = write("Mul", x, gate)
            gates.append(gate)
        return x, gates

    def backward(self, write: Scribe, gradient: str, gates: Sequence[str]) -> str:
        """The gradient of the input, given that of the output."""
        for (weight, _, _), gate in zip(reversed(self._layers), reversed(gates), strict=True):
            if gate:
                gradient = write("Mul", gradient, gate)
            gradient = write("MatMul", gradient, weight)
        return gradient

    def _slope(self, write: Scribe, layer: DenseLayer) -> str:
        match layer.activation:
            case "identity":
                return ""
            case "relu" | "leaky_relu":
                return write.numbers(layer.slope)
            case other:
                raise TypeError(f"a search has no gradient of {other} here")


def _loop(write: Scribe, search: CodeSearch, loss: Loss, start: tuple[str, str, str]) -> list[str]:
    """Steps of Adam from ``start``: code, first and second moment; the names of the last three."""
    from onnx import TensorProto, helper

    count = np.arange(1, len(search.rates) + 1)
    scales = [1.0 - beta**count for beta in search.betas]
    lengths = write.numbers(search.rates / scales[0])
    roots = write.numbers(np.sqrt(scales[1]))
    betas = [write.numbers(beta) for beta in search.betas]
    rests = [write.numbers(1.0 - beta) for beta in search.betas]
    eps = write.numbers(search.eps)
    trips, always = write.writer.constant(np.array(len(count))), write.writer.constant(np.array(True))

    step = Scribe(Writer(write.writer), "step")
    gradient = loss.gradient(step, loss.forward(step, "code"))
    moments = []
    for moment, x, beta, rest in zip(
        ("first", "second"), (gradient, step("Mul", gradient, gradient)), betas, rests, strict=True
    ):
        moments.append(step("Add", step("Mul", moment, beta), step("Mul", x, rest)))
    length, root = step("Gather", lengths, "index"), step("Gather", roots, "index")
    spread = step("Add", step("Div", step("Sqrt", moments[1]), root), eps)
    moved = step("Sub", "code", step("Mul", length, step("Div", moments[0], spread)))
    going = step("Identity", "going")

    shape: tuple[str | int, ...] = ("m", len(search.start))
    state = ("code", "first", "second")
    inputs = [
        helper.make_tensor_value_info("index", TensorProto.INT64, []),
        helper.make_tensor_value_info("going", TensorProto.BOOL, []),
        *(helper.make_tensor_value_info(name, TensorProto.DOUBLE, shape) for name in state),
    ]
    outputs = [
        helper.make_tensor_value_info(going, TensorProto.BOOL, []),
        *(helper.make_tensor_value_info(name, TensorProto.DOUBLE, shape) for name in (moved, *moments)),
    ]
    body = helper.make_graph(step.writer.nodes, "step", inputs, outputs)
    last = [f"last_{name}" for name in state]
    write.writer.node_of_many("Loop", [trips, always, *start], last, body=body)
    return last
