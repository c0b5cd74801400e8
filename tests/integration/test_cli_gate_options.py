"""What the options of gate, compare and history do, on files of pytest-benchmark; none is ignored."""

from __future__ import annotations

import inspect
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from support.benchmark_files import processes
from typer.main import get_command
from typer.testing import CliRunner

from harness import trust
from harness.cli import base_head, compare, gate, history
from harness.cli.gate import USED_BY, _Use
from harness.errors import LparbenchError

app = typer.Typer()
for command in (compare.compare, gate.gate, history.history):
    app.command(command.__name__)(command)

CHOOSING = ("base", "candidate", "update", "aa")  # which of the uses it is
VALUES: dict[str, tuple[str, ...]] = {
    "head": ("--head", "HEAD-1"),
    "prepare": ("--prepare", "make it"),
    "accept": ("--accept", "a reason"),
    "machine": ("--machine", "a machine"),
    "policy": ("--policy", "POLICY"),
    "margin": ("--margin", "7%"),
    "accuracy_margin": ("--accuracy-margin", "7%"),
    "allow_diff": ("--allow-diff", "kernel"),
    "blocks": ("--blocks", "77"),
    "out": ("--out", "elsewhere"),
    "to": ("--format", "junit"),
    "as_json": ("--json",),
    "arguments": ("--", "an argument"),
    "trust": ("--trust",),
}
SHOWN = {
    "margin": "0.07",
    "accuracy_margin": "0.07",
    "policy": "0.11",
    "to": "JUNIT",
    "as_json": "True",
    "trust": "trusted: True",
}
USES: dict[_Use, tuple[str, ...]] = {
    _Use.BASE: ("pytest", "--base", "main"),
    _Use.JUDGE: ("b.json", "--candidate", "run"),
    _Use.MEASURE: ("b.json",),
    _Use.UPDATE: ("b.json", "--update", "--candidate", "run"),
    _Use.UPDATE_MEASURED: ("b.json", "--update"),
    _Use.CHECK: ("b.json", "--aa", "--candidate", "run"),
    _Use.CHECK_MEASURED: ("b.json", "--aa"),
}


def call(*arguments: str | Path) -> tuple[int, str]:
    """Exit code and output of a command, as the command line gives them."""
    result = CliRunner().invoke(app, [str(each) for each in arguments], env={"COLUMNS": "200"})
    if isinstance(result.exception, LparbenchError):
        return int(result.exception.exit_code), f"{result.exception.message} {result.exception.remedy}"
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_every_parameter_says_where_it_means_something() -> None:
    parameters = inspect.signature(gate.gate).parameters.keys() - {"context"}
    assert parameters == USED_BY.keys() == VALUES.keys() | {*CHOOSING, "baseline"}


@pytest.mark.parametrize(("use", "name"), [(use, name) for use in _Use for name in VALUES if use not in USED_BY[name]])
def test_what_means_nothing_is_refused(use: _Use, name: str) -> None:
    code, text = call("gate", *USES[use], *VALUES[name])
    assert code == 4
    assert f"{'a pytest command' if name == 'arguments' else VALUES[name][0]} does not go with {use.value}" in text


@pytest.mark.parametrize("options", [("--base", "main", "--update"), ("--base", "main", "--aa"), ("--update", "--aa"),
                                     ("--base", "main", "--candidate", "run")])  # fmt: skip
def test_two_uses_at_once_are_refused(options: tuple[str, ...]) -> None:
    code, text = call("gate", "b.json", *options)
    assert code == 4
    assert "does not go with" in text


@pytest.mark.parametrize(("use", "name"), [(use, name) for name in VALUES for use in USED_BY[name]])
def test_what_means_something_arrives(use: _Use, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def record(*arguments: Any, **named: Any) -> int:
        seen.append((arguments, named, f"trusted: {trust._allowed}"))
        return 0

    for module, function in ((gate, "_judge"), (gate, "_update"), (gate, "_self_check"), (base_head, "gate_revisions")):
        monkeypatch.setattr(module, function, record)
    (policy := tmp_path / "policy.toml").write_text('margin = "11%"\n')
    code, text = call("gate", *USES[use], *(str(policy) if part == "POLICY" else part for part in VALUES[name]))
    assert code == 0, text
    shown = str(policy) if (use, name) == (_Use.BASE, "policy") else SHOWN.get(name, VALUES[name][-1])
    assert shown in repr(seen)


@pytest.mark.parametrize("command", ["compare", "history"])
def test_compare_and_history_use_every_parameter(command: str) -> None:
    function = {"compare": compare.compare, "history": history.history}[command]
    body = inspect.getsource(function).partition('"""')[2]
    assert all(name in body for name in inspect.signature(function).parameters)
    assert get_command(app) is not None


def session(folder: Path, level: float, seed: int, **more: Any) -> Path:
    return processes(folder, {"t.py::a": 1e-3 * level}, seed=seed, day=seed, **more)


@pytest.fixture
def accepted(tmp_path: Path) -> Path:
    """A baseline of three sessions, and one that was accepted as 10 % slower."""
    path = tmp_path / "b.json"
    for day in (1, 2, 3):
        assert call("gate", path, "--update", "--candidate", session(tmp_path / f"s{day}", 1, day))[0] == 0
    slower = session(tmp_path / "after0", 1.1, 4)
    before = path.read_bytes()
    code, text = call("gate", path, "--update", "--candidate", slower)
    assert code == 1
    assert "t.py::a pytest-benchmark: +9" in text or "t.py::a pytest-benchmark: +10" in text
    assert "--accept" in text
    assert path.read_bytes() == before
    code, text = call("gate", path, "--update", "--candidate", slower, "--accept", "checks every row")
    assert (code, "checks every row" in text) == (0, True)
    return path


def test_an_accepted_change_blinds_no_gate(accepted: Path, tmp_path: Path) -> None:
    assert call("gate", accepted, "--candidate", session(tmp_path / "unchanged", 1.1, 5))[0] == 0
    twice = [session(tmp_path / f"twice{run}", 2.2, 5 + run) for run in (1, 2)]
    code, text = call("gate", accepted, "--candidate", twice[0], "--candidate", twice[1])
    assert (code, "Regressed" in text) == (1, True)
    for day in range(8, 14):
        assert call("gate", accepted, "--update", "--candidate", session(tmp_path / f"s{day}", 1.1, day))[0] == 0
    slower = [session(tmp_path / f"slower{day}", 1.1 * 1.138, day) for day in (20, 21)]
    code, text = call("gate", accepted, "--candidate", slower[0], "--candidate", slower[1])
    assert (code, "margin 3.0 %" in text) == (1, True)
    assert call("gate", accepted, "--update", "--candidate", slower[0], "--accept", "")[0] == 4


def test_history_marks_what_was_accepted(accepted: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for at in range(16):
        level, day = (1.0, 1) if at < 8 else (1.1, 4)
        session(runs / f"{at:02d}", level, day, hour=at, commit=f"{at:040x}")
    code, text = call("history", runs)
    assert (code, "slower from here on" in text, "accepted" in text) == (1, True, False)
    code, text = call("history", runs, "--baseline", accepted)
    assert (code, "accepted: checks every row" in text) == (0, True)
    document = json.loads(call("history", runs, "--baseline", accepted.parent / "b.json", "--json")[1])
    assert [step["accepted"] for step in document["results"][0]["steps"]] == ["checks every row"]
    assert document["exit_code"] == 0
    assert call("history", runs, "--baseline", runs / "00" / "0.json")[0] == 4


def test_a_machine_that_runs_do_not_name_is_named(tmp_path: Path) -> None:
    unknown = {"machine": "aarch64", "cpu": {"arch": "ARM_8", "bits": 64, "count": 24, "arch_string_raw": "aarch64"}}
    path, sides = tmp_path / "b.json", [session(tmp_path / f"s{day}", 1, day, machine=unknown) for day in range(1, 5)]
    code, text = call("gate", path, "--update", "--candidate", sides[0])
    assert (code, "--machine NAME" in text, path.exists()) == (4, True, False)
    for side in sides[:3]:
        assert call("gate", path, "--update", "--candidate", side, "--machine", "graviton-1")[0] == 0
    assert call("gate", path, "--candidate", sides[3], "--machine", "graviton-1")[0] == 0
    code, text = call("gate", path, "--candidate", sides[3])
    assert (code, "--machine NAME" in text) == (4, True)
    assert call("gate", path, "--candidate", sides[3], "--machine", "graviton-2")[0] == 3
    code, text = call("gate", path, "--candidate", session(tmp_path / "known", 1, 9), "--machine", "graviton-1")
    assert (code, "was measured on POWER10" in text) == (4, True)


def suite(folder: Path, seed: int, slower: dict[int, float], spread: float = 0.02) -> Path:
    rng = np.random.default_rng(seed)
    levels = {f"t.py::t{at:02d}": 1e-3 * (1 + at) * math.exp(rng.normal(0, spread)) for at in range(40)}
    changed = {name: level * slower.get(at, 1.0) for at, (name, level) in enumerate(levels.items())}
    return processes(folder, changed, seed=seed, day=seed)


def test_forty_benchmarks_of_two_percent_spread(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    for day in (1, 2, 3):
        assert call("gate", path, "--update", "--candidate", suite(tmp_path / f"s{day}", day, {}))[0] == 0
    same = [suite(tmp_path / f"same{day}", day, {}) for day in (4, 5)]
    code, text = call("gate", path, "--candidate", same[0], "--candidate", same[1])
    assert (code, text.count("Passed"), text.count("too noisy")) == (0, 40, 0)
    quarter = [suite(tmp_path / f"quarter{day}", day, dict.fromkeys(range(40), 1.25)) for day in (6, 7)]
    code, text = call("gate", path, "--candidate", quarter[0], "--candidate", quarter[1])
    assert (code, text.count("Regressed"), text.count("Passed")) == (1, 40, 0)
    slow = [suite(tmp_path / f"slow{day}", day, {7: 1.3}) for day in (8, 9)]
    given = ("gate", path, "--candidate", slow[0], "--candidate", slow[1])
    code, text = call(*given)
    assert (code, text.count("Regressed")) == (1, 1)
    (policy := tmp_path / "gate.toml").write_text('[benchmarks."t.py::t07"]\nmargin = "60%"\n')
    assert call(*given, "--policy", policy)[0] == 0
