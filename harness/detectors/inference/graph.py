"""ONNX graphs written node by node with the ``onnx`` package: no torch, no exporter version to follow.

Opset 17 is read by every ONNX Runtime since 1.12.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.detectors.dense import Activation, DenseProgram

if TYPE_CHECKING:
    import onnx

OPSET = 17
IR_VERSION = 8
INPUT, SCORE = "rows", "score"
_OPERATORS: dict[Activation, str] = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "softplus": "Softplus"}


def dense_graph(program: DenseProgram) -> onnx.ModelProto:
    """The chain as a graph from ``rows`` (n, d) float32 to ``score`` (n,) float32, n dynamic."""
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes, constants, current = [], [], INPUT
    for index, layer in enumerate(program.layers):
        weight, bias, linear = f"weight{index}", f"bias{index}", f"linear{index}"
        constants += [numpy_helper.from_array(np.ascontiguousarray(layer.weight), weight)]
        constants += [numpy_helper.from_array(np.ascontiguousarray(layer.bias), bias)]
        nodes.append(helper.make_node("Gemm", [current, weight, bias], [linear], transB=1))
        current = linear
        if layer.activation != "identity":
            nodes.append(helper.make_node(_OPERATORS[layer.activation], [current], [f"active{index}"]))
            current = f"active{index}"
    match program.output:
        case "single":
            constants.append(numpy_helper.from_array(np.array([-1], dtype=np.int64), "flat"))
            nodes.append(helper.make_node("Reshape", [current, "flat"], [SCORE]))
        case "mean_squared_error":
            nodes.append(helper.make_node("Sub", [current, INPUT], ["error"]))
            nodes.append(helper.make_node("Mul", ["error", "error"], ["squared"]))
            nodes.append(helper.make_node("ReduceMean", ["squared"], [SCORE], axes=[1], keepdims=0))
    rows = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", program.n_features])
    score = helper.make_tensor_value_info(SCORE, TensorProto.FLOAT, ["n"])
    graph = helper.make_graph(nodes, "scorer", [rows], [score], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="lparbench")
    model.ir_version = IR_VERSION
    checker.check_model(model)
    return model
