"""``from harness import ...``: cheap to import, complete, and the same as the commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.mutations import small_run
from support.trees import build
from support.trees_presets import PRESETS

import harness
from harness import CompareReport, ExitCode, Facts, InputError, Run, compare_runs, load, probe
from harness.compare.compare import CompareVerdict
from harness.record.store import write_run


def _child(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def test_importing_the_package_loads_none_of_its_rooms() -> None:
    program = "import sys, harness; print([name for name in sys.modules if name.startswith('harness.')])"
    assert _child(program) == "[]\n"


def test_every_public_name_is_there_and_documented() -> None:
    assert harness.__all__ == sorted(harness.__all__)
    assert set(harness.__all__) <= set(dir(harness))
    for name in harness.__all__:
        value = getattr(harness, name)
        assert name == "__version__" or value.__doc__, name
    everything = _child("from harness import *; print(sorted(name for name in globals()))")
    assert all(repr(name) in everything for name in harness.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'harness' has no attribute 'prob'"):
        harness.prob  # type: ignore[attr-defined]  # noqa: B018


def test_probe_gives_the_facts_of_a_tree(tmp_path: Path) -> None:
    facts = probe(str(build(PRESETS["p10-node7"], tmp_path)))
    assert isinstance(facts, Facts)
    assert facts.topology.smt.online == 8


def test_load_and_compare_take_what_the_commands_take(tmp_path: Path) -> None:
    paths = [write_run(small_run(name, seed=seed, slowdown=slow), tmp_path)
             for name, seed, slow in (("a", 1, 1.0), ("b", 2, 1.2))]  # fmt: skip
    records = [load(path) for path in paths]
    a, b = records
    assert isinstance(a, Run)
    assert isinstance(b, Run)
    report = compare_runs(a, b)
    assert isinstance(report, CompareReport)
    assert CompareVerdict.REGRESSED in report.verdicts
    assert compare_runs(paths[0], str(paths[1])).verdicts == report.verdicts
    assert CompareVerdict.REGRESSED not in compare_runs(a, b, margin=0.5).verdicts


def test_errors_carry_their_exit_code(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file") as raised:
        load(tmp_path / "nowhere")
    assert raised.value.exit_code is ExitCode.USAGE
