"""Training of classifiers on labelled rows or windows: balanced sampling, early stopping, a falling learning rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike

from harness.detectors.base import Detector, as_training_rows, both_kinds
from harness.detectors.classifier import Classifier
from harness.detectors.net_detector import NetDetector
from harness.training.context import Epoch, FitContext, Labels, Matrix

if TYPE_CHECKING:
    from torch import Tensor

    from harness.detectors.classifier_training import NativeClassifier, NativeForm


@dataclass
class Supervised(NetDetector, Classifier):
    """A classifier whose score is the logit of an anomaly.

    Where there are validation rows, the weights of the epoch with their highest average precision are kept.

    Args:
        weight_decay: float >= 0. Share of the learning rate by which parameters shrink at each step.
        patience: int >= 0. Epochs without a higher average precision after which training ends.
        plateau: int >= 0. Epochs without a better one after which the learning rate halves.
        max_grad_norm: float > 0, or None. The longest gradient over all parameters; a longer one is scaled to it.
        sampling: default ``balanced``, which draws as many anomalies as normal rows into every batch, with replacement;
            or ``natural``.
    """

    rows_per_slice: ClassVar[int] = 1024
    data_parallel: ClassVar[bool] = True

    weight_decay: float = 0.0
    batch_size: int = 256
    epochs: int = 40
    patience: int = 8
    plateau: int = 3
    max_grad_norm: float | None = None
    sampling: Literal["natural", "balanced"] = "balanced"

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, *, context: FitContext | None = None) -> Detector:
        """Train on labelled rows or windows."""
        import torch

        from harness.training.random_state import random_state

        context = context or FitContext()
        rows, labels = as_training_rows(X, y, self.name, windows=self.sequential)
        labels = both_kinds(labels, self.name)
        self.prepare(rows, labels, np.shape(X)[1] if np.ndim(X) == 3 else None)
        ranks = context.ranks
        seed = self.random_state if ranks is None else ranks.seed(self.random_state)
        with random_state(seed, alone=ranks is None):
            before = self.pretrain(torch.from_numpy(rows), torch.from_numpy(labels), context)
            self.history_ = before + self._train(torch.from_numpy(rows), torch.from_numpy(labels), context)
        self.fitted_net().eval()
        self.choose(context)
        return self

    def prepare(self, rows: Matrix, labels: Labels, steps: int | None) -> None:  # noqa: ARG002
        """Build the module for these rows, or windows of ``steps``."""
        self.build(rows.shape[-1], steps if self.sequential else None)

    def pretrain(self, rows: Tensor, labels: Tensor, context: FitContext) -> tuple[Epoch, ...]:  # noqa: ARG002
        """Epochs before the labelled ones; none by default."""
        return ()

    def native_form(self) -> NativeForm | None:
        """The net as the native kernels train it, once it is built; None where they do not."""
        return None

    def trunk_rows(self, x: Tensor) -> Tensor:
        """Rows or windows as the net's first layer takes them."""
        return x

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """What a batch of rows ``x`` and float labels ``y`` (n,) costs; the cross-entropy by default."""
        from torch.nn import functional

        return functional.binary_cross_entropy_with_logits(self.score_tensor(x), y)

    def score_tensor(self, x: Tensor) -> Tensor:
        """Logit of an anomaly per row or window, (n,)."""
        logits: Tensor = self.fitted_net()(x)
        return logits

    def _train(self, x: Tensor, y: Tensor, context: FitContext) -> tuple[Epoch, ...]:
        import torch

        from harness.training.adam import Adam
        from harness.training.early_stopping import BalancedSampler, BestWeights, ReduceLROnPlateau
        from harness.training.loop import descend, train
        from harness.training.streamed import StreamedBatches
        from harness.training.validation import ValidationCurve

        net = self.fitted_net()
        parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
        trained = self._native(context)
        optimiser = Adam(parameters, self.learning_rate, weight_decay=self.weight_decay)
        rate = ReduceLROnPlateau(optimiser if trained is None else trained, self.plateau)
        ranks, streamed = context.ranks, context.streamed
        # Ranks draw the same rows, and other units that are dropped.
        generator = None if ranks is None else torch.Generator().manual_seed(self.random_state)
        balanced = self.sampling == "balanced"
        draw = BalancedSampler(y, generator) if balanced and streamed is None else None
        target = y.to(x.dtype)

        def descended(rows: Tensor, labels: Tensor) -> Tensor:
            if trained is not None:
                return torch.tensor(trained.step(self.trunk_rows(rows), labels))
            return descend(self.loss(rows, labels), optimiser, self.max_grad_norm, ranks=ranks)

        def step(indices: Tensor) -> Tensor:
            if draw is None:
                chosen = indices[0]
            else:
                chosen = draw(indices.shape[1]) if ranks is None else ranks.own(draw(ranks.whole)[None])[0]
            return descended(x[chosen], target[chosen])

        best, curve = BestWeights(net), ValidationCurve(self.decision_function, net, context)

        def keep_going() -> bool:
            if trained is not None:
                trained.write_back()
            figure = curve.measure()
            if figure is None:
                return True
            figure = figure if ranks is None else ranks.first(figure)
            rate.offer(figure)
            best.offer(figure)
            return best.waited <= self.patience

        net.train()
        if streamed is None:
            history = train(step, self.schedule([self], len(x)), context, keep_going=keep_going)[0]
        else:
            batches = StreamedBatches(streamed, self.batch_size, self.random_state, balanced=balanced, ranks=ranks)
            schedule = self.schedule([self], streamed.rows)
            history = train(descended, schedule, context, source=batches.of_pass, keep_going=keep_going)[0]
        if trained is not None:
            trained.write_back()  # a listener may have ended it within a pass
        best.restore()
        return curve.added_to(history)

    def _native(self, context: FitContext) -> NativeClassifier | None:
        """The net in training on the native kernels, where that is asked for and possible; ranks train with torch."""
        from harness.linalg import native

        if context.trainer != "native" or context.ranks is not None or native.missing() is not None:
            return None
        form = self.native_form()
        if form is None:
            return None
        from harness.detectors.classifier_training import NativeClassifier

        return NativeClassifier(
            self.fitted_net(), form, learning_rate=self.learning_rate, weight_decay=self.weight_decay,
            max_grad_norm=self.max_grad_norm, seed=self.random_state, dtype=context.dtype,
        )  # fmt: skip
