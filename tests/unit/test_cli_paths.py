"""Paths that the user gives and that cannot be looked at: wrong use, named in one line, whatever command it is."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from harness.cli import main
from harness.datasets.registry import spec
from harness.errors import ExitCode, InputError

LONG = "x" * 5000


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", LONG),
        ("export", LONG),
        ("compare", LONG, LONG),
        ("gate", LONG),
        ("history", LONG),
        ("archive", "list", LONG),
        ("fleet", "report", LONG),
        ("probe", "--sysroot", LONG),
        ("size", f"--from={LONG}", "--rate", "1/s"),
        ("run", "--resume", LONG),
        ("run", "nsl-kdd-mlp", "--dataset", f"csv:{LONG}"),
        ("run", "nsl-kdd-mlp", "--dataset", LONG),
        ("score", LONG, "x"),
    ],
)
def test_a_name_that_no_path_can_have_is_wrong_use(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main._run(list(arguments), debug=False) == ExitCode.USAGE
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.startswith("lparbench: error: ")
    assert "xxx" in first
    assert "defect" not in "".join(rest)


@pytest.mark.parametrize(
    ("path", "code", "given"),
    [
        ("/home/other/run/run.json", errno.EACCES, True),
        ("/home/other/run", errno.EACCES, True),
        ("/home/other/running", errno.EACCES, False),
        ("/usr/lib/python3/something.py", errno.EACCES, False),
        ("/home/other/run/run.json", errno.ENOSPC, False),
    ],
)
def test_only_a_path_that_was_given_is_the_users(path: str, code: int, given: bool) -> None:
    error = OSError(code, os.strerror(code), path)
    for arguments in (
        ["report", "/home/other/run"],
        ["size", "--from=/home/other/run"],
        ["run", "csv:/home/other/run"],
    ):
        assert main._is_given(error, arguments) == given
    assert not main._is_given(error, ["report"])


def test_a_data_set_may_have_any_name_and_is_not_known() -> None:
    with pytest.raises(InputError, match="Unknown data set"):
        spec(LONG)


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "{}.toml"),
        ("run", "nsl-kdd-mlp", "--data", "{}"),
        ("run", "--resume", "{}"),
        ("sweep", "--resume", "{}"),
        ("size", "--from", "{}", "--rate", "1/s"),
        ("size", "--resume", "{}"),
        ("serve", "{}.toml"),
        ("report", "{}"),
        ("compare", "{}", "{}"),
        ("gate", "{}"),
        ("archive", "list", "{}"),
        ("fleet", "run", "{}"),
        ("probe", "--sysroot", "{}"),
        ("doctor", "--html", "{}"),
        ("score", "{}", "x"),
        ("load", "http://127.0.0.1:1", "--bundle", "{}", "--rate", "1/s"),
    ],
)
def test_links_that_lead_to_themselves_are_wrong_use(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("loop", "loop.toml"):
        Path(name).symlink_to(name)
    assert main._run([each.format("loop") for each in arguments], debug=False) == ExitCode.USAGE
    assert "defect" not in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loop", "loop.toml"]
