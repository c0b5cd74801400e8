"""Which BLAS a library is linked to, and the core that it chose for this processor."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Blas:
    """``name`` with version, ``core`` as the BLAS calls it; ``unknown`` where it does not say."""

    name: str
    core: str


def describe(library: Literal["numpy", "torch"]) -> Blas:
    """The BLAS of NumPy or of torch, from the libraries that are loaded in this process."""
    import threadpoolctl

    name = "unknown"
    if library == "torch":
        import torch

        if torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]  # linked statically, so no library of its own is loaded
            return Blas(_mkl_version(torch.__config__.show()), "unknown")
        marker = "torch"
    else:
        import numpy as np

        marker = "numpy"
        name = str(np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"])
    loaded = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    for pool in sorted(loaded, key=lambda pool: marker not in pool["filepath"]):  # its own copy before a shared one
        return Blas(f"{pool['internal_api']} {pool['version']}", str(pool.get("architecture", "unknown")))
    return Blas(name, "unknown")


def _mkl_version(config: str) -> str:
    version = re.search(r"Math Kernel Library Version ([0-9.]+)", config)
    return f"MKL {version[1]}" if version else "MKL"
