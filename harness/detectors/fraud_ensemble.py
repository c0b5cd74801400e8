"""The source document's fraud ensemble: half the probability of the LSTM, half that of the boosted trees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.detectors.base import Detector, as_training_rows, both_kinds
from harness.detectors.classifier import Classifier
from harness.detectors.lstm import LSTM
from harness.detectors.xgb import XGBoost
from harness.training.context import FitContext, Vector

if TYPE_CHECKING:
    from harness.scoring.program import Program

_PARTS = ("lstm", "trees")  # prefixes of their arrays


@dataclass
class FraudEnsemble(Classifier):
    """Score is the weighted mean of two probabilities: the LSTM's of the window, the trees' of its last step.

    The history is the LSTM's. The defaults are the document's.

    Args:
        lstm_weight: float in [0, 1], default 0.5. Weight of the LSTM's probability.
        hidden, dropout, focal_gamma, focal_alpha, learning_rate, batch_size, epochs, patience: as of
            `harness.detectors.lstm.LSTM`.
        n_estimators, max_depth, subsample, colsample_bytree: as of `harness.detectors.xgb.XGBoost`.
        tree_learning_rate: float > 0, default 0.05. Its ``learning_rate``.
    """

    name: ClassVar[str] = "fraud-ensemble"
    sequential: ClassVar[bool] = True
    dense: ClassVar[bool] = False
    traced: ClassVar[bool] = True
    even_score: ClassVar[float] = 0.5

    lstm_weight: float = 0.5
    hidden: tuple[int, ...] = (128, 64)
    dropout: tuple[float, ...] = (0.3, 0.2)
    focal_gamma: float = 3.0
    focal_alpha: float = 0.9
    learning_rate: float = 1e-3
    batch_size: int = 256
    epochs: int = 40
    patience: int = 8
    n_estimators: int = 600
    max_depth: int = 6
    tree_learning_rate: float = 0.05
    subsample: float = 0.9
    colsample_bytree: float = 0.9

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, *, context: FitContext | None = None) -> Detector:
        """Train both on labelled windows."""
        context = context or FitContext()
        windows, labels = as_training_rows(X, y, self.name, windows=True)
        labels = both_kinds(labels, self.name)
        self.lstm_, self.trees_ = self._parts()
        self.lstm_.fit(windows if np.ndim(X) == 3 else windows[:, 0], labels, context=context)
        self.take_shape(windows.shape[2], self.lstm_.steps_)
        self.history_ = self.lstm_.history_
        if context.only_timed:  # by the LSTM's steps
            return self
        self.trees_.fit(windows, labels)
        self.choose(context)
        return self

    def decision_function(self, X: ArrayLike) -> Vector:
        """Mean probability of each window."""
        return self.mean(*self.probabilities(X))

    def probabilities(self, X: ArrayLike) -> tuple[Vector, Vector]:
        """Of each window, the LSTM's and the trees'."""
        windows = self.check_rows(X)
        return (
            self.probability(self.lstm_.decision_function(windows)),
            self.probability(self.trees_.decision_function(windows)),
        )

    @staticmethod
    def probability(logit: Vector) -> Vector:
        """Of a part, from its score."""
        probability: Vector = np.float32(0.5) * (np.float32(1.0) + np.tanh(np.float32(0.5) * logit))
        return probability

    def mean(self, sequence: Vector, last: Vector) -> Vector:
        """The score that two probabilities make."""
        weight = np.float32(self.lstm_weight)
        mean: Vector = weight * sequence + (np.float32(1.0) - weight) * last
        return mean

    def remarks(self) -> tuple[str, ...]:
        """Who grew the trees."""
        return self.trees_.remarks()

    def program(self) -> Program:
        """Both logits, the functions that make probabilities of them, and their weighted mean."""
        from harness.detectors.unrolled import last_of
        from harness.scoring.builder import Builder
        from harness.scoring.program import ROWS

        steps, width = self.steps_ or 1, self.n_features_in_
        builder = Builder(steps * width)
        logits = self.lstm_.logit(builder), self.trees_.logit(builder, last_of(builder, ROWS, steps, width))
        weights = self.lstm_weight, 1.0 - self.lstm_weight
        parts = (
            builder.with_constant("multiply", builder.activation(logit, "sigmoid"), weight)
            for logit, weight in zip(logits, weights, strict=True)
        )
        return builder.finish(builder.elementwise("add", *parts))

    def scoring_graph(self) -> bytes:
        """Both graphs in one: the LSTM's by tracing, the trees' as an ensemble operator."""
        from harness.scoring.onnx_merging import mean_probability
        from harness.scoring.onnx_tracing import traced_graph

        module = self.lstm_.scoring_module()
        assert module is not None
        shape = (self.n_features_in_,) if self.steps_ is None else (self.steps_, self.n_features_in_)
        return mean_probability(traced_graph(module, shape), self.trees_.program(), self.lstm_weight, shape)

    def state(self) -> dict[str, NDArray[Any]]:
        """The arrays of both."""
        states = zip(_PARTS, (self.lstm_.state(), self.trees_.state()), strict=True)
        return {f"{part}.{name}": array for part, state in states for name, array in state.items()}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Take over both."""
        self.lstm_, self.trees_ = self._parts()
        for prefix, part in zip(_PARTS, (self.lstm_, self.trees_), strict=True):
            part.take_shape(self.n_features_in_, self.steps_ if part.sequential else None)
            start = f"{prefix}."
            part.restore({name.removeprefix(start): array for name, array in state.items() if name.startswith(start)})

    def _parts(self) -> tuple[LSTM, XGBoost]:
        lstm = LSTM(
            random_state=self.random_state, hidden=self.hidden, dropout=self.dropout, focal_gamma=self.focal_gamma,
            focal_alpha=self.focal_alpha, learning_rate=self.learning_rate, batch_size=self.batch_size,
            epochs=self.epochs, patience=self.patience,
        )  # fmt: skip
        trees = XGBoost(
            random_state=self.random_state, n_estimators=self.n_estimators, max_depth=self.max_depth,
            learning_rate=self.tree_learning_rate, subsample=self.subsample, colsample_bytree=self.colsample_bytree,
        )  # fmt: skip
        return lstm, trees
