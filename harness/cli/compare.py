"""``lparbench compare``: two to many runs side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import Format, Json, one_format
from harness.cli.shares import share


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="A B [MORE]...",
            help="Run directories, run.json files or ARCHIVE#RECORD; A is the baseline. Also files of pytest-benchmark,"
            " or folders of them, one process each.",
        ),
    ],
    margin: Annotated[str, typer.Option(metavar="SHARE", help="Change of a time that matters.")] = "3%",
    accuracy_margin: Annotated[
        str, typer.Option(metavar="SHARE", help="Change of an accuracy metric that matters, absolute.")
    ] = "0.01",
    allow_diff: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FACT", help="Compare although this fact makes it meaningless. Repeatable.", show_default=False
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="What to call a run, once for each in their order; else it is called as its directory.",
            show_default=False,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the comparison as a page too; - for a page alone, on standard output.",
            show_default=False,
        ),
    ] = None,
    to: Format = None,
    as_json: Json = False,
) -> None:
    """Say what is slower, faster or equivalent, with intervals, and in what else the runs differ.

    Exit code 0: nothing regressed. 1: something did. 2: nothing did, but something is inconclusive.

    Example: `lparbench compare runs/smt2 runs/smt4 runs/smt8 --html smt.html`
    """
    from harness.cli.outputs import name_left_out, shares_standard_output
    from harness.compare import compare as sides
    from harness.compare.labels import load_sides
    from harness.record.archived import archived
    from harness.record.files import write_output
    from harness.reporting.ci import of_comparison, print_ci
    from harness.reporting.comparison_html import render_comparison
    from harness.reporting.comparison_json import comparison_json
    from harness.reporting.comparison_terminal import print_comparison

    one_format(to, as_json=as_json)
    piped = shares_standard_output(html, as_json=as_json or to is not None)
    with archived(runs) as paths:
        compared = load_sides(paths, label or ())
    name_left_out(why for side in compared for why in side.left_out)
    report = sides.compare(
        compared,
        margin=share("--margin", margin),
        accuracy_margin=share("--accuracy-margin", accuracy_margin),
        allowed=allow_diff or (),
    )
    if html is not None:
        write_output(html, render_comparison(report), inputs=runs)
    if piped:
        raise typer.Exit(report.exit_code)
    if to is not None:
        print_ci(of_comparison(report), to)
    elif as_json:
        typer.echo(json.dumps(comparison_json(report), indent=2))
    else:
        print_comparison(report)
    raise typer.Exit(report.exit_code)
