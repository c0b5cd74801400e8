"""The one table of exit codes, and the errors a user can cause or meet, each with its code and a remedy."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """Process exit codes of every ``lparbench`` command; a signal n gives 128 + n, as shells report it."""

    GOOD = 0
    REGRESSION = 1  # or a check that failed
    INCONCLUSIVE = 2  # or an invalid measurement
    ENVIRONMENT_MISMATCH = 3
    USAGE = 4  # or broken input
    TOOL_FAILED = 5  # a bug, a full disk, a refused SMT switch: nothing is said about what was measured
    INTERRUPTED = 130

    @classmethod
    def judged(cls, *, failed: bool, inconclusive: bool = False) -> ExitCode:
        """Code of a report, run or sweep: a failure outweighs what is inconclusive.

        Args:
            failed: something regressed, or a check did not hold.
            inconclusive: something could not be decided, or is not valid.
        """
        if failed:
            return cls.REGRESSION
        return cls.INCONCLUSIVE if inconclusive else cls.GOOD


PYTEST_OFFSET = 64  # what pytest adds to a code of this table that it ends with: it has its own from 0 to 5
_KEPT = frozenset("\u00a0")  # no control characters, though no printable ones either
_LINE = 2000  # characters of a line that are shown
_SAID = 24  # names that an error lists where nothing is likely and another place has them all
_LISTED = 12  # names beside a likely one; a longer list hides it
# What no code could have prevented: a disk or a limit is full, a device is broken.
_OF_THE_SYSTEM = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
)


class LparbenchError(Exception):
    """A failure that is shown to the user in one line, without a traceback; itself one of the tool or its surroundings.

    Args:
        message: what is wrong, naming the file, line or key, and what was expected there.
        remedy: what the user can do about it; a full sentence or a command.
    """

    exit_code: ExitCode = ExitCode.TOOL_FAILED

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return self.message if self.remedy is None else f"{self.message} {self.remedy}"


class InputError(LparbenchError):
    """A wrong option, or a file that is missing, broken, truncated or of another schema."""

    exit_code = ExitCode.USAGE


class CheckFailedError(LparbenchError):
    """A check the user asked for did not hold (a regression, a failed verification)."""

    exit_code = ExitCode.REGRESSION


class MeasurementError(LparbenchError):
    """The measurement is inconclusive or invalid, so no figure may be published from it."""

    exit_code = ExitCode.INCONCLUSIVE


class EnvironmentMismatchError(LparbenchError):
    """Two records cannot be compared because their environments differ in what matters."""

    exit_code = ExitCode.ENVIRONMENT_MISMATCH


def unknown(what: str, name: str, known: Iterable[str], *, where: str | None = None, see: str = "") -> InputError:
    """The error for a ``what`` ("key", "workload") that is none of ``known``: the likeliest of them, or all of them.

    Args:
        where: option, or file and key, that holds the name.
        see: a sentence on where else to look, added to the remedy.
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    meant = [f"Did you mean {near[0]!r}?"] if near else []
    listed = [] if near and len(names) > _LISTED else [f"Known: {', '.join(names) or 'none'}."]
    if listed and see and len(names) > _SAID:
        listed = [f"{len(names)} are known."]
    message = f"Unknown {what} {name!r}." if where is None else f"{where}: unknown {what} {name!r}."
    return InputError(message, remedy=" ".join(filter(None, [*meant, *listed, see])))


def printable(text: str) -> str:
    """Text that neither commands a terminal nor hides its own order: control and direction characters are replaced."""
    return "".join(c if c.isprintable() or c in _KEPT else "\N{REPLACEMENT CHARACTER}" for c in text)


def one_line(text: str) -> str:
    """What a file, a server or a library says, as one line for a terminal."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= _LINE else line[: _LINE - 1] + "…"


def cause_of(error: BaseException) -> str:
    """One line on an error that nothing foresaw: what the system refused, or where the defect is."""
    words = one_line(str(error))
    if isinstance(error, OSError) and error.errno in _OF_THE_SYSTEM:
        return (
            f"{one_line(str(error.filename or 'writing'))}: {error.strerror}. Nothing is said about what was measured"
        )
    if isinstance(error, MemoryError):
        return f"out of memory{': ' if words else ''}{words}. Nothing is said about what was measured"
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {words or 'no message'}{where}. This is a defect: please report it"
