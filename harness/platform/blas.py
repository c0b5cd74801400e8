"""Asks linear-algebra libraries which instruction-set path they take.

Loading such a library starts its threads, so it is done in a process of its own: this file also runs as a script,
``python -I -S blas.py LIBRARY...``, and prints one JSON list. It therefore imports nothing of the package.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import sys
from typing import Any

_PREFIXES = ("", "scipy_")
_SUFFIXES = ("", "64_", "_64")
_THREADING = {0: "sequential", 1: "pthreads", 2: "openmp"}


def describe(path: str) -> dict[str, Any]:
    """Name, version, path taken and threading of one library; the values are ``None`` where it does not tell.

    The library is loaded if it is not yet.

    Raises:
        OSError: it cannot be loaded.
    """
    library = ctypes.CDLL(path, mode=os.RTLD_LOCAL | os.RTLD_NOW)
    core = _text(library, "openblas_get_corename")
    configuration = _text(library, "openblas_get_config")
    version = re.search(r"OpenBLAS\s+([0-9][0-9A-Za-z.+-]*)", configuration or "")
    threading = _function(library, "openblas_get_parallel")
    return {
        "name": "openblas" if core or configuration or "openblas" in os.path.realpath(path) else _family(path),
        "path": path,
        "version": version[1] if version else None,
        "kernel": core,
        "threading": None if threading is None else _THREADING.get(threading()),
    }


def _family(path: str) -> str:
    real = os.path.basename(os.path.realpath(path))  # noqa: PTH119 - no import that a bare interpreter lacks
    for mark in ("mkl", "blis", "essl", "atlas"):
        if mark in real:
            return mark
    return "reference BLAS" if real.startswith(("libblas", "libcblas", "libf77blas")) else real


def _function(library: ctypes.CDLL, name: str) -> Any:
    for prefix in _PREFIXES:
        for suffix in _SUFFIXES:
            function = getattr(library, f"{prefix}{name}{suffix}", None)
            if function is not None:
                function.argtypes = []
                return function
    return None


def _text(library: ctypes.CDLL, name: str) -> str | None:
    function = _function(library, name)
    if function is None:
        return None
    function.restype = ctypes.c_char_p
    value = function()
    return value.decode("ascii", "replace") if value else None


def main(paths: list[str]) -> None:
    """Print the descriptions of the libraries that can be loaded."""
    libraries: list[dict[str, Any]] = []
    for path in paths:
        try:
            libraries.append(describe(path))
        except OSError as error:
            libraries.append({"path": path, "error": str(error)})
    json.dump(libraries, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
