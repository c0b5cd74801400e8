"""``lparbench sweep``: every combination of settings, and which is best."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import completion
from harness.cli.choices import entries_of, parse_list, parse_source
from harness.cli.levels import places, whole_numbers
from harness.cli.shares import share
from harness.errors import InputError, MeasurementError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from harness.platform.facts import Facts
    from harness.record.sweep_model import Sweep
    from harness.runs.spec import Entry
    from harness.sweeps.design import SweepPlan
    from harness.sweeps.journal import Journal
    from harness.sweeps.run import Progress
    from harness.sweeps.settings import Factors, Machine

_FACTORS = "What is varied"
_AMOUNT = "How much is measured"
_OUTPUT = "Output"
_WITH_RESUME = ("resume", "as_json")  # the plan has everything else


def _levels(text: str, default: str, completer: completion.Completer | None = None) -> Any:
    return typer.Option(
        metavar="A,B",
        help=f"{text} Default: {default}.",
        rich_help_panel=_FACTORS,
        show_default=False,
        autocompletion=completer,
    )


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
    smt: Annotated[str | None, _levels("Threads on line per core.", "1, 2, 4, ... that the machine has")] = None,
    threads_per_core: Annotated[str | None, _levels("Of those, how many are used.", "1, 2, 4, ... of them")] = None,
    cores: Annotated[str | None, _levels("Cores in use.", "1, 2, 4, ... of the largest node")] = None,
    nodes: Annotated[
        str | None, _levels("NUMA nodes; 0:1 is the cores of node 0 with the memory of node 1.", "all with CPUs")
    ] = None,
    batch: Annotated[str | None, _levels("Rows per call.", "the workload's largest")] = None,
    backends: Annotated[str | None, _levels("Inference backends.", "the workload's first", completion.backends)] = None,
    dtypes: Annotated[str | None, _levels("Number formats.", "float32", completion.dtypes)] = None,
    instances: Annotated[str | None, _levels("Processes at once, which divide the cores.", "1")] = None,
    blocks: Annotated[
        int,
        typer.Option(
            min=1, help="Fresh processes per setting; fewer than 6 give no valid result.", rich_help_panel=_AMOUNT
        ),
    ] = 6,
    seconds: Annotated[
        float, typer.Option(min=0.01, max=600, help="Time of each measurement.", rich_help_panel=_AMOUNT)
    ] = 0.5,
    epochs: Annotated[
        int, typer.Option(min=1, help="Of the one training: scoring takes as long.", rich_help_panel=_AMOUNT)
    ] = 1,
    rows: Annotated[
        int | None,
        typer.Option(
            min=100, help="Use only this many rows of the data set.", rich_help_panel=_AMOUNT, show_default=False
        ),
    ] = None,
    margin: Annotated[str, typer.Option(metavar="SHARE", help="Difference that does not matter.")] = "3%",
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder with data sets, searched first.", show_default=False)
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="clean or as-published.", autocompletion=completion.protocols)
    ] = "clean",
    seed: Annotated[int, typer.Option(help="Seed of the order of measurements.", rich_help_panel=_AMOUNT)] = 1,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Sweep directories are made in here.", rich_help_panel=_OUTPUT)
    ] = Path("results/sweeps"),
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Go on with a sweep that was interrupted; takes no other option but --json.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the record as JSON, nothing else.", rich_help_panel=_OUTPUT)
    ] = False,
) -> None:
    """Measure every combination of settings in shuffled blocks; name the best one, its ties, cliffs and penalties.

    SMT is switched where that is permitted, and put back whatever happens; else levels are had by leaving threads idle.
    Exit code 0: every workload has a valid best setting. 2: not so.

    Example: `lparbench sweep nsl-kdd-mlp --smt 1,2,4,8 --cores 1,2,4 --batch 64,4096 --backends eager,native`
    """
    from harness.record.store import sweep_text
    from harness.reporting.progress import progress_for
    from harness.reporting.sweep_terminal import print_sweep
    from harness.reporting.sweep_view import view_of

    if resume is not None:
        _nothing_else(context)
        directory = resume
    else:
        if not workloads:
            raise InputError("Which workload?", remedy="Name one: lparbench sweep nsl-kdd-mlp. See: lparbench list")
        parse_source(data, protocol)
        entries = entries_of(workloads)
        facts, machine = _machine()
        given = {
            "smt": smt, "threads_per_core": threads_per_core, "cores": cores, "places": nodes, "batches": batch,
            "backends": backends, "dtypes": dtypes, "instances": instances,
        }  # fmt: skip
        factors = _factors(entries, machine, given)
        directory = _begin(
            out, entries, facts, machine, factors,
            blocks=blocks, series_seconds=seconds, epochs=epochs, rows=rows, margin=share("--margin", margin),
            data_dir=None if data is None else str(data.resolve()), protocol=protocol, seed=seed,
        )  # fmt: skip
    with progress_for(quiet=as_json) as progress:
        record = _go_on(directory, progress)
    if as_json:
        typer.echo(sweep_text(record), nl=False)
    else:
        print_sweep(record, directory)
    raise typer.Exit(view_of(record).exit_code)


def _nothing_else(context: typer.Context) -> None:
    for name in context.params:
        source = context.get_parameter_source(name)
        if name not in _WITH_RESUME and source is not None and source.name == "COMMANDLINE":
            said = "a workload" if name == "workloads" else f"--{name.replace('_', '-')}"
            raise InputError(
                f"--resume goes on with what the sweep was begun with; {said} cannot be given again.",
                remedy="Leave it out, or begin a new sweep.",
            )


def _machine() -> tuple[Facts, Machine]:
    from harness.placement.smt import SmtMethod, may_switch
    from harness.platform.probe import probe
    from harness.platform.sysroot import SysRoot
    from harness.sweeps.settings import machine_of

    root = SysRoot("/")
    facts = probe(root)
    if facts.emulation.emulated:
        raise MeasurementError(
            f"This machine is emulated ({facts.emulation.emulator or 'by what is not known'}): times mean nothing.",
            remedy="Sweep on a real one.",
        )
    switched = (facts.topology.smt.max or 1) > 1 and may_switch(root)
    method = SmtMethod.SWITCHED if switched else SmtMethod.AFFINITY
    return facts, machine_of(facts.topology, facts.limits.allowed_cpus, method)


def _factors(entries: tuple[Entry, ...], machine: Machine, given: Mapping[str, str | None]) -> Factors:
    """Levels as given, and where not the default ones."""
    from dataclasses import replace

    from harness.scoring.backends import BACKENDS, DTYPES
    from harness.sweeps.settings import default_factors

    read: dict[str, Callable[[str], tuple[Any, ...]]] = {
        "smt": partial(whole_numbers, "--smt"),
        "threads_per_core": partial(whole_numbers, "--threads-per-core"),
        "cores": partial(whole_numbers, "--cores"),
        "places": partial(places, "--nodes"),
        "batches": partial(whole_numbers, "--batch"),
        "backends": partial(parse_list, "--backends", known=tuple(BACKENDS)),
        "dtypes": partial(parse_list, "--dtypes", known=DTYPES),
        "instances": partial(whole_numbers, "--instances"),
    }
    inference = entries[0].workload.inference
    chosen = default_factors(
        machine, tuple(entry.workload.name for entry in entries), max(inference.batch_sizes), inference.backends[0]
    )
    return replace(chosen, **{name: read[name](text) for name, text in given.items() if text is not None})


def _begin(
    out: Path, entries: tuple[Entry, ...], facts: Facts, machine: Machine, factors: Factors, **amounts: Any
) -> Path:
    """Write the plan of a new sweep.

    Raises:
        InputError: the machine cannot have any of the settings.
    """
    import datetime
    import uuid

    from harness.record.store import check_writable
    from harness.sweeps.design import SweepPlan, slots_of, write_plan
    from harness.sweeps.settings import settings_of

    settings, skipped = settings_of(factors, machine)
    if not settings:
        reasons = "; ".join(skipped)
        raise InputError(f"None of the settings can be had here: {reasons}.", remedy="See: lparbench probe")
    check_writable(out)
    created = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    plan = SweepPlan(
        sweep_id=f"{created:%Y%m%dT%H%M%SZ}-sweep-{uuid.uuid4().hex[:6]}",
        created=created.isoformat().replace("+00:00", "Z"),
        argv=("lparbench", *sys.argv[1:]),
        method=machine.method,
        entries={entry.workload.name: entry.reference for entry in entries},
        titles={entry.workload.name: entry.workload.title for entry in entries},
        facts=facts.to_json(),
        settings=settings,
        skipped=skipped,
        slots=slots_of(settings, blocks=amounts["blocks"], seed=amounts["seed"]),
        **amounts,
    )
    directory = out / plan.sweep_id
    directory.mkdir()
    write_plan(plan, directory)
    return directory


def _go_on(directory: Path, progress: Progress) -> Sweep:
    """Do what is still to do, and write record and report."""
    from harness.record.store import SWEEP_NAME, encode, sweep_text, write_file
    from harness.reporting.sweep_html import render_sweep
    from harness.sweeps.design import read_plan
    from harness.sweeps.journal import open_journal
    from harness.sweeps.result import sweep_record
    from harness.sweeps.run import run_sweep
    from harness.workers.executor import ProcessExecutor

    plan = read_plan(directory)
    with open_journal(directory) as journal:
        if len(journal.done()) < len(plan.slots):
            progress.say(f"{'Going on with' if journal.entries else 'Sweep in'} {directory}")
            for reason, amount in sorted(plan.skipped.items()):
                progress.say(f"Left out, {amount} {'setting' if amount == 1 else 'settings'}: {reason}.")
            (directory / SWEEP_NAME).unlink(missing_ok=True)  # of an earlier state
            with _told_how_to_go_on(directory, plan, journal):
                run_sweep(directory, plan, journal, ProcessExecutor(), progress)
        record = sweep_record(plan, journal.entries)
    write_file(directory / SWEEP_NAME, encode(sweep_text(record)))
    write_file(directory / "report.html", render_sweep(record))
    return record


@contextmanager
def _told_how_to_go_on(directory: Path, plan: SweepPlan, journal: Journal) -> Iterator[None]:
    try:
        yield
    except BaseException:
        done = len(journal.done())
        typer.echo(f"{done} of {len(plan.slots)} measurements are done and kept in {directory}", err=True)
        typer.echo(f"  Go on: lparbench sweep --resume {directory}", err=True)
        typer.echo(f"  What there is so far: lparbench report {directory}", err=True)
        raise
