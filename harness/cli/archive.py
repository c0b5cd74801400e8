"""``lparbench archive``: the records of a team in one database."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.help import Command, Group
from harness.cli.options import Json

archive_app = typer.Typer(
    name="archive",
    help="The records of a team in one database: take in, list, query, get.",
    no_args_is_help=True,
    rich_markup_mode=None,
    cls=Group,
)

_Store = Annotated[
    str,
    typer.Argument(
        metavar="FILE|DIR|URL",
        help="An SQLite file, a directory for one, or a database URL (postgresql+psycopg://USER@HOST/NAME).",
    ),
]
_Workload = Annotated[str | None, typer.Option(metavar="NAME", help="Records of this workload.", show_default=False)]
_Machine = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Machines with this in their name.", show_default=False)
]
_Partition = Annotated[
    str | None, typer.Option(metavar="HASH", help="This partition, as `list` names it.", show_default=False)
]


class _RecordKind(str, Enum):
    """Of records; an enumeration, for older versions of typer know no literals."""

    RUN = "run"
    SWEEP = "sweep"
    SIZING = "sizing"
    LOAD = "load"
    FLEET = "fleet"


_Kind = Annotated[_RecordKind | None, typer.Option(help="Records of this kind.", show_default=False)]
_Since = Annotated[str | None, typer.Option(metavar="DATE", help="Created then or later.", show_default=False)]
_Until = Annotated[str | None, typer.Option(metavar="DATE", help="Created before.", show_default=False)]


@archive_app.command("add", cls=Command)
def add(
    archive: _Store,
    records: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Records, their directories, folders of those, or ARCHIVE#RECORD."),
    ],
    as_json: Json = False,
) -> None:
    """Take in the records of runs, sweeps, sizings, load tests and fleet runs.

    What is there already is not taken in twice. Either all are taken in or, where one is damaged, none.

    Example: `lparbench archive add team.sqlite results`
    """
    from harness.compare.archived_sides import KIND, side_text
    from harness.decode import encode
    from harness.record.archive import opened
    from harness.record.archived import archived
    from harness.wording import plural

    with archived(records) as paths, opened(archive, new=True) as store:
        added, present = store.add(paths, keeping=(KIND, side_text))
    if as_json:
        typer.echo(json.dumps({"added": [encode(entry) for entry in added], "present": present}, indent=2))
    else:
        there = f", {present:,} there already" if present else ""
        typer.echo(f"{plural(len(added), 'record')} taken in{there}.")


@archive_app.command("list", cls=Command)
def list_archive(archive: _Store, as_json: Json = False) -> None:
    """Show which partitions and workloads an archive has records of, and how many.

    Example: `lparbench archive list team.sqlite`
    """
    from harness.decode import encode
    from harness.record.archive import Query, opened
    from harness.reporting.archive import holdings_of, holdings_text
    from harness.reporting.listing import output_width

    with opened(archive) as store:
        holdings = holdings_of(store.entries(Query()))
    if as_json:
        typer.echo(json.dumps([encode(holding) for holding in holdings], indent=2))
    else:
        typer.echo(holdings_text(holdings, output_width()), nl=False)


@archive_app.command("query", cls=Command)
def query(
    archive: _Store,
    workload: _Workload = None,
    machine: _Machine = None,
    partition: _Partition = None,
    kind: _Kind = None,
    since: _Since = None,
    until: _Until = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the records there, as their commands do.", show_default=False),
    ] = None,
    record: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="This record, by name or digest. Repeatable.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the records that meet all conditions, oldest first; with --out write them as run directories.

    Exit code 0: there are some. 1: there is none.

    Example: `lparbench archive query team.sqlite --workload nsl-kdd-mlp --since 2026-11-01 --out month`
    """
    from harness.decode import encode
    from harness.errors import ExitCode
    from harness.record.archive import Query, opened
    from harness.reporting.archive import entries_text
    from harness.reporting.listing import output_width

    asked = Query(None if kind is None else kind.value, workload, machine, partition, since, until, tuple(record or ()))
    with opened(archive) as store:
        entries = store.entries(asked)
        if out is not None:
            store.write(entries, out)
    if as_json:
        typer.echo(json.dumps([encode(entry) for entry in entries], indent=2))
    else:
        typer.echo(entries_text(entries, output_width()), nl=False)
    raise typer.Exit(ExitCode.GOOD if entries else ExitCode.REGRESSION)
