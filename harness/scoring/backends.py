"""The ways to run an exported detector, by name, and the number formats each has."""

from __future__ import annotations

BACKENDS: dict[str, tuple[str, ...]] = {
    "eager": ("float32",),  # the detector object: harness.detectors.opening
    "compile": ("float32",),
    "onnxruntime": ("float32", "int8"),
    "native": ("float32", "bfloat16", "int8"),
}
DTYPES = tuple(dict.fromkeys(dtype for dtypes in BACKENDS.values() for dtype in dtypes))
