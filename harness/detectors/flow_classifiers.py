"""The "optimised" classifiers of network flows: recurrent with attention, convolutional, autoencoder with a class head.

All begin with `harness.detectors.flow_features`. The source document prescribes corrected forms of the latter two,
whose first forms predicted one class for everything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from harness.detectors.base import DataError
from harness.detectors.supervised import Supervised
from harness.scoring.builder import Builder
from harness.scoring.program import ROWS, Program
from harness.training.context import Epoch, FitContext, Labels, Matrix

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.detectors.classifier_training import NativeForm


@dataclass
class FlowClassifier(Supervised):
    """A classifier behind the feature pipeline, with the schedule that the three of the document share."""

    weight_decay: float = 1e-4
    batch_size: int = 512
    epochs: int = 30
    patience: int = 15
    plateau: int = 5
    max_grad_norm: float | None = 1.0

    def prepare(self, rows: Matrix, labels: Labels, steps: int | None) -> None:
        """Build, and fit the pipeline (for windows on their last step, which the label is about)."""
        from harness.detectors.flow_features import FlowFeatures

        if rows.shape[-1] < 2:
            raise DataError(f"{self.name} makes statistics of two groups of features; got 1 feature(s).")
        super().prepare(rows, labels, steps)
        features = self.fitted_net().get_submodule("features")
        assert isinstance(features, FlowFeatures)
        features.fit(rows[:, -1] if self.sequential else rows, labels)

    def trunk_rows(self, x: Tensor) -> Tensor:
        """What the pipeline makes of rows or windows."""
        features: Tensor = self.fitted_net().get_submodule("features")(x)
        return features


@dataclass
class BiLSTM(FlowClassifier):
    """Three bidirectional LSTM layers with eight-head attention; the defaults are the document's.

    How a row of flow features becomes a sequence is not stated; a flow is a sequence of one step, as the document's
    training time of seconds implies, unless the data set gives windows.

    Args:
        hidden: units of the layers, in either direction.
        heads: int >= 1, default 8. Heads of the attention; they divide twice the last layer's units.
        dropout: float in [0, 1), default 0.4. Share of units dropped after each layer.
    """

    name: ClassVar[str] = "bilstm"
    sequential: ClassVar[bool] = True
    data_parallel: ClassVar[bool] = False  # it normalises over a batch, which no rank has whole
    dense: ClassVar[bool] = False
    traced: ClassVar[bool] = True
    rounds_products: ClassVar[bool] = True

    hidden: tuple[int, ...] = (256, 128, 64)
    heads: int = 8
    dropout: float = 0.4

    def architecture(self) -> nn.Module:
        """The net."""
        from harness.detectors.flow_nets import RecurrentNet

        return RecurrentNet(self.n_features_in_, self.hidden, self.heads, self.dropout)

    @property
    def trains_natively(self) -> bool:
        """Always."""
        return True

    def native_form(self) -> NativeForm:
        """Layers in both directions, the attention, and a head that normalises."""
        from harness.detectors.classifier_training import NativeForm
        from harness.detectors.flow_nets import RecurrentNet

        return NativeForm(
            "recurrent", self.net_as(RecurrentNet).features.width, self.hidden, (self.dropout,) * len(self.hidden),
            steps=self.steps_ or 1, directions=2, heads=self.heads, normalised=True, hidden=self.hidden[-1],
            hidden_dropout=self.dropout,
        )  # fmt: skip

    def program(self) -> Program:
        """Features of each step and the layers over all, then what the last step attends to, and the class head."""
        from torch import nn

        from harness.detectors.flow_nets import RecurrentNet
        from harness.detectors.lstm_net import gates_of
        from harness.detectors.unrolled import attend_from_last, both_ways, parts_of
        from harness.training.nets import layers_of, normalisation_of

        net = self.net_as(RecurrentNet)
        count = self.steps_ or 1
        builder = Builder(count * self.n_features_in_)
        steps = [net.features.write(builder, x) for x in parts_of(builder, ROWS, count, self.n_features_in_)]
        value = builder.concat(*steps) if count > 1 else steps[0]
        for layer in net.layers:
            value = both_ways(builder, value, count, gates_of(layer).arrays(), gates_of(layer, backwards=True).arrays())
        steps = parts_of(builder, value, count, 2 * self.hidden[-1])
        projection, out = layers_of(nn.Sequential(net.attention.projection, net.attention.out))
        mixed = builder.dense(attend_from_last(builder, steps, projection, net.attention.heads), out)
        scale, shift = normalisation_of(net.norm)
        scaled = builder.with_constant("multiply", builder.elementwise("add", steps[-1], mixed), scale)
        return builder.finish(builder.chain(builder.with_constant("add", scaled, shift), layers_of(net.head)))


@dataclass
class CNN(FlowClassifier):
    """Parallel convolutions along the features; the defaults are the document's corrected form.

    What the document's first form used is not stated, only that a proper initialisation corrects it; unit weights give
    logits of several hundred, whose sigmoid is exactly 0 or 1 in float32 and has no gradient, so that the net stays at
    one class for everything.

    Args:
        branches: kernel sizes, odd: two in the corrected form, four in the failing one.
        channels: int >= 1, default 32. Channels of a branch's first convolution; its second has twice as many.
        dropout: float in [0, 1), default 0.4. Share of units dropped in the class head.
        initialisation: default ``he``, the prescribed one; or ``unit-normal``, weights of variance one whatever the
            fan-in.
        output: default ``logit``; or ``probability``, the cross-entropy of a sigmoid already taken.
    """

    name: ClassVar[str] = "cnn"
    dense: ClassVar[bool] = False
    traced: ClassVar[bool] = True
    rounds_products: ClassVar[bool] = True

    branches: tuple[int, ...] = (3, 7)
    channels: int = 32
    dropout: float = 0.4
    initialisation: Literal["he", "unit-normal"] = "he"
    output: Literal["logit", "probability"] = "logit"
    learning_rate: float = 1e-4

    def architecture(self) -> nn.Module:
        """The net, initialised."""
        from torch import nn

        from harness.detectors.flow_nets import ConvolutionalNet

        net = ConvolutionalNet(self.n_features_in_, self.branches, self.channels, self.dropout)
        for part in net.modules():
            if isinstance(part, nn.Conv1d | nn.Linear):
                if self.initialisation == "he":
                    nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
                else:
                    nn.init.normal_(part.weight)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)
        return net

    @property
    def trains_natively(self) -> bool:
        """On its logits, not on probabilities already taken."""
        return self.output == "logit"

    def native_form(self) -> NativeForm | None:
        """The branches and the class head."""
        from torch import nn

        from harness.detectors.classifier_training import NativeForm
        from harness.detectors.flow_nets import ConvolutionalNet

        if not self.trains_natively:
            return None
        net = self.net_as(ConvolutionalNet)
        first = net.head[0]
        assert isinstance(first, nn.Linear)
        return NativeForm(
            "convolutions", net.features.width, self.branches, (0.0,) * len(self.branches), channels=self.channels,
            hidden=first.out_features, hidden_dropout=self.dropout,
        )  # fmt: skip

    def program(self) -> Program:
        """Features, both convolutions of every branch and their maxima, and the class head."""
        from torch import nn

        from harness.detectors.flow_nets import ConvolutionalNet
        from harness.training.nets import array_of, layers_of

        net = self.net_as(ConvolutionalNet)
        builder = Builder(self.n_features_in_)
        features = net.features.write(builder, ROWS)
        pooled = []
        for branch in net.branches:
            parts = [part for part in branch.children() if isinstance(part, nn.Conv1d)]
            layers = [(array_of(part.weight), array_of(part.bias)) for part in parts if part.bias is not None]
            pooled.append(builder.convolve(features, net.features.width, layers))
        return builder.finish(builder.chain(builder.concat(*pooled), layers_of(net.head)))

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of the output."""
        from torch.nn import functional

        if self.output == "logit":
            return super().loss(x, y)
        return functional.binary_cross_entropy(self.score_tensor(x).sigmoid(), y)


@dataclass
class AutoencoderClassifier(FlowClassifier):
    """Cross-entropy plus ``reconstruction_weight`` times the reconstruction error.

    The defaults are the document's corrected form: it trains the autoencoder alone first, and has a code of 16 instead
    of 32.

    Args:
        hidden: widths of the encoder's hidden layers; the decoder mirrors them.
        code: int >= 1, default 16. Features of the code.
        dropout: float in [0, 1), default 0.2. Share of units dropped in the class head.
        reconstruction_weight: float >= 0, default 0.1. Weight of the reconstruction error in the loss.
        pretraining_epochs: int >= 0, default 10. Passes of the autoencoder alone.
    """

    name: ClassVar[str] = "autoencoder-classifier"
    stages: ClassVar[tuple[str, ...]] = ("epochs", "pretraining_epochs")

    hidden: tuple[int, ...] = (64, 32)
    code: int = 16
    dropout: float = 0.2
    reconstruction_weight: float = 0.1
    pretraining_epochs: int = 10

    def architecture(self) -> nn.Module:
        """The net."""
        from harness.detectors.flow_nets import CodedNet

        return CodedNet(self.n_features_in_, self.hidden, self.code, self.dropout)

    def pretrain(self, rows: Tensor, labels: Tensor, context: FitContext) -> tuple[Epoch, ...]:  # noqa: ARG002
        """The autoencoder alone, on all rows."""
        from harness.detectors.flow_nets import CodedNet
        from harness.training.adam import Adam
        from harness.training.loop import descend, train

        if not self.pretraining_epochs:
            return ()
        net = self.net_as(CodedNet)
        optimiser = Adam([*net.encoder.parameters(), *net.decoder.parameters()], self.learning_rate)

        def step(indices: Tensor) -> Tensor:
            return descend(net.error(rows[indices[0]]), optimiser, ranks=context.ranks)

        schedule = self.schedule([self], len(rows), loss_names=("reconstruction",))
        return train(step, replace(schedule, epochs=self.pretraining_epochs), context)[0]

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Both terms."""
        from harness.detectors.flow_nets import CodedNet

        return super().loss(x, y) + self.reconstruction_weight * self.net_as(CodedNet).error(x)

    def program(self) -> Program:
        """Features, encoder and class head in array operations; the decoder has no part in the score."""
        from torch import nn

        from harness.detectors.flow_nets import CodedNet
        from harness.training.nets import layers_of

        net = self.net_as(CodedNet)
        builder = Builder(self.n_features_in_)
        layers = layers_of(nn.Sequential(*net.encoder, *net.head))
        return builder.finish(builder.chain(net.features.write(builder, ROWS), layers))
