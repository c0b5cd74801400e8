"""What the adversarial detectors share: their parameters, their training round by round, and which weights are kept."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from harness.detectors.base import normal_rows
from harness.detectors.net_detector import NetDetector
from harness.detectors.oneclass import OneClass
from harness.detectors.replicated import Replicated
from harness.training.context import FitContext, Labels, Matrix

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.detectors.adversarial_tape import Losses, Recorder
    from harness.detectors.adversarial_training import Players


@dataclass
class Adversarial(NetDetector, Replicated, OneClass):
    """A detector with discriminators and generators; scoring uses the moving averages of their weights.

    Args:
        latent: int >= 1. Features of a code.
        beta_1: float in [0, 1), default 0.5. Adam's decay of the first moment.
        ema_decay: float in [0, 1). Decay of the moving averages of the weights.
    """

    discriminators: ClassVar[tuple[str, ...]] = ("discriminator",)
    generators: ClassVar[tuple[str, ...]] = ("encoder", "generator")
    loss_names: ClassVar[tuple[str, ...]] = ("discriminator", "generator", "encoder")
    watched_rows: ClassVar[int | None] = None  # validation rows scored after an epoch; None: as many as by other nets
    orders: ClassVar[int] = 2  # independent row orders: of the discriminators' batches, of the generators'

    latent: int = 32
    learning_rate: float = 1e-5
    beta_1: float = 0.5
    ema_decay: float = 0.9999
    batch_size: int = 50
    epochs: int = 10

    @abstractmethod
    def parts(self) -> dict[str, nn.Module]:
        """Fresh nets by name, each a Sequential or a ModuleDict of them, for ``n_features_in_``."""

    @abstractmethod
    def round(self, players: Players) -> Callable[..., Tensor]:
        """A step of the discriminators and one of the generators, as `harness.training.loop.train` takes it."""

    @abstractmethod
    def record(self, recorder: Recorder) -> Losses:
        """The same round on the native kernels: its operations, and the losses that it reports."""

    @property
    def trains_natively(self) -> bool:
        """Always; see `record`."""
        return True

    @property
    def keeps_best(self) -> bool:
        """Whether validation labels choose the epoch whose weights are kept."""
        return False

    @classmethod
    def train_together(cls, replicas: Sequence[Any], X: Matrix, y: Labels | None, context: FitContext) -> None:
        """Alternate a step of the discriminators and one of the generators, on independent orders of the rows."""
        from harness.detectors.adversarial_training import BestWeightsKeeper
        from harness.linalg import native
        from harness.training.loop import train
        from harness.training.validation import MOST, ValidationCurve

        normal = normal_rows(X, y, cls.name)
        for replica in replicas:
            replica.build(normal.shape[1])
        first = replicas[0]
        schedule = cls.schedule(replicas, len(normal), loss_names=cls.loss_names, orders=cls.orders, drop_last=True)
        natively = context.trainer == "native" and native.missing() is None
        step, write_back, together = (cls._natively if natively else cls._on_torch)(replicas, normal, context)
        keeper = BestWeightsKeeper(replicas, write_back, context, by_validation=first.keeps_best)
        curve = ValidationCurve(first.decision_function, first.fitted_net(), context, cls.watched_rows or MOST)
        measured = curve.after(keeper.write_back)
        histories = train(
            step, replace(schedule, batches_per_step=together), context,
            keep_going=lambda: keeper.after_epoch() and measured(),
        )  # fmt: skip
        histories[0] = curve.added_to(histories[0])
        keeper.finish()
        for replica, history in zip(replicas, histories, strict=True):
            replica.history_ = history
            replica.choose(replica.threshold_rows(normal), context)

    @classmethod
    def _on_torch(
        cls,
        replicas: Sequence[Any],
        normal: Matrix,
        context: FitContext,  # noqa: ARG003
    ) -> tuple[Callable[..., Tensor], Callable[[], None], int]:
        """The step of a round, what gives the replicas their weights, and the rounds of a step."""
        from harness.detectors.adversarial_training import Players

        first, sides = replicas[0], (cls.discriminators, cls.generators)
        players = Players(replicas, normal, sides, latent=first.latent, beta_1=first.beta_1, ema_decay=first.ema_decay)
        return first.round(players), players.write_back, 1

    @classmethod
    def _natively(
        cls, replicas: Sequence[Any], normal: Matrix, context: FitContext
    ) -> tuple[Callable[..., Tensor], Callable[[], None], int]:
        """The same on the native kernels."""
        from harness.detectors.adversarial_tape import Game, Recorder, TapeRounds

        first = replicas[0]
        game = Game((cls.discriminators, cls.generators), first.latent, first.beta_1, first.ema_decay)
        recorders = [Recorder(replica, game, min(first.batch_size, len(normal))) for replica in replicas]
        losses = [replica.record(recorder) for replica, recorder in zip(replicas, recorders, strict=True)]
        rounds = TapeRounds(recorders, losses[0], normal, [replica.random_state for replica in replicas])
        return rounds.step, rounds.write_back, rounds.per_call(context)

    def threshold_rows(self, normal: Matrix) -> Matrix:
        """The training rows whose scores the threshold rests on."""
        return normal

    def architecture(self) -> nn.Module:
        """The nets, with Xavier-uniform weights and zero biases."""
        from harness.training.nets import xavier

        return xavier(self.parts())


@dataclass
class Reconstructing(Adversarial):
    """An adversarial detector with an encoder, whose scores may choose an epoch.

    Args:
        keep: whose weights are kept, default ``last``: those of the last epoch, or under ``validation`` of the one with
            the highest F1 on the validation labels; adversarial losses do not show when training is best.
    """

    keep: Literal["last", "validation"] = "last"

    @property
    def keeps_best(self) -> bool:
        """Under ``keep`` = ``validation``."""
        return self.keep == "validation"
