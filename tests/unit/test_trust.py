"""Files that name code: what one's own commands wrote is used, anything else is asked for."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import fleets, records
from support.sweeps import design_of, setting
from typer.testing import CliRunner

from harness import trust
from harness.cli.main import app
from harness.errors import ExitCode, InputError
from harness.fleet import session
from harness.gates.remeasure import repeated
from harness.record.model import Run
from harness.record.spec import RunSpec
from harness.record.store import write_run
from harness.runs.design import DESIGN_FILE, design_to_resume, workloads_of, write_design
from harness.runs.run import remember_own
from harness.sizing.session import REQUEST_FILE
from harness.sizing.subject import spec_of
from harness.workload.files import load_suite, load_workload

EVIL = """
name = "{name}"
title = "t"
detector = "os:system"
dataset = "nsl-kdd"

[hyperparameters]
command = "true"
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(trust, "_allowed", False)


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    file = tmp_path / "evil.toml"
    file.write_text(EVIL.format(name="evil"))
    return file


def measured(_spec: RunSpec) -> Run:
    raise AssertionError("it was run")


def test_a_baseline_from_elsewhere_that_names_code_is_asked_for(evil: Path, tmp_path: Path) -> None:
    baseline = tmp_path / "baseline.json"
    baseline.write_text("{}")
    for name in (str(evil), "os:system"):
        with pytest.raises(InputError, match="runs code with your rights: os:system") as error:
            repeated(RunSpec((name,)), 6, measured, baseline)
        assert "owner" in str(error.value)
        assert "sha256 " in str(error.value)
        assert "--trust" in str(error.value)
    repeated(RunSpec(("nsl-kdd-mlp",)), 6, lambda _spec: records.run(), baseline)  # nothing that is not the product's
    trust.allow(True)
    with pytest.raises(AssertionError, match="it was run"):
        repeated(RunSpec((str(evil),)), 6, measured, baseline)


def test_a_run_from_elsewhere_that_names_code_is_not_sized_unasked(evil: Path, tmp_path: Path) -> None:
    run = replace(records.run(), spec=replace(records.run().spec, workloads=(str(evil),)))
    directory = write_run(run, tmp_path / "runs")
    with pytest.raises(InputError, match=r"run\.json runs code with your rights: os:system"):
        spec_of(str(directory), RunSpec((str(directory),)))
    remember_own(replace(run, results=(replace(run.results[0], detector="os:system"),)), directory)
    assert spec_of(str(directory), RunSpec((str(directory),))).workloads == (str(evil),)


def test_what_was_written_here_is_known_until_it_changes(evil: Path, tmp_path: Path) -> None:
    baseline = tmp_path / "baseline.json"
    baseline.write_text("{}")
    trust.remember(baseline, evil)
    trust.require(["os:system"], baseline, evil)
    elsewhere = tmp_path / "copy.json"
    shutil.copy(baseline, elsewhere)
    trust.require(["os:system"], elsewhere, evil)  # the same bytes
    evil.write_text(EVIL.format(name="changed"))
    with pytest.raises(InputError, match="--trust"):
        trust.require(["os:system"], baseline, evil)


def test_a_design_from_elsewhere_that_names_code_is_asked_for(evil: Path, tmp_path: Path) -> None:
    design = replace(design_of((setting(),), records.facts()), workloads=workloads_of(RunSpec((str(evil),))), grid=None)
    directory = tmp_path / "sweep"
    directory.mkdir()
    write_design(design, directory)
    assert design_to_resume(directory) == design
    file = directory / DESIGN_FILE
    file.write_text(file.read_text().replace('"command": "true"', '"command": "touch ran"'))
    with pytest.raises(InputError, match=r"design\.json runs code with your rights: os:system"):
        design_to_resume(directory)
    (directory / REQUEST_FILE).write_text("{}")
    for command in ("run", "sweep", "size"):
        result = CliRunner().invoke(app, [command, "--resume", str(directory)])
        assert isinstance(result.exception, InputError)
        assert "--trust" in str(result.exception)
        assert result.exception.exit_code == ExitCode.USAGE


def test_a_workload_file_that_others_can_write_is_asked_for(evil: Path) -> None:
    workloads_of(RunSpec((str(evil),)))  # the user's own
    evil.chmod(0o666)
    with pytest.raises(InputError, match=r"evil\.toml runs code with your rights: os:system\. .*mode 666"):
        workloads_of(RunSpec((str(evil),)))
    if os.geteuid() == 0:
        evil.chmod(0o600)
        os.chown(evil, 12345, 12345)
        with pytest.raises(InputError, match="owner user 12345"):
            workloads_of(RunSpec((str(evil),)))


@pytest.mark.parametrize("name", ["../../x", "a/b", "/x", "..", ".", "a\\nb", "x" * 300, " "])
def test_a_workload_with_a_name_that_is_a_path_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "t.toml"
    file.write_text(EVIL.format(name=name))
    with pytest.raises(InputError, match=r"t\.toml: name"):
        load_workload(str(file))


@pytest.mark.parametrize("name", ["../workloads/nsl-kdd-mlp", "./nsl-kdd-mlp", "suites/../nsl-kdd-mlp"])
def test_names_of_the_product_are_no_paths(name: str) -> None:
    with pytest.raises(InputError, match="Unknown workload"):
        load_workload(name)
    with pytest.raises(InputError, match="Unknown suite"):
        load_suite(f"../suites/{name}")


@pytest.mark.parametrize(
    ("change", "named"),
    [({"command": ("sh", "-c", "touch ran")}, "sh -c 'touch ran'"), ({"ssh_config": "evil"}, "ssh -F evil")],
)
def test_a_fleet_run_from_elsewhere_that_names_a_program_is_asked_for(
    change: dict[str, Any], named: str, tmp_path: Path
) -> None:
    """Its command runs on every host, and settings of ssh run programs here."""
    directory = session.begin(fleets.design(["lpar01"], **change), tmp_path)
    assert session.design_to_resume(directory).fanout == 32
    file = directory / DESIGN_FILE
    file.write_text(file.read_text().replace('"fanout": 32', '"fanout": 31'))
    with pytest.raises(InputError, match=re.escape(f"design.json runs code with your rights: {named}")):
        session.design_to_resume(directory)
    result = CliRunner().invoke(app, ["fleet", "run", "--resume", str(directory)])
    assert isinstance(result.exception, InputError)
    trust.allow(True)
    assert session.design_to_resume(directory).fanout == 31
    trust.allow(False)
    plain = session.begin(fleets.design(["lpar01"]), tmp_path / "plain")
    shutil.rmtree(tmp_path / "cache")
    session.design_to_resume(plain)  # nothing that is not the product's


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"name": "lpar01"', '"name": "../../../x"'),
        ('"name": "lpar01"', '"name": ".."'),
        ('"address": "lpar01"', '"address": "-oProxyCommand=touch ran"'),
        ('"user": null', '"user": "-x"'),
        ('"port": null', '"port": 0'),
        ('"waves": 2', '"waves": 0'),
        ('"fanout": 32', '"fanout": 0'),
    ],
)
def test_a_design_of_a_fleet_names_no_path_and_no_option(before: str, after: str, tmp_path: Path) -> None:
    directory = session.begin(fleets.design(["lpar01"]), tmp_path)
    file = directory / DESIGN_FILE
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))
    with pytest.raises(InputError, match=r"design\.json: "):
        session.design_to_resume(directory)
