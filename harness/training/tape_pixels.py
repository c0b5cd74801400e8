"""Which pixels convolutions read, as tables for a tape, and where torch has the weights of a tap. Imports torch.

An image of a batch is a value of blocks, one per pixel, whose rows are those of the batch and whose columns are the
channels. A convolution is then a sum of products of such blocks with those of the weights, one per tap, and nothing is
copied for it; a transposed one, the gradients, and a dense layer over all pixels are sums over the same links in other
roles.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Numbers = NDArray[np.int64]


def taps(side: int, part: nn.Conv2d | nn.ConvTranspose2d) -> Numbers:
    """Which pixel of a square image each tap of each position reads (positions, taps), -1 beyond its edges.

    Of a transposed convolution ``side`` is that of the image which it makes, and the positions are what it enlarges.
    """
    size, step, padding = part.kernel_size[0], part.stride[0], part.padding[0]
    assert isinstance(padding, int), "a padding by its name"
    padded = np.pad(np.arange(side**2).reshape(side, side), padding, constant_values=-1)
    read = np.lib.stride_tricks.sliding_window_view(padded, (size, size))[::step, ::step]
    return read.reshape(-1, size**2)


def links_of(reads: Numbers) -> Numbers:
    """The products of a convolution (n, 3): position, pixel, tap."""
    positions, numbers = np.nonzero(reads >= 0)
    return np.stack([positions, reads[positions, numbers], numbers], axis=1)


def enlarging(reads: Numbers) -> Numbers:
    """Those of the transposed one (n, 3): pixel, position, tap; pixel by pixel."""
    links = links_of(reads)[:, [1, 0, 2]]
    return links[np.argsort(links[:, 0], kind="stable")]


def meeting(reads: Numbers) -> Numbers:
    """For each pixel the numbers of the taps that read it, counted over all positions, -1 for none."""
    flat = reads.ravel()
    numbers = np.flatnonzero(flat >= 0)
    each = np.bincount(flat[numbers])
    made = np.full((len(each), each.max()), -1, dtype=np.int64)
    made[np.arange(each.max()) < each[:, None]] = numbers[np.argsort(flat[numbers], kind="stable")]
    return made


def tap_by_tap(weight: torch.Tensor, *, transposed: bool = False) -> Numbers:
    """Where torch has a convolution's weights, of each tap a block (channels that it reads, channels that it makes).

    That of a transposed one towards a single channel is the block of the convolution that goes the other way.
    """
    places = np.arange(weight.numel()).reshape(*weight.shape[:2], -1)
    if transposed:
        return places.transpose(2, 0, 1).reshape(-1, weight.shape[1])
    return places.transpose(2, 1, 0).reshape(-1, weight.shape[0])


def pixel_by_pixel(count: int, channels: int) -> Numbers:
    """Where torch has the numbers of a flattened image, the channels of a pixel side by side; (pixels, channels)."""
    return np.arange(count)[:, None] + count * np.arange(channels)
