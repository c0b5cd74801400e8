"""``lparbench data``: which data sets are here, fetch them, take them in, verify them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.errors import CheckFailedError, InputError

if TYPE_CHECKING:
    from harness.datasets.catalogue import DatasetSpec
    from harness.datasets.download import Progress
    from harness.datasets.inventory import FileCheck, Holding

data_app = typer.Typer(
    name="data", help="Data sets: list, download, import, verify.", no_args_is_help=True, rich_markup_mode="markdown"
)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON only.")]
_Data = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Look here first.", show_default=False)]
_Into = Annotated[
    Path | None,
    typer.Option("--into", metavar="DIR", help="Where to put it. Default: the user cache.", show_default=False),
]


@data_app.command("list")
def list_data(
    name: Annotated[
        str | None, typer.Argument(help="One data set in full, with its options. Default: all.", show_default=False)
    ] = None,
    data: _Data = None,
    as_json: _Json = False,
) -> None:
    """Show every data set and where its files are; with a name, its files, terms and options.

    Example: `lparbench data list nsl-kdd`
    """
    from harness.datasets.inventory import Holding, holdings
    from harness.datasets.registry import find, spec
    from harness.datasets.store import search_directories

    directories = search_directories(data)
    if name is not None:
        holding = Holding(name, spec(name), find(name, directories))
        described = {**_described(holding), "options": _options(holding.spec)}
        if as_json:
            typer.echo(json.dumps(described, indent=2))
        else:
            _print_one(holding, described)
        return
    held = holdings(directories)
    if as_json:
        searched = [str(directory) for directory in directories]
        typer.echo(json.dumps({"searched": searched, "datasets": [_described(entry) for entry in held]}, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("data set", "where", "what it is", box=None)
    for entry in held:
        table.add_row(entry.name, _where(entry), entry.spec.title)
    console = Console(markup=False, highlight=False)
    console.print(table)
    console.print()
    for line in (
        "download: `lparbench data get NAME` fetches it; by hand: that command says from where.",
        "Without files, a run uses a synthetic stand-in and says so. Files of your own: csv:PATH, parquet:PATH.",
        f"Searched, in this order: {', '.join(map(str, directories))}.",
    ):
        console.print(line, soft_wrap=True)


@data_app.command("get")
def get_data(
    name: Annotated[str, typer.Argument(help="Data set, as `lparbench data list` names it.")],
    into: _Into = None,
    mirror: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Fetch from URL/<data set>/<file> instead of the publisher.", show_default=False
        ),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Download a data set from its publisher, checked against its pinned sha256; an interrupted download continues.

    Example: `lparbench data get nsl-kdd`
    """
    from harness.datasets import registry
    from harness.datasets.download import fetch
    from harness.datasets.inventory import verified_in
    from harness.datasets.store import cache_directory

    spec = registry.spec(name)
    if spec.variants and not spec.files:
        raise InputError(f"{name} comes with a library and needs no files.")
    variant = next((one for one in spec.variants if all(file.download for file in one.files)), None)
    if variant is None:
        raise InputError(
            f"{name} has no address that gives its files without a form or a changing link.",
            remedy=f"Get them from {spec.publisher}, then: lparbench data import {name} FILE",
        )
    directory = into if into is not None else cache_directory()
    folder = directory / spec.name
    present = verified_in(folder, variant.files)
    results = []
    for file in variant.files:
        if file.name in present:
            results.append({"file": file.name, "path": str(present[file.name]), "downloaded": False})
            _say(f"{file.name}: already here and verified, {present[file.name]}", as_json)
            continue
        with _progress(file.name, quiet=as_json) as progress:
            path = fetch(file, folder, progress=progress, mirror=mirror)
        results.append({"file": file.name, "path": str(path), "downloaded": True})
        _say(f"{file.name}: {path}", as_json)
    if as_json:
        typer.echo(json.dumps({"dataset": name, "files": results}, indent=2))


@data_app.command("import")
def import_data(
    name: Annotated[str, typer.Argument(help="Data set, as `lparbench data list` names it.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Its files, plain, .gz or .xz.")],
    into: _Into = None,
    as_json: _Json = False,
) -> None:
    """Copy files you have into the user cache, checked, so that every run finds them; for machines without a network.

    Example: `lparbench data import nsl-kdd KDDTrain+.txt KDDTest+.txt`
    """
    from harness.datasets.inventory import take_in
    from harness.datasets.store import cache_directory

    directory = into if into is not None else cache_directory()
    taken = [take_in(name, path, directory) for path in files]
    if as_json:
        typer.echo(json.dumps({"dataset": name, "files": [_checked(one) for one in taken]}, indent=2))
        return
    for one in taken:
        typer.echo(f"{one.name}: {one.status}, {one.path}")


@data_app.command("verify")
def verify_data(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Default: all that are here.", show_default=False)
    ] = None,
    data: _Data = None,
    as_json: _Json = False,
) -> None:
    """Digest the files that are here and compare them with the published ones; exit code 1 when one differs.

    Example: `lparbench data verify nsl-kdd`
    """
    from harness.datasets import registry
    from harness.datasets.inventory import check, holdings
    from harness.datasets.store import search_directories

    directories = search_directories(data)
    if names:
        found = {name: registry.find(name, directories) for name in names}
    else:
        found = {entry.name: entry.found for entry in holdings(directories) if entry.found and entry.found.files}
    checks = {name: check(files) if files is not None else () for name, files in found.items()}
    if as_json:
        typer.echo(json.dumps({name: [_checked(one) for one in of_name] for name, of_name in checks.items()}, indent=2))
    else:
        for name, of_name in checks.items():
            for one in of_name:
                detail = f": {one.problem}" if one.problem else ""
                typer.echo(f"{name}: {one.status}, {one.path}{detail}")
            if not of_name:
                typer.echo(f"{name}: {'not here' if found[name] is None else 'comes with a library'}")
        if not checks:
            typer.echo(f"No data set is here. Searched: {', '.join(map(str, directories))}.")
    wrong = [one for of_name in checks.values() for one in of_name if one.status in ("different", "unreadable")]
    if wrong:
        raise CheckFailedError(
            f"{len(wrong)} file{'s are' if len(wrong) > 1 else ' is'} not as published: {wrong[0].path}.",
            remedy="Remove it, then `lparbench data get NAME` or `lparbench data import NAME FILE`.",
        )
    missing = [name for name, files in found.items() if files is None]
    if missing:
        raise InputError(f"{missing[0]} is not here.", remedy=f"`lparbench data get {missing[0]}` may download it.")


def _described(entry: Holding) -> dict[str, Any]:
    found = entry.found
    return {
        "name": entry.name,
        "title": entry.spec.title,
        "here": found is not None,
        "variant": found.variant.name if found else None,
        "files": [str(file.path) for file in found.files] if found else [],
        "expected_files": [file.name for file in entry.spec.files],
        "downloadable": _downloadable(entry.spec),
        "publisher": entry.spec.publisher,
        "terms": entry.spec.terms,
    }


def _options(spec: DatasetSpec) -> dict[str, dict[str, Any]]:
    from harness.datasets.options import COMMON
    from harness.datasets.registry import recipe

    found = recipe(spec)
    return {
        key: {
            "default": option.default,
            "as_published": found.published.get(key, option.default),
            "expected": option.expected,
            "help": option.help,
        }
        for key, option in sorted({**COMMON, **found.options}.items())
    }


def _print_one(entry: Holding, described: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(markup=False, highlight=False)
    facts = Table(box=None, show_header=False)
    facts.add_row("what it is", described["title"])
    facts.add_row("publisher", described["publisher"] or "you")
    facts.add_row("terms", described["terms"] or "see the publisher")
    facts.add_row("files", "\n".join(described["files"] or described["expected_files"]) or "none needed")
    facts.add_row("where", _where(entry))
    console.print(facts)
    console.print()
    options = Table("option", "default", "as published", "what it is", box=None)
    for key, option in described["options"].items():
        clean, published = (_written(option[column]) for column in ("default", "as_published"))
        options.add_row(key, clean, published if published != clean else "", option["help"])
    console.print(options)


def _written(value: Any) -> str:
    return "–" if value is None else json.dumps(value)


def _checked(one: FileCheck) -> dict[str, Any]:
    return {**asdict(one), "path": str(one.path)}


def _downloadable(spec: DatasetSpec) -> bool:
    return any(variant.files and all(file.download for file in variant.files) for variant in spec.variants)


def _where(entry: Holding) -> str:
    if entry.found is not None:
        return "here" if entry.found.files else "built in"
    return "download" if _downloadable(entry.spec) else "by hand"


def _say(line: str, quiet: bool) -> None:
    if not quiet:
        typer.echo(line)


@contextmanager
def _progress(title: str, *, quiet: bool) -> Iterator[Progress]:
    """A progress bar on a terminal's standard error; nothing when piped."""
    if quiet or not sys.stderr.isatty():
        yield _no_progress
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _no_progress(_done: int, _total: int) -> None:
    return None
