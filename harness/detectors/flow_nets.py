"""The nets of the flow classifiers, each behind the feature pipeline. Imports torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.detectors.flow_features import FlowFeatures
from harness.training.nets import stack


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
