"""The published data sets: canonical files, digests, addresses and terms. ``None`` stands for what is not confirmed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from harness.datasets.catalogue import DataFile, DatasetSpec, Download, Variant

_NSL_KDD = "https://raw.githubusercontent.com/defcom17/NSL_KDD/master/"
_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_TABFORMER = "https://media.githubusercontent.com/media/IBM/TabFormer/main/data/credit_card/transactions.tgz"
_UNSW_82332_ROWS = "734fe6642edf758f7c94d7d9149426b49d202fe8e7bf0bef47392489c3c0a559"
# Copies differ in which name holds which part, so that the digest of a part fits either name.
_UNSW_PARTS = (
    DataFile("UNSW_NB15_training-set.csv", genuine=(_UNSW_82332_ROWS,)),
    DataFile("UNSW_NB15_testing-set.csv", genuine=(_UNSW_82332_ROWS,)),
)

MEMBER_DIGESTS: Mapping[str, str] = MappingProxyType(  # files of families (odds, adbench) whose sha256 is known
    {"arrhythmia.mat": "e4d47e499591ae31e5d7f0cd983367092353eac240f48e14c9b36457edb3460d"}
)


def _plain(name: str, url: str, sha256: str, size: int) -> DataFile:
    return DataFile(name, sha256, download=Download(url, sha256, size))


def _idx(name: str, sha256: str, packed_sha256: str, packed_size: int) -> DataFile:
    return DataFile(name, sha256, download=Download(f"{_MNIST}{name}.gz", packed_sha256, packed_size))


SPECS: tuple[DatasetSpec, ...] = (
    DatasetSpec(
        name="nsl-kdd",
        title="NSL-KDD: network connections, 41 features, KDDTrain+ and KDDTest+",
        module="nsl_kdd",
        variants=(
            Variant(
                "text",
                (
                    _plain(
                        "KDDTrain+.txt",
                        _NSL_KDD + "KDDTrain%2B.txt",
                        "1b86d2f957b33082081bba410fe129b475efebcc13c9014c3f447c8271aadf95",
                        19_109_424,
                    ),
                    _plain(
                        "KDDTest+.txt",
                        _NSL_KDD + "KDDTest%2B.txt",
                        "fa46b0935342616aa83b7c2578db355b6a7aaabbc492248172c7a1e8b7ab8f84",
                        3_441_513,
                    ),
                ),
            ),
        ),
        publisher="https://www.unb.ca/cic/datasets/nsl.html",
        terms=None,
    ),
    DatasetSpec(
        name="kddcup99",
        title="KDD Cup 99, 10 %: network connections, protocol of DAGMM, EGBAD and ALAD",
        module="kddcup99",
        variants=(
            Variant(
                "10-percent",
                (
                    DataFile(
                        "kddcup.data_10_percent",
                        sha256="f8c8267ebcd9c0ed1fd7d6277fe5bfff8732e9b7db8e61b873542b2a534b6f9a",
                        aliases=("kddcup.data_10_percent_corrected",),
                        download=Download(
                            "https://ndownloader.figshare.com/files/5976042",
                            sha256="8045aca0d84e70e622d1148d7df782496f6333bf6eb979a1b0837c42a9fd9561",
                            size=2_144_903,
                            saved_as="kddcup.data_10_percent.gz",
                        ),
                    ),
                ),
            ),
        ),
        publisher="https://kdd.ics.uci.edu/databases/kddcup99/kddcup99.html",
        terms=None,
    ),
    DatasetSpec(
        name="unsw-nb15",
        title="UNSW-NB15: network flows, 42 features, 9 attack categories",
        module="unsw_nb15",
        variants=(Variant("both-parts", _UNSW_PARTS), Variant("one-part", _UNSW_PARTS, "any")),
        publisher="https://research.unsw.edu.au/projects/unsw-nb15-dataset",
        terms=None,
    ),
    DatasetSpec(
        name="cicids2017",
        title="CICIDS2017: CICFlowMeter flows of five days, original or improved labels",
        module="cicids2017",
        variants=(
            Variant(
                "improved",
                tuple(
                    DataFile(f"{day}.csv", aliases=(f"{day.capitalize()}-WorkingHours.csv",))
                    for day in ("monday", "tuesday", "wednesday", "thursday", "friday")
                ),
                "any",
            ),
            Variant("machine-learning-csv", (DataFile("*.pcap_ISCX.csv"),), "any"),
            Variant(
                "improved-sample",
                (
                    DataFile(
                        "cicids2017_improved_rnd5000_all.csv",
                        sha256="9402e00d71bf57c43ffcd7f2faa2510c7f993381ba8869e61f40ea9294930ad9",
                    ),
                ),
            ),
        ),
        publisher="https://www.unb.ca/cic/datasets/ids-2017.html",
        terms="for researchers, to be cited",
    ),
    DatasetSpec(
        name="cic-ids2018",
        title="CSE-CIC-IDS2018: CICFlowMeter flows of ten days",
        module="cic_ids2018",
        variants=(Variant("csv", (DataFile("*_TrafficForML_CICFlowMeter.csv"),), "any"),),
        publisher="https://www.unb.ca/cic/datasets/ids-2018.html",
        terms=None,
    ),
    DatasetSpec(
        name="mawiflow",
        title="MAWIFlow: backbone flows in CICFlowMeter format, MAWILab v1.1 labels",
        module="mawiflow",
        variants=(Variant("flows", (DataFile("*.parquet"), DataFile("*.csv")), "any"),),
        publisher="https://github.com/TheLurps/MAWIFlow",
        terms="MAWILab data: all rights reserved by the MAWILab project",
    ),
    DatasetSpec(
        name="mnist",
        title="MNIST: 70,000 handwritten digits, one digit held out as anomaly",
        module="mnist",
        variants=(
            Variant(
                "idx",
                (
                    _idx(
                        "train-images-idx3-ubyte",
                        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                        9_912_422,
                    ),
                    _idx(
                        "train-labels-idx1-ubyte",
                        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                        28_881,
                    ),
                    _idx(
                        "t10k-images-idx3-ubyte",
                        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                        1_648_877,
                    ),
                    _idx(
                        "t10k-labels-idx1-ubyte",
                        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                        4_542,
                    ),
                ),
            ),
        ),
        publisher="https://yann.lecun.com/exdb/mnist/",
        terms="CC BY-SA 3.0",
    ),
    DatasetSpec(
        name="digits",
        title="Digits of scikit-learn: 1,797 handwritten digits, 8 by 8, nothing to download",
        module="digits",
        variants=(Variant("embedded", ()),),
        publisher="https://archive.ics.uci.edu/dataset/80",
        terms=None,
    ),
    DatasetSpec(
        name="tabformer",
        title="IBM TabFormer: card transactions of 20 years, as windows per card",
        module="tabformer",
        variants=(
            Variant(
                "all-users",
                (
                    DataFile(
                        "card_transaction.v1.csv",
                        download=Download(
                            _TABFORMER,
                            sha256="e9f589a0958f40d60f81b1a2e8428db86e00c05755caf44fb055827976c0efa2",
                            size=278_576_638,
                            member="card_transaction.v1.csv",
                        ),
                    ),
                ),
            ),
            Variant(
                "one-user",
                (
                    DataFile(
                        "User0_credit_card_transactions.csv",
                        sha256="61c4ed49a98bf924c5df0a740e1c415b91624c83821f8415bd8db34c2d6a0d3c",
                    ),
                ),
            ),
        ),
        publisher="https://github.com/IBM/TabFormer",
        terms="repository: Apache-2.0",
    ),
    DatasetSpec(
        name="lhco2020",
        title="LHC Olympics 2020: dijet events, a resonance as anomaly",
        module="lhco2020",
        variants=(
            Variant(
                "cathode",
                (
                    DataFile(
                        "innerdata_train.npy",
                        genuine=("8396ee7d5ced347cf533bd382ff4b0e5cdba8a02a5eb7273a96af0b819045bd2",),
                    ),
                    DataFile(
                        "innerdata_test_separated.npy",
                        genuine=("413159262fd166ced866414cb7b9702152ceda35ae0f08f269182e07389e1755",),
                    ),
                    DataFile(
                        "innerdata_extrasig_train.npy",
                        genuine=("3756386db6a21fb1234e6496ce530d4d4ea2fcfe30c022cfb71b8e94cf038829",),
                    ),
                ),
            ),
            Variant("features", (DataFile("events_anomalydetection_v2.features.h5"),)),
        ),
        publisher="https://zenodo.org/records/4536377",
        terms=None,
    ),
    DatasetSpec(
        name="smeft",
        title="SMEFT: Higgs production with leptons, an effective operator as anomaly",
        module="smeft",
        variants=(Variant("csv", (DataFile("smeft_events.csv"),)),),
        publisher="https://arxiv.org/abs/2504.11520",
        terms=None,
    ),
    DatasetSpec(
        name="odds",
        title="ODDS library: outlier-detection benchmarks as MATLAB files",
        module="odds",
        variants=(Variant("mat", (DataFile("{}.mat"),)),),
        publisher="https://odds.cs.stonybrook.edu/",
        terms=None,
        parameter="NAME",
    ),
    DatasetSpec(
        name="adbench",
        title="ADBench: classical anomaly-detection benchmarks as NumPy archives",
        module="adbench",
        variants=(Variant("npz", (DataFile("*_{}.npz", aliases=("{}.npz",)),)),),
        publisher="https://github.com/Minqi824/ADBench",
        terms=None,
        parameter="NAME",
    ),
    DatasetSpec(
        name="csv",
        title="A table of your own, with a label column",
        module="own_table",
        variants=(),
        publisher="",
        terms=None,
        parameter="PATH",
    ),
    DatasetSpec(
        name="parquet",
        title="A table of your own, with a label column",
        module="own_table",
        variants=(),
        publisher="",
        terms=None,
        parameter="PATH",
    ),
)
