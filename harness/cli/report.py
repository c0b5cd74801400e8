"""``lparbench report``: the HTML page of a stored run or sweep, again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run or sweep directory, or the record in it.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Default: report.html beside the record.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """Render the HTML report of a run or a sweep from its record; the same record gives the same bytes.

    A sweep that is not finished yet is rendered as far as it has come.

    Example: `lparbench report results/runs/20260801T120000Z-3f2a -o /tmp/report.html`
    """
    from harness.record.store import write_file
    from harness.sweeps.result import is_sweep

    page, status, verdict = _sweep_page(run) if is_sweep(run) else _run_page(run)
    target = output if output is not None else (run if run.is_dir() else run.parent) / "report.html"
    write_file(target, page)
    if as_json:
        document = {"report": str(target), "bytes": len(page), "status": status, "verdict": verdict}
        typer.echo(json.dumps(document, indent=2))
    else:
        typer.echo(str(target))


def _run_page(path: Path) -> tuple[bytes, str, str]:
    from harness.record.store import load_run
    from harness.reporting.html import render
    from harness.reporting.sections.headline import headline

    record = load_run(path)
    said = headline(record)
    return render(record), said.status.word, said.text


def _sweep_page(path: Path) -> tuple[bytes, str, str]:
    from harness.reporting.sweep_html import render_sweep
    from harness.reporting.sweep_view import view_of
    from harness.sweeps.result import stored_sweep

    record = stored_sweep(path)
    view = view_of(record)
    sentences = [sentence for workload in view.workloads for sentence in workload.sentences]
    return render_sweep(record), view.status.word, " ".join([view.lead, *sentences]).lstrip()
