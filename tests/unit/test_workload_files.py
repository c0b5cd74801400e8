"""Workload files: the shipped ones hold together, and a wrong one gives one error naming file and key."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from harness.decode import decode, encode
from harness.detectors.registry import resolve
from harness.errors import InputError
from harness.parsing import parse_json
from harness.runs.preflight import check_workloads
from harness.workload import files as workloads
from harness.workload.model import Workload

GOOD = """
name = "mine"
title = "Mine"
detector = "mlp"
dataset = "nsl-kdd"
[dataset_options]
encoding = "ordinal-standard"
[dataset_options.clean]
encoding = "onehot-log"
[training]
epochs = 4
[training.as-published]
epochs = 20
[accuracy]
metric = "accuracy"
[accuracy.floor.clean]
real = 0.5
"""


@pytest.mark.parametrize("name", workloads.list_workloads())
def test_shipped_workloads_name_a_detector_that_takes_their_parameters(name):
    workload = workloads.load_workload(name)
    assert workload.name == name
    for protocol in workloads.PROTOCOLS:
        detector = resolve(workload.detector, workload.parameters_for(protocol, random_state=3))
        assert detector.get_params()["random_state"] == 3
    assert workload.training_for("clean").seeds >= 5


@pytest.mark.parametrize("name", ["quick", "seeds", "full"])
def test_shipped_suites(name):
    suite = workloads.load_suite(name)
    assert suite.name == name
    assert suite.workloads


def test_full_suite_misses_none():
    assert set(workloads.load_suite("full").workloads) == set(workloads.list_workloads())


def test_names_are_listed_in_their_own_order_whatever_they_share():
    """``nsl-kdd-autoencoder`` before ``nsl-kdd-autoencoder-wide``: by name, not by the name of the file."""
    for names in (workloads.list_workloads(), workloads.list_suites()):
        assert list(names) == sorted(names)


def test_protocol_tables_win(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    workload = workloads.load_workload(str(path))
    assert workload.options_for("clean") == {"encoding": "onehot-log"}
    assert workload.options_for("as-published") == {"encoding": "ordinal-standard"}
    assert workload.parameters_for("as-published", 1) == {"epochs": 20, "random_state": 1}
    assert workload.parameters_for("clean", 1) == {"epochs": 4, "random_state": 1}
    assert workload.floor_for("clean", "real") == 0.5
    assert workload.floor_for("clean", "synthetic") is None
    assert workload.floor_for("as-published", "real") is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "Mine"\n', "", "mine.toml: title is missing; expected a text"),
        ('title = "Mine"', "title = 3", "mine.toml: title is 3 (int); expected a text"),
        ('title = "Mine"', 'title = "Mine"\nnots = []', "mine.toml: unknown key 'nots'. Did you mean 'notes'?"),
        ("epochs = 4", 'epochs = "4"', "mine.toml: training.epochs is '4' (str); expected a positive whole number"),
        ("epochs = 4", "epochs = 0", "mine.toml: training.epochs is 0"),
        ("epochs = 20", "epochs = 0", "mine.toml: training.as-published.epochs is 0"),
        ("epochs = 4", "epochs = 4\npasses = 3", "mine.toml: training: unknown key 'passes'"),
        ("epochs = 4", "epochs = 4\nclean = 3", "mine.toml: training.clean is 3 (int); expected a table"),
        ('metric = "accuracy"', 'metric = "speed"', "mine.toml: accuracy.metric is 'speed' (str); expected one of"),
        ("[accuracy.floor.clean]", "[accuracy.floor.dirty]", "mine.toml: accuracy.floor.dirty: unknown key"),
        ("real = 0.5", 'real = "high"', "mine.toml: accuracy.floor.clean.real is 'high'"),
        ("[training]", "inference = 3\n[training]", "mine.toml: inference is 3 (int); expected a table"),
        ("[training]", '[inference]\nbackends = ["cuda"]\n[training]', "inference.backends[0] is 'cuda'"),
        ("[training]", '[inference]\ndtypes = ["int4"]\n[training]', "inference.dtypes[0] is 'int4'"),
        ("[training]", "[inference]\nbatch_sizes = [0]\n[training]", "inference.batch_sizes[0] is 0"),
        ("[training]", "[hyperparameters]\nhidden = { a = 1 }\n[training]", "hyperparameters.hidden is a table"),
        ("[training]", '[reference]\nmetric = "f1"\n[training]', "mine.toml: reference.value is missing"),
        ("[training]", "[training", "not TOML"),
    ],
)
def test_wrong_files_are_one_clear_error(tmp_path, old, new, message):
    path = tmp_path / "mine.toml"
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    if new.startswith("inference"):  # a bare key must come before any table
        text = "inference = 3\n" + GOOD
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(message)):
        workloads.load_workload(str(path))


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(InputError, match="Unknown workload 'nothing-here'"):
        workloads.load_workload("nothing-here")
    with pytest.raises(InputError, match="no such file"):
        workloads.load_workload(str(tmp_path / "gone.toml"))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not UTF-8"):
        workloads.load_workload(str(tmp_path / "binary.toml"))
    with pytest.raises(InputError, match="Unknown suite 'weekly'"):
        workloads.load_suite("weekly")


def test_a_detector_of_ones_own_is_a_workload():
    workload = workloads.workload_of_detector("pyod.models.ecod:ECOD")
    assert workload.name == "nsl-kdd-ecod"
    assert workload.inference.backends == ("eager",)


@pytest.mark.parametrize("name", workloads.list_workloads())
def test_a_workload_crosses_a_process_boundary_unchanged(name):
    workload = workloads.load_workload(name)
    written = json.dumps(encode(workload), allow_nan=False)
    assert decode(Workload, parse_json(written, "job.json"), "job.json") == workload
    check_workloads([workload], [workload.name])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "[hyperparameters]\nhiden = [64]",
            "mine.toml: .*'hiden'",
        ),
        ("[hyperparameters]\nhidden = 64", "mine.toml: mlp.hidden is 64"),
        ("[dataset_options.as-published]\nencodng = 'unit'", "mine.toml: .*unknown option 'encodng'.*'encoding'"),
        ("[dataset_options.as-published]\nvalidation = 2.0", r"mine.toml: Option 'validation' .* \[0, 1\) expected"),
    ],
)
def test_names_and_types_are_checked_before_anything_starts(tmp_path, table, message):
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\ntitle = "Mine"\ndetector = "mlp"\ndataset = "nsl-kdd"\n' + table)
    with pytest.raises(InputError, match=message):
        check_workloads([loaded := workloads.load_workload(str(path))], [loaded.name])


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "t.toml"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match=r"t\.toml"):
        workloads.load_workload(str(pipe))
