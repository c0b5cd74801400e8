"""What becomes of a gate without a verdict: an outcome of its own, that fails unless the user says otherwise."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ExitCode, InputError, LparbenchError
from harness.pytest_plugin.options import (
    BASE_OPTION,
    RUN_AGAIN,
    Verdict,
    baselines_of,
    closes,
    file_name,
    session_key,
)
from harness.record.files import DISK_FULL
from harness.scratch import SCRATCH_VARIABLE
from harness.workers.process import no_room

OUTCOME = "inconclusive"
_Failed: Any = pytest.fail.Exception


class NoVerdict(_Failed):  # type: ignore[misc]
    """The gate could not judge; neither passed nor regressed."""

    __module__ = "builtins"  # as pytest's own, whose reports name only the class

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(f"lparbench: {OUTCOME}: {why}", pytrace=False)


class OpenVerdictWarning(pytest.PytestWarning):
    """A test passed without a verdict, because ``--lparbench-open=warn`` lets it."""


def open_outcome(config: pytest.Config, problem: NoVerdict, summary: list[str], nodeid: str) -> None:
    """Fail with the outcome of its own, or let pass as the user asked.

    Raises:
        NoVerdict: unless ``--lparbench-open`` says otherwise.
    """
    line = f"{OUTCOME}: {nodeid}: {problem.why}"
    if not any(problem.why in known for known in summary):
        summary.append(line)
        config.stash[session_key].verdicts.append(Verdict(nodeid, nodeid, OUTCOME, problem.why))
    if closes(config):
        raise problem
    if config.getoption("lparbench_open") == "warn":
        warnings.warn(OpenVerdictWarning(line), stacklevel=2)


def end_where_the_tool_failed(config: pytest.Config, error: LparbenchError | OSError) -> None:
    """End the session where a disk is full: nothing is said about the code, so no test may look failed.

    Raises:
        OSError: the error itself, where it is of the code under test.
    """
    if isinstance(error, OSError):
        if error.errno not in DISK_FULL:
            raise error
        place = Path(os.environ.get(SCRATCH_VARIABLE) or tempfile.gettempdir())
        nameless = None if error.filename else no_room(place, str(error), RUN_AGAIN)
        error = nameless or LparbenchError(f"{error.filename}: {error.strerror}.", remedy=RUN_AGAIN)
    if error.exit_code is ExitCode.TOOL_FAILED:
        judged = len(config.stash[session_key].judged)
        kept = f" Verdicts and baselines of the {judged:,} judged before are kept." if judged else ""
        pytest.exit(f"lparbench: {error}{kept}", returncode=ExitCode.TOOL_FAILED)


def open_at_the_end(session: pytest.Session) -> Iterator[Verdict]:
    """What the whole session left open: baselines without a test, and a gate that judged nothing."""
    config = session.config
    kept = config.stash[session_key]
    folder = baselines_of(config)
    if config.getoption(BASE_OPTION) is None and folder.is_dir():
        known: dict[str, str] = {}
        for nodeid in kept.collected:
            known |= {file_name(nodeid, index): nodeid for index in range(_MOST_CALLS)}
        for path in sorted(folder.glob("*.json")):
            test = known.get(path.name)
            if test is None and _selected(config, name := _nodeid_of(path)):
                gone, why = name, "there is no such test any more"
            elif test is not None and test in kept.passed and test not in kept.judged:
                gone, why = test, "it is no longer gated"
            else:  # judged, not asked for, or skipped or failed on its own account
                continue
            yield Verdict(
                "", gone, "missing", f"{why}; its baseline is {path.name}. Delete that file if this is meant."
            )
    for nodeid in sorted(kept.of_base - kept.collected):
        yield Verdict("", nodeid, "missing", "the base revision has it.")
    asked = [name for name in ("--lparbench-update", "--lparbench-gate") if config.getoption(name)]
    if config.getoption(BASE_OPTION) is not None:
        asked.append(BASE_OPTION)
    if asked and not kept.judged and session.exitstatus == pytest.ExitCode.OK:
        yield Verdict(
            "", "the session", OUTCOME, f"no test was judged, and no baseline written, with {' '.join(asked)}."
        )


_MOST_CALLS = 100


def _nodeid_of(path: Path) -> str:
    """Node id of the test that a baseline file is of; its file name where that does not say."""
    from harness.gates.baseline_file import read_baselines

    try:
        keys = [key for baseline in read_baselines(path) for key in baseline.side.observations]
    except InputError:
        return path.name
    return next((key.workload.partition(" #")[0] for key in keys if key.scenario == "function"), path.name)


def _selected(config: pytest.Config, nodeid: str) -> bool:
    """Whether the command line asks for what ``nodeid`` was: a folder or file it lies in, or its class or module."""
    for argument in config.args or [str(config.rootpath)]:
        place, *names = str(argument).split("::")
        try:
            folder = (config.invocation_params.dir / place).resolve().relative_to(config.rootpath.resolve()).as_posix()
        except ValueError:
            continue
        prefix = "::".join(["" if folder == "." else folder, *names])
        if nodeid == prefix or not prefix or nodeid.startswith((prefix + "/", prefix + "::", prefix + "[")):
            return True
    return False
