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

import pytest

WORKER_OPTION = "--lparbench-worker"
BASE_OPTION = "--lparbench-base"
_STRICT, OPEN_CHOICES = "fail", ("fail", "warn", "pass")


@dataclass
class Session:
    """What one pytest session keeps.

    Attributes:
        created: when it began, which its measurements of all tests are known by.
        environment, path, cwd: of the process as pytest was started, before any test changed them.
        summary: lines for the end of the report.
        judged: node ids of the tests that were judged, or whose baseline was written.
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
    judged: set[str] = field(default_factory=set)
    passed: set[str] = field(default_factory=set)
    collected: set[str] = field(default_factory=set)
    of_base: set[str] = field(default_factory=set)
    at_end: list[Callable[[], None]] = field(default_factory=list)


session_key = pytest.StashKey[Session]()


def add_options(parser: pytest.Parser) -> None:
    """Options of the gate, and those that a worker process is started with."""
    group = parser.getgroup("lparbench", "gates on time, by lparbench")
    group.addoption(
        "--lparbench-baselines",
        metavar="DIR",
        default=None,
        help="Folder of baseline files, one per test. Default: .lparbench in the root directory.",
    )
    group.addoption(
        "--lparbench-update",
        action="store_true",
        help="Measure and write the baselines instead of judging; a shared machine needs three sessions.",
    )
    group.addoption(
        "--lparbench-gate",
        action="store_true",
        help="Gate every test that uses the `benchmark` fixture of pytest-benchmark, as it is.",
    )
    group.addoption(
        "--lparbench-open",
        choices=OPEN_CHOICES,
        default=_STRICT,
        help="What becomes of a test without a verdict, or a baseline without a test. Default: fail.",
    )
    group.addoption(
        "--lparbench-strict",
        dest="lparbench_open",
        action="store_const",
        const=_STRICT,
        help="The same as --lparbench-open=fail.",
    )
    group.addoption(
        "--lparbench-accept",
        metavar="REASON",
        default=None,
        help="With --lparbench-update: times that left the level of the baseline are meant, for this reason.",
    )
    group.addoption(
        "--lparbench-policy",
        metavar="FILE",
        default=None,
        help="Margins, floors and allowed differences per test. Default: [tool.lparbench.gate] of pyproject.toml.",
    )
    group.addoption(
        *("--lparbench-allow-diff", "--allow-diff"),
        dest="allow_diff",
        metavar="FACT",
        action="append",
        help="Let this fact differ, because it is what you ask about: libraries.numpy, kernel. Repeatable.",
    )
    group.addoption(
        BASE_OPTION,
        metavar="DIR",
        default=None,
        help="Judge against the same tests in this checkout, measured in the same blocks.",
    )
    group.addoption(WORKER_OPTION, default=None, help=argparse.SUPPRESS)


def baselines_of(config: pytest.Config) -> Path:
    """The folder of baseline files."""
    folder = config.getoption("--lparbench-baselines")
    return Path(folder) if folder else config.rootpath / ".lparbench"


def is_worker(config: pytest.Config) -> bool:
    """Whether this pytest was started to time tests for another."""
    return config.getoption(WORKER_OPTION) is not None


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
