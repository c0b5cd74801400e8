"""``lparbench list``: what can be run."""

from __future__ import annotations

import json

import typer

from harness.cli.options import Json


def list_workloads(as_json: Json = False) -> None:
    """List the workloads and suites that `lparbench run` knows.

    Example: `lparbench list`
    """
    from harness.reporting.listing import listing, output_width
    from harness.scoring.backends import BACKENDS
    from harness.workload.files import list_suites, list_workloads, load_suite, load_workload

    workloads = [load_workload(name) for name in list_workloads()]
    suites = [load_suite(name) for name in list_suites()]
    if as_json:
        document = {
            "workloads": [
                {"name": item.name, "title": item.title, "detector": item.detector, "dataset": item.dataset}
                for item in workloads
            ],
            "suites": [
                {"name": suite.name, "title": suite.title, "workloads": list(suite.workloads)} for suite in suites
            ],
            "backends": list(BACKENDS),
        }
        typer.echo(json.dumps(document, indent=2))
        return
    width = output_width()
    rows = [(item.name, item.detector, item.dataset, item.title) for item in workloads]
    typer.echo(listing(("workload", "detector", "data", "what it is"), rows, width))
    named = [(suite.name, suite.title, ", ".join(suite.workloads)) for suite in suites]
    typer.echo(listing(("suite", "what it is", "workloads"), named, width), nl=False)
