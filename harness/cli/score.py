"""``lparbench score``: scores of raw rows by a saved model bundle, as a stream."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from enum import Enum
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from harness.cli.options import BundleBackend
from harness.cli.streams import reader_gone
from harness.errors import InputError
from harness.wording import plural

if TYPE_CHECKING:
    from harness.scoring.stream import Summary

_SHOWN = 5  # columns


class Format(str, Enum):
    """What the scores are written as."""

    CSV = "csv"
    JSONL = "jsonl"


class OnError(str, Enum):
    """What happens at a row that does not fit."""

    STOP = "stop"
    SKIP = "skip"


def score(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Directory that `lparbench run --save` kept.")],
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="Rows: CSV, JSON lines, .npy (.gz, .xz), or as in training; - for a pipe."),
    ],
    encoded: Annotated[
        bool, typer.Option("--encoded", help="The rows are encoded: numbers, one per feature of the bundle.")
    ] = False,
    form: Annotated[Format, typer.Option("--format", "-f", help="What to write.")] = Format.CSV,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Default: -, standard output.", show_default=False),
    ] = None,
    on_error: Annotated[
        OnError, typer.Option(help="At a broken row or an unknown category: stop, or skip and count it.")
    ] = OnError.STOP,
    backend: BundleBackend = None,
    threads: Annotated[int, typer.Option(metavar="N", min=1, help="Threads that score.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON summary; the scores go to --output.")] = False,
) -> None:  # fmt: skip
    """Score rows: prints score, label and level of each, level being how many of the bundle's thresholds it is above.

    Raw rows have the columns of the data set, by a header or in the order of its published files. Under a header they
    may be separated by semicolons, tabs or bars, then with decimal commas too, and be UTF-16 with a mark. A bundle of a
    table of your own takes every file that training reads, and missing values as training did; it counts them.

    Example: `xzcat KDDTest+.txt.xz | lparbench score models/nsl-kdd-mlp - --on-error skip > scores.csv`
    """
    from harness.decode import encode
    from harness.detectors.opening import open_stream
    from harness.record.files import STANDARD_OUTPUT, is_standard_output, whole_output
    from harness.scoring.bundle import open_bundle
    from harness.scoring.row_source import open_rows, read_rows
    from harness.scoring.stream import score_stream
    from harness.scoring.whole_rows import file_rows

    target = output or STANDARD_OUTPUT
    piped = is_standard_output(target)
    if as_json and piped:
        raise InputError("--json needs --output for the scores.", remedy="Name a file with -o FILE.")
    opened = open_bundle(bundle)
    stream = open_stream(opened, backend, threads, encoded=encoded)
    name = "standard input" if file == "-" else file
    with ExitStack() as stack:
        source = _standard_input() if file == "-" else stack.enter_context(open_rows(Path(file)))
        inputs = [Path(file)] if file != "-" else []
        sink = stack.enter_context(whole_output(target, inputs=[*inputs, *bundle.iterdir()]))
        layout = stream.layout
        rows = read_rows(source, name, layout) if file == "-" else file_rows(Path(file), source, layout)
        if piped:
            rows = takewhile(lambda _: not reader_gone(), rows)
        summary = score_stream(
            rows, stream.score, opened, sink,
            name=name, layout=layout, form=form.value, on_error=on_error.value,
        )  # fmt: skip
    if as_json:
        levels = [encode(level) for level in opened.manifest.levels]
        typer.echo(json.dumps({"backend": stream.backend, **encode(summary), "levels": levels}, indent=2))
    elif not piped or summary.remarkable:
        typer.echo(summed_up(summary), err=True)


def summed_up(summary: Summary) -> str:
    """One line of what a stream held."""
    words = f"{plural(summary.rows, 'row')} scored, {summary.flagged:,} flagged"
    if summary.skipped:
        words += f"; {summary.skipped:,} skipped, the first at {summary.first_skipped}"
    if summary.left_out:
        words += f"; {plural(summary.left_out, 'line')} left out, blank or the header repeated"
    if summary.missing:
        words += f"; missing values, as training took them: {_by_column(summary.missing)}"
    if summary.rare:
        words += f"; rarer values, without a feature since training: {_by_column(summary.rare)}"
    return f"{words}."


def _by_column(counts: Mapping[str, int]) -> str:
    most = sorted(counts, key=lambda name: -counts[name])
    named = ", ".join(f"{counts[name]:,} in {name!r}" for name in most[:_SHOWN])
    return named + (f" and {sum(counts[name] for name in most[_SHOWN:]):,} in others" if most[_SHOWN:] else "")


def _standard_input() -> BinaryIO:
    if sys.stdin is None:  # it was closed before the command began
        raise InputError("Standard input is closed.", remedy="Pipe the rows into it, or name a file.")
    return sys.stdin.buffer
