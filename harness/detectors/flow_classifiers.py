"""The "optimised" classifiers of network flows: recurrent with attention, convolutional, autoencoder with a class head.

All begin with `harness.detectors.flow_features`. The source document prescribes mended forms of the latter two, whose
first forms predicted one class for everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.detectors.flow_features import FlowFeatures
from harness.detectors.supervised import Supervised
from harness.scoring.program import ROWS, Builder, Program
from harness.training.adam import Adam
from harness.training.context import Epoch, FitContext, Labels, Matrix
from harness.training.loop import descend, train
from harness.training.nets import layers_of, stack


@dataclass
class FlowClassifier(Supervised):
    """A classifier behind the feature pipeline, with the schedule that the three of the document share."""

    weight_decay: float = 1e-4
    batch_size: int = 512
    epochs: int = 30
    patience: int = 15
    plateau: int = 5
    clip_norm: float | None = 1.0

    def prepare(self, rows: Matrix, labels: Labels, steps: int | None) -> None:
        """Build, and fit the pipeline (for windows on their last step, which the label is about)."""
        super().prepare(rows, labels, steps)
        features = self.module.get_submodule("features")
        assert isinstance(features, FlowFeatures)
        features.fit(rows[:, -1] if self.sequential else rows, labels)

    def logits(self, x: Tensor) -> Tensor:
        """Logit per row or window."""
        return self.module(x)  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.projection = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """All steps attending to all: (n, steps, width)."""
        parts = self.projection(x).chunk(3, dim=2)
        shape = (x.shape[0], x.shape[1], self.heads, x.shape[2] // self.heads)
        mixed = functional.scaled_dot_product_attention(*(part.view(shape).transpose(1, 2) for part in parts))
        return self.out(mixed.transpose(1, 2).reshape(x.shape))  # type: ignore[no-any-return]


class RecurrentNet(nn.Module):
    """Bidirectional LSTM layers, attention with a residual and batch normalisation, a class head on the last step."""

    def __init__(self, n_features: int, hidden: tuple[int, ...], heads: int, dropout: float) -> None:
        super().__init__()
        self.features = FlowFeatures(n_features)
        inputs = (self.features.width, *(2 * size for size in hidden[:-1]))
        self.layers = nn.ModuleList(
            nn.LSTM(size, out, batch_first=True, bidirectional=True) for size, out in zip(inputs, hidden, strict=True)
        )
        width = 2 * hidden[-1]
        self.dropout = nn.Dropout(dropout)
        self.attention = Attention(width, heads)
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Sequential(
            nn.Linear(width, width // 2), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width // 2, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n,) of windows (n, steps, d)."""
        h = self.features(x)
        for layer in self.layers:
            h = self.dropout(layer(h)[0])
        h = h + self.attention(h)
        return self.head(self.norm(h[:, -1])).view(-1)  # type: ignore[no-any-return]


@dataclass
class BiLSTM(FlowClassifier):
    """Three bidirectional LSTM layers with eight-head attention.

    How a row of flow features becomes a sequence is not said; a flow is a sequence of one step, as the document's
    training time of seconds implies, unless the data set gives windows.
    """

    name: ClassVar[str] = "bilstm"
    sequential: ClassVar[bool] = True

    hidden: tuple[int, ...] = (256, 128, 64)
    heads: int = 8
    dropout: float = 0.4

    def architecture(self) -> nn.Module:
        """The net."""
        return RecurrentNet(self.n_features_, self.hidden, self.heads, self.dropout)


class ConvolutionalNet(nn.Module):
    """Parallel branches of two convolutions along the features, each reduced to its maxima, and a class head."""

    def __init__(self, n_features: int, branches: tuple[int, ...], channels: int, dropout: float) -> None:
        super().__init__()
        self.features = FlowFeatures(n_features)
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(1, channels, size, padding=size // 2),
                nn.ReLU(),
                nn.Conv1d(channels, 2 * channels, size, padding=size // 2),
                nn.ReLU(),
            )
            for size in branches
        )
        width = 2 * channels * len(branches)
        self.head = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Dropout(dropout), nn.Linear(64, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n,) of rows (n, d)."""
        signal = self.features(x).unsqueeze(1)
        pooled = torch.cat([branch(signal).amax(dim=2) for branch in self.branches], dim=1)
        return self.head(pooled).view(-1)  # type: ignore[no-any-return]


@dataclass
class CNN(FlowClassifier):
    """``branches`` are kernel sizes: the mended form has two, the failing one four.

    ``initialisation``: ``he`` (prescribed), or ``unit-normal``, weights of variance one whatever the fan-in.
    ``output``: ``logit``, or ``probability``, the cross-entropy of a sigmoid already taken. What the document's first
    form used is not said, only that a proper initialisation mends it; unit weights give logits of several hundred,
    whose sigmoid is exactly 0 or 1 in float32 and has no gradient, so that the net stays at one class for everything.
    """

    name: ClassVar[str] = "cnn"

    branches: tuple[int, ...] = (3, 7)
    channels: int = 32
    dropout: float = 0.4
    initialisation: Literal["he", "unit-normal"] = "he"
    output: Literal["logit", "probability"] = "logit"
    learning_rate: float = 1e-4

    def architecture(self) -> nn.Module:
        """The net, initialised."""
        net = ConvolutionalNet(self.n_features_, self.branches, self.channels, self.dropout)
        for part in net.modules():
            if isinstance(part, nn.Conv1d | nn.Linear):
                if self.initialisation == "he":
                    nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
                else:
                    nn.init.normal_(part.weight)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)
        return net

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of the output."""
        if self.output == "logit":
            return super().loss(x, y)
        return functional.binary_cross_entropy(torch.sigmoid(self.logits(x)), y)


class CodedNet(nn.Module):
    """An autoencoder and a class head on its code."""

    def __init__(self, n_features: int, hidden: tuple[int, ...], code: int, dropout: float) -> None:
        super().__init__()
        self.features = FlowFeatures(n_features)
        sizes = (self.features.width, *hidden, code)
        self.encoder = stack(sizes, "relu")
        self.decoder = stack(sizes[::-1], "relu")
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(code, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n,) of rows (n, d)."""
        return self.head(self.encoder(self.features(x))).view(-1)  # type: ignore[no-any-return]

    def error(self, x: Tensor) -> Tensor:
        """Mean squared reconstruction error of rows, one number."""
        features = self.features(x)
        return functional.mse_loss(self.decoder(self.encoder(features)), features)


@dataclass
class AutoencoderClassifier(FlowClassifier):
    """Cross-entropy plus ``reconstruction_weight`` times the reconstruction error.

    The mended form trains the autoencoder alone for ``pretraining_epochs`` first, has a code of 16 instead of 32, and a
    reconstruction weight of 0.1.
    """

    name: ClassVar[str] = "autoencoder-classifier"

    hidden: tuple[int, ...] = (64, 32)
    code: int = 16
    dropout: float = 0.2
    reconstruction_weight: float = 0.1
    pretraining_epochs: int = 10

    def architecture(self) -> nn.Module:
        """The net."""
        return CodedNet(self.n_features_, self.hidden, self.code, self.dropout)

    def pretrain(self, rows: Tensor, labels: Tensor, context: FitContext) -> tuple[Epoch, ...]:  # noqa: ARG002
        """The autoencoder alone, on all rows."""
        net = self._net()
        parameters = [*net.encoder.parameters(), *net.decoder.parameters()]
        optimiser = Adam(parameters, self.learning_rate)

        def step(indices: Tensor) -> Tensor:
            return descend(net.error(rows[indices[0]]), optimiser)

        if not self.pretraining_epochs:
            return ()
        return train(
            step, rows=len(rows), batch_size=self.batch_size, epochs=self.pretraining_epochs, seeds=[self.seed],
            context=context, loss_names=("reconstruction",),
        )[0]  # fmt: skip

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Both terms."""
        return super().loss(x, y) + self.reconstruction_weight * self._net().error(x)

    def program(self) -> Program:
        """Features, encoder and class head in array operations; the decoder has no part in the score."""
        net = self._net()
        builder = Builder(self.n_features_)
        layers = layers_of(nn.Sequential(*net.encoder, *net.head))
        return builder.finish(builder.chain(net.features.write(builder, ROWS), layers))

    def _net(self) -> CodedNet:
        assert isinstance(self.module, CodedNet)
        return self.module
