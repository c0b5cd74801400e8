"""ONNX graphs written node by node with the ``onnx`` package: no torch, no exporter version to follow.

Opset 17 is read by every ONNX Runtime since 1.12.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.detectors.program import ROWS, SCORE, Program, Step

if TYPE_CHECKING:
    import onnx

OPSET = 17
IR_VERSION = 8
_ACTIVATIONS = {
    "relu": "Relu",
    "leaky_relu": "LeakyRelu",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "softplus": "Softplus",
    "exp": "Exp",
}
_ELEMENTWISE = {"add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div"}
_REDUCTIONS = {
    "mean": "ReduceMean",
    "abs_sum": "ReduceL1",
    "square_sum": "ReduceSumSquare",
    "l2": "ReduceL2",
    "min": "ReduceMin",
    "log_sum_exp": "ReduceLogSumExp",
}


def graph(program: Program) -> onnx.ModelProto:
    """The program as a graph from ``rows`` (n, d) float32 to ``score`` (n,) float32, n dynamic."""
    from onnx import TensorProto, checker, helper

    writer = _Writer()
    for step in program.steps:
        writer.step(step)
    flat = writer.constant(np.array([-1], dtype=np.int64))
    writer.node("Reshape", [f"{SCORE}_column", flat], SCORE)
    rows = helper.make_tensor_value_info(ROWS, TensorProto.FLOAT, ["n", program.n_features])
    score = helper.make_tensor_value_info(SCORE, TensorProto.FLOAT, ["n"])
    body = helper.make_graph(writer.nodes, "scorer", [rows], [score], writer.constants)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="lparbench")
    model.ir_version = IR_VERSION
    checker.check_model(model)
    return model


class _Writer:
    """Collects nodes and constants."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def step(self, step: Step) -> None:
        """The nodes of one step."""
        output = f"{SCORE}_column" if step.output == SCORE else step.output
        inputs = list(step.inputs)
        match step.operation:
            case "dense":
                operands = [*inputs, *(self.constant(array) for array in step.arrays)]
                linear = output if step.kind == "identity" else f"{output}_linear"
                self.node("Gemm", operands, linear, transB=1)
                if step.kind != "identity":
                    self._activation(linear, step, output)
            case "activation":
                self._activation(inputs[0], step, output)
            case "elementwise":
                self.node(_ELEMENTWISE[step.kind], inputs, output)
            case "constant":
                self.node(_ELEMENTWISE[step.kind], [*inputs, self.constant(step.arrays[0])], output)
            case "reduce":
                self._reduce(inputs[0], step.kind, output)
            case "concat":
                self.node("Concat", inputs, output, axis=1)

    def constant(self, array: NDArray[np.float32] | NDArray[np.int64]) -> str:
        """A constant tensor's name."""
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> None:
        """One node."""
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))

    def _activation(self, x: str, step: Step, output: str) -> None:
        attributes = {"alpha": step.slope} if step.kind == "leaky_relu" else {}
        self.node(_ACTIVATIONS[step.kind], [x], output, **attributes)

    def _reduce(self, x: str, kind: str, output: str) -> None:
        if kind == "square_mean":
            self.node("Mul", [x, x], f"{output}_square")
            self._reduce(f"{output}_square", "mean", output)
        elif kind == "sum":  # its axes became an input one opset before the others'
            self.node("ReduceSum", [x, self.constant(np.array([1], dtype=np.int64))], output, keepdims=1)
        else:
            self.node(_REDUCTIONS[kind], [x], output, axes=[1], keepdims=1)
