"""Revisions in worktrees of their own: nothing of the user's checkout changes, and nothing is green by accident."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.cli import base_head
from harness.errors import ExitCode, InputError, MeasurementError


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "kept.txt").write_text("base\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "base")
    return folder


def test_a_gate_in_a_hook_leaves_the_index_and_runs_no_hooks(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """git gives its index to its hooks by its absolute path; a worktree would be checked out into that."""
    (repository / "kept.txt").write_text("staged\n")
    git(repository, "add", ".")
    hook = repository / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    monkeypatch.setenv("GIT_INDEX_FILE", str(repository / ".git" / "index"))
    with base_head._worktree(repository, "HEAD", repository.parent / "base") as there:
        assert (there / "kept.txt").read_text() == "base\n"
    assert git(repository, "diff", "--cached", "--name-only").split() == ["kept.txt"]


def test_a_shallow_clone_says_how_the_revision_is_had(repository: Path) -> None:
    clone = repository.parent / "clone"
    git(repository.parent, "clone", "-q", "--depth", "1", repository.as_uri(), str(clone))
    with (
        pytest.raises(InputError, match="invalid reference: HEAD~1") as raised,
        base_head._worktree(clone, "HEAD~1", repository.parent / "base"),
    ):
        pass
    assert "--unshallow" in str(raised.value.remedy)


def test_a_pytest_that_judges_nothing_is_not_green(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    with pytest.raises(MeasurementError, match="without judging anything"):
        base_head.gate_revisions("HEAD", None, ["pytest", "--version"], None)


def test_a_pytest_that_does_not_begin_shows_no_regression(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends with 1 as of a failed test, by an error of its own in what it is given."""
    (repository / "pyproject.toml").write_text("tool = 3\n")
    monkeypatch.chdir(repository)
    assert base_head.gate_revisions("HEAD", None, ["pytest"], None) is ExitCode.USAGE


@pytest.mark.parametrize(
    ("variable", "words", "options"),
    [
        ("", (), ["--no-cov"]),
        ("", ("-p", "no:cov"), []),
        ("", ("-pno:pytest_cov",), []),
        ("1", (), ["-p", "lparbench"]),
        ("", ("--disable-plugin-autoload",), ["-p", "lparbench"]),
    ],
)
def test_options_are_of_plugins_that_are_loaded(
    variable: str, words: tuple[str, ...], options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", variable)
    monkeypatch.setattr(base_head.importlib.util, "find_spec", lambda _: object())
    assert base_head._plugins(["pytest", *words]) == options
