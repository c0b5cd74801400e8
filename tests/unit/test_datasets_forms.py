"""Published data sets in the forms that people have: smaller parts, headers, ARFF, raw captures, other names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.datasets import kdd
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
    _write(tmp_path, **{"KDDTrain+.txt": _PUBLISHED, "KDDTest+.txt": _PUBLISHED, "KDDTest-21.txt": _ATTACK + ",ps,1\n"})
    for form, rows in ((None, 20), ("text", 20), ("test-21", 1)):
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
    with pytest.raises(InputError, match=r"1 of 42 expected columns are missing: 'srv_serror_rate'") as raised:
        load("nsl-kdd", directory=tmp_path, synthetic="never")
    assert "Is 'srv_error_rate' meant for 'srv_serror_rate'?" in (raised.value.remedy or "")


@pytest.mark.parametrize(
    ("files", "rows", "note"),
    [
        pytest.param({"kddcup.data": _lines(",normal.", ",smurf.")}, None, "4,898,431", id="full"),
        pytest.param({"kddcup.data.corrected": _lines(",normal.", ",smurf.")}, None, "4,898,431", id="full-corrected"),
        pytest.param({"corrected": _lines(",normal.", ",mailbomb.")}, None, "Only the competition's", id="corrected"),
        pytest.param(
            {"kddcup.data_10_percent_corrected": _lines(",normal.", ",smurf."), "corrected": f"{_ATTACK},ps.\n" * 3},
            3, "corrected labels", id="competition",
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
