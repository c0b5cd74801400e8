"""docs/gates.md: the options of pytest exist, and the policy is read."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.gates.policy import Policy, read_policy

PAGE = (Path(__file__).resolve().parents[2] / "docs/gates.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, flags=re.S)
COMMANDS = sorted(set(re.findall(r"`(pytest [^`\n]*--[^`\n]*)`", PAGE)))


@pytest.fixture(scope="module")
def options() -> str:
    command = [sys.executable, "-m", "pytest", "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_pytest_has_these_options(command: str, options: str) -> None:
    for option in re.findall(r"--[a-z][a-z-]*", command.partition(" -- ")[0]):
        assert re.search(rf"{option}\b", options), option


def test_the_policy_is_read_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text(BLOCKS[0][1], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    policy = read_policy(None, Policy())
    assert policy.margin == pytest.approx(0.03)
