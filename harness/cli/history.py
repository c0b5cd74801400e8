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
        typer.Argument(metavar="[DIR]...", help="Folders with runs, at any depth. Default: results/runs."),
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
    as_json: Json = False,
) -> None:
    """Find lasting steps in the times of many runs, and what changed in the environment with them.

    Exit code 0: the last step of nothing made it slower, or that was accepted. 1: the last step of something did. 2:
    too few runs to tell.

    Example: `lparbench history results/runs --margin 5%`
    """
    from harness.compare.history import history as steps_of
    from harness.compare.history import history_exit_code
    from harness.compare.inputs import load_history
    from harness.gates.baseline_file import accepted_steps
    from harness.reporting.comparison_json import history_json
    from harness.reporting.comparison_terminal import print_history

    histories = steps_of(
        load_history(runs or [Path("results/runs")]),
        margin=share("--margin", margin),
        accepted=accepted_steps(baseline or []),
    )
    if as_json:
        typer.echo(json.dumps(history_json(histories), indent=2))
    else:
        print_history(histories)
    raise typer.Exit(history_exit_code(histories))
