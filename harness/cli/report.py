"""``lparbench report``: the HTML page of a stored run, sweep, sizing, load test or fleet run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import Json


def report(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="Directory of a run, sweep, sizing or fleet run, a record (run.json, load.json …) or ARCHIVE#RECORD.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Default: report.html in the directory of the record, RECORD.html here for a record of an archive; - "
            "for standard output.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Render the HTML report of a record; the same record gives the same bytes.

    A sweep that is not finished yet is rendered as far as it has come.

    Example: `lparbench report results/runs/20260801T120000Z-3f2a -o /tmp/report.html`
    """
    from harness.cli.outputs import shares_standard_output
    from harness.record.archived import archived
    from harness.record.files import write_output
    from harness.reporting.stored import page_of

    piped = shares_standard_output(output, as_json=as_json)
    with archived([run]) as (place,):
        page = page_of(place)
    folder = run if run.is_dir() else run.parent
    target = output or (folder / "report.html" if place == run else Path(f"{place.name}.html"))
    write_output(target, page.content, inputs=(run, folder))
    if piped:
        return
    if as_json:
        document = {"report": str(target), "bytes": len(page.content), "status": page.status, "verdict": page.verdict}
        typer.echo(json.dumps(document, indent=2))
    else:
        typer.echo(str(target))
