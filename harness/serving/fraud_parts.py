"""Probabilities of a fraud model's parts: the LSTM's of a window, the trees' of its last transaction, their mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from harness.linalg import native
from harness.scoring import plan
from harness.scoring.open_windows import OpenWindows
from harness.serving.card_scores import CardScores
from harness.serving.exchange import Rows, Scores
from harness.serving.model import ServedModel

_PART = {"lstm": 0, "xgboost": 1}
_NAMES = ("lstm", "xgb")


@dataclass(frozen=True)
class Elsewhere:
    """What is known of the parts where another process has them.

    Attributes:
        weights, open_bytes, backend: as of `Parts`.
    """

    weights: tuple[float | None, float | None]
    open_bytes: int
    backend: str


class Parts:
    """Scores windows of an LSTM, of boosted trees, or of their ensemble.

    Args:
        model: that is served.
        elsewhere: where another process has the scores.

    Attributes:
        weights: of LSTM and trees in the ensemble; None for a part that the model has not.
        open_bytes: memory of what a card has open; 0 where windows are scored whole.
        backend: what scores; of an ensemble, its LSTM.
    """

    def __init__(self, model: ServedModel, elsewhere: Elsewhere | None = None) -> None:
        self._model = model
        detector = model.bundle.manifest.provenance.detector
        self._only = _PART.get(detector)
        self._ensemble = None
        self._windows: OpenWindows | None = None
        self._whole: Callable[[Rows], Scores] | None = None  # logits of windows side by side, of an ensemble's LSTM
        self._trees: Callable[[Rows], Scores] | None = None
        self.weights: tuple[float | None, float | None] = (None, None)
        self.open_bytes, self.backend = 0, model.backend
        if elsewhere is not None:
            self.weights, self.open_bytes, self.backend = elsewhere.weights, elsewhere.open_bytes, elsewhere.backend
            return
        if self._only is not None:
            self.weights = (1.0, None) if self._only == 0 else (None, 1.0)
            if self._only == 0 and model.backend == "native" and (model.steps or 1) > 1:
                self._windows = OpenWindows.of(model.bundle.artifacts.program())
        elif detector == "fraud-ensemble":
            from harness.detectors.fraud_ensemble import FraudEnsemble
            from harness.detectors.opening import refuse_code
            from harness.detectors.registry import load

            refuse_code(model.bundle.directory)
            self._ensemble = cast("FraudEnsemble", load(model.bundle.directory))
            self.weights = (self._ensemble.lstm_weight, 1.0 - self._ensemble.lstm_weight)
            self.backend = "eager" if model.backend == "eager" or native.missing() is not None else "native"
            if self.backend == "native":
                program = self._ensemble.lstm_.program()
                self._windows = OpenWindows.of(program)
                self._whole = plan.compiled(program, threads=model.threads)
                self._trees = plan.compiled(self._ensemble.trees_.program(), threads=model.threads)
        if self._windows is not None:
            self.open_bytes = 4 * self._windows.floats_per_stream

    @property
    def elsewhere(self) -> Elsewhere:
        """What other processes are to know."""
        return Elsewhere(self.weights, self.open_bytes, self.backend)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parts there are, as the document calls them."""
        return tuple(name for name, weight in zip(_NAMES, self.weights, strict=True) if weight is not None)

    def advances(self, cards: int) -> CardScores | None:
        """Scores transactions of at most so many cards by what each has open; None where windows are scored whole."""
        return None if self._windows is None else CardScores(self._windows, cards, self._of_logits)

    def score(self, windows: Rows) -> NDArray[np.float32]:
        """Of windows (n, steps, d), rows ``p_ensemble, p_lstm, p_xgb`` (NaN for none) and the model's score."""
        if self._whole is not None:
            return self._of_logits(self._whole(windows.reshape(len(windows), -1)), windows[:, -1])
        if self._ensemble is not None:
            return self._of_both(*self._ensemble.probabilities(windows))
        return self._of_one(self._model.score(windows if self._model.steps is not None else windows[:, -1]))

    def _of_logits(self, logits: Scores, rows: Rows) -> NDArray[np.float32]:
        """As `score`, of the LSTM's logits (n,) and the last row of each window (n, d)."""
        if self._ensemble is None:
            return self._of_one(logits)
        assert self._trees is not None
        probability = self._ensemble.probability
        return self._of_both(probability(logits), probability(self._trees(np.ascontiguousarray(rows))))

    def _of_both(self, lstm: Scores, trees: Scores) -> NDArray[np.float32]:
        assert self._ensemble is not None
        mean = self._ensemble.mean(lstm, trees)
        return np.stack((mean, lstm, trees, mean), axis=1, dtype=np.float32)

    def _of_one(self, scores: Scores) -> NDArray[np.float32]:
        out = np.full((len(scores), 4), np.nan, dtype=np.float32)
        out[:, 3] = scores
        out[:, 0] = scores if (p := self._model.bundle.raw_probabilities(scores)) is None else p
        if self._only is not None:
            out[:, 1 + self._only] = out[:, 0]
        return out
