"""``lparbench fleet train``: one training by ranks on several hosts."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import completion
from harness.cli.choices import parse_backends, parse_ranks, parse_scenarios
from harness.cli.durations import seconds
from harness.cli.hosts import (
    PLACE,
    PROGRAM,
    PYTHON,
    Choice,
    Hosts,
    Place,
    Program,
    Pushed,
    Python,
    SshConfig,
    inventory_of,
    push_of,
    refuse_own,
    say,
    say_as,
    transport_of,
    with_push,
)
from harness.cli.options import AMOUNT, OUTPUT, Epochs, RecordJson, Rows, Seed, Synthetic

_MEET = "Where the ranks go and meet"


def train(
    hosts: Hosts,
    workload: Annotated[
        str,
        typer.Argument(metavar="WORKLOAD", autocompletion=completion.workloads, help="A workload of the product."),
    ],
    choice: Choice = None,
    command: Program = PROGRAM,
    ssh_config: SshConfig = None,
    push: Pushed = None,
    python: Python = PYTHON,
    push_to: Place = PLACE,
    ranks: Annotated[
        str, typer.Option(metavar="per-node|N", help="On each host, on --cores cores each.", rich_help_panel=_MEET)
    ] = "per-node",
    cores: Annotated[int, typer.Option(min=1, help="Cores of each rank.", rich_help_panel=_MEET)] = 1,
    threads_per_core: Annotated[
        int, typer.Option(min=1, max=8, help="Threads of each core to use.", rich_help_panel=_MEET)
    ] = 1,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Of the first host, as the others reach it. Default: that of the inventory.",
            rich_help_panel=_MEET,
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Where rank 0 listens on the first host.", rich_help_panel=_MEET)
    ] = 29500,
    data: Annotated[str | None, typer.Option(metavar="DIR", help="Folder with data sets on the hosts.")] = None,
    synthetic: Synthetic = False,
    rows: Rows = None,
    epochs: Epochs = None,
    scenarios: Annotated[
        str, typer.Option(metavar="A,B", autocompletion=completion.scenarios, help="What rank 0 times afterwards.")
    ] = "offline",
    backends: Annotated[
        str | None,
        typer.Option(
            metavar="A,B", autocompletion=completion.backends, help="Default: the workload's.", show_default=False
        ),
    ] = None,
    blocks: Annotated[
        int, typer.Option(min=1, help="Processes per configuration that time it.", rich_help_panel=AMOUNT)
    ] = 6,
    timeout: Annotated[str, typer.Option(metavar="TIME", help="Of the whole.", rich_help_panel=AMOUNT)] = "6h",
    seed: Seed = 1,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Run directories are made in here.", rich_help_panel=OUTPUT)
    ] = Path("results/runs"),
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Bring the model bundle here, for `lparbench score`.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    as_json: RecordJson = False,
) -> None:
    """Train one workload by ranks on several hosts, each on its own placement; the first host's record comes back.

    The ranks talk over the network without encryption: rank 0 listens on --port of the first host, and every rank on
    a port of its own, on the interface that leads there.

    Exit code: as of `lparbench run`.

    Example: `lparbench fleet train hosts.ini nsl-kdd-autoencoder --ranks per-node --cores 4`
    """
    from harness.fleet.train import FANOUT, Training, train_together
    from harness.fleet.waves import completed
    from harness.record.spec import RunSpec
    from harness.record.store import record_text, write_run
    from harness.reporting.html import render
    from harness.reporting.terminal import print_run
    from harness.runs import run as runs
    from harness.runs.design import code_of, workloads_of

    say_as(json_lines=as_json)
    inventory = inventory_of(hosts, choice)
    spec = RunSpec(
        (workload,),
        data_dir=data,
        synthetic=synthetic,
        backends=parse_backends(backends),
        scenarios=parse_scenarios(scenarios, "hot", 1).scenarios,
        seeds=1,
        epochs=epochs,
        rows=rows,
        cores=cores,
        threads_per_core=threads_per_core,
        ranks=parse_ranks(ranks, None),
        blocks=blocks,
        seed=seed,
        roofline="none",
    )
    refuse_own(spec.workloads, code_of(spec))
    workloads_of(replace(spec, data_dir=None, synthetic=True))  # a typo is an error before a host is asked
    training = Training(
        spec,
        address or inventory.hosts[0].address,
        port,
        seconds("--timeout", timeout),
        None if save is None else save.resolve(),
    )
    bring = push_of(push, python, push_to, command)
    transport = with_push(transport_of(command, ssh_config), bring, inventory.hosts, FANOUT)
    record = completed(train_together(inventory.hosts, training, transport, say))
    record = replace(record, tool=replace(record.tool, argv=("lparbench", *sys.argv[1:])))
    directory = write_run(record, out, {"report.html": render(record)})
    if as_json:
        typer.echo(record_text(record), nl=False)
    else:
        print_run(record, directory)
    raise typer.Exit(runs.exit_code(record))
