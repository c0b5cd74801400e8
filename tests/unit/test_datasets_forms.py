"""Published data sets in the forms that people have: smaller parts, headers, ARFF, raw captures, other names."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.datasets import kdd, registry, unsw_nb15
from harness.datasets.base import load
from harness.errors import InputError

_ZEROS, _ONES = ",".join(["0"] * 37), ",".join(["1.00"] * 37)
_NORMAL, _ATTACK = f"0,tcp,http,SF,{_ZEROS}", f"5,udp,private,S0,{_ONES}"
_HEADER = ",".join(kdd.FEATURES)


def _lines(end_normal: str, end_attack: str, head: str = "") -> str:
    return head + "".join(f"{_NORMAL}{end_normal}\n{_ATTACK}{end_attack}\n" for _ in range(10))


def _write(folder: Path, **files: str) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


_PUBLISHED = _lines(",normal,20", ",neptune,21")
_ARFF = "".join(
    (
        "@relation 'KDDTrain'\n",
        *(
            f"@attribute '{name}' {{'a', 'b'}}\n" if name in kdd.CATEGORIES else f"@attribute '{name}' real\n"
            for name in kdd.FEATURES
        ),
        "@attribute 'class' {'normal', 'anomaly'}\n@data\n",
    )
)


@pytest.mark.parametrize(
    ("name", "text", "attack"),
    [
        pytest.param("KDDTrain+.txt", _lines(",normal", ",neptune"), "neptune", id="without-difficulty"),
        pytest.param("KDDTrain+.txt", _lines(",20,normal", ",21,neptune"), "neptune", id="label-last"),
        pytest.param(
            "KDDTrain+.csv", _lines(",normal,20", ",neptune,21", f"{_HEADER},labels,level\n"), "neptune", id="header"
        ),
        pytest.param(
            "kdd_train.csv", _lines(",normal", ",neptune", f"{_HEADER.upper()},Class\n"), "neptune", id="capitals"
        ),
        pytest.param(
            "NSL_KDD_Train.csv", _lines(",20,Normal", ",21,Attack", f"{_HEADER},difficulty level,outcome\n"),
            "anomaly", id="binary-labels",
        ),
        pytest.param("Train_data.csv", _lines(",normal", ",anomaly", f"{_HEADER},class\n"), "anomaly", id="kaggle"),
        pytest.param("KDDTrain+.arff", _lines(",normal", ",anomaly", _ARFF), "anomaly", id="arff"),
        pytest.param("KDDTrain+_20Percent.txt", _PUBLISHED, "neptune", id="20-percent"),
    ],
)  # fmt: skip
def test_nsl_kdd_in_the_forms_of_its_mirrors(tmp_path: Path, name: str, text: str, attack: str) -> None:
    test = name.replace("Train", "Test").replace("train", "test").replace("_20Percent", "")
    _write(tmp_path / "NSL_KDD", **{name: text, test: _PUBLISHED if "20Percent" in name else text})
    data = load("nsl-kdd", directory=tmp_path, options={"encoding": "none", "validation": 0.0}, synthetic="never")
    assert data.test_class is not None
    assert set(data.test_class) == {"normal", "neptune" if "20Percent" in name else attack}
    assert (data.test_y == (data.test_class != "normal")).all()
    assert data.train_x[data.train_y == 1, list(data.feature_names).index("duration")].tolist() == [5.0] * 10


def test_a_form_is_chosen_where_several_are_here(tmp_path: Path) -> None:
    _write(
        tmp_path,
        **{
            "KDDTrain+.txt": _PUBLISHED,
            "KDDTest+.txt": _PUBLISHED,
            "KDDTest-21.txt": f"{_ATTACK},ps,1\n{_NORMAL},normal,20\n",
        },
    )
    for form, rows in ((None, 20), ("text", 20), ("test-21", 2)):
        options = {} if form is None else {"form": form}
        data = load("nsl-kdd", directory=tmp_path, options=options, synthetic="never")
        assert data.rows["test"] == rows
        assert any("KDDTest-21" in note for note in data.notes) == (form == "test-21")
    with pytest.raises(InputError, match="has no form 'test21'") as raised:
        load("nsl-kdd", directory=tmp_path, options={"form": "test21"}, synthetic="never")
    assert "test-21" in (raised.value.remedy or "")


def test_wrong_column_names_get_the_nearest_one(tmp_path: Path) -> None:
    header = _HEADER.replace("srv_serror_rate", "srv_error_rate", 1)
    _write(tmp_path, **{name: _lines(",normal", ",pod", f"{header},label\n") for name in ("Train.txt", "Test.txt")})
    with pytest.raises(InputError, match=r"1 of 42 expected columns missing: 'srv_serror_rate'") as raised:
        load("nsl-kdd", directory=tmp_path, synthetic="never")
    assert "Is 'srv_error_rate' meant for 'srv_serror_rate'?" in (raised.value.remedy or "")


@pytest.mark.parametrize(
    ("files", "rows", "note"),
    [
        pytest.param({"kddcup.data": _lines(",normal.", ",smurf.")}, None, "4,898,431", id="full"),
        pytest.param({"kddcup.data.corrected": _lines(",normal.", ",smurf.")}, None, "4,898,431", id="full-corrected"),
        pytest.param({"corrected": _lines(",normal.", ",mailbomb.")}, None, "Only the competition's", id="corrected"),
        pytest.param(
            {
                "kddcup.data_10_percent_corrected": _lines(",normal.", ",smurf."),
                "corrected": f"{_ATTACK},ps.\n{_NORMAL},normal.\n" * 2,
            },
            4, "corrected labels", id="competition",
        ),
        pytest.param(
            {"kddcup.data_10_percent.csv": _lines(",normal", ",smurf", f"{_HEADER},label\n")}, None, "", id="header"
        ),
    ],
)  # fmt: skip
def test_kdd_cup_99_in_its_published_forms(tmp_path: Path, files: dict[str, str], rows: int | None, note: str) -> None:
    _write(tmp_path, **files)
    options = {"anomaly": "attack", **({"form": "competition"} if rows else {})}
    data = load("kddcup99", directory=tmp_path, options=options, synthetic="never")
    assert rows in (None, data.rows["test"])
    assert any(note in text for text in data.notes)
    assert not np.isnan(data.test_x).any()
    assert len(data.feature_names) >= 121


def _raw_flow(time: int, attack: str = "", **values: str) -> str:
    """A line of the raw UNSW-NB15 files: blanks for a flow without FTP, ports in hexadecimal, an untidy category."""
    row = dict.fromkeys(unsw_nb15._RAW_COLUMNS, "0") | {
        "srcip": "59.166.0.0", "sport": "0x000b", "dstip": "149.171.126.6", "dsport": "-", "proto": "tcp",
        "state": "FIN", "service": "-", "stime": str(time), "ct_flw_http_mthd": "", "is_ftp_login": " ",
        "ct_ftp_cmd": " ", "attack_cat": attack, "label": str(int(bool(attack))), **values,
    }  # fmt: skip
    return ",".join(row.values())


def test_unsw_nb15_as_captured_is_split_by_time(tmp_path: Path) -> None:
    late, early = range(100, 200), range(100)
    for number, times in ((1, late), (3, early)):  # not in the order of time, and not all four
        lines = [_raw_flow(time, (" Fuzzers ", "Backdoors")[time % 2] if time % 5 == 0 else "") for time in times]
        (tmp_path / f"UNSW-NB15_{number}.csv").write_bytes("".join(f"{line}\r\n" for line in lines).encode())
    options = {"encoding": "none", "validation": 0.0}
    data = load("unsw-nb15", directory=tmp_path, options=options, synthetic="never")
    assert data.rows == {"train": 160, "test": 40}
    assert data.test_class is not None
    assert set(data.test_class) == {"Normal", "Fuzzers", "Backdoor"}
    assert data.prevalence == 0.2
    assert "rate" not in data.feature_names
    assert not np.isnan(data.train_x).any()
    assert any("no official parts" in note for note in data.notes)
    (tmp_path / "UNSW-NB15_1.csv").write_text(_raw_flow(1, "Worms", label="0") + "\n")
    (tmp_path / "UNSW-NB15_3.csv").unlink()
    with pytest.raises(InputError, match=r"line 1: label 0 contradicts 'Worms'"):
        load("unsw-nb15", directory=tmp_path, options=options, synthetic="never")


@pytest.mark.parametrize(
    ("dataset", "place"),
    [
        ("cicids2017", "MachineLearningCVE/Monday-WorkingHours.pcap_ISCX.csv"),
        ("cicids2017", "anything/Monday-WorkingHours.pcap_ISCX.csv"),
        ("cicids2017", "CICIDS2017/cleaned/all_days.csv"),
        ("cic-ids2018", "02-14-2018.csv"),
        ("cic-ids2018", "CSE-CIC-IDS2018/Friday-02-03-2018_TrafficForML_CICFlowMeter.csv"),
        ("tabformer", "credit_card_transactions-ibm_v2.csv"),
        ("unsw-nb15", "Training and Testing Sets/UNSW_NB15_testing-set.csv.zip"),
        ("adbench:cover", "Classical/10_cover.npz"),
        ("odds:http", "HTTP.mat"),
        ("cic-ids2018", "ids-intrusion-csv/02-14-2018.csv.bz2"),
    ],
)
def test_names_and_folders_of_mirrors(tmp_path: Path, dataset: str, place: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    local = registry.find(dataset, [tmp_path])
    assert local is not None
    assert [entry.path for entry in local.files] == [path]


@pytest.mark.parametrize(
    ("header", "normal", "attack", "name"),
    [
        ("Flow Duration,Label", "BENIGN", "Bot", "Bot"),
        ("Flow Duration,label", "0", "1", "1"),
        ("Label,Flow Duration,class", "x,0", "y,1.0", "1.0"),
        ("Flow Duration,Attack Type", "Normal Traffic", "DDoS", "DDoS"),
    ],
)
def test_flows_with_their_label_under_another_name(
    tmp_path: Path, header: str, normal: str, attack: str, name: str
) -> None:
    middle = "Label,Flow" in header  # a column called so that holds something else: the last one is the label
    if middle:
        header = header.replace("Label", "Category")
    rows = [(attack if row % 4 == 0 else normal).split(",") for row in range(40)]
    lines = [f"{cells[0]},{row},{cells[1]}" if middle else f"{row},{cells[0]}" for row, cells in enumerate(rows)]
    folder = tmp_path / "cicids2017"
    folder.mkdir()
    text = "".join(f"{line}\n" for line in lines)
    if middle:
        text = text.replace("x,", "7,").replace("y,", "8,")
    (folder / "flows.csv").write_text(f"{header}\n{text}")
    data = load("cicids2017", directory=tmp_path, options={"split": "random"}, synthetic="never")
    assert data.train_class is not None
    assert data.test_class is not None
    assert data.test_y.sum() == 2
    assert name in set(data.test_class)


def test_flows_of_which_none_is_benign_are_refused(tmp_path: Path) -> None:
    (tmp_path / "Friday.pcap_ISCX.csv").write_text("Flow Duration,Label\n" + "1,Bot\n2,DDoS\n" * 5)
    with pytest.raises(InputError, match="no flow is labelled benign; labels are Bot, DDoS"):
        load("cicids2017", directory=tmp_path, synthetic="never")


def _npz(y: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, X=np.random.default_rng(0).random((len(y), 3)), y=np.asarray(y))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("y", "options", "anomalies", "note"),
    [
        ([0] * 45 + [1] * 5, {}, 5, "normal = 0 (45 rows), anomalies = 1 (5)"),
        ([1] * 45 + [-1] * 5, {}, 5, "normal = 1 (45 rows), anomalies = -1 (5)"),
        ([-1.0] * 45 + [1.0] * 5, {}, 5, "normal = -1 (45 rows), anomalies = 1 (5)"),
        ([1] * 45 + [2] * 5, {}, 5, "normal = 1 (45 rows), anomalies = 2 (5)"),
        ([1] * 25 + [2] * 25, {"normal": 2}, 25, "normal = 2 (25 rows), anomalies = 1 (25)"),
        ([0] * 5 + [1] * 45, {}, 45, "normal = 0 (5 rows), anomalies = 1 (45)"),
        ([True] * 5 + [False] * 45, {}, 5, "normal = 0 (45 rows)"),
    ],
)  # fmt: skip
def test_ways_to_write_two_labels(
    tmp_path: Path, y: list[float], options: dict[str, Any], anomalies: int, note: str
) -> None:
    (tmp_path / "x.npz").write_bytes(_npz(y))
    data = load("adbench:x", directory=tmp_path, options={"train_rows": "all", **options}, synthetic="never")
    assert data.validation_y is not None
    assert sum(int(part.sum()) for part in (data.train_y, data.validation_y, data.test_y)) == anomalies
    assert any(note in text for text in data.notes)


@pytest.mark.parametrize(
    ("y", "told"),
    [
        ([-1] * 25 + [1] * 25, r"y holds -1 \(25 rows\), 1 \(25 rows\), neither of them rare"),
        ([0] * 45 + [2] * 5, r"y holds 0 \(45 rows\), 2 \(5 rows\); as many 0 and 1 expected"),
        ([0, 1, 2] * 10, r"y holds 0 \(10 rows\), 1 \(10 rows\), 2"),
        ([0, np.nan] * 10, "as many 0 and 1 expected"),
    ],
)
def test_labels_that_cannot_be_told(tmp_path: Path, y: list[float], told: str) -> None:
    (tmp_path / "x.npz").write_bytes(_npz(y))
    with pytest.raises(InputError, match=told):
        load("adbench:x", directory=tmp_path, synthetic="never")


def test_mnist_as_csv(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 784))
    pixels[:, [0, -1]] = 0  # corners of real images are black
    digits = np.arange(40) % 10
    for first, header in ((True, True), (True, False), (False, True), (False, False)):
        rows = np.column_stack([digits, pixels] if first else [pixels, digits])
        names = ["label", *(f"pixel{place}" for place in range(784))]
        head = ",".join(names if first else [*names[1:], "class"]) + "\n" if header else ""
        text = head + "".join(",".join(map(str, row)) + "\n" for row in rows.tolist())
        for name in ("mnist_train.csv", "mnist_test.csv"):
            (tmp_path / name).write_text(text)
        data = load("mnist", directory=tmp_path, options={"encoding": "none"}, synthetic="never")
        assert data.test_y.sum() == 8  # every image of the digit 0
        assert len(data.feature_names) == 784
        assert data.train_x.max() == pixels.max()
    (tmp_path / "mnist_test.csv").write_text(text.replace("\n", ",1\n"))
    with pytest.raises(InputError, match=r"a digit and 784 pixels expected in a line, 786 values found"):
        load("mnist", directory=tmp_path, synthetic="never")


def test_a_filter_that_h5py_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.mat", "w") as file:
        file.create_dataset("X", data=np.zeros((3, 20)), compression="gzip")
        file.create_dataset("y", data=np.zeros((1, 20)))
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda _code: False)
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    with pytest.raises(InputError, match=r"x\.mat is compressed with the HDF5 filter deflate.*hdf5plugin"):
        load("odds:x", directory=tmp_path, synthetic="never")
