"""Training of classifiers on labelled rows or windows: balanced sampling, early stopping, a falling learning rate."""

from __future__ import annotations

import copy
from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional

from harness.detectors.base import Detector, as_training_rows
from harness.detectors.classifier import Classifier
from harness.detectors.module_detector import ModuleDetector
from harness.training.adam import Adam
from harness.training.context import Epoch, FitContext, Labels, Matrix
from harness.training.loop import descend, train

NOTICEABLE = 1e-4  # share by which a figure must rise for the learning rate to stay


@dataclass
class Supervised(ModuleDetector, Classifier):
    """A classifier whose score is the logit of an anomaly.

    ``sampling``: ``balanced`` draws as many anomalies as normal rows into every batch, with replacement. Where there
    are validation rows, the weights of the epoch with their highest average precision are kept, training ends
    ``patience`` epochs after it, and the learning rate halves after ``plateau`` epochs without a better one.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    batch_size: int = 256
    epochs: int = 40
    patience: int = 8
    plateau: int = 3
    clip_norm: float | None = None
    sampling: Literal["natural", "balanced"] = "balanced"

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, *, context: FitContext | None = None) -> Detector:
        """Train on labelled rows or windows."""
        context = context or FitContext()
        rows, labels = as_training_rows(X, y, self.name, windows=self.sequential)
        labels = self.require_both_kinds(labels)
        self.prepare(rows, labels, np.shape(X)[1] if np.ndim(X) == 3 else None)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            before = self.pretrain(torch.from_numpy(rows), torch.from_numpy(labels), context)
            self.history_ = before + self._train(torch.from_numpy(rows), torch.from_numpy(labels), context)
        self.module.eval()
        self.choose(context)
        return self

    def prepare(self, rows: Matrix, labels: Labels, steps: int | None) -> None:  # noqa: ARG002
        """Build the module for these rows, or windows of ``steps``."""
        self.build(rows.shape[-1], steps if self.sequential else None)

    def pretrain(self, rows: Tensor, labels: Tensor, context: FitContext) -> tuple[Epoch, ...]:  # noqa: ARG002
        """Epochs before the labelled ones; none by default."""
        return ()

    @abstractmethod
    def logits(self, x: Tensor) -> Tensor:
        """Logit of an anomaly per row or window, (n,)."""

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """What a batch of rows ``x`` and float labels ``y`` (n,) costs; the cross-entropy by default."""
        return functional.binary_cross_entropy_with_logits(self.logits(x), y)

    def score(self, x: Tensor) -> Tensor:
        """The logit."""
        return self.logits(x)

    def _train(self, x: Tensor, y: Tensor, context: FitContext) -> tuple[Epoch, ...]:
        parameters = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        optimiser = Adam(parameters, self.learning_rate, weight_decay=self.weight_decay)
        falling = Falling(optimiser, self.plateau)
        draw = _Balanced(y) if self.sampling == "balanced" else None
        target = y.float()

        def step(indices: Tensor) -> Tensor:
            chosen = indices[0] if draw is None else draw(indices.shape[1])
            return descend(self.loss(x[chosen], target[chosen]), optimiser, self.clip_norm)

        best = _Best(self.module)

        def keep_going() -> bool:
            figure = self._average_precision(context)
            if figure is None:
                return True
            falling.offer(figure)
            best.offer(figure)
            return best.waited <= self.patience

        self.module.train()
        history = train(
            step, rows=len(x), batch_size=self.batch_size, epochs=self.epochs, seeds=[self.seed], context=context,
            keep_going=keep_going,
        )[0]  # fmt: skip
        best.restore()
        return history

    def _average_precision(self, context: FitContext) -> float | None:
        """Of the validation rows; None where there is nothing to measure on."""
        if context.X_val is None or context.y_val is None or not context.y_val.any():
            return None
        from sklearn.metrics import average_precision_score

        self.module.eval()
        figure = float(average_precision_score(context.y_val, self.decision_function(context.X_val)))
        self.module.train()
        return figure


class Falling:
    """Halves the learning rate of ``optimiser`` when more than ``patience`` figures in a row were not better."""

    def __init__(self, optimiser: Adam, patience: int) -> None:
        self._optimiser = optimiser
        self._patience = patience
        self._best = float("-inf")
        self._waited = 0

    def offer(self, figure: float) -> None:
        """The next figure; better is what exceeds the best so far by `NOTICEABLE` of it."""
        self._waited += 1
        if figure > self._best * (1.0 + NOTICEABLE):
            self._best, self._waited = figure, 0
        if self._waited > self._patience:
            self._optimiser.learning_rate *= 0.5
            self._waited = 0


class _Balanced:
    """Row numbers drawn with replacement, half of them anomalies."""

    def __init__(self, y: Tensor) -> None:
        self._kinds = [torch.nonzero(y == kind).view(-1) for kind in (0, 1)]

    def __call__(self, count: int) -> Tensor:
        anomalies = count // 2
        parts = []
        for kind, wanted in zip(self._kinds, (count - anomalies, anomalies), strict=True):
            parts.append(kind[torch.randint(len(kind), (wanted,))])
        return torch.cat(parts)


class _Best:
    """The weights with the highest figure so far, and for how many epochs there was no higher."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._figure = float("-inf")
        self._weights: dict[str, Tensor] | None = None
        self.waited = 0

    def offer(self, figure: float) -> None:
        """Keep the weights as they are now, if ``figure`` is higher than before."""
        self.waited += 1
        if figure > self._figure:
            self._figure, self.waited = figure, 0
            self._weights = copy.deepcopy(self._module.state_dict())

    def restore(self) -> None:
        """Put the kept weights back, if there are any."""
        if self._weights is not None:
            self._module.load_state_dict(self._weights)
