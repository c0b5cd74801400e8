"""Names, options, search order, and what a load does with its rows."""

from __future__ import annotations

import lzma
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.datasets import locate, registry
from harness.datasets.base import load
from harness.datasets.encoded import EncodedDataset
from harness.errors import InputError


def _stand_in(options: Mapping[str, Any] | None = None, **arguments: Any) -> EncodedDataset:
    return load("nsl-kdd", synthetic="always", options={"rows": 2_000, **(options or {})}, **arguments)


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No data set in any of the places that are searched."""
    monkeypatch.setenv("LPARBENCH_DATA", str(tmp_path / "environment"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _put(directory: Path, *, packed: bool = False) -> Path:
    line = "0,tcp,http,SF," + ",".join(["0"] * 37) + ",{},20\n"
    content = "".join(line.format(label) for label in ("normal", "neptune") * 10).encode()
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("KDDTrain+.txt", "KDDTest+.txt"):
        path = directory / (name + ".xz" if packed else name)
        path.write_bytes(lzma.compress(content) if packed else content)
    return directory


def test_the_search_order(nowhere: Path) -> None:
    places = [
        nowhere / "named",
        nowhere / "environment",
        Path("data"),
        nowhere / "cache" / "lparbench" / "data",
    ]
    assert list(locate.search_directories(nowhere / "named")) == places
    for place in reversed(places):
        _put(place if place != places[1] else place / "any-folder", packed=place == places[2])
        found = registry.find("nsl-kdd", locate.search_directories(nowhere / "named"))
        assert found is not None
        assert place in (found.files[0].path.parent, found.files[0].path.parent.parent)


def test_files_of_two_folders_do_not_make_one_data_set(nowhere: Path) -> None:
    _put(nowhere / "data" / "a")
    (nowhere / "data" / "a" / "KDDTest+.txt").rename(nowhere / "data" / "KDDTest+.txt")
    assert registry.find("nsl-kdd", locate.search_directories()) is None


def test_without_files_a_stand_in_is_used_unless_real_data_is_asked_for(nowhere: Path) -> None:
    assert load("nsl-kdd", directory=nowhere, options={"rows": 100}).origin == "synthetic"
    with pytest.raises(InputError, match=r"KDDTrain\+\.txt, KDDTest\+\.txt not found in") as raised:
        load("nsl-kdd", directory=nowhere, synthetic="never")
    assert "data get nsl-kdd" in str(raised.value)
    _put(nowhere / "data")
    assert load("nsl-kdd").origin == "real"
    assert load("nsl-kdd", synthetic="always", options={"rows": 100}).origin == "synthetic"


def test_a_user_without_a_home_directory_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("LPARBENCH_DATA", "/named")
    monkeypatch.setattr(Path, "home", homeless)
    assert locate.search_directories() == (Path("/named"), Path("data"))
    with pytest.raises(InputError, match=r"no home directory\. Give --into DIR, or set XDG_CACHE_HOME\."):
        locate.cache_directory()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nsl-kd", "Did you mean 'nsl-kdd'"),
        ("nsl-kdd:x", "'nsl-kdd' expected"),
        ("zzz", "data list"),
        ("odds:../secret", "a name of letters"),
        ("adbench:*", "a name of letters"),
    ],
)
def test_unknown_names(name: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        load(name)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"encodin": "none"}, "unknown option 'encodin'. Did you mean 'encoding'"),
        ({"encoding": "one-hot"}, "'encoding' of data set nsl-kdd: none, unit, signed, or"),
        ({"validation": 1.0}, r"'validation' .* a number in \[0, 1\) expected, not 1.0"),
        ({"validation": True}, "not True"),
        ({"rows": 0}, "a whole number of at least 1 expected, not 0"),
        ({"rows": 2.5}, "a whole number"),
        ({"seed": -1}, "at least 0"),
        ({"train_rows": "attack"}, '"all" or "normal" expected'),
        ({"drop": "duration"}, "a list of names expected"),
        ({"drop": ["durations"]}, "no column 'durations'"),
        ({"train_classes": ["nope"]}, "no class 'nope'"),
        ({"train_classes": [], "train_rows": "normal", "scaler_rows": "normal", "rows": 1, "test_classes": []}, None),
    ],
)
def test_options_are_checked(options: dict[str, Any], told: str | None) -> None:
    if told is None:
        assert len(_stand_in({**options, "validation": 0}).train_x) == 1
        return
    with pytest.raises(InputError, match=told):
        _stand_in(options)


def test_unknown_protocol() -> None:
    with pytest.raises(InputError, match="'tidy' is unknown"):
        load("nsl-kdd", protocol="tidy", synthetic="always")  # type: ignore[arg-type]


def test_a_protocol_has_its_own_defaults_and_given_options_come_before_them() -> None:
    assert len(_stand_in().feature_names) > 100
    assert len(_stand_in(protocol="as-published").feature_names) == 41
    assert len(_stand_in({"encoding": "ordinal"}).feature_names) == 41


def test_one_hot_columns_are_not_fitted_again_on_test_rows() -> None:
    data = _stand_in({"encoding": "onehot-log-minmax"}, protocol="as-published")
    assert any("Nothing was fitted again" in note for note in data.notes)
    assert data.train_x.shape[1] == data.test_x.shape[1]


def test_rows_bound_every_split_and_keep_the_prevalence() -> None:
    data = _stand_in()
    assert data.rows == {"train": 1_600, "validation": 400, "test": 2_000}
    assert data.prevalence == pytest.approx(12_833 / 22_544, abs=0.001)


def test_classes_may_be_held_out_of_training() -> None:
    data = _stand_in({"train_classes": ["neptune", "smurf"], "test_classes": ["satan"], "rows": 20_000})
    assert set(data.train_class) | set(data.validation_class) == {"normal", "neptune", "smurf"}
    assert set(data.test_class) == {"normal", "satan"}
    assert (data.test_y == (data.test_class != "normal")).all()


def test_training_on_normal_rows_keeps_both_kinds_for_the_threshold() -> None:
    data = _stand_in({"train_rows": "normal"})
    assert set(data.train_y) == {0}
    assert set(data.validation_y) == {0, 1}


def test_columns_may_be_left_out() -> None:
    data = _stand_in({"drop": ["service", "duration"]})
    assert not any(name.startswith(("service", "duration")) for name in data.feature_names)


def test_repeated_training_rows_are_counted_and_may_be_removed(nowhere: Path) -> None:
    _put(nowhere / "data")
    assert load("nsl-kdd", options={"validation": 0}).duplicates == {"train": 19, "test": 19, "test_in_train": 20}
    data = load("nsl-kdd", options={"validation": 0, "deduplicate": "train"})
    assert len(data.train_x) == 2, "equal rows of different labels are kept apart"
    assert any("18 repeated training rows were removed" in note for note in data.notes)


def test_the_seed_moves_every_draw() -> None:
    first, again, other = _stand_in(), _stand_in(), _stand_in({"seed": 1})
    np.testing.assert_array_equal(first.validation_x, again.validation_x)
    assert not np.array_equal(first.validation_x, other.validation_x)


def test_values_of_the_test_rows_that_training_does_not_hold_are_noted(nowhere: Path) -> None:
    folder = _put(nowhere / "data")
    path = folder / "KDDTest+.txt"
    path.write_text(path.read_text().replace("http", "gopher"))
    data = load("nsl-kdd")
    assert any("20 test rows hold a value of 'service' that training does not" in note for note in data.notes)
