"""``lparbench data``: which data sets are here, fetch them, take them in, verify them."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli import completion
from harness.cli.help import Command, Group
from harness.cli.options import Json

data_app = typer.Typer(
    name="data",
    help="Data sets: list, download, import, verify. Example: `lparbench data get nsl-kdd`",
    no_args_is_help=True,
    rich_markup_mode=None,
    cls=Group,
)

_Data = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Look here first.", show_default=False)]
_Into = Annotated[
    Path | None,
    typer.Option("--into", metavar="DIR", help="Where to put it. Default: the user cache.", show_default=False),
]
_Name = Annotated[
    str, typer.Argument(help="Data set, as `lparbench data list` names it.", autocompletion=completion.datasets)
]


@data_app.command("list", cls=Command)
def list_data(
    name: Annotated[
        str | None,
        typer.Argument(
            help="One data set in full, with its options. Default: all.",
            show_default=False,
            autocompletion=completion.datasets,
        ),
    ] = None,
    data: _Data = None,
    as_json: Json = False,
) -> None:
    """Show every data set and where its files are; with a name, its files, terms and options.

    Example: `lparbench data list nsl-kdd`
    """
    from harness.datasets.inventory import holding, holdings
    from harness.datasets.locate import search_directories
    from harness.decode import encode
    from harness.reporting.datasets import dataset_text, datasets_text, entry_of, options_of
    from harness.reporting.listing import output_width

    directories = search_directories(data)
    if name is not None:
        entry = holding(name, directories)
        if as_json:
            _print_json({**encode(entry_of(entry)), "options": encode(options_of(entry))})
        else:
            typer.echo(dataset_text(entry, output_width()), nl=False)
        return
    entries = holdings(directories)
    if as_json:
        _print_json({"searched": encode(directories), "datasets": [encode(entry_of(entry)) for entry in entries]})
    else:
        typer.echo(datasets_text(entries, directories, output_width()), nl=False)


@data_app.command("get", cls=Command)
def get_data(
    name: _Name,
    into: _Into = None,
    mirror: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Fetch from URL/<data set>/<file> instead of the publisher.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Download a data set from its publisher, checked against its pinned sha256; an interrupted download continues.

    Example: `lparbench data get nsl-kdd`
    """
    from harness.datasets.inventory import get
    from harness.datasets.locate import cache_directory
    from harness.decode import encode
    from harness.reporting.datasets import download_bar

    files = []
    for file in get(name, into or cache_directory(), partial(download_bar, quiet=as_json), mirror=mirror):
        files.append(encode(file))
        if not as_json:
            typer.echo(f"{file.file}: {'' if file.downloaded else 'already here and verified, '}{file.path}")
    if as_json:
        _print_json({"dataset": name, "files": files})


@data_app.command("import", cls=Command)
def import_data(
    name: _Name,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Its files, plain or compressed.")],
    into: _Into = None,
    as_json: Json = False,
) -> None:
    """Copy files you have into the user cache, checked, so that every run finds them; for machines without a network.

    Example: `lparbench data import nsl-kdd KDDTrain+.txt KDDTest+.txt`
    """
    from harness.datasets.inventory import take_in
    from harness.datasets.locate import cache_directory
    from harness.decode import encode

    imported = [take_in(name, path, into or cache_directory()) for path in files]
    if as_json:
        _print_json({"dataset": name, "files": encode(imported)})
        return
    for file in imported:
        typer.echo(f"{file.name}: {file.status}, {file.path}")


@data_app.command("verify", cls=Command)
def verify_data(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="Default: all that are here.",
            show_default=False,
            autocompletion=completion.datasets,
        ),
    ] = None,
    data: _Data = None,
    as_json: Json = False,
) -> None:
    """Digest the files that are here and compare them with the published ones; exit code 1 when one differs.

    Example: `lparbench data verify nsl-kdd`
    """
    from harness.datasets.inventory import check_all, require_published
    from harness.datasets.locate import search_directories
    from harness.decode import encode

    directories = search_directories(data)
    checks = check_all(names or (), directories)
    if as_json:
        _print_json({name: encode(of_name or ()) for name, of_name in checks.items()})
    else:
        for name, of_name in checks.items():
            for check in of_name or ():
                typer.echo(f"{name}: {check.status}, {check.path}{f': {check.problem}' if check.problem else ''}")
            if not of_name:
                typer.echo(f"{name}: {'not here' if of_name is None else 'comes with a library'}")
        if not checks:
            typer.echo(f"No data set is here. Searched: {', '.join(map(str, directories))}.")
    require_published(checks)


def _print_json(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(document, indent=2))
