"""``lparbench list``: what can be run."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def list_workloads(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """List the workloads and suites that `lparbench run` knows.

    Example: `lparbench list`
    """
    from harness.scoring.backends import BACKENDS
    from harness.workload.files import list_suites, list_workloads, load_suite, load_workload

    workloads = [load_workload(name) for name in list_workloads()]
    suites = [load_suite(name) for name in list_suites()]
    if as_json:
        document = {
            "workloads": [
                {"name": one.name, "title": one.title, "detector": one.detector, "dataset": one.dataset}
                for one in workloads
            ],
            "suites": [{"name": one.name, "title": one.title, "workloads": list(one.workloads)} for one in suites],
            "backends": list(BACKENDS),
        }
        typer.echo(json.dumps(document, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("workload", "what it is", "detector", "data", box=None)
    for one in workloads:
        table.add_row(one.name, one.title, one.detector, one.dataset)
    console.print(table)
    console.print()
    table = Table("suite", "what it is", "workloads", box=None)
    for suite in suites:
        table.add_row(suite.name, suite.title, ", ".join(suite.workloads))
    console.print(table)
