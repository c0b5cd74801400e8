"""What the command line says of a file of one's own reaches the data set, and a terminal shows what became of it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from typer.main import get_command

from harness.cli.main import app
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


@pytest.mark.parametrize("name", ["run", "sweep", "size", "serve"])
def test_every_command_that_trains_takes_a_file_of_the_users(name: str) -> None:
    """The same options, each once, of the same type, so that a line for one command works for the others."""
    commands = get_command(app).commands  # type: ignore[attr-defined]
    mine, runs = ({each.name: each for each in commands[command].params} for command in (name, "run"))
    for field in fields(Given):
        assert (mine[field.name].opts, mine[field.name].help) == (runs[field.name].opts, runs[field.name].help)
        assert mine[field.name].is_flag is (field.name == "no_header")
    assert "own" not in mine


def test_what_a_command_is_given_changes_only_what_was_given(tmp_path: Path) -> None:
    stored = RunSpec(("nsl-kdd-mlp",), dataset="csv:old.csv", label="x", dataset_options={"sep": ";"}, rows=500)
    assert Given().of(stored) == stored
    assert Given(drop="id").of(stored).dataset_options == {"sep": ";", "drop": ("id",)}
    other = Given(dataset="csv:new.csv", label="y").of(stored)
    assert (other.dataset, other.label, other.dataset_options, other.rows) == ("csv:new.csv", "y", {}, 500)
