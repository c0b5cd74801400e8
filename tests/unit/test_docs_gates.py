"""The recipes for CI in docs/gates.md use commands and options that exist, and policies that are read."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from harness.gates.policy import Policy, read_policy

PAGE = (Path(__file__).resolve().parents[2] / "docs/gates.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, flags=re.S)
COMMANDS = sorted(set(re.findall(r"`((?:lparbench|pytest) [^`\n]*--[^`\n]*)`|(?:run: |- |')(lparbench [^'\n]*)", PAGE)))


@cache
def help_of(*command: str) -> str:
    done = subprocess.run([sys.executable, "-m", *command, "--help"], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("command", sorted(a or b for a, b in COMMANDS))
def test_the_commands_have_these_options(command: str) -> None:
    words = shlex.split(command.partition(" > ")[0])
    own, _, _ = " ".join(words).partition(" -- ")
    known = help_of("harness", words[1]) if words[0] == "lparbench" else help_of("pytest")
    for option in re.findall(r"--[a-z][a-z-]*", own):
        assert re.search(rf"{option}\b", known), option


def test_the_policy_is_read_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text(BLOCKS[0][1], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    policy = read_policy(None, Policy())
    assert policy.margin == pytest.approx(0.03)
