"""One ONNX graph out of two: a net on windows and a program on their last step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.scoring.onnx_graph import graph
from harness.scoring.program import ROWS, SCORE, Program

_NET, _PROGRAM = "net_", "program_"


def mean_probability(net: bytes, program: Program, weight: float, shape: tuple[int, ...]) -> bytes:
    """``weight`` times the sigmoid of ``net``'s score plus the rest times that of ``program``'s, serialised.

    Args:
        net: graph from ``rows`` (n, *shape) to ``score`` (n,).
        program: takes the last step of a window, or the row itself where ``shape`` is (features,).
        weight: of the net, in [0, 1].
        shape: (steps, features) or (features,).
    """
    import onnx
    from onnx import TensorProto, compose, helper, numpy_helper

    first = compose.add_prefix(onnx.load_from_string(net), _NET)
    second = compose.add_prefix(graph(program), _PROGRAM)
    constants: dict[str, NDArray[Any]] = {
        "last": np.array(-1, dtype=np.int64),
        "net_weight": np.array(weight, dtype=np.float32),
        "program_weight": np.array(1.0 - weight, dtype=np.float32),
    }
    row = f"{_PROGRAM}{ROWS}"
    nodes = [
        helper.make_node("Identity", [ROWS], [f"{_NET}{ROWS}"]),
        helper.make_node("Gather", [ROWS, "last"], [row], axis=1)
        if len(shape) == 2
        else helper.make_node("Identity", [ROWS], [row]),
        *first.graph.node,
        *second.graph.node,
        helper.make_node("Sigmoid", [f"{_NET}{SCORE}"], ["net_probability"]),
        helper.make_node("Sigmoid", [f"{_PROGRAM}{SCORE}"], ["program_probability"]),
        helper.make_node("Mul", ["net_probability", "net_weight"], ["net_part"]),
        helper.make_node("Mul", ["program_probability", "program_weight"], ["program_part"]),
        helper.make_node("Add", ["net_part", "program_part"], [SCORE]),
    ]
    merged = helper.make_graph(
        nodes,
        "mean_probability",
        [helper.make_tensor_value_info(ROWS, TensorProto.FLOAT, ["n", *shape])],
        [helper.make_tensor_value_info(SCORE, TensorProto.FLOAT, ["n"])],
        [
            *(numpy_helper.from_array(array, name) for name, array in constants.items()),
            *first.graph.initializer,
            *second.graph.initializer,
        ],
    )
    domains = {opset.domain: opset.version for model in (first, second) for opset in model.opset_import}
    model = helper.make_model(merged, opset_imports=[helper.make_opsetid(*domain) for domain in domains.items()])
    model.ir_version = max(first.ir_version, second.ir_version)
    serialised: bytes = model.SerializeToString()
    return serialised
