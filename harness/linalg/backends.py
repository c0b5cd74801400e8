"""The backends of batched products, by name; each library is imported when its backend is asked for."""

from __future__ import annotations

from harness.errors import InputError
from harness.linalg.interface import BACKENDS, Backend, BackendName


def backend(name: BackendName) -> Backend:
    """The backend called ``name``.

    Raises:
        InputError: the name is unknown, or native and not built.
    """
    match name:
        case "native":
            from harness.linalg.backend_native import NativeBackend

            return NativeBackend()
        case "torch":
            from harness.linalg.backend_torch import TorchBackend

            return TorchBackend()
        case "numpy":
            from harness.linalg.backend_numpy import NumpyBackend

            return NumpyBackend()
        case "onnxruntime":
            from harness.linalg.backend_onnxruntime import OnnxRuntimeBackend

            return OnnxRuntimeBackend()
        case _:
            raise InputError(f"GEMM backend {name!r}: expected one of {', '.join(BACKENDS)}")
