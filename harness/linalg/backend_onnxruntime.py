"""Batched products by ONNX Runtime."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from harness.errors import InputError
from harness.linalg.interface import Backend, Product, RanOn, apply_epilogue
from harness.linalg.native import Dtype, default_threads
from harness.linalg.ort_options import session_options


class OnnxRuntimeBackend(Backend):
    """A graph of one ``MatMul``, or ``MatMulInteger`` for int8."""

    def ran_on(self, dtype: Dtype) -> RanOn:
        """ONNX Runtime's own kernels, which do not say what they chose."""
        return RanOn("onnxruntime", "unknown", _operator(dtype), f"MLAS of onnxruntime {onnxruntime.__version__}")

    def multiply(self, product: Product) -> None:
        """See ``Backend.multiply``; bfloat16 has no kernel here."""
        session = _session(product.dtype, default_threads())
        if 0 in product.a.shape or 0 in product.b.shape:  # no kernel for an empty sum
            raw = np.zeros(product.out.shape, product.out.dtype)
        else:
            raw = session.run(None, {"a": np.ascontiguousarray(product.a), "b": np.ascontiguousarray(product.b)})[0]
        apply_epilogue(product, raw)


def _operator(dtype: Dtype) -> str:
    if dtype == "bfloat16":
        raise InputError("ONNX Runtime has no bfloat16 product on this processor; use native, torch or numpy")
    return "MatMul" if dtype == "float32" else "MatMulInteger"


@cache
def _session(dtype: Dtype, threads: int) -> onnxruntime.InferenceSession:
    operator = _operator(dtype)
    element, result = (
        (TensorProto.FLOAT, TensorProto.FLOAT) if dtype == "float32" else (TensorProto.INT8, TensorProto.INT32)
    )
    shapes = {name: [f"{name}{axis}" for axis in range(3)] for name in "abc"}
    inputs = [helper.make_tensor_value_info(name, element, shapes[name]) for name in "ab"]
    output = helper.make_tensor_value_info("c", result, shapes["c"])
    graph = helper.make_graph([helper.make_node(operator, ["a", "b"], ["c"])], "product", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    options = session_options(threads)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
