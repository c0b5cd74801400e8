"""What commands with an option for an output file share."""

from __future__ import annotations

from pathlib import Path

from harness.errors import InputError
from harness.record.files import is_standard_output


def shares_standard_output(path: Path | None, *, as_json: bool) -> bool:
    """Whether an output option names standard output, which then holds nothing else.

    Raises:
        InputError: --json wants it too.
    """
    if path is None or not is_standard_output(path):
        return False
    if as_json:
        raise InputError("--json and an output on standard output exclude each other.", remedy="Name a file.")
    return True
