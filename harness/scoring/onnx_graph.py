"""ONNX graphs written node by node with the ``onnx`` package: no torch, no exporter version to follow.

Opset 17 is read by every ONNX Runtime since 1.12.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError
from harness.scoring.forest import Forest
from harness.scoring.program import (
    ROWS,
    SCORE,
    Activate,
    Activation,
    Cell,
    Columns,
    Concat,
    Convert,
    Convolve,
    Dense,
    Elementwise,
    Hidden,
    Lstm,
    Neighbour,
    Normalise,
    Patches,
    Program,
    Reduce,
    Reduction,
    Step,
    Transform,
    Trees,
    WithConstant,
)
from harness.scoring.tokens import EPSILON

if TYPE_CHECKING:
    import onnx

OPSET = 17
ML_OPSET = 3
IR_VERSION = 8
_FLOAT, _DOUBLE = 1, 11  # of onnx.TensorProto
_ACTIVATIONS = {
    "relu": "Relu",
    "leaky_relu": "LeakyRelu",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "softplus": "Softplus",
    "exp": "Exp",
    "abs": "Abs",
}
_OPERATORS = {"add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div"}
_REDUCTIONS = {
    "mean": "ReduceMean",
    "abs_sum": "ReduceL1",
    "square_sum": "ReduceSumSquare",
    "l2": "ReduceL2",
    "min": "ReduceMin",
    "max": "ReduceMax",
    "log_sum_exp": "ReduceLogSumExp",
}


def graph(program: Program) -> onnx.ModelProto:
    """The program as a graph from ``rows`` (n, d) float32 to ``score`` (n,) float32, n dynamic."""
    writer = Writer()
    for step in program.steps:
        writer.step(step, program.arrays)
    flat = writer.constant(np.array([-1], dtype=np.int64))
    writer.node("Reshape", [f"{SCORE}_column", flat], SCORE)
    return writer.model(program.n_features)


class Writer:
    """Collects nodes, and constants, which the bodies of loops share with the graph around them."""

    def __init__(self, outer: Writer | None = None) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = [] if outer is None else outer.constants

    def model(self, n_features: int) -> onnx.ModelProto:
        """The checked model of what was written, from ``rows`` (n, n_features) to ``score`` (n,), both float32."""
        from onnx import TensorProto, checker, helper

        rows = helper.make_tensor_value_info(ROWS, TensorProto.FLOAT, ["n", n_features])
        score = helper.make_tensor_value_info(SCORE, TensorProto.FLOAT, ["n"])
        body = helper.make_graph(self.nodes, "scorer", [rows], [score], self.constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        model = helper.make_model(body, opset_imports=opsets, producer_name="lparbench")
        model.ir_version = IR_VERSION
        checker.check_model(model)
        return model

    def step(self, step: Step, arrays: Mapping[str, NDArray[Any]]) -> None:
        """The nodes of one step, whose ``arrays`` become constants."""
        output = f"{SCORE}_column" if step.output == SCORE else step.output
        x = step.inputs[0]
        match step:
            case Dense():
                linear = output if step.activation == "identity" else f"{output}_linear"
                operands = [x, self.constant(arrays[step.weight]), self.constant(arrays[step.bias])]
                self.node("Gemm", operands, linear, transB=1)
                if step.activation != "identity":
                    self._activation(linear, step.activation, step.slope, output)
            case Activate():
                self._activation(x, step.activation, 0.0, output)
            case Elementwise():
                self.node(_OPERATORS[step.operator], list(step.inputs), output)
            case WithConstant():
                self.node(_OPERATORS[step.operator], [x, self.constant(arrays[step.constant])], output)
            case Reduce():
                self._reduce(x, step.reduction, output)
            case Concat():
                self.node("Concat", list(step.inputs), output, axis=1)
            case Columns():
                self.node("Gather", [x, self.constant(arrays[step.numbers])], output, axis=1)
            case Convert():
                self.node("Cast", [x], output, to=_DOUBLE if step.precision == "float64" else _FLOAT)
            case Trees():
                self._trees(x, Forest(*(arrays[name] for name in step.arrays)), output)
            case Neighbour():
                self._neighbour(x, arrays[step.neighbours], step.n_neighbors, output)
            case Normalise():
                self._normalise(x, output)
            case Transform() | Convolve() | Cell() | Hidden() | Lstm() | Patches():
                raise InputError(f"No graph of a {step.kind} step.", remedy="Set `traced` of the detector.")

    def constant(self, array: NDArray[Any]) -> str:
        """A constant tensor's name."""
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> None:
        """One node."""
        self.node_of_many(operator, inputs, [output], **attributes)

    def node_of_many(self, operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        """One node with several outputs."""
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, outputs, **attributes))

    def _normalise(self, x: str, output: str) -> None:
        self.node("ReduceMean", [x], f"{output}_mean", axes=[1], keepdims=1)
        self.node("Sub", [x, f"{output}_mean"], f"{output}_centred")
        self._reduce(f"{output}_centred", "square_mean", f"{output}_variance")
        self.node("Add", [f"{output}_variance", self.constant(np.array(EPSILON, np.float32))], f"{output}_shifted")
        self.node("Sqrt", [f"{output}_shifted"], f"{output}_deviation")
        self.node("Div", [f"{output}_centred", f"{output}_deviation"], output)

    def _gelu(self, x: str, output: str) -> None:
        half, root, unit = (self.constant(np.array(number, np.float32)) for number in (0.5, 0.5**0.5, 1.0))
        self.node("Mul", [x, root], f"{output}_scaled")
        self.node("Erf", [f"{output}_scaled"], f"{output}_erf")
        self.node("Add", [f"{output}_erf", unit], f"{output}_twice")
        self.node("Mul", [f"{output}_twice", half], f"{output}_share")
        self.node("Mul", [x, f"{output}_share"], output)

    def _activation(self, x: str, activation: Activation, slope: float, output: str) -> None:
        if activation == "gelu":
            self._gelu(x, output)
            return
        attributes = {"alpha": slope} if activation == "leaky_relu" else {}
        self.node(_ACTIVATIONS[activation], [x], output, **attributes)

    def _neighbour(self, x: str, neighbours: NDArray[np.float32], k: int, output: str) -> None:
        """Squares in float64, as a small distance is a difference of large squares."""
        from onnx import TensorProto

        wide = neighbours.astype(np.float64)
        self.node("Cast", [x], f"{output}_wide", to=TensorProto.DOUBLE)
        self.node("ReduceSumSquare", [f"{output}_wide"], f"{output}_norm", axes=[1], keepdims=1)
        product = [f"{output}_wide", self.constant(-2.0 * wide), self.constant(np.square(wide).sum(axis=1))]
        self.node("Gemm", product, f"{output}_product", transB=1)
        self.node("Add", [f"{output}_product", f"{output}_norm"], f"{output}_squares")
        count = self.constant(np.array([k], dtype=np.int64))
        self.node_of_many("TopK", [f"{output}_squares", count], [f"{output}_top", f"{output}_index"], largest=0, axis=1)
        self.node("ReduceMax", [f"{output}_top"], f"{output}_kth", axes=[1], keepdims=1)
        self.node("Relu", [f"{output}_kth"], f"{output}_square")
        self.node("Sqrt", [f"{output}_square"], f"{output}_distance")
        self.node("Cast", [f"{output}_distance"], output, to=TensorProto.FLOAT)

    def _trees(self, x: str, forest: Forest, output: str) -> None:
        nodes = forest.nodes()
        leaf = nodes.left < 0
        inner = {"nodes_modes": ["LEAF" if is_leaf else "BRANCH_LEQ" for is_leaf in leaf]}
        self.node(
            "TreeEnsembleRegressor",
            [x],
            output,
            domain="ai.onnx.ml",
            n_targets=1,
            aggregate_function="SUM",
            post_transform="NONE",
            nodes_treeids=nodes.tree.tolist(),
            nodes_nodeids=nodes.node.tolist(),
            nodes_featureids=np.where(leaf, 0, nodes.feature).tolist(),
            nodes_values=np.where(leaf, 0.0, nodes.threshold).tolist(),
            nodes_truenodeids=np.where(leaf, 0, nodes.left).tolist(),
            nodes_falsenodeids=np.where(leaf, 0, nodes.right).tolist(),
            target_treeids=nodes.tree[leaf].tolist(),
            target_nodeids=nodes.node[leaf].tolist(),
            target_ids=[0] * int(leaf.sum()),
            target_weights=nodes.value[leaf].tolist(),
            **inner,
        )

    def _reduce(self, x: str, reduction: Reduction, output: str) -> None:
        if reduction == "square_mean":
            self.node("Mul", [x, x], f"{output}_square")
            self._reduce(f"{output}_square", "mean", output)
        elif reduction == "sum":  # its axes became an input one opset before the others'
            self.node("ReduceSum", [x, self.constant(np.array([1], dtype=np.int64))], output, keepdims=1)
        else:
            self.node(_REDUCTIONS[reduction], [x], output, axes=[1], keepdims=1)
