"""NSL-KDD: KDDTrain+ and KDDTest+, 41 features, attack type and difficulty, no header."""

from __future__ import annotations

import numpy as np

from harness.datasets import csvfile, kdd
from harness.datasets.options import choice, encoding
from harness.datasets.recipe import Reading, Recipe, Request, digests_and_verdict
from harness.datasets.store import Found, FoundFile
from harness.datasets.synthetic import NOTE, CopulaMixture, class_counts
from harness.datasets.table import Split, Table
from harness.errors import InputError

_SCHEMA = csvfile.Schema(
    columns=(*kdd.FEATURES, "label", "difficulty"),
    categories=kdd.CATEGORIES | {"label"},
    keep=(*kdd.FEATURES, "label"),
)
_NORMAL = "normal"

# Rows per class in the published files; the stand-in keeps these shares, and its test attacks include types that its
# training rows do not hold, as the published test file does.
_TRAIN_SHARES = {"normal": 67_343, "neptune": 41_214, "satan": 3_633, "ipsweep": 3_599, "portsweep": 2_931,
                 "smurf": 2_646, "nmap": 1_493, "back": 956, "teardrop": 892, "warezclient": 890, "pod": 201,
                 "guess_passwd": 53, "buffer_overflow": 30, "warezmaster": 20, "rootkit": 10}  # fmt: skip
_TEST_SHARES = {"normal": 9_711, "neptune": 4_657, "guess_passwd": 1_231, "mscan": 996, "warezmaster": 944,
                "apache2": 737, "satan": 735, "processtable": 685, "smurf": 665, "back": 359, "snmpguess": 331,
                "saint": 319, "mailbomb": 293, "snmpgetattack": 178, "portsweep": 157, "ipsweep": 141,
                "httptunnel": 133, "nmap": 73, "pod": 41, "buffer_overflow": 20, "rootkit": 13}  # fmt: skip
_TRAIN_ROWS, _TEST_ROWS = 125_973, 22_544


def _read(found: Found, request: Request) -> Reading:
    train, train_digest = _table(found.path("KDDTrain+.txt"))
    test, test_digest = _table(found.path("KDDTest+.txt"))
    digests, verified = digests_and_verdict(found, {"KDDTrain+.txt": train_digest, "KDDTest+.txt": test_digest})
    return Reading(_by(Split(train, test), request), digests, verified)


def _table(found: FoundFile) -> tuple[Table, str]:
    frame, digest = csvfile.read(found.path, _SCHEMA)
    classes = frame["label"].array
    unknown = sorted(set(map(str, classes.categories)) - set(kdd.FAMILY_OF))
    if unknown:
        raise InputError(
            f"{found.path}: column 42 holds {unknown[0]!r}, which is no attack type of NSL-KDD.",
            remedy="The file must be KDDTrain+.txt or KDDTest+.txt as published, without a header.",
        )
    label = np.asarray(classes != _NORMAL).astype(np.int8)
    return Table(frame.drop(columns="label"), label, classes), digest


def _synthesise(request: Request) -> Split:
    attacks = sorted((set(_TRAIN_SHARES) | set(_TEST_SHARES)) - {_NORMAL})
    process = CopulaMixture(kdd.fields(kdd.SERVICES), attacks, seed=request.seed, normal=_NORMAL)
    train = process.table(class_counts(_TRAIN_SHARES, _TRAIN_ROWS))
    test = process.table(class_counts(_TEST_SHARES, _TEST_ROWS))
    return _by(Split(train, test, notes=(NOTE,)), request)


def _by(split: Split, request: Request) -> Split:
    if request.options["classes"] == "type":
        return split
    return Split(kdd.by_family(split.train), kdd.by_family(split.test), notes=split.notes)


RECIPE = Recipe(
    read=_read,
    synthesise=_synthesise,
    options={
        "encoding": encoding("onehot-log-minmax"),
        "classes": choice("type", "family", help="attack types, or the families dos, probe, r2l, u2r"),
        "refit": choice(
            "none", "encoders", "encoders+scaler", help="what is fitted again on the test rows; as-published only"
        ),
    },
    # The source document encodes with one LabelEncoder per column, fitted again on the test file, and scales all rows
    # before it sets 20 % aside. Its MLP also fits the scaler again on the test file; its autoencoder keeps the scaler
    # of the normal training rows ("encoders").
    published={"encoding": "ordinal-standard", "refit": "encoders+scaler"},
    fits_before_split=True,
)
