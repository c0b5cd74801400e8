"""A transformer over tokens of the features of rows as plain arrays, and what it computes, by NumPy.

Its last attention is taken in parts: the first token's query meets the tokens seen through the keys' layer, and what it
takes in are means of tokens, so that the layers of keys and values are applied once instead of to every token.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
EPSILON = 1e-5  # of normalisation, as torch's


@dataclass(frozen=True)
class Transformer:
    """Arrays of a transformer of ``width`` features per token; queries have the factor of the scores, and every weight
    that of the normalisation before it.

    Args:
        tokens: (2 tokens + codes, width). What a token has per unit of its number, for every token; what it has in any
            case, for every token; an embedding for every code of every token of codes.
        columns: (tokens, 2) int64. The column of a token, -1 for none; how many codes it has, 0 for a number. A code
            that is none of them counts as the last.
        blocks: (blocks, parameters). Weights (outputs, inputs) and biases of queries, keys and values, then of the
            output, then up and down of the inner net.
        last: (1, 2 width^2 + width). Weight and bias of the last attention's queries, and its weight of keys.
        heads: of every attention.
        gated: the inner net is a ReGLU: up has twice the outputs. Else it is of GELU.
        plain_first: the first attention reads tokens that are not normalised.
    """

    tokens: NDArray[np.float32]
    columns: NDArray[np.int64]
    blocks: NDArray[np.float32]
    last: NDArray[np.float32]
    heads: int
    gated: bool
    plain_first: bool

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The arrays, in order."""
        return self.tokens, self.columns, self.blocks, self.last

    @property
    def width(self) -> int:
        """Features of a token."""
        return int(self.tokens.shape[1])

    @property
    def outputs(self) -> int:
        """Features that a row becomes: the first token, and a mean of tokens for every head."""
        return self.width * (self.heads + 1)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one row."""
        tokens, blocks = len(self.columns), len(self.blocks)
        last = int(self.last.size) + 2 * self.heads * tokens * self.width
        return tokens * (int(self.blocks.size) + blocks * 2 * tokens * self.width) + last

    def run(self, x: Array) -> Array:
        """The features (n, outputs) of rows ``x`` (n, d), in their precision."""
        h = self._tokens_of(x)
        for index, parameters in enumerate(self.blocks):
            h = h + self._attention(h if index == 0 and self.plain_first else normalised(h), parameters)
            h = h + self._inner(normalised(h), parameters)
        plain = self.plain_first and not len(self.blocks)
        return np.concatenate([h[:, 0], self._taken_in(h if plain else normalised(h))], axis=1)

    def _tokens_of(self, x: Array) -> Array:
        count = len(self.columns)
        weight, bias, embedded = np.split(self.tokens.astype(x.dtype), [count, 2 * count])
        h = np.repeat(bias[None], len(x), axis=0)
        for token, (column, codes) in enumerate(self.columns):
            if codes:
                given = x[:, column]
                known = (given > -1) & (given < codes)
                h[:, token] += embedded[np.where(known, given, codes - 1).astype(np.int64)]
                embedded = embedded[codes:]
            elif column >= 0:
                h[:, token] += x[:, column, None] * weight[token]
        return h

    def _attention(self, h: Array, parameters: Array) -> Array:
        layers = self._layers(parameters, h.dtype)
        (of_all, bias), (out, out_bias) = next(layers), next(layers)
        parts = (h @ of_all.T + bias).reshape(*h.shape[:2], 3, self.heads, self.width // self.heads)
        queries, keys, values = (parts[:, :, part].transpose(0, 2, 1, 3) for part in range(3))
        mixed = _softmax(queries @ keys.transpose(0, 1, 3, 2)) @ values
        merged: Array = mixed.transpose(0, 2, 1, 3).reshape(h.shape)
        return merged @ out.T + out_bias

    def _inner(self, h: Array, parameters: Array) -> Array:
        _, _, (up, up_bias), (down, down_bias) = self._layers(parameters, h.dtype)
        hidden = h @ up.T + up_bias
        if self.gated:
            value, gate = np.split(hidden, 2, axis=2)
            opened: Array = value * np.maximum(gate, 0)
        else:
            opened = gelu(hidden)
        return opened @ down.T + down_bias

    def _layers(self, parameters: Array, dtype: np.dtype[Any]) -> Iterator[tuple[Array, Array]]:
        """Weight and bias of each layer of a block."""
        width, times = self.width, 2 if self.gated else 1
        inner = (len(parameters) - 4 * width**2 - 5 * width) // (times * (width + 1) + width)
        rest = parameters.astype(dtype)
        for outputs, inputs in ((3 * width, width), (width, width), (times * inner, width), (width, inner)):
            weight, bias, rest = np.split(rest, [outputs * inputs, outputs * (inputs + 1)])
            yield weight.reshape(outputs, inputs), bias

    def _taken_in(self, h: Array) -> Array:
        width = self.width
        query, bias, key = np.split(self.last[0].astype(h.dtype), [width**2, width**2 + width])
        asked = (h[:, 0] @ query.reshape(width, width).T + bias).reshape(len(h), self.heads, width // self.heads)
        seen = np.einsum("nhs,hsw->nhw", asked, key.reshape(self.heads, width // self.heads, width))
        means: Array = _softmax(seen @ h.transpose(0, 2, 1)) @ h
        return means.reshape(len(h), self.heads * width)


def normalised(x: Array) -> Array:
    """Mean 0 and variance 1 over the last axis."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return np.asarray(centred / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + x.dtype.type(EPSILON)))


def gelu(x: Array) -> Array:
    """``x`` times the normal distribution's function."""
    from scipy.special import ndtr

    return np.asarray(x * ndtr(x))


def _softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
