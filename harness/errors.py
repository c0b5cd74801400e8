"""Errors a user can cause or meet, each with its exit code and a remedy; see the table of exit codes in README.md."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Process exit codes of every ``lparbench`` command."""

    OK = 0
    REGRESSION = 1
    INCONCLUSIVE = 2
    ENVIRONMENT_MISMATCH = 3
    USAGE = 4


class LparbenchError(Exception):
    """A failure that is told to the user in one line, without a traceback.

    Args:
        message: what is wrong, naming the file, line or key, and what was expected there.
        remedy: what the user can do about it; a full sentence or a command.
    """

    exit_code: ExitCode = ExitCode.REGRESSION

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
