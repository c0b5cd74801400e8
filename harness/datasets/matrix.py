"""Benchmarks published as one matrix X and one label vector y: ODDS (MATLAB; newer files are HDF5), ADBench (NumPy)."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.datasets import hdf5, splits, synthetic
from harness.datasets.gaps import NUMBERS
from harness.datasets.options import choice, encoding, number, share
from harness.datasets.recipe import Reading, Recipe, Request, reading
from harness.datasets.store import Found, content, parsing, refuse_bomb
from harness.datasets.table import Split, Table, categorical_of
from harness.errors import InputError
from harness.wording import plural

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_CODES = ((0, 1), (-1, 1), (1, 2))  # ways to write the two labels
_RARE = 0.4  # share of the rarer label below which it is clearly that of the anomalies
_COMPRESSED = 15  # miCOMPRESSED of MATLAB's MAT-file format
_HDF5_OFFSET = 512  # MATLAB 7.3 puts its own header before that of HDF5


def _read(local: Found, request: Request) -> Reading:
    entry = local.files[0]
    data, sha256 = content(entry.path)
    x, y = _adbench(entry.path, data) if local.variant.name == "npz" else _odds(entry.path, data)
    return reading(local, {entry.name: sha256}, _split(x, y, entry.path, request))


def _adbench(path: Path, data: bytes) -> tuple[Any, Any]:
    with parsing(path, "NumPy archive"):
        with zipfile.ZipFile(io.BytesIO(data)) as members:
            refuse_bomb(path, len(data), sum(member.file_size for member in members.infolist()))
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            for name in ("X", "y"):
                if name not in archive:
                    raise InputError(f"{path}: {name} is not a file in the archive; arrays X and y were expected.")
            return archive["X"], archive["y"]


def _odds(path: Path, data: bytes) -> tuple[Any, Any]:
    from scipy.io import loadmat

    with parsing(path, "MATLAB file"):
        if _HDF5_MAGIC in data[: _HDF5_OFFSET + len(_HDF5_MAGIC)]:
            with hdf5.opened(path, data) as file:
                arrays = {name: hdf5.array(path, file, name).T for name in ("X", "y") if name in file}  # by column
        else:
            for packed in _compressed_elements(data):
                inflater = zlib.decompressobj()
                content = 0
                while packed and not inflater.eof:
                    content += len(inflater.decompress(packed, 1 << 20))
                    packed = inflater.unconsumed_tail
                    refuse_bomb(path, len(data), content)
            arrays = loadmat(io.BytesIO(data))
        for name in ("X", "y"):
            if name not in arrays:
                raise InputError(f"{path} has no variable {name!r}; X and y were expected.")
        return arrays["X"], arrays["y"]


def _compressed_elements(data: bytes) -> Iterator[bytes]:
    """Compressed variables of a MATLAB 5 file: a header of 128 bytes, then elements of a type, a size and content."""
    order = "<" if data[126:128] == b"IM" else ">"
    place = 128
    while place + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, place)
        place += 8
        if kind == _COMPRESSED:
            yield data[place : place + size]
        place += size


def _split(x: Any, y: Any, path: Path, request: Request) -> Split:
    features, label = np.asarray(x), np.asarray(y).ravel()
    if features.ndim != 2 or features.dtype.kind not in "fiub" or not len(features):
        raise InputError(f"{path}: X is {features.shape} of {features.dtype}; a matrix of numbers was expected.")
    if len(label) != len(features) or label.dtype.kind not in "fiub":
        raise InputError(f"{path}: y has {len(label):,} entries for {len(features):,} rows; as many 0 and 1 expected.")
    anomalous, notes = _anomalous(label, path, request.options["normal"])
    columns = [f"x{number}" for number in range(features.shape[1])]
    written = None if set(label.tolist()) <= {0, 1} else categorical_of([f"{value:g}" for value in label.tolist()])
    values = features.astype(np.float64)
    broken = int((~np.isfinite(values)).any(axis=1).sum())
    if broken:
        holding = plural(broken, "row holds", "rows hold")
        notes = (*notes, f"{holding} missing or infinite numbers; the training median takes their place.")
    table = Table(pd.DataFrame(values, columns=columns), anomalous.astype(np.int8), written)
    return replace(splits.random(table, request, notes, share=request.options["test"]), gaps=NUMBERS)


def _anomalous(
    label: npt.NDArray[Any], path: Path, normal: float | None
) -> tuple[npt.NDArray[np.bool_], tuple[str, ...]]:
    """Which rows are anomalies, and how that was decided.

    0 is normal and 1 an anomaly. Of -1 and 1 (scikit-learn's outliers are -1, those of other collections 1), and of 1
    and 2, the rarer one is the anomaly, if it is clearly rarer.
    """
    values, rows = np.unique(label, return_counts=True)
    if len(values) == 1:
        raise InputError(f"{path}: y holds a single label; normal and anomalous rows are both needed.")
    written = [f"{value:g} ({plural(count, 'row')})" for value, count in zip(values, rows, strict=True)]
    content = f"y holds {', '.join(written[:5])}{' …' if len(values) > 5 else ''}"
    if len(values) > 2 or not (tuple(values) in _CODES or normal is not None):
        raise InputError(f"{path}: {content}; as many 0 and 1 expected.")
    if normal is None and tuple(values) != (0, 1):
        if rows.min() > _RARE * rows.sum():
            raise InputError(
                f"{path}: {content}, neither of them rare; as many 0 and 1 expected.",
                remedy="Option 'normal' of [dataset_options] gives the value of normal rows.",
            )
        chosen = values[rows.argmax()]
    else:
        chosen = 0 if normal is None else normal
    if chosen not in values:
        raise InputError(f"{path}: {content}; none is {chosen:g}, which option 'normal' names.")
    rarer = normal is None and tuple(values) != (0, 1)
    return label != chosen, ("Of the two values of y the rarer one is taken for the anomaly.",) if rarer else ()


def _synthesise(request: Request) -> Split:
    """Real-valued columns, a tenth of the rows outliers."""
    fields = [synthetic.Field(f"x{number}", "real") for number in range(20)]
    process = synthetic.CopulaMixture(fields, ["outlier"], seed=request.seed, normal="normal")
    table = process.table({"normal": 1_800, "outlier": 200})
    return splits.random(table, request, (synthetic.NOTE,), share=request.options["test"])


RECIPE = Recipe(
    read=_read,
    synthesise=_synthesise,
    options={
        "encoding": encoding("standard"),
        "train_rows": choice("normal", "all", help="training rows kept; validation and test keep both kinds"),
        "test": share(0.5, help="share of the rows that test"),
        "normal": number(None, help="value of y of normal rows; default 0, or the more frequent one of -1, 1 and 1, 2"),
    },
    # The ALAD paper's protocol for arrhythmia: halves, raw features, and a training half that keeps its anomalies.
    published={"encoding": "none", "train_rows": "all", "validation": 0.0},
)
