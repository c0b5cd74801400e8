"""Repeats the command that measured a side, in fresh processes, for a candidate or for a second run."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from harness.compare.observations import Side, side_of
from harness.errors import InputError, MeasurementError
from harness.record.model import Run
from harness.record.store import RECORD_NAME, load_run

_COMMAND = ("lparbench", "run")
_BLOCKS = "--blocks"
_OPEN_ENDED = ("--budget", "--until-ci")


def repeated(argv: Sequence[str], *, extra: Sequence[str] = ()) -> Side:
    """The times, accuracy and environment of :func:`repeated_run`, whose record is not kept."""
    return side_of(repeated_run(argv, extra=extra))


def repeated_run(argv: Sequence[str], *, extra: Sequence[str] = ()) -> Run:
    """Run ``argv`` again, with ``extra`` options in place of its own, and give its record.

    Options that leave the number of blocks open are left out where ``extra`` gives one.

    Raises:
        InputError: ``argv`` is not a run that can be repeated.
        MeasurementError: it left no record; what it said is on standard error.
    """
    if tuple(argv[:2]) != _COMMAND:
        raise InputError(
            "the baseline does not say with which `lparbench run` it was measured, so it cannot be measured again.",
            remedy="Measure yourself and give the result with --candidate RUN.",
        )
    with tempfile.TemporaryDirectory(prefix="lparbench-gate-") as scratch:
        kept = _without(argv[1:], _OPEN_ENDED) if _BLOCKS in extra else argv[1:]
        command = [sys.executable, "-m", "harness", *kept, *extra, "--out", scratch]
        # Its own table is not the answer to the question asked here; progress and errors go to standard error.
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
        records = sorted(Path(scratch).glob(f"*/{RECORD_NAME}"))
        if len(records) != 1:
            raise MeasurementError(
                f"`{' '.join(argv)}` left no record (exit code {done.returncode}).",
                remedy="Run it by hand to see why.",
            )
        return load_run(records[0])


def _without(argv: Sequence[str], options: Sequence[str]) -> list[str]:
    """The arguments without these options and their values, in either spelling (``--budget 10m``, ``--budget=10m``)."""
    kept: list[str] = []
    skip = False
    for word in argv:
        if not skip and not word.startswith(tuple(f"{option}=" for option in options)) and word not in options:
            kept.append(word)
        skip = not skip and word in options
    return kept
