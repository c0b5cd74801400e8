"""Options of the plugin, and what its modules keep in pytest's configuration."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from harness.reporting.ci_format import CiFormat

if TYPE_CHECKING:
    from harness.gates.baseline import Baseline

WORKER_OPTION = "--lparbench-worker"
BASE_OPTION = "--lparbench-base"
ASKING = ("--lparbench-update", "--lparbench-gate", BASE_OPTION)  # for something to be judged or written
RUN_AGAIN = "Make room there and run pytest again."
OUTCOME = "inconclusive"
_STRICT, OPEN_CHOICES = "fail", ("fail", "warn", "pass")


class Verdict(NamedTuple):
    """What became of one result of a test: its name, one word, and one sentence with the figures."""

    nodeid: str
    subject: str
    outcome: str
    why: str


_UNUSED = tuple(f"--benchmark-{name}" for name in ("min-", "max-time", "timer", "calibration-", "warmup"))


@dataclass
class Session:
    """What one pytest session keeps.

    Attributes:
        created: when it began, which its measurements of all tests are known by.
        environment, path, cwd: of the process as pytest was started, before any test changed them.
        summary: lines for the end of the report.
        verdicts: what was judged, and what could not be.
        failed: node id of each test that failed -> why.
        unused: settings of pytest-benchmark that the gate does not go by.
        baselines: file -> the baseline it held when the session began.
        called: file name of the baseline of each call of the gate.
        judged: the same of the calls that were judged, or whose baseline was written.
        skipped: node ids of what was skipped while it was collected.
        passed: node ids of the tests that passed.
        collected: node ids of all tests there are, deselected ones included.
        of_base: node ids of the gated tests of the base revision.
        at_end: what ends the workers.
    """

    created: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat().replace("+00:00", "Z"))
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    path: tuple[str, ...] = field(default_factory=lambda: tuple(sys.path))
    cwd: Path = field(default_factory=Path.cwd)
    summary: list[str] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    unused: set[str] = field(default_factory=set)
    baselines: dict[Path, Baseline] = field(default_factory=dict)
    called: set[str] = field(default_factory=set)
    judged: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)
    passed: set[str] = field(default_factory=set)
    collected: set[str] = field(default_factory=set)
    of_base: set[str] = field(default_factory=set)
    at_end: list[Callable[[], None]] = field(default_factory=list)


session_key = pytest.StashKey[Session]()


def _report(text: str) -> tuple[CiFormat, Path]:
    name, separator, path = text.partition("=")
    formats = {to.value: to for to in CiFormat}
    if name not in formats or not separator or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(f'{name}=FILE' for name in formats)}")
    return formats[name], Path(path)


# What argparse is given.
_OPTIONS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (
        ("--lparbench-baselines",),
        {
            "metavar": "DIR",
            "help": "Folder of baseline files, one per test. Default: .lparbench in the rootdir.",
        },
    ),
    (
        ("--lparbench-update",),
        {
            "action": "store_true",
            "help": "Measure and write the baselines instead of judging; a shared machine needs three sessions.",
        },
    ),
    (
        ("--lparbench-gate",),
        {
            "action": "store_true",
            "help": "Gate every test that uses the `benchmark` fixture of pytest-benchmark, as it is.",
        },
    ),
    (
        ("--lparbench-open",),
        {
            "choices": OPEN_CHOICES,
            "default": _STRICT,
            "help": "What becomes of a test without a verdict, or a baseline without a test. Default: fail.",
        },
    ),
    (
        ("--lparbench-strict",),
        {
            "dest": "lparbench_open",
            "action": "store_const",
            "const": _STRICT,
            "help": "The same as --lparbench-open=fail.",
        },
    ),
    (
        ("--lparbench-accept",),
        {
            "metavar": "REASON",
            "help": "With --lparbench-update: times that left the level of the baseline are meant, for this reason.",
        },
    ),
    (
        ("--lparbench-machine",),
        {"metavar": "NAME", "help": "Name of this machine, where it does not say which processor it has."},
    ),
    (
        ("--lparbench-report",),
        {
            "metavar": "FORMAT=FILE",
            "action": "append",
            "type": _report,
            "help": "Write the verdicts for a CI system: junit=FILE, markdown=FILE, or github=FILE for annotations, and"
            " the summary of the step. Repeatable.",
        },
    ),
    (
        ("--lparbench-policy",),
        {
            "metavar": "FILE",
            "help": "Margins, floors and allowed differences per test. Default: [tool.lparbench.gate] of"
            " pyproject.toml.",
        },
    ),
    (
        ("--lparbench-allow-diff", "--allow-diff"),
        {
            "dest": "allow_diff",
            "metavar": "FACT",
            "action": "append",
            "help": "Let this fact differ, because it is what you ask about: libraries.numpy, kernel. Repeatable.",
        },
    ),
    (
        (BASE_OPTION,),
        {
            "metavar": "DIR",
            "help": "Judge against the same tests in this checkout, measured in the same blocks.",
        },
    ),
    ((WORKER_OPTION,), {"help": argparse.SUPPRESS}),
)


def add_options(parser: pytest.Parser) -> None:
    """Options of the gate, and those that a worker process is started with."""
    group = parser.getgroup("lparbench", "gates on time, by lparbench")
    for names, settings in _OPTIONS:
        group.addoption(*names, **settings)


def baselines_of(config: pytest.Config) -> Path:
    """The folder of baseline files."""
    folder = config.getoption("--lparbench-baselines")  # from where pytest was started: a test may have gone elsewhere
    return config.invocation_params.dir / folder if folder else config.rootpath / ".lparbench"


def is_worker(config: pytest.Config) -> bool:
    """Whether this pytest was started to time tests for another."""
    return config.getoption(WORKER_OPTION) is not None


def one_after_another(config: pytest.Config) -> bool:
    """Set aside an ``-n`` that the configuration gives and not the command line, where benchmarks are gated.

    Returns:
        Whether there was one.
    """
    gating = config.getoption("--lparbench-gate") or config.getoption(BASE_OPTION) is not None
    given = any(str(part).startswith(("-n", "--numprocesses")) for part in config.invocation_params.args)
    if not gating or given or not getattr(config.option, "numprocesses", None) or hasattr(config, "workerinput"):
        return False
    config.option.numprocesses, config.option.dist, config.option.tx = 0, "no", []
    return True


def unused_options(config: pytest.Config) -> set[str]:
    """Options of pytest-benchmark on the command line that the gate does not go by."""
    gating = config.getoption("--lparbench-gate") or config.getoption(BASE_OPTION) is not None
    given = {str(part).partition("=")[0] for part in config.invocation_params.args} if gating else set()
    return {name for name in given if name.startswith(_UNUSED)}


def closes(config: pytest.Config) -> bool:
    """Whether what stays open fails."""
    return bool(config.getoption("lparbench_open") == _STRICT)


def file_name(nodeid: str, index: int = 0) -> str:
    """A file name that can be read, and is another for another test."""
    nodeid = f"{nodeid} #{index + 1}" if index else nodeid
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", nodeid).strip("-.")[-100:]
    return f"{readable}-{hashlib.sha256(nodeid.encode('utf-8', 'replace')).hexdigest()[:8]}.json"


def checkout_of(path: Path) -> Path:
    """The top of the checkout that ``path`` lies in; itself where it lies in none."""
    resolved = path.resolve()
    return next((folder for folder in (resolved, *resolved.parents) if (folder / ".git").exists()), resolved)
