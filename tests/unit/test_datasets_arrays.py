"""Collider events, ODDS, ADBench and tables of one's own."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat
from support.published import load_published

from harness.datasets import lhco2020, smeft
from harness.datasets.base import load
from harness.datasets.encoded import EncodedDataset
from harness.errors import InputError


def test_lhco2020_arrays_of_cathode() -> None:
    data = load_published("lhco2020", validation=0)
    assert data.verified is True
    assert data.rows == {"train": 60_000, "test": 60_000}
    assert data.train_y.sum() == 395
    assert data.test_y.sum() == 20_000
    assert data.feature_names == lhco2020.CATHODE_COLUMNS


def test_lhco2020_awareness_events_come_labelled_into_training() -> None:
    data = load_published("lhco2020", validation=0, awareness=600, encoding="none")
    assert data.train_y.sum() == 395 + 600
    assert (data.train_x[:, 0] >= 3.3).all()
    assert (data.train_x[:, 0] <= 3.7).all()


def _npy(array: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


_EVENTS = np.column_stack([np.random.default_rng(0).random((30, 5)), np.arange(30) % 2])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (_npy(_EVENTS)[:-9], "is no readable NumPy array"),
        (_npy(_EVENTS[:, :5]), r"holds an array \(30, 5\) of float64; rows of 6"),
        (_npy(_EVENTS * 2), "the last column is the label, 0 or 1; 2 was found"),
        (_npy(np.array([{"a": 1}]), allow_pickle=True), "is no readable NumPy array: Object arrays cannot be loaded"),
        (b"not numpy", "is no readable NumPy array"),
    ],
)
def test_broken_arrays(tmp_path: Path, content: bytes, told: str) -> None:
    for name in ("innerdata_train", "innerdata_test_separated", "innerdata_extrasig_train"):
        (tmp_path / f"{name}.npy").write_bytes(_npy(_EVENTS))
    assert load("lhco2020", directory=tmp_path, synthetic="never").verified is None
    (tmp_path / "innerdata_train.npy").write_bytes(content)
    with pytest.raises(InputError, match=told):
        load("lhco2020", directory=tmp_path, synthetic="never")


def _h5(path: Path, columns: tuple[str, ...]) -> None:
    """A frame as pandas stores it in its fixed format: float columns in one block, the label in another."""
    h5py = pytest.importorskip("h5py")
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        group = file.create_group("df")
        floats = [name for name in columns if name != "label"]
        group["axis0"] = np.array(columns, dtype="S")
        group["block0_items"] = np.array(floats[::-1], dtype="S")
        group["block0_values"] = rng.random((40, len(floats)))
        group["block1_items"] = np.array(["label"], dtype="S")
        group["block1_values"] = (np.arange(40) % 4 == 0).astype(np.int64)[:, None]


def test_lhco2020_features_file(tmp_path: Path) -> None:
    path = tmp_path / "events_anomalydetection_v2.features.h5"
    _h5(path, (*lhco2020.JET_COLUMNS, "label"))
    data = load("lhco2020", directory=tmp_path, synthetic="never", options={"encoding": "none", "validation": 0})
    assert data.feature_names == lhco2020.JET_COLUMNS
    assert sum(data.rows.values()) == 40
    first = np.random.default_rng(0).random((40, 14))[:, -1]
    together = np.concatenate([data.train_x[:, 0], data.test_x[:, 0]])
    np.testing.assert_allclose(np.sort(together), np.sort(first), rtol=1e-6)
    path.unlink()
    _h5(path, (*lhco2020.JET_COLUMNS[1:], "label"))
    with pytest.raises(InputError, match="lacks the column 'pxj1'"):
        load("lhco2020", directory=tmp_path, synthetic="never")
    path.write_bytes(b"no hdf5")
    with pytest.raises(InputError, match="is no readable HDF5 file with a pandas frame"):
        load("lhco2020", directory=tmp_path, synthetic="never")


def test_the_collider_stand_ins_have_the_published_columns_and_shares() -> None:
    events = load("lhco2020", synthetic="always", options={"encoding": "none", "validation": 0, "awareness": 5})
    assert events.feature_names == lhco2020.CATHODE_COLUMNS
    assert events.rows == {"train": 60_005, "test": 60_000}
    assert events.train_y.sum() == 400
    assert (events.test_x[:, 0].min() >= 3.3 - 1e-6, events.test_x[:, 0].max() <= 3.7 + 1e-6) == (True, True)
    higgs = load("smeft", synthetic="always", options={"encoding": "none"})
    assert higgs.feature_names == smeft.COLUMNS
    pt = higgs.train_x[:, smeft.COLUMNS.index("pt_v")]
    assert pt[higgs.train_y == 1].mean() > pt[higgs.train_y == 0].mean(), "an operator grows with energy"
    assert (higgs.train_x[:, smeft.COLUMNS.index("m_vh")] > 91.19 + 125.1).all()


def test_smeft_events_of_ones_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.random((60, len(smeft.COLUMNS))), columns=list(smeft.COLUMNS))
    frame["label"] = np.arange(60) % 5 == 0
    frame["label"] = frame["label"].astype(int)
    path = tmp_path / "smeft_events.csv"
    frame.to_csv(path, index=False)
    data = load("smeft", directory=tmp_path, synthetic="never", options={"validation": 0})
    assert sum(data.rows.values()) == 60
    frame.loc[3, "label"] = 2
    frame.to_csv(path, index=False)
    with pytest.raises(InputError, match=r"line 5: label 0 or 1 expected, 2 found"):
        load("smeft", directory=tmp_path, synthetic="never")


def test_odds_arrhythmia() -> None:
    data = load_published("odds:arrhythmia", protocol="as-published")
    assert data.verified is True
    assert data.rows == {"train": 226, "test": 226}
    assert data.train_x.shape[1] == 274
    assert data.train_y.sum() + data.test_y.sum() == 66
    clean = load_published("odds:arrhythmia")
    assert set(clean.train_y) == {0}
    assert clean.validation_y.sum() > 0


def test_matrix_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((50, 3)), (np.arange(50) % 10 == 0).astype(int)
    (tmp_path / "odds").mkdir()
    (tmp_path / "adbench").mkdir()
    savemat(tmp_path / "odds" / "mine.mat", {"X": x, "y": y[:, None]})
    np.savez(tmp_path / "adbench" / "16_http.npz", X=x, y=y)
    options = {"encoding": "none", "validation": 0, "train_rows": "all"}
    from_odds = load("odds:mine", directory=tmp_path, synthetic="never", options=options)
    from_adbench = load("adbench:http", directory=tmp_path, synthetic="never", options=options)
    np.testing.assert_array_equal(from_odds.test_x, from_adbench.test_x)
    assert sum(from_odds.rows.values()) == 50
    assert (from_odds.name, from_adbench.name) == ("odds:mine", "adbench:http")
    with pytest.raises(InputError, match="'odds:NAME' expected"):
        load("odds")


def test_odds_files_in_hdf5(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    x = np.random.default_rng(0).random((40, 3))
    with h5py.File(tmp_path / "http.mat", "w", userblock_size=512) as file:
        file["X"], file["y"] = x.T, (np.arange(40) % 8 == 0).astype(float)[None]
    data = load("odds:http", directory=tmp_path, synthetic="never", options={"encoding": "none", "train_rows": "all"})
    assert sum(data.rows.values()) == 40
    assert data.train_x.shape[1] == 3


def _npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


_X, _Y = np.random.default_rng(0).random((20, 3)), np.arange(20) % 2


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (_npz(X=_X), "y is not a file in the archive; arrays X and y were expected"),
        (_npz(X=_X, y=_Y[:-1]), "y has 19 entries for 20 rows"),
        (_npz(X=_X, y=_Y + 1), "as many 0 and 1 expected"),
        (_npz(X=_X, y=np.zeros(20)), "y holds a single label"),
        (_npz(X=_X.astype(str), y=_Y), "a matrix of numbers was expected"),
        (_npz(X=_X[0], y=_Y), r"X is \(3,\) of float64"),
        (
            _npz(X=np.array([{}] * 20, dtype=object), y=_Y),
            "is no readable NumPy archive: Object arrays cannot be loaded",
        ),
        (_npz(X=_X, y=_Y)[:-40], "is no readable NumPy archive"),
        (b"PK", "is no readable NumPy archive"),
    ],
)
def test_broken_archives(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(InputError, match=told):
        load("adbench:x", directory=tmp_path, synthetic="never")


@pytest.mark.parametrize("content", [b"MATLAB 5.0 MAT-file" + bytes(200), b"text", bytes(1000)])
def test_broken_matlab_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.mat").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.mat (is no readable MATLAB file|has no variable)"):
        load("odds:x", directory=tmp_path, synthetic="never")


def _table(rows: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "when": pd.date_range("2024-01-01", periods=rows)[rng.permutation(rows)].strftime("%Y-%m-%d"),
            "size": rng.random(rows),
            "port": rng.choice([22, 80], rows),
            "kind": rng.choice(["tcp", "udp"], rows),
            "verdict": np.where(np.arange(rows) % 6 == 0, "scan", "normal"),
        }
    )


def _own(path: Path, **options: Any) -> EncodedDataset:
    return load(f"{path.suffix[1:]}:{path}", options=options)


def test_a_csv_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    _table().to_csv(path, index=False)
    data = _own(path, label="verdict", drop=["when"], categories=["port"])
    assert data.origin == "real"
    assert data.verified is None
    assert data.feature_names == ("size", "port=22", "port=80", "kind=tcp", "kind=udp")
    assert set(data.test_class) == {"normal", "scan"}
    assert data.name == f"csv:{path}"


def test_own_rows_may_be_split_by_time(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    frame = _table()
    frame.to_csv(path, index=False)
    data = _own(path, label="verdict", time="when", encoding="none", validation=0)
    latest = frame.sort_values("when")["size"].to_numpy()[-12:]
    np.testing.assert_allclose(np.sort(data.test_x[:, 0]), np.sort(latest), rtol=1e-6)
    assert "when" not in " ".join(data.feature_names)


def test_own_parquet_equals_own_csv(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    _table().to_csv(tmp_path / "mine.csv", index=False)
    _table().to_parquet(tmp_path / "mine.parquet")
    first, second = (_own(tmp_path / f"mine.{form}", label="verdict", drop=["when"]) for form in ("csv", "parquet"))
    np.testing.assert_array_equal(first.train_x, second.train_x)
    (tmp_path / "mine.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="is no readable Parquet file"):
        _own(tmp_path / "mine.parquet", label="verdict")


@pytest.mark.parametrize(
    ("edit", "options", "told"),
    [
        (lambda frame: frame, {}, "option 'label' must name its label column"),
        (lambda frame: frame, {"label": "nope"}, "has no column 'nope', which option 'label' names. Its columns: when"),
        (lambda frame: frame, {"label": "kind"}, "column 'kind' holds no normal rows: tcp, udp"),
        (lambda frame: frame, {"label": "verdict", "normal": ["normal", "scan"]}, "holds no anomalous rows"),
        (lambda frame: frame, {"label": "verdict", "time": "then"}, "has no column 'then'"),
        (lambda frame: frame, {"label": "verdict", "categories": ["colour"]}, "has no column 'colour'"),
        (lambda frame: frame.iloc[:0], {"label": "verdict"}, "holds no rows"),
        (
            lambda frame: frame.assign(verdict=frame["verdict"].where(frame.index != 4)),
            {"label": "verdict"},
            "line 6: no label in 'verdict'",
        ),
    ],
)
def test_own_tables_that_cannot_be_used(tmp_path: Path, edit: Any, options: dict[str, Any], told: str) -> None:
    path = tmp_path / "mine.csv"
    edit(_table()).to_csv(path, index=False)
    with pytest.raises(InputError, match=told):
        _own(path, **options)


def test_own_files_that_are_missing_or_broken(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    with pytest.raises(InputError, match="is not there"):
        _own(path, label="verdict")
    path.write_text('a,verdict\n1,0\n2,"1\n')
    with pytest.raises(InputError, match=r"mine\.csv.*(EOF|line)"):
        _own(path, label="verdict")
    path.write_bytes(b"a,verdict\n\xff\xfe,0\n")
    with pytest.raises(InputError, match="UTF-8"):
        _own(path, label="verdict")
    with pytest.raises(InputError, match="there is no stand-in for it"):
        load(f"csv:{path}", synthetic="always")
