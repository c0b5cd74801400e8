"""The ways to run an exported detector, by name, and the number formats each has."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Backend:
    """A way to run an exported detector: the number formats it has."""

    dtypes: tuple[str, ...]


BACKENDS: dict[str, Backend] = {
    "eager": Backend(("float32",)),  # the detector object: harness.detectors.opening
    "compile": Backend(("float32",)),
    "onnxruntime": Backend(("float32", "int8")),
    "native": Backend(("float32", "bfloat16", "int8")),
}

DTYPES = tuple(dict.fromkeys(dtype for backend in BACKENDS.values() for dtype in backend.dtypes))
