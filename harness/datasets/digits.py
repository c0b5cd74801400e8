"""Images of digits with one digit held out as the anomaly: scikit-learn's own, which need no download, and MNIST's.

Source of the protocol: Zenati et al. 2018 (EGBAD): all images are pooled, 80 % of the normal digits train, the rest of
them and every image of the anomalous digit test.
"""

from __future__ import annotations

import hashlib
import math
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.datasets import csvfile
from harness.datasets.options import choice, encoding, names
from harness.datasets.recipe import Reading, Recipe, Request, reading
from harness.datasets.store import Found, FoundFile, content
from harness.datasets.table import Split, Table, categorical
from harness.errors import InputError

Images = npt.NDArray[np.uint8]
DIGITS = tuple(str(number) for number in range(10))
_SHA256 = "a19cb3d96bba7deace8ee5a513a6eb7bad0403d528f00bf4d351b6a7a55baa91"  # of what ``embedded`` gives
_TRAIN_SHARE = 0.8
_GREY_LEVELS = 16
_SIDE = 28  # of MNIST's images
_UNSIGNED_BYTES = 0x08  # the type code of idx


def split(images: Images, digits: npt.NDArray[np.uint8], request: Request, notes: tuple[str, ...] = ()) -> Split:
    """Hold out the anomalous digits.

    Args:
        images: (n, height, width), 0…255.
        digits: (n,) which digit each shows.
        request: options ``anomalies`` and ``awareness``.
        notes: passed on.

    Raises:
        InputError: an option names no digit, or awareness a digit that is no anomaly.
    """
    anomalies = _digits(request, "anomalies", ("0",))
    awareness = _digits(request, "awareness", ())
    stray = sorted(awareness - anomalies)
    if stray:
        raise InputError(f"Option 'awareness' of data set {request.dataset}: digit {stray[0]!r} is no anomaly.")
    height, width = images.shape[1:]
    columns = [f"pixel_{row}_{column}" for row in range(height) for column in range(width)]
    anomalous = np.isin(digits, [int(digit) for digit in anomalies])
    frame = pd.DataFrame(images.reshape(len(images), -1), columns=columns, copy=False)
    table = Table(frame, anomalous.astype(np.int8), categorical(digits.astype(np.int64), DIGITS))
    may_train = ~anomalous | np.isin(digits, [int(digit) for digit in awareness])
    in_train = np.zeros(len(digits), np.bool_)
    rng = np.random.default_rng(request.seed)
    for digit in range(10):
        rows = np.flatnonzero((digits == digit) & may_train)
        in_train[rng.permutation(rows)[: round(_TRAIN_SHARE * len(rows))]] = True
    return Split(table.take(in_train), table.take(~in_train), notes=notes)


def embedded() -> tuple[Images, npt.NDArray[np.uint8]]:
    """scikit-learn's 1,797 digits of 8 by 8, their 17 grey levels stretched to 0…255."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    images = np.round(loaded.images * (255 / _GREY_LEVELS)).astype(np.uint8)
    return images, loaded.target.astype(np.uint8)


def enlarged() -> tuple[Images, npt.NDArray[np.uint8]]:
    """The embedded digits in the format of MNIST: every pixel becomes 3 by 3, with a margin of 2, 28 by 28."""
    images, digits = embedded()
    return np.pad(images.repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (2, 2), (2, 2))), digits


def _digits(request: Request, option: str, default: tuple[str, ...]) -> set[str]:
    given = request.options[option]
    chosen = set(default if given is None else given)
    unknown = sorted(chosen - set(DIGITS))
    if unknown:
        raise InputError(f"Option {option!r} of data set {request.dataset}: {unknown[0]!r} is no digit.")
    return chosen


def _read(_files: Found, request: Request) -> Reading:
    images, digits = embedded()
    sha256 = hashlib.sha256(images.tobytes() + digits.tobytes()).hexdigest()
    return Reading(split(images, digits, request), {"scikit-learn digits": sha256}, sha256 == _SHA256)


def _synthesise(request: Request) -> Split:
    """Strokes instead of handwriting: each digit is a random walk of its own, each image a jittered copy of it."""
    rng = np.random.default_rng(request.seed)
    images = np.zeros((1_800, 8, 8), np.uint8)
    digits = np.arange(len(images)).astype(np.uint8) % 10
    for digit in range(10):
        walk = np.clip(np.cumsum(rng.integers(-1, 2, size=(24, 2)), axis=0) + 4, 0, 7)
        for image in np.flatnonzero(digits == digit):
            jitter = np.clip(walk + rng.integers(-1, 2, size=2), 0, 7)
            images[image, jitter[:, 0], jitter[:, 1]] = rng.integers(128, 256, size=len(walk))
    return split(images, digits, request, ("Synthetic: random strokes, see harness/datasets/digits.py.",))


def _read_mnist(local: Found, request: Request) -> Reading:
    if local.variant.name == "csv":
        return _read_csv(local, request)
    arrays, sha256 = {}, {}
    for entry in local.files:
        dimensions = 3 if "images" in entry.file.name else 1
        arrays[entry.file.name], sha256[entry.name] = _idx(entry, dimensions)
    images, labels = [], []
    for part in ("train", "t10k"):
        images.append(arrays[f"{part}-images-idx3-ubyte"])
        labels.append(arrays[f"{part}-labels-idx1-ubyte"])
        path = local.path(f"{part}-labels-idx1-ubyte").path
        if len(images[-1]) != len(labels[-1]):
            raise InputError(f"{path} holds {len(labels[-1]):,} labels for {len(images[-1]):,} images.")
        if labels[-1].max() > 9:
            raise InputError(f"{path} holds the label {labels[-1].max()}; digits 0 to 9 were expected.")
    return reading(local, sha256, split(np.concatenate(images), np.concatenate(labels), request))


def _read_csv(local: Found, request: Request) -> Reading:
    parts, sha256 = [], {}
    for entry in local.files:
        rows, sha256[entry.name] = _rows_of_csv(entry.path)
        parts.append(rows)
    rows = np.concatenate(parts)
    images = np.ascontiguousarray(rows[:, 1:]).reshape(-1, _SIDE, _SIDE)
    return reading(local, sha256, split(images, rows[:, 0], request))


def _rows_of_csv(path: Path) -> tuple[Images, str]:
    """Digit and pixels of each row; the digit is the first column in most copies, the last in some."""
    names = csvfile.header(path)
    headed = not names[-1].replace(".", "").isdigit()
    columns = names if headed else tuple(str(place) for place in range(len(names)))
    if len(columns) != _SIDE**2 + 1:
        raise InputError(f"{path}: a digit and {_SIDE**2} pixels expected in a line, {len(columns)} values found.")
    schema = csvfile.Schema(columns, categories=frozenset())
    frame, sha256 = csvfile.read(path, schema, header_lines=1 if headed else 0)
    table = frame.to_numpy()
    wrong = np.argwhere((table != table.round()) | (table < 0) | (table > 255))
    if len(wrong):
        line = int(wrong[0, 0]) + (2 if headed else 1)
        raise InputError(f"{path} line {line}: {table[tuple(wrong[0])]:g} is no grey level from 0 to 255.")
    rows = table.astype(np.uint8)
    last = columns[-1].casefold() in ("label", "class") or (not headed and not rows[:, 0].any() and rows[:, -1].any())
    rows = np.roll(rows, 1, axis=1) if last else rows
    if rows[:, 0].max() > 9:
        raise InputError(f"{path} holds the label {rows[:, 0].max()}; digits 0 to 9 were expected.")
    return rows, sha256


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


def _synthesise_mnist(request: Request) -> Split:
    note = (
        "Stand-in for MNIST: the 1,797 real digits of scikit-learn, 8 by 8 enlarged to 28 by 28; figures on it do not "
        "compare with figures on MNIST.",
    )
    return split(*enlarged(), request, note)


_OPTIONS = {
    "encoding": encoding("unit"),
    "train_rows": choice("all", "normal", help="training rows kept"),
    "anomalies": names(help='digits that are anomalies; default ["0"]'),
    "awareness": names(help="anomalous digits of which 80 % are given to training, labelled; default none"),
}
_PUBLISHED = {"encoding": "signed"}
RECIPE = Recipe(_read, _synthesise, _OPTIONS, _PUBLISHED)
MNIST = Recipe(_read_mnist, _synthesise_mnist, _OPTIONS, _PUBLISHED)
