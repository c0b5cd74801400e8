"""``POST /predict`` with ``{"features": [...]}``, the intrusion document's route; its sample client works unchanged.

Of a model with probabilities the answer also has what the FT-Transformer document asks of its endpoint: probability,
confidence, and a level of three thresholds.

Corrected against the document: an error of the client is always status 400 and names the field, never an exception's
text with status 500; the answer is JSON without NaN.
"""

from __future__ import annotations

import os
from math import isfinite
from typing import Any

import numpy as np

from harness.serving.exchange import Checked, HttpError, Reply, Request, RowRoute, Scores, Scoring, to_json
from harness.serving.json_input import parse_object
from harness.serving.model import ServedModel


class Documents:
    """The route for one model."""

    def __init__(self, model: ServedModel) -> None:
        self._model = model
        self._threshold = model.bundle.manifest.decision.value
        self._cut = float(np.float32(self._threshold))  # scores are float32, and decided as such
        self._encoder = model.encoder
        self._name = model.score_name
        self._plain = model.plain
        self._begin = f'{{"{self._name}":'
        self._ends = tuple(f',"anomaly":{word}}}' for word in ("false", "true"))

    @property
    def row_route(self) -> RowRoute:
        """`predict`, of rows that come together."""
        return RowRoute(self._row, self._bodies, self._answer)

    def predict(self, request: Request) -> Scoring:
        """Score one raw row."""
        return Scoring([self._row(request.body)], self._answer)

    def _row(self, body: bytes) -> Checked:
        encoder = self._encoder
        if encoder is None:
            raise HttpError(400, f"this model takes encoded rows: POST {self._model.path}/infer")
        features = parse_object(body).get("features")
        wanted = len(encoder.columns)
        if not isinstance(features, list) or len(features) != wanted:
            raise HttpError(400, f"features: expected {wanted} raw values, in the order of the data set's columns")
        return encoder.check(features, "features", booleans=b"true" in body or b"false" in body)

    def _bodies(self, scores: Scores) -> list[bytes] | None:
        values: list[float] = scores.tolist()
        if not (self._plain or self._model.levels is None) or not all(map(isfinite, values)):
            return None
        return self._plainly(values)

    def _plainly(self, values: list[float]) -> list[bytes]:
        """Score and decision, of finite scores."""
        begin, cut, ends = self._begin, self._cut, self._ends
        return [f"{begin}{score!r}{ends[score > cut]}".encode() for score in values]

    def _answer(self, scores: Scores) -> Reply:
        score: float = scores.item(0)
        if not isfinite(score):
            raise HttpError(500, "the score is not finite")
        levels = None if self._plain else self._model.levels
        probabilities = None if levels is None else self._model.bundle.probabilities(scores)
        if levels is not None and probabilities is not None:
            p: float = probabilities.item(0)
            answer = {
                self._name: score,
                "anomaly": score > self._cut,
                "probability": p,
                "confidence": max(p, 1.0 - p),
                "level": levels.names(scores, probabilities)[0],
                "thresholds": levels.thresholds,
                "calibrated": levels.calibrated,
                "model": self._model.name,
            }
            return Reply(200, to_json(answer))
        return Reply(200, self._plainly([score])[0])

    def describe(self) -> dict[str, Any]:
        """For ``GET /health``."""
        encoder = self._model.encoder
        return {
            "status": "ok",
            "model": self._model.name,
            "num_features": None if encoder is None else len(encoder.columns),
            "expected_columns": None if encoder is None else list(encoder.columns),
            "threshold": self._threshold,
            "cpus": sorted(os.sched_getaffinity(0)),
            "backend": self._model.backend,
        }
