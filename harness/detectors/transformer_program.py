"""A fitted transformer as a scoring program: what is linear around each normalisation is put into the weights after it.

The folded weights are computed in float64 and rounded once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.detectors.transformer import Block, Tokens, Transformer
from harness.scoring import tokens
from harness.scoring.builder import Builder
from harness.scoring.program import ROWS, DenseLayer, Program

Wide = NDArray[np.float64]


def program_of(net: Transformer, n_features: int) -> Program:
    """The program of the difference of the two logits: the tokens, the rest of the last block, and the class head."""
    *blocks, last = (block for block in net.blocks if isinstance(block, Block))
    first = (blocks or [last])[0]
    columns, embeddings = _columns_of(net.tokens)
    builder = Builder(n_features)
    taken_in = builder.transform(
        ROWS,
        tokens.Transformer(
            tokens=_float32(np.concatenate([*_tables_of(net.tokens), *embeddings])),
            columns=columns,
            blocks=_float32(np.stack([_parameters_of(block) for block in blocks])) if blocks else _no_blocks(last),
            last=_float32(_joined(*_queries_of(last), _wide(_parts(last)[1][0]))[None]),
            heads=last.heads,
            gated=last.gated,
            plain_first=isinstance(first.norm_attention, nn.Identity),
        ),
    )
    width = net.tokens.cls.shape[0]
    own = builder.columns(taken_in, range(width))
    h = builder.elementwise("add", own, _values(builder, taken_in, last))
    h = builder.elementwise("add", h, _inner(builder, h, last))
    return builder.finish(_difference(builder, h, net))


def _values(builder: Builder, taken_in: str, block: Block) -> str:
    """The values' layer of each head over the mean of tokens that it takes in, and the output layer."""
    weight, bias = _parts(block)[2]
    width = weight.shape[1]
    size = width // block.heads
    mixed = []
    for head in range(block.heads):
        mean = builder.columns(taken_in, range((head + 1) * width, (head + 2) * width))
        own = slice(head * size, (head + 1) * size)
        mixed.append(builder.dense(mean, DenseLayer(_float32(weight[own]), _float32(bias[own]))))
    joined = builder.concat(*mixed) if len(mixed) > 1 else mixed[0]
    return builder.dense(joined, DenseLayer(_float32(_wide(block.out.weight)), _float32(_wide(block.out.bias))))


def _inner(builder: Builder, h: str, block: Block) -> str:
    """The inner net over the first token."""
    weight, bias = _folded(block.norm_inner, block.up)
    normal = builder.normalise(h)
    down = DenseLayer(_float32(_wide(block.down.weight)), _float32(_wide(block.down.bias)))
    if not block.gated:
        return builder.dense(builder.dense(normal, DenseLayer(_float32(weight), _float32(bias), "gelu")), down)
    (of_value, of_gate), (bias, gate_bias) = np.split(weight, 2), np.split(bias, 2)
    value = builder.dense(normal, DenseLayer(_float32(of_value), _float32(bias)))
    gate = builder.dense(normal, DenseLayer(_float32(of_gate), _float32(gate_bias), "relu"))
    return builder.dense(builder.elementwise("multiply", value, gate), down)


def _difference(builder: Builder, h: str, net: Transformer) -> str:
    """The class head: the logit of the second class minus that of the first."""
    if isinstance(net.norm, nn.LayerNorm):
        h = _scaled(builder, builder.normalise(h), net.norm)
    norm, *rest = net.head
    assert isinstance(norm, nn.LayerNorm)
    h = builder.normalise(h)
    if isinstance(rest[0], nn.Linear):
        weight, bias = _folded(norm, rest[0])
        h = builder.dense(h, DenseLayer(_float32(weight), _float32(bias), "gelu"))
    else:
        h = builder.activation(_scaled(builder, h, norm), "relu")
    classes = rest[-1]
    assert isinstance(classes, nn.Linear)
    weight, bias = _wide(classes.weight), _wide(classes.bias)
    return builder.dense(h, DenseLayer(_float32(weight[1:] - weight[:1]), _float32(bias[1:] - bias[:1])))


def _scaled(builder: Builder, normal: str, norm: nn.LayerNorm) -> str:
    scaled = builder.with_constant("multiply", normal, _float32(_wide(norm.weight)))
    return builder.with_constant("add", scaled, _float32(_wide(norm.bias)))


def _columns_of(layer: Tokens) -> tuple[NDArray[np.int64], list[Wide]]:
    """Columns and counts of codes in the order of the tokens, and the embeddings."""
    entries = [(-1, 0), *((column, 0) for column in layer.numbers), *zip(layer.columns, layer.counts, strict=True)]
    return np.array(entries, dtype=np.int64), [_wide(table) for table in layer.embeddings] if layer.columns else []


def _tables_of(layer: Tokens) -> tuple[Wide, Wide]:
    """What every token has per unit of its number, and what it has in any case."""
    others = (_wide(layer.category_bias),) if layer.columns else ()
    per_unit = np.concatenate([np.zeros((1, layer.cls.shape[0])), _wide(layer.weight), *map(np.zeros_like, others)])
    return per_unit, np.concatenate([_wide(layer.cls)[None], _wide(layer.bias), *others])


def _parameters_of(block: Block) -> Wide:
    """All weights and biases of a block in one row."""
    (_, _), (key, key_bias), (value, value_bias) = _parts(block)
    query, query_bias = _queries_of(block)
    return _joined(
        query, key, value, query_bias, key_bias, value_bias, _wide(block.out.weight), _wide(block.out.bias),
        *_folded(block.norm_inner, block.up), _wide(block.down.weight), _wide(block.down.bias),
    )  # fmt: skip


def _no_blocks(block: Block) -> NDArray[np.float32]:
    return np.zeros((0, _parameters_of(block).size), dtype=np.float32)


def _parts(block: Block) -> list[tuple[Wide, Wide]]:
    """The layers of queries, keys and values behind the normalisation."""
    weight, bias = _folded(block.norm_attention, block.projection)
    return list(zip(np.split(weight, 3), np.split(bias, 3), strict=True))


def _queries_of(block: Block) -> tuple[Wide, Wide]:
    """The layer of queries with the factor of the scores."""
    weight, bias = _parts(block)[0]
    factor = (weight.shape[0] // block.heads) ** -0.5
    return factor * weight, factor * bias


def _folded(norm: nn.Module, layer: nn.Linear) -> tuple[Wide, Wide]:
    """Weight and bias of a layer over normalised values, scale and shift of the normalisation taken into them."""
    weight, bias = _wide(layer.weight), _wide(layer.bias)
    if isinstance(norm, nn.Identity):
        return weight, bias
    assert isinstance(norm, nn.LayerNorm)
    assert norm.eps == tokens.EPSILON
    return weight * _wide(norm.weight), bias + weight @ _wide(norm.bias)


def _joined(*arrays: Wide) -> Wide:
    return np.concatenate([array.ravel() for array in arrays])


def _wide(tensor: Tensor | Wide) -> Wide:
    array: NDArray[Any] = tensor.detach().cpu().numpy() if isinstance(tensor, Tensor) else tensor
    return array.astype(np.float64)


def _float32(array: Wide) -> NDArray[np.float32]:
    return array.astype(np.float32)
