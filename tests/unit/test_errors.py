"""A name that is not known is refused with the likeliest known one, whatever it names."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.cli.choices import parse_list
from harness.datasets import registry as datasets
from harness.datasets.options import encoding, resolve
from harness.detectors import registry as detectors
from harness.errors import InputError, unknown
from harness.workload.files import load_suite, load_workload


@pytest.mark.parametrize(
    ("refused", "named", "meant"),
    [
        (lambda: load_workload("nsl-kdd-mpl"), "Unknown workload 'nsl-kdd-mpl'.", "nsl-kdd-mlp"),
        (lambda: load_suite("qiuck"), "Unknown suite 'qiuck'.", "quick"),
        (lambda: detectors.check("knm", {}), "Unknown detector 'knm'.", "knn"),
        (lambda: detectors.check("knn", {"n_neigbors": 5}), "knn: unknown parameter 'n_neigbors'.", "n_neighbors"),
        (lambda: datasets.spec("nsl-kd"), "Unknown data set 'nsl-kd'.", "nsl-kdd"),
        (
            lambda: resolve("x", {"encodng": 1}, {"encoding": encoding("unit")}, {}),
            "data set x: unknown option",
            "encoding",
        ),
        (lambda: parse_list("--backends", "eager,navite", ("eager", "native")), "--backends: unknown value", "native"),
    ],
)
def test_the_likeliest_known_name_comes_first(refused: Callable[[], object], named: str, meant: str) -> None:
    with pytest.raises(InputError) as error:
        refused()
    assert error.value.message.startswith(named)
    assert (error.value.remedy or "").startswith(f"Did you mean {meant!r}?")


@pytest.mark.parametrize(("name", "meant"), [("a/b.csv.gz", "csv:a/b.csv.gz"), ("x.feather", "parquet:x.feather")])
def test_a_file_in_place_of_a_data_set_is_met_by_its_name(name: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"{name!r} is the name of a file; that of a data set") as error:
        datasets.spec(name)
    assert error.value.remedy == f"A file of your own: {meant}"


def test_a_long_list_is_shown_only_when_nothing_is_near() -> None:
    known = [f"workload-{number}" for number in range(40)]
    assert "workload-39" not in (unknown("workload", "workload-1x", known).remedy or "")
    assert "workload-39" in (unknown("workload", "zzz", known).remedy or "")
