"""Parameters of a net as the native trainers take them: one behind the other, each from a multiple of 16 on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ALIGN = 16  # floats: every parameter begins at a multiple


def floats_of(sizes: Sequence[int]) -> int:
    """Floats that parameters of ``sizes`` take."""
    return sum(map(_room, sizes))


def flat(arrays: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The arrays in that form."""
    sizes = [array.size for array in arrays]
    whole = np.zeros(floats_of(sizes), dtype=np.float32)
    for part, array in zip(parts(whole, sizes), arrays, strict=True):
        part[:] = array.reshape(-1)
    return whole


def parts(whole: NDArray[np.float32], sizes: Sequence[int]) -> list[NDArray[np.float32]]:
    """Views of the parameters of ``sizes`` in ``whole``."""
    ends = np.cumsum([0, *map(_room, sizes)])
    return [whole[start : start + size] for start, size in zip(ends[:-1].tolist(), sizes, strict=True)]


def _room(size: int) -> int:
    return -(-size // ALIGN) * ALIGN
