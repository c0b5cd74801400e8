"""Published figures next to those of runs under both protocols, as a table for a page of documentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.errors import InputError
from harness.record.model import Run
from harness.reporting.ci import markdown_cell
from harness.reporting.sections.published import HEAD, PublishedRow, published_rows
from harness.wording import count, plural


def render_published(runs: Sequence[Run]) -> str:
    """Where the figures come from, a line per run, then one row per system in the order of the runs.

    Raises:
        InputError: a run has the figures of one protocol only.
    """
    rows: list[PublishedRow] = []
    for run in runs:
        of_run = published_rows(run)
        if not of_run:
            raise InputError(
                f"{run.run_id} ran under one protocol.", remedy="Measure under both: lparbench run --both-protocols"
            )
        rows += of_run
    origins = [_origin(run) for run in runs]
    if len(origins) > 1:
        origins = [f"- {origin}" for origin in origins]
    return "\n".join([*origins, "", *_table(rows)]) + "\n"


def _origin(run: Run) -> str:
    spec = run.spec
    cuts = [f"training cut to {plural(spec.epochs, 'epoch')}"] if spec.epochs is not None else []
    cuts += [f"{count(spec.rows)} rows"] if spec.rows is not None else []
    seeds = "each workload's own seeds" if spec.seeds is None else plural(spec.seeds, "seed")
    words = ", ".join([seeds, *cuts])
    return markdown_cell(
        f"Run {run.run_id} of {run.created}, {words}, on {run.facts.cpu.model_name or 'an unnamed processor'}."
    )


def _table(rows: list[PublishedRow]) -> Iterator[str]:
    yield f"| {' | '.join(HEAD)} |"
    yield f"|{'---|' * len(HEAD)}"
    for row in rows:
        missing = f" ({row.no_published})" if row.no_published else ""
        cells = row.cells()
        yield f"| {' | '.join(markdown_cell(text) for text in (*cells[:2], cells[2] + missing, *cells[3:]))} |"
