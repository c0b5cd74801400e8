"""What commands with an option for an output file share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer

from harness.errors import InputError, printable
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


def name_left_out(left_out: Iterable[str]) -> None:
    """Name on standard error the files that were given and hold nothing to compare."""
    for why in left_out:
        typer.echo(f"note: left out: {printable(why)}", err=True)
