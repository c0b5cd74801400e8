"""LHC Olympics 2020, R&D data: dijet events, the anomaly is a resonance decaying into two heavy particles.

Two published forms: the arrays that CATHODE derives (Hallin et al. 2022), events of the signal region 3.3 < mjj < 3.7
TeV with five quantities, and the features file of 14 jet quantities for 1.1 million events (Kasieczka et al. 2021).
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.datasets import hdf5, splits
from harness.datasets.options import count, encoding
from harness.datasets.recipe import Reading, Recipe, Request, reading
from harness.datasets.store import Found, FoundFile, content, parsing
from harness.datasets.table import Split, Table, categorical
from harness.errors import InputError

Doubles = npt.NDArray[np.float64]

CATHODE_COLUMNS = ("mjj", "mj_low", "mj_difference", "tau21_low", "tau21_high")  # masses in TeV; jets by mass
JET_COLUMNS = tuple(
    f"{quantity}{jet}" for jet in ("j1", "j2") for quantity in ("px", "py", "pz", "m", "tau1", "tau2", "tau3")
)
_CLASSES = ("background", "signal")


def _read(local: Found, request: Request) -> Reading:
    if local.variant.name == "features":
        entry = local.files[0]
        data, digest = content(entry.path)
        events = _events_of_h5(entry.path, data)
        table = _table(events[:, :-1], events[:, -1], JET_COLUMNS)
        return reading(local, {entry.name: digest}, splits.random(table, request))
    arrays = {}
    sha256 = {}
    for entry in local.files:
        arrays[entry.file.name], sha256[entry.name] = _array(entry)
    train = arrays["innerdata_train.npy"]
    extra = arrays["innerdata_extrasig_train.npy"]
    notes: tuple[str, ...] = ()
    if request.options["awareness"] is not None:
        train = np.concatenate([train, extra[: request.options["awareness"]]])
        notes = (f"{request.options['awareness']:,} further signal events were added to training, labelled.",)
    return reading(local, sha256, _split(train, arrays["innerdata_test_separated.npy"], notes))


def _array(entry: FoundFile) -> tuple[Doubles, str]:
    data, sha256 = content(entry.path)
    with parsing(entry.path, "NumPy array"):
        array = np.load(io.BytesIO(data), allow_pickle=False)
    columns = len(CATHODE_COLUMNS) + 1
    if array.ndim != 2 or array.shape[1] != columns or array.dtype.kind != "f" or not len(array):
        raise InputError(
            f"{entry.path} holds an array {array.shape} of {array.dtype}; rows of {columns} floating-point numbers "
            f"({', '.join(CATHODE_COLUMNS)}, label) were expected."
        )
    if not np.isin(array[:, -1], (0, 1)).all():
        raise InputError(f"{entry.path}: the last column is the label, 0 or 1; {array[:, -1].max():g} was found.")
    return array.astype(np.float64), sha256


def _events_of_h5(path: Path, data: bytes) -> Doubles:
    """The jet quantities and the label from a frame that pandas stored in its fixed format."""
    columns = (*JET_COLUMNS, "label")
    with parsing(path, "HDF5 file with a pandas frame"), hdf5.opened(path, data) as file:
        group = file[next(iter(file), "")]
        values = {}
        for number in range(len(group)):
            if f"block{number}_items" not in group:
                break
            block = hdf5.array(path, group, f"block{number}_values")
            for place, name in enumerate(hdf5.array(path, group, f"block{number}_items")):
                values[name.decode() if isinstance(name, bytes) else str(name)] = block[:, place]
    missing = [name for name in columns if name not in values]
    if missing:
        raise InputError(f"{path} lacks the column {missing[0]!r}; {', '.join(columns)} were expected.")
    return np.column_stack([values[name].astype(np.float64) for name in columns])


def _table(features: Doubles, label: npt.NDArray[np.float64], columns: tuple[str, ...]) -> Table:
    anomalous = (label > 0).astype(np.int8)
    return Table(
        pd.DataFrame(features, columns=list(columns)), anomalous, categorical(anomalous.astype(np.int64), _CLASSES)
    )


def _split(train: Doubles, test: Doubles, notes: tuple[str, ...]) -> Split:
    return Split(
        _table(train[:, :-1], train[:, -1], CATHODE_COLUMNS),
        _table(test[:, :-1], test[:, -1], CATHODE_COLUMNS),
        notes=notes,
    )


def _synthesise(request: Request) -> Split:
    """Background: a falling mass spectrum and light jets; signal: a resonance at 3.5 TeV, jets of 0.1 and 0.5 TeV."""
    rng = np.random.default_rng(request.seed)
    extra = request.options["awareness"] or 0
    train = np.concatenate([_background(rng, 59_605), _signal(rng, 395)])
    train = np.concatenate([train[rng.permutation(len(train))], _signal(rng, extra)])
    test = np.concatenate([_background(rng, 40_000), _signal(rng, 20_000)])
    note = "Synthetic: a parametric dijet spectrum and a resonance; see harness/datasets/lhco2020.py."
    return _split(train, test, (note,))


def _background(rng: np.random.Generator, events: int) -> Doubles:
    mass = 3.3 - np.log1p(-rng.random(events) * (1 - np.exp(-0.4 / 0.35))) * 0.35  # exponential, cut at 3.7
    jets = np.sort(rng.gamma(2.2, 0.07, size=(events, 2)), axis=1)
    return _events(rng, np.minimum(mass, 3.7), jets, (6.0, 3.5), label=0)


def _signal(rng: np.random.Generator, events: int) -> Doubles:
    mass = np.clip(rng.normal(3.5, 0.1, events), 3.3, 3.7)
    jets = np.sort(np.abs(rng.normal((0.1, 0.5), (0.015, 0.06), size=(events, 2))), axis=1)
    return _events(rng, mass, jets, (3.0, 6.5), label=1)


def _events(
    rng: np.random.Generator, mass: Doubles, jets: Doubles, shape: tuple[float, float], *, label: int
) -> Doubles:
    subjettiness = rng.beta(*shape, size=(len(mass), 2))
    low, high = jets.T
    return np.column_stack([mass, low, high - low, subjettiness, np.full(len(mass), float(label))])


RECIPE = Recipe(
    read=_read,
    synthesise=_synthesise,
    options={
        "encoding": encoding("standard"),
        "awareness": count(None, help="further signal events given to training, labelled; default none"),
    },
)
