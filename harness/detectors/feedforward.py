"""Detectors made of one chain of dense layers, which torch and the native kernels train by the same formulas."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from harness.datasets.coded_rows import Rows
from harness.detectors.net_detector import NetDetector
from harness.detectors.replicated import Replicated
from harness.training.context import Epoch, FitContext, Labels, Vector
from harness.training.native_spec import NativeTraining

if TYPE_CHECKING:
    from torch import Tensor

    from harness.training.validation import ValidationCurve


@dataclass
class FeedForward(NetDetector, Replicated):
    """A detector with one dense net and a loss whose gradient is plain to write.

    Args:
        hidden: widths of the hidden layers, each >= 1.
        max_grad_norm: float > 0, or None. The longest gradient over all parameters; a longer one is scaled to it.
    """

    data_parallel: ClassVar[bool] = True

    hidden: tuple[int, ...] = (64, 32)
    max_grad_norm: float | None = None

    @abstractmethod
    def training_rows(self, X: Rows, y: Labels | None) -> tuple[Rows, Vector | None]:
        """The rows that are learned from (n, d), and their targets (n,) where the loss has some.

        Raises:
            DataError: the labels do not fit the method.
        """

    @abstractmethod
    def loss(self, output: Tensor, rows: Tensor, targets: Tensor | None) -> tuple[Tensor, Tensor]:
        """Loss per replica (K,) of outputs (K, batch, out), and its gradient in them, which may take their memory."""

    @abstractmethod
    def finish(self, rows: Rows, context: FitContext) -> None:
        """Choose the threshold after training on ``rows``."""

    @abstractmethod
    def native_training(self) -> NativeTraining:
        """The same training on the native kernels."""

    @classmethod
    def train_together(cls, replicas: Sequence[Any], X: Rows, y: Labels | None, context: FitContext) -> None:
        """Minimise the loss, on the trainer that ``context`` asks for."""
        from harness.training.validation import MOST, ValidationCurve

        rows, targets = replicas[0].training_rows(X, y)
        for replica in replicas:
            replica.build(rows.shape[1])
        curve = ValidationCurve(replicas[0].decision_function, replicas[0].fitted_net(), context, MOST)
        natively = context.trainer == "native" and context.ranks is None
        trained = cls._train_natively if natively else cls._train_on_torch
        first, *others = trained(replicas, rows, targets, context, curve)
        for replica, history in zip(replicas, [curve.added_to(first), *others], strict=True):
            replica.history_ = history
            replica.finish(rows, context)

    @classmethod
    def _train_natively(
        cls,
        replicas: Sequence[FeedForward],
        rows: Rows,
        targets: Vector | None,
        context: FitContext,
        curve: ValidationCurve,
    ) -> list[tuple[Epoch, ...]]:
        from harness.training.native_loop import train_natively

        nets, how = ([replica.fitted_net() for replica in replicas], [each.native_training() for each in replicas])
        return train_natively(nets, how, rows, targets, cls.schedule(replicas, len(rows)), context, curve)

    @classmethod
    def _train_on_torch(
        cls,
        replicas: Sequence[FeedForward],
        X: Rows,
        y: Vector | None,
        context: FitContext,
        curve: ValidationCurve,
    ) -> list[tuple[Epoch, ...]]:
        import torch

        from harness.training.loop import gathering, train
        from harness.training.replicas import Replicas

        first = replicas[0]
        together = Replicas([each.fitted_net() for each in replicas], [each.learning_rate for each in replicas])
        net, gather = together.net(), gathering(X)
        targets = None if y is None else torch.from_numpy(y)

        def step(indices: Tensor) -> Tensor:
            together.zero()
            batch = gather(indices)
            output, saved = net.forward(batch)
            losses, gradient = first.loss(output, batch, None if targets is None else targets[indices][:, :, None])
            net.backward(saved, gradient)
            if context.ranks is not None:
                losses = context.ranks.combine([together.gradient], losses)
            if first.max_grad_norm is not None:
                together.clip(first.max_grad_norm)
            together.step()
            return losses

        keep_going = curve.after(together.write_back)
        histories = train(step, cls.schedule(replicas, len(X)), context, keep_going=keep_going)
        together.write_back()
        return histories

    def layers(self) -> tuple[Any, ...]:
        """The net as plain `harness.scoring.program.DenseLayer`s."""
        from harness.training.nets import layers_of

        return layers_of(self.part(""))
