"""``lparbench history``: lasting steps over many runs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.shares import share
from harness.errors import ExitCode

if TYPE_CHECKING:
    from harness.compare.history import History


def history(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[DIR]...", help="Folders with runs, at any depth. Default: results/runs."),
    ] = None,
    margin: Annotated[str, typer.Option(metavar="SHARE", help="Step that matters.")] = "3%",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """Find lasting steps in the times of many runs, and what changed in the environment with them.

    Exit code 0: the last step of nothing made it slower. 1: the last step of something did. 2: too few runs to tell.

    Example: `lparbench history results/runs --margin 5%`
    """
    from harness.compare.history import history as steps_of
    from harness.compare.inputs import load_history
    from harness.reporting.comparison_terminal import print_history

    found = steps_of(load_history(runs or [Path("results/runs")]), margin=share("--margin", margin))
    if as_json:
        typer.echo(json.dumps({"results": [_plain(one) for one in found], "exit_code": int(_code(found))}, indent=2))
    else:
        print_history(found)
    raise typer.Exit(_code(found))


def _code(found: tuple[History, ...]) -> ExitCode:
    return ExitCode.judged(
        failed=any(one.steps and one.steps[-1].ratio > 1 for one in found),
        inconclusive=all(one.note for one in found),
    )


def _plain(one: History) -> dict[str, Any]:
    return {
        "result": str(one.key),
        "key": asdict(one.key),
        "points": [asdict(point) for point in one.points],
        "steps": [
            {
                "at": step.at,
                "run": one.points[step.at].run,
                "ratio": step.ratio,
                "p": step.p,
                "differences": [{"name": fact.name, "a": fact.a, "b": fact.b} for fact in step.differences],
            }
            for step in one.steps
        ],
        "note": one.note,
    }
