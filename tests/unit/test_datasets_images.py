"""MNIST and scikit-learn's digits: one digit held out as the anomaly."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from support.published import load_published

from harness.datasets import digits
from harness.datasets.base import load
from harness.errors import InputError

_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def test_mnist_holds_one_digit_out() -> None:
    data = load_published("mnist", validation=0)
    assert data.verified is True
    assert sum(data.rows.values()) == 70_000
    assert data.train_x.shape[1] == 784
    assert set(data.train_class) == {str(digit) for digit in range(1, 10)}
    assert data.test_y.sum() == 6_903, "every image of the digit 0 tests"
    assert len(data.train_x) == pytest.approx(0.8 * (70_000 - 6_903), abs=5)
    assert (data.train_x.min(), data.train_x.max()) == (0.0, 1.0)


def test_digits_come_with_scikit_learn_and_need_no_files() -> None:
    data = load("digits", synthetic="never", options={"validation": 0, "anomalies": ["4"], "encoding": "signed"})
    assert data.origin == "real"
    assert data.verified is True
    assert data.rows["train"] + data.rows["test"] == 1_797
    assert data.test_y.sum() == (load_digits().target == 4).sum()
    assert (data.train_x.min(), data.train_x.max()) == (-1.0, 1.0)


def test_awareness_digits_train_with_a_label_and_the_others_are_never_seen() -> None:
    options = {"anomalies": ["7", "8", "9"], "awareness": ["7"], "validation": 0}
    data = load("digits", options=options)
    assert set(data.train_class[data.train_y == 1]) == {"7"}
    assert set(data.test_class[data.test_y == 1]) == {"7", "8", "9"}
    unseen = load("digits", options={**options, "test_classes": ["8", "9"]})
    assert set(unseen.test_class[unseen.test_y == 1]) == {"8", "9"}


def test_without_mnist_the_digits_take_its_place_in_its_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LPARBENCH_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    data = load("mnist")
    assert data.origin == "synthetic"
    assert data.train_x.shape[1] == 784
    assert any("Stand-in for MNIST" in note for note in data.notes)
    images, _ = digits.enlarged()
    small, _ = digits.embedded()
    np.testing.assert_array_equal(images[:, 3:26:3, 3:26:3], small)


def test_the_synthetic_digits_are_labelled_so() -> None:
    data = load("digits", synthetic="always")
    assert data.origin == "synthetic"
    assert any("Synthetic" in note for note in data.notes)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"anomalies": ["ten"]}, "'anomalies' .* 'ten' is no digit"),
        ({"awareness": ["3"]}, "'3' is no anomaly"),
    ],
)
def test_options_name_digits(options: dict[str, list[str]], told: str) -> None:
    with pytest.raises(InputError, match=told):
        load("digits", options=options)


def _idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def _write(folder: Path, broken: dict[str, bytes]) -> None:
    rng = np.random.default_rng(0)
    for name in _NAMES:
        if "images" in name:
            array = rng.integers(0, 256, (50, 28, 28), dtype=np.uint8)
        else:
            array = np.arange(50, dtype=np.uint8) % 10
        (folder / name).write_bytes(broken.get(name, _idx(array)))


def test_idx_files_of_other_content_load_and_say_so(tmp_path: Path) -> None:
    _write(tmp_path, {})
    data = load("mnist", directory=tmp_path, synthetic="never")
    assert data.verified is False
    assert sum(data.rows.values()) == 100


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        (_NAMES[0], b"", "is empty"),
        (_NAMES[0], _idx(np.zeros((50, 28, 28), np.uint8))[:-1], "announces 39,200 bytes of data and holds 39,199"),
        (_NAMES[0], b"PK\x03\x04" + bytes(100), "begins with 50 4b 03 04, 00 00 08 03 expected"),
        (_NAMES[1], _idx(np.zeros(49, np.uint8)), "holds 49 labels for 50 images"),
        (_NAMES[1], _idx(np.full(50, 10, np.uint8)), "holds the label 10; digits 0 to 9"),
        (_NAMES[3], _idx(np.zeros((50, 1), np.uint8)), "with 1 dimensions: it begins with 00 00 08 02"),
    ],
)
def test_broken_idx_files(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    _write(tmp_path, {name: content})
    with pytest.raises(InputError, match=told) as raised:
        load("mnist", directory=tmp_path, synthetic="never")
    assert name in str(raised.value)
