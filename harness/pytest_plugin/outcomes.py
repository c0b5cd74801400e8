"""What becomes of a gate without a verdict: an outcome of its own, that fails unless the user says otherwise."""

from __future__ import annotations

import importlib.util
import os
import tempfile
import warnings
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ExitCode, InputError, LparbenchError
from harness.pytest_plugin.options import (
    ASKING,
    BASE_OPTION,
    OUTCOME,
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
        try:
            warnings.warn(OpenVerdictWarning(line), stacklevel=2)
        except OpenVerdictWarning:  # all warnings are errors here: the option says what becomes of this one
            with warnings.catch_warnings():
                warnings.simplefilter("always", OpenVerdictWarning)
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
        known: dict[str, tuple[str, int]] = {}
        for nodeid in kept.collected:
            known |= {file_name(nodeid, index): (nodeid, index) for index in range(_MOST_CALLS)}
        for path in sorted(folder.glob("*.json")):
            test, index = known.get(path.name, (None, 0))
            if test is None and _selected(config, name := _nodeid_of(path)):
                gone, why = name, "there is no such test any more"
            elif test is not None and test in kept.passed and path.name not in kept.called:
                gone, why = f"{test} #{index + 1}" if index else test, "it is no longer gated"
            else:  # judged, not asked for, or skipped or failed on its own account
                continue
            yield Verdict(
                "", gone, "missing", f"{why}; its baseline is {path.name}. Delete that file if this is meant."
            )
    for nodeid in sorted(kept.of_base - kept.collected):
        yield Verdict("", nodeid, "missing", "the base revision has it.")
    asked = [name for name in ASKING if config.getoption(name)]
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
    """Whether the command line asks for what ``nodeid`` was: a folder or file it lies in, or its class or module.

    What it leaves out, or what was skipped as a whole, nobody asked for.
    """
    if _left_out(config, nodeid):
        return False
    for argument in config.args or [str(config.rootpath)]:
        place, *names = str(argument).split("::")
        try:
            folder = _path_of(config, place).resolve().relative_to(config.rootpath.resolve()).as_posix()
        except ValueError:
            continue
        prefix = "::".join(["" if folder == "." else folder, *names])
        if nodeid == prefix or not prefix or nodeid.startswith((prefix + "/", prefix + "::", prefix + "[")):
            return True
    return False


def _left_out(config: pytest.Config, nodeid: str) -> bool:
    if any(nodeid.startswith(skipped + "::") for skipped in config.stash[session_key].skipped):
        return True
    if config.getoption("lf", default=False) and (config.rootpath / nodeid.partition("::")[0]).exists():
        return True  # --last-failed does not even collect files in which nothing failed
    path, here = config.rootpath / nodeid.partition("::")[0], config.invocation_params.dir
    ignored = (here / place for place in config.getoption("ignore") or ())
    patterns = (str(here / pattern) for pattern in config.getoption("ignore_glob") or ())
    return any(path.is_relative_to(place) for place in ignored) or any(fnmatch(str(path), each) for each in patterns)


def _path_of(config: pytest.Config, place: str) -> Path:
    """Where an argument of the command line lies; with ``--pyargs`` it may be the name of a package."""
    path = config.invocation_params.dir / place
    if not config.getoption("pyargs") or path.exists():
        return path
    try:
        spec = importlib.util.find_spec(place)
    except (ImportError, ValueError):
        return path
    places = [] if spec is None else [*(spec.submodule_search_locations or ()), spec.origin]
    return Path(places[0] or path) if places else path
