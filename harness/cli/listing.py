"""``lparbench list``: what can be run."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from harness.cli import completion
from harness.cli.options import DataDir, Json


def list_workloads(
    workload: Annotated[
        str | None,
        typer.Argument(
            metavar="[WORKLOAD]",
            autocompletion=completion.workloads,
            help="Show all of this one: parameters, training, published figure.",
            show_default=False,
        ),
    ] = None,
    data: DataDir = None,
    as_json: Json = False,
) -> None:
    """List the workloads that `lparbench run` knows, by data set, with whether its real data are here, and the suites.

    Example: `lparbench list`, or `lparbench list nsl-kdd-mlp`
    """
    from harness.datasets.inventory import holding
    from harness.datasets.locate import search_directories
    from harness.decode import encode
    from harness.record.spec import RunSpec
    from harness.reporting.listing import output_width
    from harness.reporting.workloads import groups_of, workload_text, workloads_text
    from harness.runs.forecast import forecast
    from harness.scoring.backends import BACKENDS
    from harness.workload.files import find_workload, list_suites, list_workloads, load_suite, load_workload

    if workload is not None:
        chosen = find_workload(workload)
        shown = holding(chosen.dataset, search_directories(data))
        if as_json:
            typer.echo(json.dumps(encode(chosen), indent=2))
        else:
            spec = RunSpec((chosen.name,))
            takes = forecast([chosen], spec, spec.blocks)
            typer.echo(workload_text(chosen, shown, output_width(), takes), nl=False)
        return
    workloads = [load_workload(name) for name in list_workloads()]
    suites = [load_suite(name) for name in list_suites()]
    directories = search_directories(data)
    names = dict.fromkeys(workload.dataset for workload in workloads)
    groups = groups_of(workloads, [holding(name, directories) for name in names])
    if not as_json:
        typer.echo(workloads_text(groups, suites, output_width()), nl=False)
        return
    document = {
        "searched": encode(directories),
        "datasets": [{key: value for key, value in encode(group).items() if key != "workloads"} for group in groups],
        "workloads": [encode(entry) for group in groups for entry in group.workloads],
        "suites": [{"name": suite.name, "title": suite.title, "workloads": list(suite.workloads)} for suite in suites],
        "backends": list(BACKENDS),
    }
    typer.echo(json.dumps(document, indent=2))
