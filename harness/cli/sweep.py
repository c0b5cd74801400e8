"""``lparbench sweep``: every combination of settings, and which is best."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli import completion, own_data
from harness.cli.choices import (
    parse_backends,
    parse_dtypes,
    parse_source,
    parse_sweep_scenario,
    refuse_with_resume,
)
from harness.cli.durations import seconds as duration
from harness.cli.levels import parse_locations, parse_whole_numbers
from harness.cli.options import AMOUNT, OUTPUT, Counting, DataDir, RecordJson, Rows, Seed, Synthetic, Trust
from harness.cli.shares import share
from harness.errors import InputError
from harness.trust import allow

_FACTORS = "What is varied"
_NODES = ("--nodes", "--node")


def _levels(text: str, default: str, completer: completion.Completer | None = None, names: tuple[str, ...] = ()) -> Any:
    return typer.Option(
        *names,
        metavar="A,B",
        help=f"{text} Default: {default}.",
        rich_help_panel=_FACTORS,
        show_default=False,
        autocompletion=completer,
    )


@own_data.takes_own_data
def sweep(
    context: typer.Context,
    workloads: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WORKLOAD|module:Class...",
            help="Workloads by name or .toml file, or a class.",
            show_default=False,
            autocompletion=completion.workloads,
        ),
    ] = None,
    smt: Annotated[str | None, _levels("Threads online per core.", "1, 2, 4, ... that the machine has")] = None,
    threads_per_core: Annotated[str | None, _levels("Of those, how many are used.", "1, 2, 4, ... of them")] = None,
    cores: Annotated[str | None, _levels("Cores in use.", "1, 2, 4, ... of the largest node")] = None,
    nodes: Annotated[
        str | None,
        _levels("NUMA nodes; 0:1 is the cores of node 0 with the memory of node 1.", "all with CPUs", names=_NODES),
    ] = None,
    batch: Annotated[str | None, _levels("Rows per call.", "the workload's largest, or all test rows")] = None,
    backends: Annotated[str | None, _levels("Inference backends.", "the workload's first", completion.backends)] = None,
    dtypes: Annotated[str | None, _levels("Number formats.", "float32", completion.dtypes)] = None,
    instances: Annotated[str | None, _levels("Processes at once, which divide the cores.", "1")] = None,
    scenarios: Annotated[
        str,
        typer.Option(
            "--scenarios",
            "--scenario",
            metavar="offline|server|http",
            help="What is timed: batches, or the highest rate of single rows that meets --p99, in process or over"
            " HTTP.",
            autocompletion=completion.one_of("offline", "server", "http"),
        ),
    ] = "offline",
    p99: Annotated[
        str, typer.Option(metavar="TIME", help="Bound on the 99th percentile in the server and http scenarios.")
    ] = "10ms",
    blocks: Annotated[
        int,
        typer.Option(
            min=1, help="Fresh processes per setting; fewer than 6 give no valid result.", rich_help_panel=AMOUNT
        ),
    ] = 6,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="At most as many blocks as fit into this time (10m), set-up included; one setting at least.",
            rich_help_panel=AMOUNT,
            show_default=False,
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.01, max=600, help="Time of each measurement.", rich_help_panel=AMOUNT)
    ] = 0.5,
    epochs: Annotated[
        int, typer.Option(min=1, help="Of the one training: scoring takes as long.", rich_help_panel=AMOUNT)
    ] = 1,
    rows: Rows = None,
    margin: Annotated[str, typer.Option(metavar="SHARE", help="Difference that does not matter.")] = "3%",
    *,
    own: own_data.Given,
    data: DataDir = None,
    synthetic: Synthetic = False,
    protocol: Annotated[
        str, typer.Option(help="clean or as-published.", autocompletion=completion.protocols)
    ] = "clean",
    counters: Counting = False,
    seed: Seed = 1,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Sweep directories are made in here.", rich_help_panel=OUTPUT)
    ] = Path("results/sweeps"),
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Continue a sweep that is not finished, with --budget for so much longer; takes no other option but"
            " --json.",
            show_default=False,
        ),
    ] = None,
    trust: Trust = False,
    as_json: RecordJson = False,
) -> None:
    """Measure every combination of settings in shuffled blocks; name the best one, its ties, cliffs and penalties.

    SMT is switched where that is permitted, and restored whatever happens; else a level is obtained by leaving threads
    idle.
    Exit code 0: every workload has a valid best setting. 2: not so.

    Example: `lparbench sweep nsl-kdd-mlp --smt 1,2,4,8 --cores 1-4 --batch 64,4096 --backends eager,native`
    """
    from harness.process_tree import process_age_s
    from harness.record.files import write_file
    from harness.record.spec import RunSpec
    from harness.record.store import SWEEP_NAME, encode, sweep_text
    from harness.reporting.progress import progress_for
    from harness.sweeps import session as sweeps
    from harness.workers.executor import ProcessExecutor

    allow(trust)
    seconds_given = None if budget is None else duration("--budget", budget)
    if resume is not None:
        refuse_with_resume(context, "sweep", but=("budget",))
        directory = resume
    else:
        if not workloads:
            raise InputError("Which workload?", remedy="Name one: lparbench sweep nsl-kdd-mlp. See: lparbench list")
        asked = RunSpec(
            workloads=tuple(workloads),
            protocol=parse_source(data, protocol),
            data_dir=None if data is None else str(data.resolve()),
            synthetic=synthetic,
            seeds=1,
            epochs=epochs,
            rows=rows,
            blocks=blocks,
            budget_s=seconds_given,
            series_seconds=seconds,
            counters=counters,
            scenarios=parse_sweep_scenario(scenarios, batch),
            p99_bound_s=duration("--p99", p99),
            seed=seed,
        )
        levels = sweeps.Levels(
            smt=parse_whole_numbers("--smt", smt),
            threads_per_core=parse_whole_numbers("--threads-per-core", threads_per_core),
            cores=parse_whole_numbers("--cores", cores),
            locations=parse_locations("--nodes", nodes),
            batch_sizes=parse_whole_numbers("--batch", batch),
            backends=parse_backends(backends),
            dtypes=parse_dtypes(dtypes),
            instances=parse_whole_numbers("--instances", instances),
        )
        argv = ("lparbench", *sys.argv[1:])
        directory = sweeps.begin(own.of(asked), levels, share("--margin", margin), argv, out, ProcessExecutor())
    with sweeps.resumable(directory), progress_for(quiet=as_json) as progress:
        more_s = None if resume is None else seconds_given
        record = sweeps.proceed(directory, ProcessExecutor(), progress, spent_s=process_age_s(), more_s=more_s)
        from harness.reporting.sweep_html import render_sweep  # not before the command line is known to be right

        write_file(directory / SWEEP_NAME, encode(sweep_text(record)))
        write_file(directory / "report.html", render_sweep(record))
    from harness.reporting.counters import print_lines, sweep_lines
    from harness.reporting.sweep_terminal import print_sweep

    if as_json:
        typer.echo(sweep_text(record), nl=False)
    else:
        print_sweep(record, directory)
        print_lines(sweep_lines(record))
    raise typer.Exit(sweeps.exit_code(record))
