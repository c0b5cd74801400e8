"""Options of the plugin, and what its modules keep in pytest's configuration."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

WORKER_OPTION = "--lparbench-worker"
SIDE_OPTION = "--lparbench-side"

summary_key = pytest.StashKey[list[str]]()
plugin_name_key = pytest.StashKey[str]()  # under which the plugin is loaded, for worker processes to load it alike


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
        "--lparbench-strict",
        action="store_true",
        help="Fail a test whose verdict is inconclusive instead of skipping it.",
    )
    group.addoption(WORKER_OPTION, default=None, help=argparse.SUPPRESS)
    group.addoption(SIDE_OPTION, default=None, help=argparse.SUPPRESS)


def baselines_of(config: pytest.Config) -> Path:
    """The folder of baseline files."""
    folder = config.getoption("--lparbench-baselines")
    return Path(folder) if folder else config.rootpath / ".lparbench"
