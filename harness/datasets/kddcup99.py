"""KDD Cup 99, 10 % file, with the protocol of DAGMM, EGBAD and ALAD: attacks are inliers, normal traffic the anomaly.

Source of the protocol: Zong et al. 2018 (DAGMM), section 4.1; Zenati et al. 2018 (EGBAD) and its published code, which
computes a min-max scaling and does not use it, so that the published figures rest on raw features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from harness.datasets import kdd, synthetic
from harness.datasets.options import choice, encoding
from harness.datasets.recipe import Reading, Recipe, Request, reading
from harness.datasets.store import Found
from harness.datasets.table import Split, Table

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
_ANOMALY_SHARE = 0.2  # of the test rows; anomalies above it are left out
_HALF_SEED = 42  # of the published halves
_SYNTHETIC_SHARE = 0.1
_ROWS = synthetic.counts(
    """smurf:280790 neptune:107201 normal:97278 back:2203 satan:1589 ipsweep:1247 portsweep:1040 warezclient:1020
    teardrop:979 pod:264 nmap:231 guess_passwd:53 buffer_overflow:30 land:21 warezmaster:20 imap:12 rootkit:10
    loadmodule:9 ftp_write:8 multihop:7 phf:4 perl:3 spy:2"""
)


def _read(local: Found, request: Request) -> Reading:
    tables, digests = [], {}
    for entry in local.files:
        table, digests[entry.name] = kdd.read(entry.path, _INDICATORS, dotted=True)
        tables.append(replace(table, label=(1 - table.label).astype(np.int8)))
    if len(tables) == 2:
        vocabulary = _vocabulary(tables)
        notes = ("The competition's split: the test file holds kinds of attacks that the training file does not.",)
        train, test = (_oriented(table, request) for table in tables)
        return reading(local, digests, Split(train, test, vocabulary=vocabulary, notes=notes))
    return reading(local, digests, _split(tables[0], request))


def _vocabulary(tables: Sequence[Table]) -> Mapping[str, tuple[str, ...]]:
    """The fixed values, and those that only the full file or the test file holds."""
    columns = {name: [table.features[name].cat.categories for table in tables] for name in _VOCABULARY}
    present = {name: {str(value) for column in columns[name] for value in column} for name in columns}
    return {name: (*values, *sorted(present[name] - set(values))) for name, values in _VOCABULARY.items()}


def _oriented(table: Table, request: Request) -> Table:
    return replace(table, label=(1 - table.label).astype(np.int8)) if request.options["anomaly"] == "attack" else table


def _split(table: Table, request: Request, notes: tuple[str, ...] = ()) -> Split:
    """Half of the rows train, the other half tests; test anomalies are cut to a fifth of the test rows."""
    table = _oriented(table, request)
    chosen = np.random.RandomState(_HALF_SEED).choice(len(table), size=round(0.5 * len(table)), replace=False)
    in_train = np.zeros(len(table), np.bool_)
    in_train[chosen] = True
    test = _with_anomaly_share(np.flatnonzero(~in_train), table.label)
    if request.options["anomaly"] == "normal":
        notes = (
            *notes,
            "The anomaly is normal traffic and attacks are the inliers, as in the DAGMM and EGBAD protocol.",
        )
    return Split(table.take(np.flatnonzero(in_train)), table.take(test), vocabulary=_vocabulary([table]), notes=notes)


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
    attacks = sorted(set(_ROWS) - {kdd.NORMAL})
    process = synthetic.CopulaMixture(fields, attacks, seed=request.seed, normal=kdd.NORMAL)
    table = process.table({name: max(2, round(rows * _SYNTHETIC_SHARE)) for name, rows in _ROWS.items()})
    return _split(replace(table, label=(1 - table.label).astype(np.int8)), request, (synthetic.NOTE,))


RECIPE = Recipe(
    read=_read,
    synthesise=_synthesise,
    file_columns=(*kdd.FEATURES, "label"),
    options={
        "encoding": encoding("onehot-minmax"),
        "scaler_rows": choice("normal", "all", help="training rows on which scaling is fitted"),
        "train_rows": choice("normal", "all", help="training rows kept; validation and test keep both kinds"),
        "anomaly": choice("normal", "attack", help="which kind of traffic is the anomaly"),
    },
    published={"encoding": "onehot", "validation": 0.0},
)
