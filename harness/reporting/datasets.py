"""Data sets: what is known of one, which are here, and how a download comes along."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.datasets.download import Progress
from harness.datasets.inventory import Holding
from harness.datasets.options import COMMON
from harness.datasets.registry import recipe
from harness.reporting.listing import listing, paragraph

_GUIDE = (
    "download: `lparbench data get NAME` fetches it; by hand: that command says from where.",
    "Without files, a run uses a synthetic stand-in and says so. Files of your own: csv:PATH, parquet:PATH.",
)


@dataclass(frozen=True)
class DatasetEntry:
    """A data set as a list shows it; paths as text."""

    name: str
    title: str
    here: bool
    variant: str | None
    files: tuple[str, ...]
    expected_files: tuple[str, ...]  # of the preferred form
    forms: dict[str, tuple[str, ...]]
    downloadable: bool
    publisher: str
    terms: str | None


@dataclass(frozen=True)
class OptionEntry:
    """A key of the ``[dataset]`` table; values as TOML has them."""

    default: Any
    as_published: Any
    expected: str
    help: str


def entry_of(holding: Holding) -> DatasetEntry:
    """What a list shows of a data set."""
    local, spec = holding.local, holding.spec
    return DatasetEntry(
        name=holding.name,
        title=spec.title,
        here=local is not None,
        variant=local.variant.name if local else None,
        files=tuple(str(file.path) for file in local.files) if local else (),
        expected_files=tuple(file.name for file in spec.variants[0].files) if spec.variants else (),
        forms={form.name: tuple(dict.fromkeys(file.name for file in form.files)) for form in spec.variants},
        downloadable=holding.downloadable,
        publisher=spec.publisher,
        terms=spec.terms,
    )


def options_of(holding: Holding) -> dict[str, OptionEntry]:
    """The options that a data set understands, by key, with their defaults under both protocols."""
    own = recipe(holding.spec)
    return {
        key: OptionEntry(option.default, own.published.get(key, option.default), option.expected, option.help)
        for key, option in sorted({**COMMON, **own.options}.items())
    }


def datasets_text(holdings: Sequence[Holding], directories: Sequence[Path], width: int | None) -> str:
    """Every data set, where it is, and how to get those that are not here."""
    rows = [(holding.name, holding.where, holding.spec.title) for holding in holdings]
    searched = f"Searched, in this order: {', '.join(map(str, directories))}."
    below = [line for text in (*_GUIDE, searched) for line in paragraph(text, width)]
    return "\n".join((listing(("data set", "where", "what it is"), rows, width), *below)) + "\n"


def dataset_text(holding: Holding, width: int | None) -> str:
    """One data set in full."""
    entry = entry_of(holding)
    files = entry.files or entry.expected_files
    facts = [
        ("what it is", entry.title),
        ("publisher", entry.publisher or "you"),
        ("terms", entry.terms or ("see the publisher" if entry.publisher else "your own")),
        *(("files" if index == 0 else "", name) for index, name in enumerate(files or ("none needed",))),
        ("where", holding.where),
        *(
            ("forms" if index == 0 else "", f"{form}: {', '.join(names)}")
            for index, (form, names) in enumerate(entry.forms.items())
            if len(entry.forms) > 1
        ),
    ]
    rows = []
    for key, option in options_of(holding).items():
        clean, published = _written(option.default), _written(option.as_published)
        rows.append((key, clean, published if published != clean else "", option.help))
    options = listing(("option", "default", "as published", "what it is"), rows, width)
    return listing((holding.name, ""), facts, width) + "\n" + options


@contextmanager
def download_bar(title: str, *, quiet: bool) -> Iterator[Progress]:
    """A progress bar on a terminal's standard error; nothing when piped."""
    if quiet or not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _written(value: Any) -> str:
    return "–" if value is None else json.dumps(value)
