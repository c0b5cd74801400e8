"""LSTM over the last transactions of a card, trained on few positives by focal loss, after the source document.

Its layers have one bias per gate, as the document's framework has: 156,481 parameters for 80 features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.detectors.supervised import Supervised

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.detectors.classifier_training import NativeForm
    from harness.scoring.builder import Builder
    from harness.scoring.program import Program


@dataclass
class LSTM(Supervised):
    """Score is the logit of the last step of a window. The defaults are the document's.

    Args:
        hidden: units of the layers.
        dropout: share of the units dropped after each layer, one float in [0, 1) per layer.
        focal_gamma: float >= 0, default 3. What is classified well weighs (1 - p)^gamma: Lin et al. 2017
            (arXiv 1708.02002).
        focal_alpha: float in (0, 1), default 0.9. Weight of positives; negatives weigh 1 - alpha.
    """

    name: ClassVar[str] = "lstm"
    sequential: ClassVar[bool] = True
    dense: ClassVar[bool] = False
    streams: ClassVar[bool] = True
    traced: ClassVar[bool] = True
    rounds_products: ClassVar[bool] = True

    hidden: tuple[int, ...] = (128, 64)
    dropout: tuple[float, ...] = (0.3, 0.2)
    focal_gamma: float = 3.0
    focal_alpha: float = 0.9

    def architecture(self) -> nn.Module:
        """The layers and the output."""
        from harness.detectors.lstm_net import Layers

        return Layers(self.n_features_in_, self.hidden, self.dropout)

    @property
    def trains_natively(self) -> bool:
        """Always."""
        return True

    def native_form(self) -> NativeForm:
        """The layers, the output and the focal loss."""
        from harness.detectors.classifier_training import NativeForm

        return NativeForm(
            "recurrent", self.n_features_in_, self.hidden, self.dropout, steps=self.steps_ or 1,
            gamma=self.focal_gamma, weights=(1.0 - self.focal_alpha, self.focal_alpha),
        )  # fmt: skip

    def program(self) -> Program:
        """The layers over all steps, and the output of the last step."""
        from harness.scoring.builder import Builder

        builder = Builder((self.steps_ or 1) * self.n_features_in_)
        return builder.finish(self.logit(builder))

    def logit(self, builder: Builder) -> str:
        """The steps of the logit of a window, written into ``builder``; the value's name."""
        from torch import nn

        from harness.detectors.lstm_net import Layers, gates_of
        from harness.detectors.unrolled import last_of
        from harness.scoring.program import ROWS
        from harness.training.nets import layers_of

        net = self.net_as(Layers)
        steps, value = self.steps_ or 1, ROWS
        for layer in net.recurrent:
            value = builder.lstm(value, steps, gates_of(layer).arrays())
        last = last_of(builder, value, steps, self.hidden[-1])
        return builder.chain(last, layers_of(nn.Sequential(net.output)))

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean focal loss."""
        from harness.detectors.lstm_net import focal_loss

        return focal_loss(self.score_tensor(x), y, self.focal_gamma, self.focal_alpha)
