"""Probabilities of a fraud model's parts: the LSTM's of a window, the trees' of its last transaction, their mean."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from harness.serving.exchange import Rows
from harness.serving.model import ServedModel

_PART = {"lstm": 0, "xgboost": 1}
_NAMES = ("lstm", "xgb")


class Parts:
    """Scores windows of an LSTM, of boosted trees, or of their ensemble.

    Args:
        model: that is served.
        weights: where they are known and another process has the scores.

    Attributes:
        weights: of LSTM and trees in the ensemble; None for a part that the model has not.
    """

    def __init__(self, model: ServedModel, weights: tuple[float | None, float | None] | None = None) -> None:
        self._model = model
        detector = model.bundle.manifest.provenance.detector
        self._only = _PART.get(detector)
        self._ensemble = None
        self.weights: tuple[float | None, float | None] = (None, None)
        if weights is not None:
            self.weights = weights
        elif self._only is not None:
            self.weights = (1.0, None) if self._only == 0 else (None, 1.0)
        elif detector == "fraud-ensemble":
            from harness.detectors.fraud_ensemble import FraudEnsemble
            from harness.detectors.opening import refuse_code
            from harness.detectors.registry import load

            refuse_code(model.bundle.directory)
            self._ensemble = cast("FraudEnsemble", load(model.bundle.directory))
            self.weights = (self._ensemble.lstm_weight, 1.0 - self._ensemble.lstm_weight)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parts there are, as the document calls them."""
        return tuple(name for name, weight in zip(_NAMES, self.weights, strict=True) if weight is not None)

    def score(self, windows: Rows) -> NDArray[np.float32]:
        """Of windows (n, steps, d), rows ``p_ensemble, p_lstm, p_xgb`` (NaN for none) and the model's score."""
        out = np.full((len(windows), 4), np.nan, dtype=np.float32)
        if self._ensemble is not None:
            lstm, trees = self._ensemble.probabilities(windows)
            out[:, 0] = self._ensemble.mean(lstm, trees)
            out[:, 1], out[:, 2], out[:, 3] = lstm, trees, out[:, 0]
            return out
        rows = windows if self._model.steps is not None else windows[:, -1]
        scores = out[:, 3] = self._model.score(rows)
        out[:, 0] = scores if (p := self._model.bundle.raw_probabilities(scores)) is None else p
        if self._only is not None:
            out[:, 1 + self._only] = out[:, 0]
        return out
