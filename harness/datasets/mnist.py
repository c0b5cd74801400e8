"""MNIST as idx files; without them, scikit-learn's digits in the same format."""

from __future__ import annotations

import math
import struct

import numpy as np
import numpy.typing as npt

from harness.datasets import digits
from harness.datasets.recipe import Reading, Recipe, Request, digests_and_verdict
from harness.datasets.store import Found, FoundFile, content
from harness.datasets.table import Split
from harness.errors import InputError

_UNSIGNED_BYTES = 0x08  # the type code of idx


def _read(local: Found, request: Request) -> Reading:
    arrays = {}
    sha256 = {}
    for entry in local.files:
        dimensions = 3 if "images" in entry.file.name else 1
        arrays[entry.file.name], sha256[entry.name] = _idx(entry, dimensions)
    images, labels = [], []
    for part in ("train", "t10k"):
        images.append(arrays[f"{part}-images-idx3-ubyte"])
        labels.append(arrays[f"{part}-labels-idx1-ubyte"])
        if len(images[-1]) != len(labels[-1]):
            path = local.path(f"{part}-labels-idx1-ubyte").path
            raise InputError(f"{path} holds {len(labels[-1]):,} labels for {len(images[-1]):,} images.")
        if labels[-1].max() > 9:
            path = local.path(f"{part}-labels-idx1-ubyte").path
            raise InputError(f"{path} holds the label {labels[-1].max()}; digits 0 to 9 were expected.")
    digest, verified = digests_and_verdict(local, sha256)
    split = digits.split(np.concatenate(images), np.concatenate(labels), request)
    return Reading(split, digest, verified)


def _idx(entry: FoundFile, dimensions: int) -> tuple[npt.NDArray[np.uint8], str]:
    """An array of unsigned bytes in idx format: two zero bytes, type, rank, big-endian sizes, data."""
    data, digest = content(entry.path)
    start = 4 + 4 * dimensions
    if len(data) < start or data[:4] != bytes((0, 0, _UNSIGNED_BYTES, dimensions)):
        raise InputError(
            f"{entry.path} is no idx file of unsigned bytes with {dimensions} dimensions: it begins with "
            f"{data[:4].hex(' ')}, 00 00 08 0{dimensions} expected."
        )
    shape = struct.unpack(f">{dimensions}I", data[4:start])
    if len(data) - start != math.prod(shape) or not shape[0]:
        raise InputError(
            f"{entry.path} announces {math.prod(shape):,} bytes of data and holds {len(data) - start:,}.",
            remedy="The file is truncated or damaged; get it again.",
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape), digest


def _synthesise(request: Request) -> Split:
    note = (
        "Stand-in for MNIST: the 1,797 real digits of scikit-learn, 8 by 8 enlarged to 28 by 28; figures on it do not "
        "compare with figures on MNIST.",
    )
    return digits.split(*digits.enlarged(), request, note)


RECIPE = Recipe(read=_read, synthesise=_synthesise, options=digits.OPTIONS, published={"encoding": "signed"})
