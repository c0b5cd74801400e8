"""What is known of the number of test rows before any row is read: an upper bound, and close."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from harness.datasets import base, registry
from harness.datasets.catalogue import specs
from harness.datasets.row_bounds import most_test_rows
from harness.errors import InputError


def test_every_data_set_with_a_stand_in_says_its_rows() -> None:
    for entry in specs():
        assert (entry.stand_in is None) == registry.is_own_table(f"{entry.name}:x"), entry.name
        if entry.stand_in is not None:
            name = f"{entry.name}:any" if entry.parameter else entry.name
            assert most_test_rows(name, {}, directory=None, synthetic="always") == entry.stand_in.test
            assert most_test_rows(name, {"seed": 2}, directory=None, synthetic="always") == entry.stand_in.all


@pytest.mark.parametrize(("end", "packed"), [("\n", False), ("", False), ("\n", True), ("\r\n", False)])
def test_lines_bound_the_rows_of_a_file_of_ones_own(tmp_path: Path, end: str, packed: bool) -> None:
    newline = end or "\n"
    text = newline.join(["a,label", *(f"{row},{row % 5 == 0:d}" for row in range(300))]) + end
    path = tmp_path / ("own.csv.gz" if packed else "own.csv")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    options = {"label": "label"}
    assert most_test_rows(f"csv:{path}", options, directory=None) == 301
    rows = base.count_test_rows(f"csv:{path}", options=options)
    assert 0 < rows <= 301
    (tmp_path / "test.csv").write_text("a,label\n1,0\n2,1\n")
    options["test_files"] = str(tmp_path / "test.csv")
    assert most_test_rows(f"csv:{path}", options, directory=None) == 3


def test_the_file_that_tests_bounds_the_rows_of_published_files(tmp_path: Path) -> None:
    (tmp_path / "KDDTrain+.txt").write_text("1\n" * 50)
    (tmp_path / "KDDTest+.txt").write_text("1\n" * 20)
    assert most_test_rows("nsl-kdd", {}, directory=tmp_path) == 20
    assert most_test_rows("nsl-kdd", {}, directory=tmp_path, synthetic="always") == 22544


def test_what_is_no_text_or_cannot_be_read_bounds_nothing(tmp_path: Path) -> None:
    (tmp_path / "adbench").mkdir()
    np.savez(tmp_path / "adbench" / "odd.npz", X=np.zeros((30, 3)), y=np.arange(30) % 2)
    assert most_test_rows("adbench:odd", {}, directory=tmp_path) is None
    (tmp_path / "broken.csv.gz").write_bytes(gzip.compress(b"a,label\n" * 900)[:-20])
    assert most_test_rows(f"csv:{tmp_path}/broken.csv.gz", {}, directory=None) is None
    with pytest.raises(InputError, match="nowhere"):
        most_test_rows(f"csv:{tmp_path}/nowhere.csv", {}, directory=None)
