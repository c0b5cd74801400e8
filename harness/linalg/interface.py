"""One interface to batched matrix products, whatever computes them; and bfloat16 as NumPy can hold it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError
from harness.linalg.native import ACTIVATIONS, Activation, Dtype

BackendName = Literal["native", "torch", "numpy", "onnxruntime"]
BACKENDS: tuple[BackendName, ...] = get_args(BackendName)

# bfloat16 travels as the upper half of a float32, in an unsigned 16-bit integer
_DTYPE_OF: dict[np.dtype[Any], Dtype] = {
    np.dtype(np.float32): "float32",
    np.dtype(np.uint16): "bfloat16",
    np.dtype(np.int8): "int8",
}
_RESULT_OF: dict[Dtype, type[np.float32] | type[np.int32]] = {
    "float32": np.float32,
    "bfloat16": np.float32,
    "int8": np.int32,
}


@dataclass(frozen=True)
class RanOn:
    """What a product really runs on; ``library`` names the BLAS and the core it chose, where there is one."""

    backend: BackendName
    isa: str
    kernel: str
    library: str


@dataclass(frozen=True, eq=False)
class Epilogue:
    """What follows the product: ``C = activation(alpha * A B + beta * C + bias)``.

    ``bias`` is float32 of shape (n,) or (batch, 1, n), one per column, or (m, 1) or (batch, m, 1), one per row.
    ``slope`` is leaky ReLU's. With beta 0 the old C is never read. int8 products take beta 0 or 1 and nothing else.
    """

    alpha: float = 1.0
    beta: float = 0.0
    bias: NDArray[np.float32] | None = None
    activation: Activation = "identity"
    slope: float = 0.0


PLAIN = Epilogue()


@dataclass(frozen=True, eq=False)
class Product:
    """Arguments that fit: operands with a batch dimension, the output, and the bias as (1 or batch, 1 or m, 1 or n)."""

    dtype: Dtype
    a: NDArray[Any]
    b: NDArray[Any]
    out: NDArray[Any]
    bias: NDArray[np.float32] | None
    epilogue: Epilogue
    result: NDArray[Any]  # out in the shape that the caller expects

    @property
    def row_bias(self) -> bool:
        """Whether the bias is one per row of C, rather than one per column."""
        return self.bias is not None and self.bias.shape[1:] != (1, self.out.shape[2])


class Backend(ABC):
    """Batched products by one library or by the native kernels."""

    def matmul(
        self, a: NDArray[Any], b: NDArray[Any], out: NDArray[Any] | None = None, epilogue: Epilogue = PLAIN
    ) -> NDArray[Any]:
        """``a`` (m, k) or (batch, m, k) times ``b`` (k, n) or (batch, k, n).

        A transposed operand is a transposed view; a matrix or a batch of one is shared by all items.

        Returns:
            The product, in ``out`` where given: float32 for float32 and bfloat16 (as uint16), int32 for int8.

        ``out`` may be an operand, or share memory with one: the product is that of the old values.

        Raises:
            InputError: types, shapes or an epilogue that do not fit, an ``out`` that is read-only or overlaps itself,
                or a type that the backend does not have.
        """
        product = checked_product(a, b, out, epilogue)
        if out is None or not _shares_memory(product):
            self.multiply(product)
        else:  # every backend reads its operands while it writes
            apart = replace(product, out=product.out.copy())
            self.multiply(apart)
            product.out[...] = apart.out
        return product.result

    @abstractmethod
    def ran_on(self, dtype: Dtype) -> RanOn:
        """What products of this type run on here.

        Raises:
            InputError: the backend has no product of this type.
        """

    @abstractmethod
    def multiply(self, product: Product) -> None:
        """Write the product, epilogue included, to its ``out``.

        Raises:
            InputError: the backend has no product of this type.
        """


def checked_product(a: NDArray[Any], b: NDArray[Any], out: NDArray[Any] | None, epilogue: Epilogue) -> Product:
    """The arguments of ``Backend.matmul``, checked.

    Raises:
        InputError: types, shapes or an epilogue that do not fit.
    """
    dtype = _DTYPE_OF.get(a.dtype)
    if dtype is None or b.dtype != a.dtype:
        raise InputError(f"operands of {a.dtype} and {b.dtype}: expected both float32, uint16 (bfloat16) or int8")
    if a.ndim not in (2, 3) or b.ndim not in (2, 3):
        raise InputError(f"operands of {a.ndim} and {b.ndim} dimensions: expected 2 or 3")
    flat = a.ndim == b.ndim == 2
    a3, b3 = a if a.ndim == 3 else a[None], b if b.ndim == 3 else b[None]
    batch = b3.shape[0] if a3.shape[0] == 1 else a3.shape[0]
    if a3.shape[2] != b3.shape[1] or b3.shape[0] not in (1, batch):
        raise InputError(f"operands of shapes {a.shape} and {b.shape} do not fit")
    shape = (batch, a3.shape[1], b3.shape[2])
    expected = shape[1:] if flat else shape
    if out is None:
        if epilogue.beta != 0.0:
            raise InputError("beta needs an out, whose old values it scales")
        out = np.empty(expected, _RESULT_OF[dtype])
    elif out.shape != expected or out.dtype != _RESULT_OF[dtype]:
        raise InputError(f"out of {out.dtype} {out.shape}: expected {np.dtype(_RESULT_OF[dtype])} {expected}")
    elif not out.flags.writeable or _overlaps_itself(out):
        raise InputError("out is read-only or overlaps itself: expected an array of its own elements")
    if epilogue is PLAIN:
        return Product(dtype, a3, b3, out[None] if flat else out, None, epilogue, out)
    _check_epilogue(dtype, epilogue)
    bias = None if epilogue.bias is None else _bias(epilogue.bias, shape)
    return Product(dtype, a3, b3, out[None] if flat else out, bias, epilogue, out)


def _shares_memory(product: Product) -> bool:
    read = (product.a, product.b, *(() if product.bias is None else (product.bias,)))
    return any(np.may_share_memory(product.out, operand) for operand in read)


def _overlaps_itself(x: NDArray[Any]) -> bool:
    """Whether two elements may lie at the same place, as of a broadcast array."""
    reach = x.itemsize
    for stride, length in sorted((abs(stride), length) for stride, length in zip(x.strides, x.shape, strict=True)):
        if length > 1 and stride < reach:
            return x.size > 0
        reach += (length - 1) * stride
    return False


def _check_epilogue(dtype: Dtype, epilogue: Epilogue) -> None:
    if epilogue.activation not in ACTIVATIONS:
        raise InputError(f"activation {epilogue.activation!r}: expected one of {', '.join(ACTIVATIONS)}")
    plain = epilogue.alpha == 1.0 and epilogue.beta in (0.0, 1.0) and epilogue.bias is None
    if dtype == "int8" and not (plain and epilogue.activation == "identity"):
        raise InputError("int8 products take beta 0 or 1 and no alpha, bias or activation")


def _bias(bias: NDArray[np.float32], shape: tuple[int, int, int]) -> NDArray[np.float32]:
    batch, m, n = shape
    spread = bias.reshape((1,) * (3 - bias.ndim) + bias.shape) if bias.ndim <= 3 else bias
    fits = spread.shape in {(1, 1, n), (batch, 1, n), (1, m, 1), (batch, m, 1)}
    if bias.dtype != np.float32 or not fits:
        known = f"({n},), ({batch}, 1, {n}), ({m}, 1) or ({batch}, {m}, 1)"
        raise InputError(f"bias of {bias.dtype} {bias.shape}: expected float32 {known}")
    return spread


def from_bfloat16(x: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The float32 values of bfloat16 numbers; exact."""
    return (x.astype(np.uint32) << 16).view(np.float32)


def to_bfloat16(x: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The nearest bfloat16 numbers, ties to even; NaN stays NaN."""
    bits = np.require(x, np.float32, ["C", "A"]).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(x), np.uint16(0x7FC0), rounded).astype(np.uint16)


def wide_operands(product: Product) -> tuple[NDArray[Any], NDArray[Any]]:
    """The operands in a type that every library multiplies: float32 for bfloat16, int32 for int8."""
    match product.dtype:
        case "float32":
            return product.a, product.b
        case "bfloat16":
            return from_bfloat16(product.a), from_bfloat16(product.b)
        case "int8":
            return product.a.astype(np.int32), product.b.astype(np.int32)


def apply_epilogue(product: Product, raw: NDArray[Any]) -> None:
    """Finish ``raw`` = A B into the product's output, with NumPy, in the precision of ``raw``."""
    epilogue = product.epilogue
    scaled: NDArray[Any] = raw if epilogue.alpha == 1.0 else raw * raw.dtype.type(epilogue.alpha)
    if epilogue.beta != 0.0:
        scaled = scaled + product.out * raw.dtype.type(epilogue.beta)
    if product.bias is not None:
        scaled = scaled + product.bias
    product.out[...] = _FUNCTIONS[epilogue.activation](scaled, epilogue.slope)


def _leaky(x: NDArray[Any], slope: float) -> NDArray[Any]:
    return np.where(x < 0, x * x.dtype.type(slope), x)


def _sigmoid(x: NDArray[Any], _slope: float) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        result: NDArray[Any] = 1 / (1 + np.exp(-x))
    return result


_FUNCTIONS: dict[Activation, Callable[[NDArray[Any], float], NDArray[Any]]] = {
    "identity": lambda x, _slope: x,
    "relu": lambda x, _slope: np.where(x < 0, x.dtype.type(0), x),
    "leaky_relu": _leaky,
    "tanh": lambda x, _slope: np.tanh(x),
    "sigmoid": _sigmoid,
}
