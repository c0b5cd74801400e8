"""KDD Cup 99, 10 % file, with the protocol of DAGMM, EGBAD and ALAD: attacks are inliers, normal traffic the anomaly.

Source of the protocol: Zong et al. 2018 (DAGMM), section 4.1; Zenati et al. 2018 (EGBAD) and its published code, which
computes a min-max scaling and does not use it, so that the published figures rest on raw features.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from harness.datasets import csvfile, kdd, synthetic
from harness.datasets.options import choice, encoding
from harness.datasets.recipe import Reading, Recipe, Request, reading
from harness.datasets.store import Found
from harness.datasets.table import Split, Table, categorical
from harness.errors import InputError

_INDICATORS = ("land", "logged_in", "is_host_login", "is_guest_login")
# 87 indicators and 34 numbers: the 121 columns of the protocol. The values are those of the whole published file; one
# that the training half does not hold stays a constant column, and the networks keep their published width.
_VOCABULARY = MappingProxyType(
    {
        "protocol_type": kdd.PROTOCOLS,
        "service": kdd.SERVICES_10_PERCENT,
        "flag": kdd.FLAGS,
        "land": ("0", "1"),
        "logged_in": ("0", "1"),
        "is_host_login": ("0",),
        "is_guest_login": ("0", "1"),
    }
)
_SCHEMA = csvfile.Schema(
    columns=(*kdd.FEATURES, "label"), categories=kdd.CATEGORIES | {"label"} | frozenset(_INDICATORS)
)
_NORMAL = "normal"
_ANOMALY_SHARE = 0.2  # of the test rows; anomalies above it are left out
_HALF_SEED = 42  # of the published halves
_SYNTHETIC_SHARE = 0.1
_ROWS = synthetic.counts(
    """smurf:280790 neptune:107201 normal:97278 back:2203 satan:1589 ipsweep:1247 portsweep:1040 warezclient:1020
    teardrop:979 pod:264 nmap:231 guess_passwd:53 buffer_overflow:30 land:21 warezmaster:20 imap:12 rootkit:10
    loadmodule:9 ftp_write:8 multihop:7 phf:4 perl:3 spy:2"""
)


def _read(local: Found, request: Request) -> Reading:
    entry = local.files[0]
    frame, digest = csvfile.read(entry.path, _SCHEMA)
    written = [str(name) for name in frame["label"].cat.categories]
    names = [name.removesuffix(".") for name in written]
    unknown = [name for name, raw in zip(names, written, strict=True) if raw == name or name not in kdd.FAMILY_OF]
    if unknown:
        raise InputError(
            f"{entry.path}: column 42 holds {unknown[0]!r}, where an attack type with a dot at its end was expected.",
            remedy="The file must be kddcup.data_10_percent as published.",
        )
    classes = categorical(frame["label"].cat.codes.to_numpy(), names)
    label = np.asarray(classes == _NORMAL).astype(np.int8)
    table = Table(frame.drop(columns="label"), label, classes)
    return reading(local, {entry.name: digest}, _split(table, request))


def _split(table: Table, request: Request, notes: tuple[str, ...] = ()) -> Split:
    """Half of the rows train, the other half tests; test anomalies are cut to a fifth of the test rows."""
    if request.options["anomaly"] == "attack":
        table = replace(table, label=(1 - table.label).astype(np.int8))
    chosen = np.random.RandomState(_HALF_SEED).choice(len(table), size=round(0.5 * len(table)), replace=False)
    in_train = np.zeros(len(table), np.bool_)
    in_train[chosen] = True
    test = _with_anomaly_share(np.flatnonzero(~in_train), table.label)
    if request.options["anomaly"] == "normal":
        notes = (
            *notes,
            "The anomaly is normal traffic and attacks are the inliers, as in the DAGMM and EGBAD protocol.",
        )
    return Split(table.take(np.flatnonzero(in_train)), table.take(test), vocabulary=_VOCABULARY, notes=notes)


def _with_anomaly_share(rows: npt.NDArray[np.int64], label: npt.NDArray[np.int8]) -> npt.NDArray[np.int64]:
    inliers, anomalies = rows[label[rows] == 0], rows[label[rows] == 1]
    most = int(len(inliers) * _ANOMALY_SHARE / (1 - _ANOMALY_SHARE))
    kept = np.random.RandomState(_HALF_SEED).permutation(anomalies)[:most]
    return np.sort(np.concatenate([inliers, kept]))


def _synthesise(request: Request) -> Split:
    fields = tuple(
        synthetic.Field(field.name, "category", _VOCABULARY[field.name]) if field.name in _VOCABULARY else field
        for field in kdd.fields(kdd.SERVICES_10_PERCENT)
    )
    attacks = sorted(set(_ROWS) - {_NORMAL})
    process = synthetic.CopulaMixture(fields, attacks, seed=request.seed, normal=_NORMAL)
    table = process.table({name: max(2, round(rows * _SYNTHETIC_SHARE)) for name, rows in _ROWS.items()})
    return _split(replace(table, label=(1 - table.label).astype(np.int8)), request, (synthetic.NOTE,))


RECIPE = Recipe(
    read=_read,
    synthesise=_synthesise,
    file_columns=_SCHEMA.columns,
    options={
        "encoding": encoding("onehot-minmax"),
        "scaler_rows": choice("normal", "all", help="training rows on which scaling is fitted"),
        "train_rows": choice("normal", "all", help="training rows kept; validation and test keep both kinds"),
        "anomaly": choice("normal", "attack", help="which kind of traffic is the anomaly"),
    },
    published={"encoding": "onehot", "validation": 0.0},
)
