"""The net of the FT-Transformer: a token per feature, attention among tokens, the class read from one more token.

After Gorishniy et al., NeurIPS 2021, and its published code (rtdl); the document's variant differs in block, head and
tokenizer, see `Preset`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Preset:
    """Sizes and form of a transformer.

    ``form``: ``encoder``, the standard block of attention and a GELU net with a final normalisation and a head of two
    layers, as the parameter counts of the document imply (it states no dropout, and there is none); ``rtdl``, the
    published block: ReGLU, no normalisation before the first attention, a head of one layer.
    """

    width: int
    heads: int
    blocks: int
    inner: int
    attention_dropout: float
    inner_dropout: float
    form: Literal["encoder", "rtdl"]


PRESETS = {
    "document": Preset(128, 8, 4, 512, 0.0, 0.0, "encoder"),
    "rtdl-default": Preset(192, 8, 3, 256, 0.2, 0.1, "rtdl"),
}


class Tokens(nn.Module):
    """Rows (n, d) to tokens (n, 1 + d, width): the class token, then one per number, then one per category.

    ``categories`` are (column, count) of columns that hold codes from 0; any other code counts as the last one.
    """

    def __init__(self, n_features: int, width: int, categories: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.columns = [column for column, _ in categories]
        self.counts = [count for _, count in categories]
        self.numbers = [column for column in range(n_features) if column not in set(self.columns)]
        self.weight = _uniform(len(self.numbers), width)
        self.bias = _uniform(len(self.numbers), width)
        self.cls = _uniform(width)
        if categories:
            self.embeddings = nn.ParameterList(_uniform(count, width) for count in self.counts)
            self.category_bias = _uniform(len(categories), width)

    def numbers_of(self, x: Tensor) -> Tensor:
        """The columns that are numbers."""
        return x[:, self.numbers] if self.columns else x

    def codes_of(self, x: Tensor) -> Tensor:
        """The columns that are codes, as int64 below their counts."""
        codes, last = x[:, self.columns].long(), torch.tensor(self.counts) - 1
        return torch.where((codes < 0) | (codes > last), last, codes)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens of rows."""
        numbers = self.numbers_of(x).unsqueeze(2)
        parts = [self.cls.expand(x.shape[0], 1, -1), torch.addcmul(self.bias, numbers, self.weight)]
        if self.columns:
            codes = self.codes_of(x)
            embedded = [functional.embedding(codes[:, index], table) for index, table in enumerate(self.embeddings)]
            parts.append(torch.stack(embedded, dim=1) + self.category_bias)
        return torch.cat(parts, dim=1)


class MaskedFeatures(nn.Module):
    """Predicts hidden features: a trunk for all tokens, then one linear layer per feature, all numbers' in one product.

    A number's layer has one output, a category's as many as the largest count; those past its own count are ignored.
    """

    def __init__(self, width: int, numbers: int, counts: Sequence[int]) -> None:
        super().__init__()
        self.mask = _uniform(width)
        self.trunk = nn.Sequential(nn.Linear(width, width), nn.GELU())
        self.weight = _uniform(numbers, width)
        self.bias = nn.Parameter(torch.zeros(numbers))
        self.counts = list(counts)
        if counts:
            self.category_weight = _uniform(len(counts), max(counts), width)
            self.category_bias = nn.Parameter(torch.zeros(len(counts), max(counts)))

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor | None]:
        """Numbers (n, numbers) and logits of codes (n, categories, largest count) from normalised tokens."""
        hidden = self.trunk(h)
        split = self.weight.shape[0]
        numbers = torch.einsum("nfw,fw->nf", hidden[:, :split], self.weight) + self.bias
        if not self.counts:
            return numbers, None
        logits = torch.einsum("ncw,cow->nco", hidden[:, split:], self.category_weight) + self.category_bias
        unused = torch.arange(logits.shape[2]) >= torch.tensor(self.counts).unsqueeze(1)
        return numbers, logits.masked_fill(unused, float("-inf"))


class Block(nn.Module):
    """Attention and an inner net, each added to its input; normalisation comes first."""

    def __init__(self, preset: Preset, *, normalise_attention: bool) -> None:
        super().__init__()
        width = preset.width
        self.heads = preset.heads
        self.attention_dropout = preset.attention_dropout
        self.norm_attention: nn.Module = nn.LayerNorm(width) if normalise_attention else nn.Identity()
        self.projection = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_inner = nn.LayerNorm(width)
        self.gated = preset.form == "rtdl"
        self.up = nn.Linear(width, 2 * preset.inner if self.gated else preset.inner)
        self.down = nn.Linear(preset.inner, width)
        self.dropout = nn.Dropout(preset.inner_dropout)

    def forward(self, x: Tensor, *, first_only: bool = False) -> Tensor:
        """All tokens; or with ``first_only`` just the first one's, attending to all."""
        normal = self.norm_attention(x)
        width = normal.shape[2]
        weight, bias = self.projection.weight, self.projection.bias
        queries = functional.linear(normal[:, :1] if first_only else normal, weight[:width], bias[:width])
        keys, values = functional.linear(normal, weight[width:], bias[width:]).chunk(2, dim=2)
        mixed = functional.scaled_dot_product_attention(
            self._split(queries), self._split(keys), self._split(values),
            dropout_p=self.attention_dropout if self.training else 0.0,
        )  # fmt: skip
        x = (x[:, :1] if first_only else x) + self.out(mixed.transpose(1, 2).flatten(2))
        inner = self.up(self.norm_inner(x))
        if self.gated:
            value, gate = inner.chunk(2, dim=2)
            inner = value * functional.relu(gate)
        else:
            inner = functional.gelu(inner)
        return x + self.down(self.dropout(inner))  # type: ignore[no-any-return]

    def _split(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], self.heads, x.shape[2] // self.heads).transpose(1, 2)


class Transformer(nn.Module):
    """Tokens, blocks, a class head, and for the document's form the parts of masked-feature modelling."""

    def __init__(self, n_features: int, preset: Preset, categories: Sequence[tuple[int, int]] = ()) -> None:
        super().__init__()
        width = preset.width
        document = preset.form == "encoder"
        self.tokens = Tokens(n_features, width, categories)
        self.blocks = nn.ModuleList(
            Block(preset, normalise_attention=document or index > 0) for index in range(preset.blocks)
        )
        if document:
            self.norm: nn.Module = nn.LayerNorm(width)
            self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 2))
            self.masked = MaskedFeatures(width, len(self.tokens.numbers), self.tokens.counts)
        else:
            self.norm = nn.Identity()
            self.head = nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, 2))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, 2) of rows (n, d)."""
        h = self.tokens(x)
        last = len(self.blocks) - 1
        for index, block in enumerate(self.blocks):
            h = block(h, first_only=index == last)
        return self.head(self.norm(h)[:, 0])  # type: ignore[no-any-return]

    def restored(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor | None]:
        """Every feature as predicted from the others, see `MaskedFeatures`.

        ``hidden`` (n, d), in the order of the tokens (numbers, then categories), is true where the mask takes a
        token's place.
        """
        tokens = self.tokens(x)
        cls, features = tokens[:, :1], tokens[:, 1:]
        h = torch.cat([cls, torch.where(hidden.unsqueeze(2), self.masked.mask, features)], dim=1)
        for block in self.blocks:
            h = block(h)
        return self.masked(self.norm(h)[:, 1:])  # type: ignore[no-any-return]

    def masked_loss(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Mean over the hidden features: squared error of numbers, cross-entropy of codes."""
        numbers, logits = self.restored(x, hidden)
        split = numbers.shape[1]
        total = (numbers - self.tokens.numbers_of(x)).square().mul(hidden[:, :split]).sum()
        if logits is not None:
            surprise = functional.cross_entropy(logits.transpose(1, 2), self.tokens.codes_of(x), reduction="none")
            total = total + surprise.mul(hidden[:, split:]).sum()
        return total / hidden.sum().clamp_min(1)


def _uniform(*shape: int) -> nn.Parameter:
    """The published initialisation of tokens: uniform within one over the square root of the width."""
    bound = 1.0 / math.sqrt(shape[-1])
    return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))
