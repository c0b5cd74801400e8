"""The examples of docs/sizing.md: the table gives what the page shows, and the options exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli.main import app

PAGE = (Path(__file__).resolve().parents[2] / "docs/sizing.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"`(lparbench size [^`\n]*)`", PAGE)))


def test_the_table_gives_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (table,) = re.findall(r"```csv\n(.*?)```", PAGE, flags=re.S)
    Path("scaling.csv").write_text(table, encoding="utf-8")
    (shown,) = re.findall(r"```console\n\$ lparbench (.*?)\n(.*?)```", PAGE, flags=re.S)
    done = CliRunner().invoke(app, shown[0].split())
    printed = [line.rstrip() for line in done.output.splitlines()]
    for line in shown[1].splitlines():
        assert line.rstrip() in printed


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_have_these_options(command: str) -> None:
    known = CliRunner().invoke(app, ["size", "--help"]).output
    for option in re.findall(r"--[a-z][a-z0-9-]*", command):
        assert option in known
