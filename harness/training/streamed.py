"""Batches of a training whose rows are read again in every pass. Imports torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.datasets.streamed import BatchSource
from harness.errors import InputError
from harness.training.ranks import Ranks


class StreamedBatches:
    """Rows and float labels of each batch; of several ranks, this one's share of it.

    Every rank reads the whole stream and holds its buffer: so the batches are those of one rank.

    Args:
        source: of the rows.
        batch_size: rows per step.
        seed: of the order; the same on all ranks.
        balanced: half of each batch are anomalies, drawn with replacement from those of the whole source, and half are
            normal rows of the next ``batch_size`` of the stream, as `harness.training.early_stopping.BalancedSampler`
            draws them from rows in memory.
        ranks: that share each batch.

    Raises:
        InputError: there is no anomaly to draw.
    """

    def __init__(
        self, source: BatchSource, batch_size: int, seed: int, *, balanced: bool, ranks: Ranks | None = None
    ) -> None:
        self._source, self._batch_size, self._seed, self._ranks = source, batch_size, seed, ranks
        self._anomalies = source.anomalies(seed) if balanced else None
        if self._anomalies is not None and not len(self._anomalies):
            raise InputError("The training rows hold no anomaly to draw.", remedy='Set sampling = "natural".')

    def of_pass(self, number: int) -> Iterator[tuple[int, Sequence[Tensor]]]:
        """The batches of a pass, counted from 0."""
        draw = np.random.default_rng((self._seed, number))
        for x, y in self._source.batches(self._batch_size, int(draw.integers(1 << 62))):
            count, pool = len(y), self._anomalies
            if pool is None:
                own = self._own(np.arange(count))
                yield count, (torch.from_numpy(x[own]), torch.from_numpy(y[own].astype(np.float32)))
                continue
            normal = np.flatnonzero(y == 0)
            wanted = count - count // 2 if len(normal) else 0
            chosen = normal[:wanted] if wanted <= len(normal) else draw.choice(normal, wanted)
            anomalies = count + draw.integers(len(pool), size=count - len(chosen))
            own = self._own(np.concatenate([chosen, anomalies]))
            rows = np.concatenate([x[own[own < count]], pool[own[own >= count] - count]])
            labels = np.sort(own >= count).astype(np.float32)  # normal rows stand before anomalies
            yield count, (torch.from_numpy(rows), torch.from_numpy(labels))

    def _own(self, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        if self._ranks is None:
            return chosen
        own: NDArray[np.int64] = self._ranks.own(torch.from_numpy(chosen)[None])[0].numpy()
        return own
