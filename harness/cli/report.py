"""``lparbench report``: the HTML page of a stored run, again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, or the run.json in it.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Default: report.html beside run.json.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """Render the HTML report of a run from its record; the same record gives the same bytes.

    Example: `lparbench report results/runs/20260801T120000Z-3f2a -o /tmp/report.html`
    """
    from harness.record.store import load_run, write_file
    from harness.reporting.html import render
    from harness.reporting.sections.headline import headline

    record = load_run(run)
    target = output if output is not None else (run if run.is_dir() else run.parent) / "report.html"
    page = render(record)
    write_file(target, page)
    verdict = headline(record)
    if as_json:
        document = {"report": str(target), "bytes": len(page), "status": verdict.status.word, "verdict": verdict.text}
        typer.echo(json.dumps(document, indent=2))
    else:
        typer.echo(str(target))
