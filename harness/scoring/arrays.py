"""Named arrays in an ``.npz`` file, never pickled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write ``arrays``, uncompressed, so that loading is a read."""
    np.savez(path, **arrays)  # type: ignore[arg-type]  # the stub takes every keyword for allow_pickle


def read(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of the file.

    Raises:
        OSError, ValueError: the file is missing, no archive, or holds objects.
    """
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
