"""UNSW-NB15 and CICFlowMeter files: known counts, and the defects of the published files."""

from __future__ import annotations

import io
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.published import load_published, published_path

from harness.datasets import cicflow, csvfile, flow_sets, unsw_nb15
from harness.datasets.base import load
from harness.datasets.encoded import EncodedDataset
from harness.errors import InputError


def test_unsw_one_part_is_split_at_random_without_equal_rows_on_both_sides() -> None:
    data = load_published("unsw-nb15")
    rows = data.rows
    assert sum(rows.values()) == 82_332
    assert data.verified is True
    assert data.duplicates["test_in_train"] == 0
    assert rows["test"] / 82_332 == pytest.approx(0.2, abs=0.01)
    assert any("Only the part of 82,332 rows is here" in note for note in data.notes)
    assert sum("=" not in name for name in data.feature_names) == 39


def test_unsw_as_published_is_the_documents_stratified_split() -> None:
    data = load_published("unsw-nb15", protocol="as-published", validation=0)
    assert data.rows == {"train": 65_865, "test": 16_467}
    whole = np.concatenate([data.train_y, data.test_y])
    assert whole.sum() == 45_332
    assert data.prevalence == pytest.approx(45_332 / 82_332, abs=1e-4)
    names, counts = np.unique(np.concatenate([data.train_class, data.test_class]), return_counts=True)
    assert len(names) == 10
    assert dict(zip(names.tolist(), counts.tolist(), strict=True))["Generic"] == 18_871
    assert data.duplicates["test_in_train"] > 0


def _unsw_part(rows: int, seed: int) -> str:
    rng = np.random.default_rng(seed)
    names = [field.name for field in unsw_nb15._FIELDS]
    lines = [",".join(["id", *names, "attack_cat", "label"])]
    for number in range(rows):
        attack = int(rng.random() < 0.5)
        values = [str(number)]
        values += [
            {"proto": "tcp", "service": "-", "state": "FIN"}.get(name) or f"{rng.random():.6f}" for name in names
        ]
        lines.append(",".join([*values, "Exploits" if attack else "Normal", str(attack)]))
    return "\ufeff" + "\r\n".join(lines) + "\r\n"


def test_unsw_parts_are_told_by_their_rows_whatever_their_names(tmp_path: Path) -> None:
    (tmp_path / "UNSW_NB15_training-set.csv").write_text(_unsw_part(40, 0), encoding="utf-8", newline="")
    (tmp_path / "UNSW_NB15_testing-set.csv").write_text(_unsw_part(90, 1), encoding="utf-8", newline="")
    data = load("unsw-nb15", directory=tmp_path, synthetic="never", options={"validation": 0})
    assert data.rows == {"train": 90, "test": 40}
    assert data.verified is None
    assert any("the larger one trains" in note for note in data.notes)
    assert any("Unverified" in note for note in data.notes)


def test_unsw_labels_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    text = _unsw_part(40, 0)
    lines = text.split("\r\n")
    lines[7] = lines[7].rsplit(",", 2)[0] + ",Normal,1"
    (tmp_path / "UNSW_NB15_training-set.csv").write_text("\r\n".join(lines), encoding="utf-8", newline="")
    with pytest.raises(InputError, match=r"line 8: label 1 contradicts 'Normal'"):
        load("unsw-nb15", directory=tmp_path, synthetic="never")


def test_cicids2017_sample_counts() -> None:
    data = load_published("cicids2017", validation=0, encoding="none")
    assert sum(data.rows.values()) == 43_419
    assert data.verified is True
    assert data.feature_names == flow_sets.FEATURES
    names, counts = np.unique(np.concatenate([data.train_class, data.test_class]), return_counts=True)
    assert len(names) == 16
    assert counts[names.tolist().index("BENIGN")] == 5_000
    assert any("not natural" in note for note in data.notes)


def test_cicids2017_clean_test_rows_are_later_than_the_training_rows_of_their_class() -> None:
    content = lzma.decompress(published_path("cicids2017", "cicids2017_improved_rnd5000_all.csv.xz").read_bytes())
    raw = pd.read_csv(io.BytesIO(content), usecols=["Label", "Timestamp", "Flow Duration"])
    data = load_published("cicids2017", validation=0, encoding="none")
    place = data.feature_names.index("Flow Duration")
    raw["Timestamp"] = pd.to_datetime(raw["Timestamp"])
    for name in ("Botnet", "DoS Slowhttptest", "Heartbleed"):
        ordered = raw[raw["Label"] == name].sort_values("Timestamp", kind="stable")["Flow Duration"].to_numpy()
        cut = len(ordered) - round(0.2 * len(ordered))
        train = data.train_x[data.train_class == name, place]
        test = data.test_x[data.test_class == name, place]
        np.testing.assert_allclose(np.sort(train), np.sort(ordered[:cut]), rtol=1e-6)
        np.testing.assert_allclose(np.sort(test), np.sort(ordered[cut:]), rtol=1e-6)


_ORIGINAL = (
    " Destination Port",
    " Flow Duration",
    "Flow Bytes/s",
    " Fwd Header Length",
    " Fwd Header Length",
    " Label",
)


def _original(tmp_path: Path, rows: list[str], header: tuple[str, ...] = _ORIGINAL) -> Path:
    folder = tmp_path / "cicids2017"
    folder.mkdir(exist_ok=True)
    path = folder / "Thursday-WorkingHours-Morning-WebAttacks.pcap_ISCX.csv"
    path.write_bytes("\n".join([",".join(header), *rows, ""]).encode("cp1252"))
    return path


def _load(tmp_path: Path, **options: Any) -> EncodedDataset:
    given = {"validation": 0, "encoding": "none", **options}
    return load("cicids2017", directory=tmp_path, synthetic="never", options=given)


_BENIGN_ROWS = [f"80,{number},1.5,{number},{number + 1},BENIGN" for number in range(20)]
_ATTACK_ROWS = [f"80,{number},Infinity,20,20,Web Attack \u2013 XSS" for number in range(20, 30)]


def test_original_files_with_blanks_infinities_a_repeated_column_and_a_windows_dash(tmp_path: Path) -> None:
    _original(tmp_path, [*_BENIGN_ROWS, *_ATTACK_ROWS, "80,5,NaN,20,20,Web Attack \u2013 XSS"])
    data = _load(tmp_path)
    assert data.feature_names == (
        "Destination Port", "Flow Duration", "Flow Bytes/s", "Fwd Header Length", "Fwd Header Length.1"
    )  # fmt: skip
    assert set(data.test_class) == {"BENIGN", "Web Attack - XSS"}
    assert np.isfinite(data.train_x).all()
    assert any("11 flows hold missing or infinite numbers" in note for note in data.notes)
    rate = data.train_x[data.train_y == 1, data.feature_names.index("Flow Bytes/s")]
    assert set(rate.tolist()) == {1.5}, "the training median takes the place of what is missing"


def test_a_header_repeated_among_the_rows_is_no_row(tmp_path: Path) -> None:
    header = ",".join(_ORIGINAL)
    _original(tmp_path, [*_BENIGN_ROWS, header, *_ATTACK_ROWS, header])
    assert sum(_load(tmp_path).rows.values()) == 30


@pytest.mark.parametrize(("given", "rows", "attacks"), [("attack", 30, 10), ("benign", 30, 5), ("drop", 25, 5)])
def test_attacks_without_effect_count_as_asked(tmp_path: Path, given: str, rows: int, attacks: int) -> None:
    attempted = [row.replace("Web Attack – XSS", "DoS Hulk - Attempted") for row in _ATTACK_ROWS[:5]]
    _original(tmp_path, [*_BENIGN_ROWS, *attempted, *_ATTACK_ROWS[5:]])
    data = _load(tmp_path, attempted=given)
    assert sum(data.rows.values()) == rows
    assert data.train_y.sum() + data.test_y.sum() == attacks


def test_split_by_time_takes_the_latest_rows(tmp_path: Path) -> None:
    header = ("Flow Duration", "Timestamp", "Label")
    rows = [f"{day},{day:02d}/02/2018 08:00:00,{'Benign' if day % 3 else 'Bot'}" for day in range(28, 0, -1)]
    folder = tmp_path / "cic-ids2018"
    folder.mkdir()
    (folder / "Friday-02-03-2018_TrafficForML_CICFlowMeter.csv").write_text("\n".join([",".join(header), *rows]) + "\n")
    options = {"split": "time", "validation": 0.25, "encoding": "none"}
    data = load("cic-ids2018", directory=tmp_path, synthetic="never", options=options)
    assert sorted(data.test_x[:, 0].tolist()) == list(range(23, 29))
    assert data.validation_x is not None
    assert data.train_x.max() < data.validation_x.min() <= data.validation_x.max() < 23


def test_more_flows_than_asked_for_are_drawn_evenly_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csvfile, "_BLOCK_BYTES", 4_000)
    held: list[int] = []
    smallest = cicflow._smallest

    def watched(frames: list[Any], keys: list[Any], most: int) -> tuple[list[Any], list[Any]]:
        held.append(sum(map(len, frames)))
        return smallest(frames, keys, most)

    monkeypatch.setattr(cicflow, "_smallest", watched)
    _original(tmp_path, [f"80,{number},1,2,3,{'BENIGN' if number % 4 else 'Bot'}" for number in range(20_000)])
    data = _load(tmp_path, flows=2_000, split="random")
    assert sum(data.rows.values()) == 2_000
    assert any("2,000 of 20,000 flows were drawn evenly" in note for note in data.notes)
    assert max(held) < 5_000
    drawn = np.concatenate([data.train_x[:, 1], data.test_x[:, 1]])
    assert np.abs(np.quantile(drawn, [0.25, 0.5, 0.75]) / 20_000 - [0.25, 0.5, 0.75]).max() < 0.05


def test_files_of_different_releases_do_not_mix(tmp_path: Path) -> None:
    _original(tmp_path, [*_BENIGN_ROWS, *_ATTACK_ROWS])
    other = tmp_path / "cicids2017" / "Tuesday-WorkingHours.pcap_ISCX.csv"
    other.write_text("Flow Duration,Label\n1,BENIGN\n")
    with pytest.raises(InputError, match=r"Tuesday-WorkingHours.pcap_ISCX.csv lacks the column 'Destination Port'"):
        _load(tmp_path)


def test_flow_files_that_are_none(tmp_path: Path) -> None:
    path = _original(tmp_path, [*_BENIGN_ROWS, "80,x,1.5,2,3,BENIGN"])
    with pytest.raises(InputError, match=r"line 22: column 'Flow Duration' takes a number, not 'x'"):
        _load(tmp_path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"line 1: 1 of 1 expected column missing: 'Label'"):
        _load(tmp_path)
    path.write_text(",".join(_ORIGINAL) + "\n")
    with pytest.raises(InputError, match="holds a header and no flows"):
        _load(tmp_path)


def test_mawiflow_labels_and_taxonomies(tmp_path: Path) -> None:
    folder = tmp_path / "mawiflow"
    folder.mkdir()
    rows = [f"{number},2021-01-{number % 28 + 1:02d} 10:00:00,benign," for number in range(40)]
    rows += [f"{number},2021-01-{number % 28 + 1:02d} 11:00:00,anomalous,ptposca" for number in range(20)]
    rows += ["1,2021-01-01 00:00:00,suspicious,ttl_error"] * 5
    text = "Flow Duration,Timestamp,Label,taxonomy\n" + "\n".join(rows) + "\n"
    (folder / "2021.csv").write_text(text)
    data = load("mawiflow", directory=tmp_path, synthetic="never", options={"encoding": "none"})
    assert sum(data.rows.values()) == 60
    assert set(data.train_class) == {"benign", "ptposca"}
    assert any("5 flows without a usable label" in note for note in data.notes)
    assert load("mawiflow", directory=folder, options={"rows": 100}).origin == "real", "the folder itself may be named"
    assert load("mawiflow", directory=tmp_path.parent, options={"rows": 100}).origin == "synthetic"


def test_mawiflow_parquet_equals_its_csv(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(
        {
            "Flow Duration": np.arange(60.0),
            "Timestamp": [f"2021-01-{number % 28 + 1:02d} 10:00:00" for number in range(60)],
            "Label": ["benign"] * 40 + ["anomalous"] * 20,
            "taxonomy": ["benign"] * 40 + ["ptposca"] * 20,
        }
    )
    loaded = []
    for suffix in ("csv", "parquet"):
        folder = tmp_path / suffix / "mawiflow"
        folder.mkdir(parents=True)
        if suffix == "csv":
            frame.to_csv(folder / "a.csv", index=False)
        else:
            frame.to_parquet(folder / "a.parquet")
        loaded.append(load("mawiflow", directory=folder.parent, synthetic="never"))
    np.testing.assert_array_equal(loaded[0].train_x, loaded[1].train_x)
    np.testing.assert_array_equal(loaded[0].test_class, loaded[1].test_class)


def test_rows_of_commas_are_no_attacks(tmp_path: Path) -> None:
    _original(tmp_path, [*_BENIGN_ROWS, *[",,,,,"] * 40, *_ATTACK_ROWS, " , , , , , "])
    data = _load(tmp_path)
    assert sum(data.rows.values()) == 30
    assert set(np.concatenate([data.train_class, data.test_class]).tolist()) == {"BENIGN", "Web Attack - XSS"}
    assert any("41 lines left out, without a label" in note for note in data.notes)


@pytest.mark.parametrize("split", ["time", "time-within-class"])
def test_files_without_times_are_ordered_by_their_days(tmp_path: Path, split: str) -> None:
    folder = tmp_path / "cicids2017"
    folder.mkdir()
    for number, day in enumerate(("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")):
        rows = [f"80,{number},{'Bot' if row % 10 == 0 else 'BENIGN'}" for row in range(20)]
        (folder / f"{day}-WorkingHours.pcap_ISCX.csv").write_text("\n".join(["Port,Day,Label", *rows, ""]))
    data = _load(tmp_path, split=split)
    assert set(data.test_x[:, 1].tolist()) == {4.0}
    assert any("by their day" in note for note in data.notes)


def test_one_unreadable_time_costs_one_flow(tmp_path: Path) -> None:
    rows = [f"80,{row},{row // 60 % 24 + 1}/{7 + row % 2}/2017 {row % 12 + 1}:30:00 PM,BENIGN" for row in range(29)]
    folder = tmp_path / "cicids2017"
    folder.mkdir()
    path = folder / "Monday-WorkingHours.pcap_ISCX.csv"
    bad = ["80,900,yesterday,BENIGN", "80,5,3/7/2017 1:00:00 PM,Bot", "80,6,30/8/2017 1:00:00 PM,Bot"]
    path.write_text("\n".join(["Port,Row,Timestamp,Label", *rows, *bad, ""]))
    data = _load(tmp_path, split="time")
    assert sum(data.rows.values()) == 31
    assert any("1 flow left out, without a readable time" in note for note in data.notes)
