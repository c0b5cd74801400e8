"""NSL-KDD: KDDTrain+ and KDDTest+, their parts (20 %, Test-21) and copies; 41 features and the type of attack."""

from __future__ import annotations

from dataclasses import replace

from harness.datasets import kdd, synthetic
from harness.datasets.options import choice, encoding
from harness.datasets.recipe import Reading, Recipe, Request, reading
from harness.datasets.store import Found
from harness.datasets.table import Split

# Rows per class in the published files. The stand-in has as many, so its test attacks, too, include types that its
# training rows do not hold.
_TRAIN_ROWS = synthetic.counts(
    """normal:67343 neptune:41214 satan:3633 ipsweep:3599 portsweep:2931 smurf:2646 nmap:1493 back:956 teardrop:892
    warezclient:890 pod:201 guess_passwd:53 buffer_overflow:30 warezmaster:20 land:18 imap:11 rootkit:10 loadmodule:9
    ftp_write:8 multihop:7 phf:4 perl:3 spy:2"""
)
_TEST_ROWS = synthetic.counts(
    """normal:9711 neptune:4657 guess_passwd:1231 mscan:996 warezmaster:944 apache2:737 satan:735 processtable:685
    smurf:665 back:359 snmpguess:331 saint:319 mailbomb:293 snmpgetattack:178 portsweep:157 ipsweep:141 httptunnel:133
    nmap:73 pod:41 buffer_overflow:20 multihop:18 named:17 ps:15 sendmail:14 xterm:13 rootkit:13 teardrop:12 xlock:9
    land:7 xsnoop:4 ftp_write:3 worm:2 udpstorm:2 sqlattack:2 phf:2 perl:2 loadmodule:2 imap:1"""
)


def _read(local: Found, request: Request) -> Reading:
    """The first file of a variant trains, the second one tests."""
    tables, digests = [], {}
    for entry in local.files:
        table, digests[entry.name] = kdd.read(entry.path)
        tables.append(table)
    return reading(local, digests, _by(Split(tables[0], tables[1]), request))


def _synthesise(request: Request) -> Split:
    attacks = sorted((set(_TRAIN_ROWS) | set(_TEST_ROWS)) - {kdd.NORMAL})
    process = synthetic.CopulaMixture(kdd.fields(kdd.SERVICES), attacks, seed=request.seed, normal=kdd.NORMAL)
    rows = request.options["rows"]
    train, test = (
        process.table(synthetic.thinned(counts, rows, normal=kdd.NORMAL)) for counts in (_TRAIN_ROWS, _TEST_ROWS)
    )
    return _by(Split(train, test, notes=(synthetic.NOTE,)), request)


def _by(split: Split, request: Request) -> Split:
    if request.options["classes"] == "family":
        split = replace(split, train=kdd.by_family(split.train), test=kdd.by_family(split.test))
    return replace(split, fit=split.train if request.published else None)


RECIPE = Recipe(
    read=_read,
    synthesise=_synthesise,
    file_columns=(*kdd.FEATURES, "label", "difficulty"),
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
)
