"""Batches of rows to replies in one call of the model, and what is learnt of them: cost, drift, decisions."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from harness.serving.admission import Admission
from harness.serving.drift_monitor import DriftMonitor
from harness.serving.exchange import Checked, HttpError, Reply, Rows, Scores, Scoring
from harness.serving.metrics import Metrics
from harness.serving.model import ServedModel

Mask = NDArray[np.bool_]


class Scorer:
    """The model at work.

    Args:
        model: whose scorer is open.
        admission: learns what a call costs; its rows wait no more once they are scored.
        metrics: counts calls, rows and decisions.
        drift_window: rows.
    """

    def __init__(self, model: ServedModel, admission: Admission, metrics: Metrics, drift_window: int) -> None:
        self.drift = DriftMonitor(
            model.bundle.drift, model.features, drift_window, *model.raw_columns, scores=metrics.scores
        )
        self._model, self._admission, self._metrics = model, admission, metrics

    def score(self, batch: list[Scoring]) -> list[Reply]:
        """Replies of what a handler gave, scored in one call, or in one for each way of scoring."""
        try:
            ways = {_way(part) for part in batch}
            if len(ways) == 1:
                return self._score(batch)
            replies: dict[int, Reply] = {}
            for way in ways:
                chosen = [index for index, part in enumerate(batch) if _way(part) == way]
                replies |= zip(chosen, self._score([batch[index] for index in chosen]), strict=True)
            return [replies[index] for index in range(len(batch))]
        finally:
            self._admission.waiting = 0

    def _score(self, batch: list[Scoring]) -> list[Reply]:
        model, metrics, way = self._model, self._metrics, batch[0].score
        began = perf_counter()
        rows = features(model, batch)
        advances = [part.advance for part in batch if part.advance is not None]
        scores = advances[0].by.score(rows, advances) if advances else (way or model.score)(rows)
        seconds = perf_counter() - began
        self._admission.cost.add(len(rows), seconds)
        metrics.score_s.add(seconds)
        metrics.batch_rows.add(len(rows))
        last = scores if scores.ndim == 1 else scores[:, -1]
        self.drift.add(rows if rows.ndim == 2 else rows[:, -1], last, missing_of(model, batch))
        for level in model.decisions(last):
            metrics.decisions[level] += 1
        replies, start = [], 0
        for part in batch:
            end = start + len(part.rows)
            replies.append(finished(part, scores[start:end]))
            start = end
        return replies


def _way(part: Scoring) -> object:
    """What scores it."""
    return part.score if part.advance is None else part.advance.by


def features(model: ServedModel, batch: Sequence[Scoring]) -> Rows:
    """The rows of a batch, raw ones encoded."""
    blocks: list[Rows] = []
    raw: list[Checked] = []
    for part in batch:
        if isinstance(part.rows, list):
            raw += part.rows
            continue
        if raw:
            blocks.append(model.encoded(raw))
            raw = []
        blocks.append(part.rows)
    if raw:
        blocks.append(model.encoded(raw))
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def missing_of(model: ServedModel, batch: Sequence[Scoring]) -> Mask | None:
    """Which values of a batch's rows were missing, (rows, columns); None where that is not watched."""
    encoder = model.encoder
    if encoder is None or encoder.absent is None:
        return None
    blocks: list[Mask | None] = [
        encoder.missing(part.rows) if isinstance(part.rows, list) else part.missing for part in batch
    ]
    known = [
        np.zeros((len(part.rows), len(encoder.columns)), dtype=np.bool_) if block is None else block
        for part, block in zip(batch, blocks, strict=True)
    ]
    return known[0] if len(known) == 1 else np.concatenate(known)


def finished(part: Scoring, scores: Scores) -> Reply:
    """A reply; what cannot be said of some rows is an error for their request alone."""
    try:
        return part.finish(scores)
    except HttpError as error:
        return error.reply()
    except ValueError:
        return HttpError(500, "a score is not finite").reply()
