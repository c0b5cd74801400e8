"""A site's policy: thresholds, what decides, and exit codes; errors with file, key and the likeliest name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.trees import LparSpec, NodeSpec, build
from support.trees_presets import PRESETS
from typer.testing import CliRunner

from harness.advice.finding import Severity
from harness.advice.policy import load_policy
from harness.advice.rules import shipped_rules
from harness.cli.main import app
from harness.errors import InputError

GOOD = replace(PRESETS["p10-smt2"], nodes=(NodeSpec(0, cores=6),))
TWO_NODES = replace(GOOD, nodes=(NodeSpec(0, cores=3), NodeSpec(1, cores=3)))
ADMISSION = """
[rules.affinity-score]
least_score = 70
[rules.cpus-on-several-nodes]
most_nodes = 1
"""


def _file(folder: Path, text: str) -> Path:
    path = folder / "site.toml"
    path.write_text(text)
    return path


def _scored(score: int | None) -> LparSpec:
    assert GOOD.lpar is not None
    return replace(GOOD.lpar, affinity_score=score)


@pytest.mark.parametrize(
    ("spec", "code", "failed", "undecided"),
    [
        (replace(GOOD, lpar=_scored(70)), 0, [], []),
        (replace(GOOD, lpar=_scored(69)), 1, ["affinity-score"], []),
        (replace(GOOD, lpar=_scored(None)), 2, [], ["affinity-score"]),
        (replace(TWO_NODES, lpar=_scored(70)), 1, ["cpus-on-several-nodes"], []),
        (replace(TWO_NODES, lpar=_scored(None)), 1, ["cpus-on-several-nodes"], ["affinity-score"]),
    ],
)
def test_a_machine_is_admitted_by_the_rules_that_the_policy_names(
    tmp_path: Path, spec: object, code: int, failed: list[str], undecided: list[str]
) -> None:
    root = build(spec, tmp_path / "tree")  # type: ignore[arg-type]
    words = ["doctor", "--sysroot", str(root), "--policy", str(_file(tmp_path, ADMISSION))]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == code
    assert json.loads(done.stdout)["judgement"] == {"failed": failed, "undecided": undecided, "not_applicable": []}
    shown = CliRunner().invoke(app, words)
    text = " ".join(shown.stdout.split())
    assert shown.exit_code == code
    decided = not undecided or bool(failed)
    assert (f"site.toml: {'not met' if failed else 'met'}" in text) == decided
    assert ("cannot be decided: affinity-score (not known: " in text) == bool(undecided)


def test_a_threshold_is_evidence_with_its_file_and_key(tmp_path: Path) -> None:
    root = build(replace(GOOD, lpar=_scored(69)), tmp_path / "tree")
    path = _file(tmp_path, ADMISSION)
    done = CliRunner().invoke(app, ["doctor", "--sysroot", str(root), "--policy", str(path), "--json"])
    finding = next(item for item in json.loads(done.stdout)["findings"] if item["id"] == "affinity-score")
    assert {"path": "policy.least_score", "value": 70.0, "source": f"{path}: rules.affinity-score"} in finding[
        "evidence"
    ]


def test_other_work_does_not_fail_unless_asked(tmp_path: Path) -> None:
    root = build(replace(GOOD, load=(2.0, 1.0, 1.0)), tmp_path / "tree")
    words = ["doctor", "--sysroot", str(root)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0
    assert "Nothing lasting was found that costs performance; for the moment: Other work is running" in done.stdout
    assert "100 %" not in done.stdout
    assert "costs this load takes 25 % of 6 cores from a run with a thread on each" in done.stdout  # 2 / (2 + 6)
    for severity, code in (("high", 0), ("medium", 1), ("low", 1), ("info", 1)):
        assert CliRunner().invoke(app, [*words, "--fail-on", severity]).exit_code == code, severity
    named = _file(tmp_path, "[rules.other-load]\n")
    assert CliRunner().invoke(app, [*words, "--policy", str(named)]).exit_code == 1
    lenient = _file(tmp_path, "[rules.other-load]\nmost_share = 3\n")
    assert CliRunner().invoke(app, [*words, "--policy", str(lenient)]).exit_code == 0


def test_a_severity_decides_with_the_rules_and_the_command_line_outweighs_the_file(tmp_path: Path) -> None:
    root = build(TWO_NODES, tmp_path / "tree")
    path = _file(tmp_path, 'fail_on = "high"\n[rules.steal]\n')
    words = ["doctor", "--sysroot", str(root), "--policy", str(path)]
    assert CliRunner().invoke(app, words).exit_code == 1
    path.write_text('fail_on = "high"\n[rules.cpus-on-several-nodes]\nignore = true\n[rules.steal]\n')
    done = CliRunner().invoke(app, [*words, "--json"])
    assert "cpus-on-several-nodes" not in done.stdout
    path.write_text('[rules.cpus-on-several-nodes]\nseverity = "info"\n')
    rules = {rule.id: rule for rule in load_policy(path, shipped_rules()).rules}
    assert rules["cpus-on-several-nodes"].severity is Severity.INFO


_SCORE = "[rules.affinity-score]\nleast_score = "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[rules.affinity-scor]\n", "rules: unknown rule 'affinity-scor'. Did you mean 'affinity-score'?"),
        (
            "[rules.affinity-score]\nleast_scor = 70\n",
            "rules.affinity-score: unknown key 'least_scor'. Did you mean 'least_score'?",
        ),
        (f"{_SCORE}'x'\n", "rules.affinity-score.least_score is 'x' (str); expected a number"),
        (f"{_SCORE}true\n", "rules.affinity-score.least_score is True (bool); expected a number"),
        ("[rules.steal]\nseverity = 'urgent'\n", "rules.steal.severity is 'urgent' (str); expected one of"),
        ("[rules.steal]\nignore = 1\n", "rules.steal.ignore is 1 (int); expected true or false"),
        ("[rule.steal]\n", "unknown key 'rule'. Did you mean 'rules'?"),
        ("fail_on = 'hihg'\n", "fail_on is 'hihg' (str); expected one of"),
        ("rules = 3\n", "rules is 3 (int); expected"),
        ("[rules.steal\n", "not TOML"),
        ("", "no rule and no fail_on in there, so that it admits every machine"),
        ("rules:\n  steal:\n", "line 1: this is YAML, and TOML is expected"),
    ],
)
def test_errors_name_file_key_and_the_likeliest_name(tmp_path: Path, text: str, message: str) -> None:
    path = _file(tmp_path, text)
    with pytest.raises(InputError) as error:
        load_policy(path, shipped_rules())
    assert str(error.value).startswith(f"{path}: ")
    assert message.lower() in str(error.value).lower()


def test_every_threshold_is_listed_and_documented(tmp_path: Path) -> None:
    document = json.loads(CliRunner().invoke(app, ["doctor", "--rules", "--json"]).stdout)
    listed = {rule["id"]: rule["limits"] for rule in document["rules"]}
    assert set(listed) == {rule.id for rule in shipped_rules()}
    page = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text(encoding="utf-8")
    for name, limits in listed.items():
        for key, value in limits.items():
            assert f"| `{name}` | `{key}` | {value:g} |" in page
