"""``lparbench run``: the main job."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from harness.cli import completion, own_data
from harness.cli.choices import (
    parse_backends,
    parse_budget,
    parse_dtypes,
    parse_learning_rates,
    parse_ranks,
    parse_reduction,
    parse_scenarios,
    parse_source,
    parse_train_dtypes,
    refuse_with_resume,
)
from harness.cli.durations import seconds
from harness.cli.help import Command
from harness.cli.options import (
    AMOUNT,
    OUTPUT,
    Counting,
    DataDir,
    Epochs,
    RecordJson,
    Rows,
    Seed,
    Synthetic,
    Trust,
    given_by_user,
    node_option,
)
from harness.errors import InputError, LparbenchError
from harness.trust import allow

if TYPE_CHECKING:
    from harness.record.model import Run

_PLACE = "Where it runs"
TRACKED = "sqlite:///mlflow.db"


class RunCommand(Command):
    """`run`, whose ``--track`` alone means a local store."""

    alone: ClassVar[Mapping[str, str]] = {"--track": TRACKED}


@own_data.takes_own_data
def run(
    context: typer.Context,
    workloads: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WORKLOAD|module:Class]...",
            autocompletion=completion.workloads,
            help="Workloads by name or .toml file, or any class with fit and decision_function (higher scores: more "
            "anomalous); also with arguments: 'module:Class(n_estimators=200)'. Default: those of the suite.",
            show_default=False,
        ),
    ] = None,
    suite: Annotated[
        str,
        typer.Option(
            help="Suite to run when no workload is named: quick, seeds, full.", autocompletion=completion.suites
        ),
    ] = "quick",
    data: DataDir = None,
    synthetic: Synthetic = False,
    *,
    own: own_data.Given,
    protocol: Annotated[
        str,
        typer.Option(
            help="clean: fit everything on training rows. as-published: repeat the source document.",
            autocompletion=completion.protocols,
        ),
    ] = "clean",
    both_protocols: Annotated[
        bool, typer.Option("--both-protocols", help="Fit under the other protocol too, for its accuracy alone.")
    ] = False,
    backends: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            autocompletion=completion.backends,
            help="Inference backends, e.g. eager,onnxruntime. Default: the workload's.",
            show_default=False,
        ),
    ] = None,
    dtypes: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            autocompletion=completion.dtypes,
            help="Number formats: float32, bfloat16, int8, where a backend has them. Default: the workload's.",
            show_default=False,
        ),
    ] = None,
    learning_rates: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Train every seed at these rates as well (1e-5,1e-4), all at once, and report their accuracy.",
            rich_help_panel=AMOUNT,
            show_default=False,
        ),
    ] = None,
    train_dtypes: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            autocompletion=completion.one_of("float32", "bfloat16"),
            help="bfloat16: train every seed with products in it too, and report accuracy and rate next to float32.",
            rich_help_panel=AMOUNT,
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1, help="Trainings per workload, each with its own seed.", rich_help_panel=AMOUNT, show_default=False
        ),
    ] = None,
    epochs: Epochs = None,
    rows: Rows = None,
    scenarios: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            autocompletion=completion.scenarios,
            help="Some of train, offline, single_stream, multi_stream, server, http. Default: the first three.",
            show_default=False,
        ),
    ] = None,
    p99: Annotated[
        str, typer.Option(metavar="TIME", help="Bound on the 99th percentile in the server and http scenarios.")
    ] = "10ms",
    cache: Annotated[
        str,
        typer.Option(
            help="hot, or cold: evict the caches before each sample.",
            metavar="hot|cold",
            autocompletion=completion.one_of("hot", "cold"),
        ),
    ] = "hot",
    blocks: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Fresh processes per configuration; fewer than 6 give no valid result.",
            rich_help_panel=AMOUNT,
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="As many blocks as fit into this time (10m), set-up included.",
            rich_help_panel=AMOUNT,
            show_default=False,
        ),
    ] = None,
    until_ci: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="Blocks until every 95 % interval is within this share ('2%') of its rate, 60 at most.",
            rich_help_panel=AMOUNT,
            show_default=False,
        ),
    ] = None,
    cores: Annotated[int, typer.Option(min=1, help="Cores to pin each worker to.", rich_help_panel=_PLACE)] = 1,
    threads_per_core: Annotated[
        int, typer.Option(min=1, max=8, help="Threads of each core to use.", rich_help_panel=_PLACE)
    ] = 1,
    instances: Annotated[
        int, typer.Option(min=1, help="Processes at once, which divide the cores among them.", rich_help_panel=_PLACE)
    ] = 1,
    ranks: Annotated[
        str | None,
        typer.Option(
            metavar="per-node|N",
            help="Train by so many processes on shares of each batch, each on --cores cores of its own, nodes in turn.",
            autocompletion=completion.one_of("per-node"),
            rich_help_panel=_PLACE,
            show_default=False,
        ),
    ] = None,
    reduce: Annotated[
        str,
        typer.Option(
            metavar="gloo|native",
            help="Over what --ranks combine gradients: gloo, or in memory that they share.",
            autocompletion=completion.one_of("gloo", "native"),
            rich_help_panel=_PLACE,
        ),
    ] = "gloo",
    nodes: Annotated[int | None, node_option("the best", _PLACE)] = None,
    smt: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=8,
            help="Threads online per core: switched to for this run, which needs root, and back.",
            rich_help_panel=_PLACE,
            show_default=False,
        ),
    ] = None,
    roofline: Annotated[
        bool | None,
        typer.Option(
            "--roofline/--no-roofline",
            help="Measure the roofs of the CPUs again, or leave them out. Default: those that an earlier run in this "
            "state of the machine measured.",
            rich_help_panel=AMOUNT,
            show_default=False,
        ),
    ] = None,
    counters: Counting = False,
    scores: Annotated[
        bool,
        typer.Option(
            "--scores",
            help="Keep score, label and threshold level of every test row in scores-WORKLOAD.csv of the run directory.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    seed: Seed = 1,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Run directories are made in here.", rich_help_panel=OUTPUT)
    ] = Path("results/runs"),
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep the model bundles here, one per workload, for `lparbench score`.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    track: Annotated[
        str | None,
        typer.Option(
            metavar="[URI]",
            help=f"Log the run, its curves and model bundles to MLflow too: http(s)://SERVER; alone {TRACKED}.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Continue an interrupted run; takes no other option but --track and --json.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    trust: Trust = False,
    as_json: RecordJson = False,
) -> None:
    """Check the layout, pin, train, infer, judge every number, and write run.json and report.html.

    Example: `lparbench run nsl-kdd-mlp --data ~/datasets --cores 2`
    """
    from harness.process_tree import process_age_s
    from harness.record.spec import RunSpec
    from harness.record.store import record_text, write_run
    from harness.reporting.mlflow_store import check_store
    from harness.reporting.progress import Silence, progress_for
    from harness.reporting.stored import EXPERIMENT
    from harness.runs import run as runs
    from harness.runs.design import spec_of_suite
    from harness.runs.part import take_part
    from harness.runs.smt_level import at_level
    from harness.training.rank_setting import launched
    from harness.workers.executor import ProcessExecutor

    allow(trust)
    group = launched(os.environ)
    if resume is not None:
        refuse_with_resume(context, "run", but=("track",))
        group = None
        level = runs.smt_to_resume(resume)
    else:
        amount = parse_budget(blocks, budget, until_ci)
        timed = parse_scenarios(scenarios, cache, instances)
        if workloads and given_by_user(context, "suite"):
            raise InputError(f"--suite {suite} and workloads are named.", remedy="Leave one of them out.")
        base = RunSpec(tuple(workloads)) if workloads else spec_of_suite(suite)
        spec = replace(
            own.of(base),
            protocol=parse_source(data, protocol),
            both_protocols=both_protocols or base.both_protocols,
            data_dir=None if data is None else str(data.resolve()),
            synthetic=synthetic,
            backends=parse_backends(backends),
            dtypes=parse_dtypes(dtypes),
            scenarios=timed.scenarios,
            seeds=seeds or base.seeds,
            epochs=epochs or base.epochs,
            rows=rows,
            learning_rates=parse_learning_rates(learning_rates),
            train_dtypes=parse_train_dtypes(train_dtypes),
            cores=cores,
            threads_per_core=threads_per_core,
            node=nodes,
            smt=smt,
            instances=timed.instances,
            ranks=parse_ranks(ranks, group),
            reduce=parse_reduction(reduce),
            cache=timed.cache,
            blocks=blocks or base.blocks,
            budget_s=amount.budget_s,
            half_width=amount.half_width,
            p99_bound_s=seconds("--p99", p99),
            seed=seed,
            save=None if save is None else str(save.resolve()),
            bundles=track is not None and save is None,
            counters=counters,
            scores=scores,
            roofline="kept" if roofline is None else "measured" if roofline else "none",
        )
        level = smt
        if group is not None and group.first:
            take_part(spec, group, ProcessExecutor(), Silence())
            return
    if track is not None:
        check_store(track, EXPERIMENT)
    with at_level(level):
        if resume is not None:
            session = runs.resume(resume, spent_s=process_age_s())
        else:
            command = ("lparbench", *sys.argv[1:])
            session = runs.begin(spec, command, out, executor=ProcessExecutor(), spent_s=process_age_s(), group=group)
        tracking = "" if track is None else f" --track {shlex.quote(track)}"
        with runs.resumable(session, tracking), progress_for(quiet=as_json) as progress:
            record = runs.execute(session, ProcessExecutor(), progress)
            from harness.reporting.html import render  # not before the command line is known to be right

            files = {"report.html": render(record), **runs.kept_files(session)}
            directory = write_run(record, session.directory.parent, files)
            runs.remember_own(record, directory)
    session.done()
    if track is not None:
        log_run(record, directory, track)
    if as_json:
        typer.echo(record_text(record), nl=False)
    else:
        from harness.reporting.counters import print_lines, run_lines
        from harness.reporting.terminal import print_run

        print_run(record, directory)
        print_lines(run_lines(record))
    raise typer.Exit(runs.exit_code(record))


def log_run(record: Run, directory: Path, track: str) -> None:
    """Log a run that is kept already, and say how to log it later where the store refuses now."""
    from harness.record.store import kept_bundles
    from harness.reporting.mlflow_store import log_to_mlflow
    from harness.reporting.stored import EXPERIMENT

    try:
        identifier = log_to_mlflow(record, directory, tracking_uri=track, experiment=EXPERIMENT)
    except LparbenchError as error:
        command = f"lparbench export {shlex.quote(str(directory))} --format mlflow --tracking-uri {shlex.quote(track)}"
        raise type(error)(error.message, remedy=f"The run is kept. Log it by: {command}") from error
    typer.echo(f"Logged to {track} as MLflow run {identifier}", err=True)
    if not kept_bundles(record, directory):  # of a class of the user's, or resumed from a run that was not tracked
        typer.echo("It kept no model bundle, so none is logged.", err=True)
    if track.startswith("sqlite:"):
        typer.echo(f"See it: mlflow ui --backend-store-uri {track}", err=True)
