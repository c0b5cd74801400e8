"""Options that several commands share, with one wording each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AMOUNT = "How much is measured"
OUTPUT = "Output"

Json = Annotated[bool, typer.Option("--json", help="Print JSON only.")]
RecordJson = Annotated[
    bool, typer.Option("--json", help="Print the record as JSON, nothing else.", rich_help_panel=OUTPUT)
]
Sysroot = Annotated[
    Path, typer.Option(metavar="DIR", help="Look at a stored tree that holds proc and sys instead of this machine.")
]
DataDir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder with data sets, searched first.", show_default=False)
]
Rows = Annotated[
    int | None,
    typer.Option(min=100, help="Use only this many rows of the data set.", rich_help_panel=AMOUNT, show_default=False),
]
Seed = Annotated[int, typer.Option(help="Seed of the order of measurements.", rich_help_panel=AMOUNT)]
