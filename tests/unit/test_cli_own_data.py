"""What the command line says of a file of one's own reaches the data set, and a terminal shows what became of it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from harness.cli.own_data import Given
from harness.datasets import registry
from harness.errors import InputError
from harness.record.spec import OptionValue, RunSpec
from harness.runs.design import workloads_of


def _given(**values: str | bool) -> Given:
    return Given(**{"no_header": False, **{field.name: values.get(field.name) for field in fields(Given)}, **values})


@pytest.mark.parametrize(
    ("values", "options"),
    [
        ({}, {}),
        ({"normal": "0, BENIGN"}, {"normal": ("0", "BENIGN")}),
        ({"unlabelled": ""}, {"unlabelled": ("",)}),
        ({"anomalies": '-1,"a, b"'}, {"anomalies": ("-1", "a, b")}),
        ({"drop": "Flow ID", "time": "when"}, {"drop": ("Flow ID",), "time": "when"}),
        ({"sep": "tab", "decimal": ","}, {"sep": "\t", "decimal": ","}),
        ({"sep": "\\t"}, {"sep": "\t"}),
        ({"encoding": "cp1252", "no_header": True}, {"text_encoding": "cp1252", "header": False}),
        ({"test": "friday.csv"}, {"test_files": "friday.csv"}),
    ],
)
def test_options_of_the_command_line_are_those_of_a_workload_file(
    values: dict[str, str | bool], options: dict[str, OptionValue]
) -> None:
    assert _given(**values).options() == options
    registry.resolve_options("csv:x.csv", "clean", options)


def test_what_trains_is_a_data_set(tmp_path: Path) -> None:
    assert _given(train="days/*.csv").name() == "csv:days/*.csv"
    assert _given(train="x.parquet").name() == "parquet:x.parquet"
    (tmp_path / "part-0.parquet").touch()
    assert _given(train=str(tmp_path)).name() == f"parquet:{tmp_path}"
    assert _given(dataset="nsl-kdd").name() == "nsl-kdd"
    with pytest.raises(InputError, match="exclude each other"):
        _given(train="x.csv", dataset="csv:y.csv").name()


def test_options_reach_the_workload_and_need_a_file(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,verdict\n1,0\n")
    name = f"csv:{tmp_path / 'x.csv'}"
    spec = RunSpec(("nsl-kdd-mlp",), dataset=name, label="verdict", dataset_options={"normal": ("0",)})
    (workload,) = workloads_of(spec)
    assert workload.options_for("clean") == {"label": "verdict", "normal": ("0",)}
    with pytest.raises(InputError, match="sep: options of the file that --dataset or --train gives"):
        workloads_of(RunSpec(("nsl-kdd-mlp",), dataset_options={"sep": ";"}))
    with pytest.raises(InputError, match=r"'sep' .*one character expected"):
        workloads_of(RunSpec(("nsl-kdd-mlp",), dataset=name, dataset_options={"sep": "::"}))
