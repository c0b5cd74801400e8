"""``lparbench site``: an archive as static pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.shares import share
from harness.wording import plural


def site(
    archive: Annotated[
        str, typer.Argument(metavar="ARCHIVE", help="An SQLite file, a directory with one, or a database URL.")
    ],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Pages are written there; index.html is the first.")],
    margin: Annotated[str, typer.Option(metavar="SHARE", help="Step of a time that matters.")] = "3%",
) -> None:
    """Write an archive as static pages: partitions, workloads, results over time with their lasting steps, and sweeps,
    sizings, load tests and fleet runs.

    The pages need no server and fetch nothing. Those of an earlier site in the directory are replaced.

    Example: `lparbench site team.sqlite public`
    """
    from harness.record.archive import opened
    from harness.record.files import unwritable, write_file
    from harness.reporting.site import INDEX, check_site, site_of, unlisted

    with opened(archive) as store:
        pages = site_of(store, margin=share("--margin", margin))
    check_site(pages, directory)
    for name in sorted(pages, key=lambda name: name == INDEX):  # which leads to the others
        write_file(directory / name, pages[name], durable=False)
    try:
        for path in unlisted(pages, directory):
            path.unlink()
    except OSError as error:
        raise unwritable(directory, error, "Remove the old pages by hand.") from error
    typer.echo(f"{plural(len(pages), 'page')}: {directory / INDEX}")
