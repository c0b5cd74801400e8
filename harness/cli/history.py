"""``lparbench history``: lasting steps over many runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import Json
from harness.cli.shares import share


def history(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[DIR]...",
            help="Folders with runs, at any depth, an archive, or ARCHIVE#RECORD. Default: results/runs.",
        ),
    ] = None,
    margin: Annotated[str, typer.Option(metavar="SHARE", help="Step that matters.")] = "3%",
    baseline: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Baseline of a gate, or a folder of them: steps that were accepted there are marked, with the reason."
            " Repeatable.",
            show_default=False,
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="What to call the runs of a folder, once for each folder; else a run is called as its directory.",
            show_default=False,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the history as a page with charts too; - for a page alone, on standard output.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Find lasting steps in the times of many runs, and what changed in the environment with them.

    Exit code 0: the last step of nothing made it slower, or that was accepted. 1: the last step of something did. 2:
    too few runs to decide.

    Example: `lparbench history results/runs --margin 5% --html history.html`
    """
    from harness.cli.outputs import shares_standard_output
    from harness.compare.history import history as steps_of
    from harness.compare.history import history_exit_code
    from harness.compare.labels import load_runs
    from harness.gates.baseline_file import accepted_steps
    from harness.record.archived import archived
    from harness.record.files import write_output
    from harness.reporting.comparison_json import history_json
    from harness.reporting.comparison_terminal import print_history
    from harness.reporting.history_html import render_history

    piped = shares_standard_output(html, as_json=as_json)
    folders = runs or [Path("results/runs")]
    limit = share("--margin", margin)
    with archived(folders, whole=True) as paths:
        sides = load_runs(paths, label or ())
    histories = steps_of(sides, margin=limit, accepted=accepted_steps(baseline or []))
    if html is not None:
        write_output(html, render_history(histories), inputs=folders)
    if piped:
        raise typer.Exit(history_exit_code(histories))
    if as_json:
        typer.echo(json.dumps(history_json(histories), indent=2))
    else:
        print_history(histories)
    raise typer.Exit(history_exit_code(histories))
