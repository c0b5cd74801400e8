"""``lparbench gate --base REF --head REF -- pytest ...``: two revisions, measured in the same blocks."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.errors import PYTEST_OFFSET, ExitCode, InputError, LparbenchError, MeasurementError
from harness.process_tree import child, ended
from harness.reporting.ci_format import CiFormat
from harness.scratch import SCRATCH_VARIABLE, scratch
from harness.workers.process import no_room

_ORIGIN = "LPARBENCH_ORIGIN"
# What pytest ends with by itself; 2 before it has begun is a plugin or conftest that refused to.
_OF_PYTEST = {0: ExitCode.GOOD, 1: ExitCode.REGRESSION, 2: ExitCode.USAGE, 4: ExitCode.USAGE}
_OF_GATE = {PYTEST_OFFSET + code: code for code in ExitCode}
_UNWRITTEN = "unable to write file"
_ROOM = "Make room there, or set TMPDIR to another disk; nothing was measured yet."
_USAGE = "Example: lparbench gate --base main --head HEAD -- pytest tests/bench"
_DEEPER = "This clone is shallow: git fetch --unshallow, or `fetch-depth: 0` of actions/checkout, brings the revision."
# What git gives to its hooks, a gate among them: worktrees would be checked out into the index of the user.
_OF_HOOKS = frozenset({"GIT_INDEX_FILE", "GIT_PREFIX"})
_NO_COVERAGE = re.compile(r"(-p)?no:(pytest_)?cov")


def gate_revisions(
    base: str, head: str | None, command: Sequence[str], prepare: str | None, to: CiFormat | None = None
) -> ExitCode:
    """Run pytest in a worktree of ``head`` with every benchmark gated against the same test in one of ``base``.

    Args:
        base: revision to compare with.
        head: revision to judge; None: the checkout as it is.
        command: ``pytest`` and its arguments.
        prepare: command that is run in each worktree first, to build or install what the tests import.
        to: print the verdicts for a CI system; what pytest prints then goes to standard error.

    Raises:
        InputError: no such revision, no git checkout, no pytest command, or ``prepare`` failed.
    """
    if not command or Path(command[0]).name != "pytest":
        raise InputError("--base needs a pytest command after `--`.", remedy=_USAGE)
    top = Path(_git(Path.cwd(), "rev-parse", "--show-toplevel"))
    inside = Path.cwd().resolve().relative_to(top.resolve())
    with contextlib.ExitStack() as stack:
        _git(top, "worktree", "prune")  # of a gate that was killed
        directory = stack.enter_context(scratch("revisions")).resolve()
        there = stack.enter_context(_worktree(top, base, directory / "base"))
        here = top if head is None else stack.enter_context(_worktree(top, head, directory / "head"))
        for root in (there, here) if prepare is not None else ():
            _prepare(prepare or "", root / inside)
        sources = [str(folder) for folder in (here / "src", here) if folder.is_dir()]
        path = os.pathsep.join([*sources, *filter(None, [os.environ.get("PYTHONPATH")])])
        report = directory / "report"
        own = [*_plugins(command), "--lparbench-gate", f"--lparbench-base={there}"]
        own.append(f"--lparbench-report={(to or CiFormat.MARKDOWN).value}={report}")
        with child(
            [sys.executable, "-m", "pytest", *own, *command[1:]],
            cwd=here / inside,
            env={**os.environ, "PYTHONPATH": path, _ORIGIN: str(top.resolve()), SCRATCH_VARIABLE: str(directory)},
            stdout=None if to is None else sys.stderr.fileno(),
            ask=signal.SIGINT,  # on which pytest runs its clean-ups
        ) as pytest:
            status = ended(pytest)
        text = report.read_text(encoding="utf-8") if report.exists() else None
        if text is None and status == 0:  # --collect-only, --version, a conftest that exits
            raise MeasurementError("pytest ended without judging anything.", remedy=_USAGE)
        if to is not None and text is not None:
            sys.stdout.write(text)
    codes = {**_OF_PYTEST, **_OF_GATE} if text is not None else {**_OF_PYTEST, 1: ExitCode.USAGE, **_OF_GATE}
    return codes.get(status, ExitCode.TOOL_FAILED)


def _plugins(command: Sequence[str]) -> list[str]:
    """Options that load this plugin where pytest loads none by itself, and keep the limits of coverage out."""
    named = bool(os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD")) or "--disable-plugin-autoload" in command
    blocked = any(_NO_COVERAGE.fullmatch(word) for word in command)
    covers = importlib.util.find_spec("pytest_cov") is not None and not blocked and not named
    return [*(("-p", "lparbench") if named else ()), *(("--no-cov",) if covers else ())]


@contextlib.contextmanager
def _worktree(top: Path, revision: str, folder: Path) -> Iterator[Path]:
    try:
        _git(top, "worktree", "add", "--detach", "--quiet", str(folder), revision)
    except InputError as error:
        if _git(top, "rev-parse", "--is-shallow-repository") == "true" and "invalid reference" in error.message:
            raise InputError(error.message, remedy=_DEEPER) from None
        raise
    try:
        yield folder
    finally:
        _git(top, "worktree", "remove", "--force", str(folder))


def _prepare(command: str, folder: Path) -> None:
    with child(shlex.split(command), cwd=folder) as process:
        status = ended(process)
    if status:
        raise InputError(f"--prepare failed in {folder} with status {status}: {command}")


def _git(folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in _OF_HOOKS}
    command = ["git", "-c", f"core.hooksPath={os.devnull}", *arguments]  # hooks are for the checkout of the user
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise InputError("git is not installed.", remedy="--base and --head need it.") from None
    if done.returncode:
        lines = (done.stderr.strip() or "failed").splitlines()
        if full := no_room(Path(tempfile.gettempdir()), done.stderr, _ROOM):
            raise full
        if _UNWRITTEN in done.stderr:  # git does not say why, and has removed what filled the disk
            cause = f"git {arguments[0]}: {lines[0]}: there is no room for a worktree in {tempfile.gettempdir()}."
            raise LparbenchError(cause, remedy=_ROOM)
        cause = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[-1])
        advice = next((line.strip() for line in lines if line.startswith("\tgit ")), _USAGE)
        raise InputError(f"git {arguments[0]}: {cause}", remedy=advice)
    return done.stdout.strip()
