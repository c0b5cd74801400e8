"""Training examples that are too many for the memory: read again in every pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from harness.datasets.encoders import Encoder

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int8]


class BatchSource(Protocol):
    """Encoded training examples as a stream; memory does not grow with their number."""

    @property
    def rows(self) -> int:
        """Examples of a pass."""

    def batches(self, size: int, seed: int) -> Iterator[tuple[Floats, Labels]]:
        """One pass in batches of ``size`` examples (the last may be smaller), shuffled within a bounded buffer."""

    def anomalies(self, seed: int) -> Floats:
        """The anomalies of a pass; of very many, as many as fit into a bounded memory, drawn at random."""


class Streamable(Protocol):
    """Training examples of a file that are not encoded yet."""

    def encoded(self, encoder: Encoder, most: int | None) -> BatchSource:
        """The examples as ``encoder`` makes them, at most so many in a pass."""
