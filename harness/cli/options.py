"""Options that several commands share, with one wording each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli import completion
from harness.errors import InputError
from harness.reporting.ci_format import CiFormat

AMOUNT = "How much is measured"
OUTPUT = "Output"

Json = Annotated[bool, typer.Option("--json", help="Print JSON only.")]
Format = Annotated[
    CiFormat | None,
    typer.Option(
        "--format",
        help="Print for a CI system: JUnit XML, Markdown, or GitHub annotations and step summary.",
        show_default=False,
    ),
]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Run the code (module:Class) that a file from elsewhere names; see SECURITY.md."),
]
RecordJson = Annotated[
    bool, typer.Option("--json", help="Print the record as JSON, nothing else.", rich_help_panel=OUTPUT)
]
Sysroot = Annotated[
    Path,
    typer.Option(
        metavar="PATH",
        help="Look at a stored tree, at an archive of sosreport or supportconfig, or at a text with output of lscpu, "
        "numactl -H, ppc64_cpu --info, lparstat -i or /proc/cpuinfo, instead of this machine.",
    ),
]
DataDir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder with data sets, searched first.", show_default=False)
]
BundleBackend = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Default: the bundle's fastest here.",
        show_default=False,
        autocompletion=completion.backends,
    ),
]
Memory = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Memory the work needs, e.g. 80G.", show_default=False)
]
Synthetic = Annotated[
    bool,
    typer.Option(
        "--synthetic",
        help="Use synthetic stand-ins: for all data sets, or with --data for those that are not there.",
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        min=1, help="At most this many epochs per training stage.", rich_help_panel=AMOUNT, show_default=False
    ),
]
Rows = Annotated[
    int | None,
    typer.Option(min=100, help="Use only this many rows of the data set.", rich_help_panel=AMOUNT, show_default=False),
]
Counting = Annotated[
    bool,
    typer.Option(
        "--counters",
        help="Count instructions, cycles, cache misses, remote accesses and consumed capacity, where permitted.",
        rich_help_panel=AMOUNT,
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of the order of measurements.", rich_help_panel=AMOUNT)]


def node_option(default: str, panel: str | None = None) -> Any:
    """The option for a single NUMA node, under the name that it has wherever nodes are chosen."""
    return typer.Option(
        "--nodes",
        "--node",
        metavar="ID",
        parser=_single_node,
        help=f"NUMA node; `sweep` compares several. Default: {default}.",
        rich_help_panel=panel,
        show_default=False,
    )


def _single_node(text: str) -> int:
    if not text.isascii() or not text.isdecimal():
        raise typer.BadParameter(
            f"{text!r}: expected the number of a node, such as 0; lparbench sweep --nodes 0,1 compares several."
        )
    return int(text)


def one_format(to: CiFormat | None, *, as_json: bool) -> None:
    """Refuse two formats at once.

    Raises:
        InputError: --json and --format.
    """
    if to is not None and as_json:
        raise InputError("--json and --format exclude each other.", remedy="Leave one of them out.")


def given_by_user(context: typer.Context, name: str) -> bool:
    """Whether a parameter was written on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def memory_size(text: str) -> int:
    """Bytes of ``--memory``.

    Raises:
        InputError: it is not a size.
    """
    from harness.platform.parse import size

    amount = size(text)
    if amount is None:
        raise InputError(f"--memory {text!r} is not a size.", remedy="Expected a number with K, M, G or T: 80G.")
    return amount
