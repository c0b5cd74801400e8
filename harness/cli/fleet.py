"""``lparbench fleet``: many hosts measured alike, and which of them is out of line."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import completion, demand, fleet_train
from harness.cli.choices import parse_backends, parse_dtypes, parse_scenarios, refuse_with_resume
from harness.cli.durations import seconds
from harness.cli.help import Command, Group
from harness.cli.hosts import (
    PLACE,
    PROGRAM,
    PYTHON,
    WHERE,
    Alike,
    Choice,
    Fanout,
    Given,
    HostsUnlessScheduler,
    Place,
    Program,
    Pushed,
    Python,
    Scheduler,
    SshConfig,
    listeners,
    push_of,
    refuse_own,
    say_as,
    way_of,
    way_to,
)
from harness.cli.options import AMOUNT, OUTPUT, Epochs, Json, RecordJson, Rows, Seed, Synthetic, Trust
from harness.trust import allow

if TYPE_CHECKING:
    from harness.fleet.session import LookedEntry
    from harness.record.fleet_model import Fleet

fleet_app = typer.Typer(
    name="fleet",
    help="Many hosts, measured alike over ssh: check them, run on them, report which is out of line.",
    no_args_is_help=True,
    rich_markup_mode=None,
    cls=Group,
)


@fleet_app.command("check", cls=Command)
def check(
    hosts: HostsUnlessScheduler = None,
    choice: Choice = None,
    command: Program = PROGRAM,
    scheduler: Scheduler = None,
    ssh_config: SshConfig = None,
    push: Pushed = None,
    python: Python = PYTHON,
    push_to: Place = PLACE,
    fanout: Fanout = 32,
    alike: Alike = False,
    as_json: Json = False,
) -> None:
    """Ask every host for its facts, its clock, its free disk and what doctor finds there; nothing is measured.

    Exit code 0: all answer. 2: some do not. 3: with --alike, they are of several kinds.

    Example: `lparbench fleet check hosts.ini --hosts @power10`
    """
    from harness.decode import encode
    from harness.errors import ExitCode
    from harness.fleet.judge import require_alike
    from harness.fleet.waves import answered, completed, frames_of, look_at
    from harness.reporting.fleet_terminal import looked_text
    from harness.reporting.listing import output_width

    say_as(json_lines=as_json)
    given = Given(command, ssh_config, push_of(push, python, push_to, command), fanout, scheduler)
    way = way_to(hosts, choice, given)
    looks = completed(look_at(way.inventory.hosts, way.transport, fanout))
    looked = answered(looks)
    frames = frames_of(looked)
    shown = [{**encode(look), "frame": frames.get(look.host)} for look in looks]
    typer.echo(json.dumps(shown, indent=2) + "\n" if as_json else looked_text(looks, frames, output_width()), nl=False)
    if alike:
        require_alike(looked)
    raise typer.Exit(ExitCode.judged(failed=False, inconclusive=any(look.looked is None for look in looks)))


@fleet_app.command("run", cls=Command)
def run(
    context: typer.Context,
    hosts: HostsUnlessScheduler = None,
    workloads: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WORKLOAD]...",
            autocompletion=completion.workloads,
            help="Workloads of the product. Default: nsl-kdd-mlp.",
            show_default=False,
        ),
    ] = None,
    choice: Choice = None,
    command: Program = PROGRAM,
    scheduler: Scheduler = None,
    ssh_config: SshConfig = None,
    push: Pushed = None,
    python: Python = PYTHON,
    push_to: Place = PLACE,
    fanout: Fanout = 32,
    alike: Alike = False,
    together: Annotated[
        bool,
        typer.Option(
            "--together",
            help="Measure hosts of one frame at the same time, to see how they disturb each other.",
            rich_help_panel=WHERE,
        ),
    ] = False,
    waves: Annotated[
        int, typer.Option(min=1, max=100, help="Blocks on each host, one per wave.", rich_help_panel=AMOUNT)
    ] = 6,
    scenarios: Annotated[
        str, typer.Option(metavar="A,B", autocompletion=completion.scenarios, help="What is timed.")
    ] = "offline",
    p99: Annotated[str, typer.Option(metavar="TIME", help="Bound on the latency, for the server scenario.")] = "10ms",
    backends: Annotated[
        str | None,
        typer.Option(
            metavar="A,B", autocompletion=completion.backends, help="Default: the workload's.", show_default=False
        ),
    ] = None,
    dtypes: Annotated[
        str | None,
        typer.Option(
            metavar="A,B", autocompletion=completion.dtypes, help="Default: the workload's.", show_default=False
        ),
    ] = None,
    data: Annotated[str | None, typer.Option(metavar="DIR", help="Folder with data sets on the hosts.")] = None,
    synthetic: Synthetic = False,
    rows: Rows = None,
    epochs: Epochs = None,
    cores: Annotated[int, typer.Option(min=1, help="Cores to pin each worker to.")] = 1,
    threads_per_core: Annotated[int, typer.Option(min=1, max=8, help="Threads of each core to use.")] = 1,
    timeout: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Of one block on one host. Default: three times the median of those that ended, a minute at least.",
            show_default=False,
        ),
    ] = None,
    seed: Seed = 1,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Directories of fleet runs are made in here.", rich_help_panel=OUTPUT)
    ] = Path("results/fleet"),
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Continue an interrupted fleet run; takes no other option but --json.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    trust: Trust = False,
    as_json: RecordJson = False,
) -> None:
    """Measure all hosts in waves, and hold each against the others that are like it.

    Exit code 0: all are as fast as each other. 1: a host is slow. 2: one is missing, unsteady or not decided. 3: with
    --alike, they are of several kinds.

    Example: `lparbench fleet run hosts.ini nsl-kdd-mlp --waves 6`
    """
    from harness.fleet import session
    from harness.fleet.judge import fleet_of, require_alike
    from harness.fleet.waves import Coordinator, answered, completed, look_at
    from harness.record.files import write_file
    from harness.record.identity import begun
    from harness.record.spec import RunSpec
    from harness.record.store import FLEET_NAME, fleet_text
    from harness.record.store import encode as to_bytes
    from harness.reporting.fleet_html import render_fleet
    from harness.runs.design import code_of, workloads_of

    allow(trust)
    say_as(json_lines=as_json)
    looks: list[LookedEntry] = []
    if resume is not None:
        refuse_with_resume(context, "fleet run")
        directory, design = resume, session.design_to_resume(resume)
        transport = way_of(design)
    else:
        if scheduler is not None and hosts is not None:
            hosts, workloads = None, [str(hosts), *(workloads or ())]  # there is no inventory, so this is a workload
        given = Given(command, ssh_config, push_of(push, python, push_to, command), fanout, scheduler)
        spec = RunSpec(
            tuple(workloads or ("nsl-kdd-mlp",)),
            data_dir=data,
            synthetic=synthetic,
            backends=parse_backends(backends),
            dtypes=parse_dtypes(dtypes),
            scenarios=parse_scenarios(scenarios, "hot", 1).scenarios,
            p99_bound_s=seconds("--p99", p99),
            seeds=1,
            epochs=epochs,
            rows=rows,
            cores=cores,
            threads_per_core=threads_per_core,
            blocks=1,
            seed=seed,
            roofline="none",
        )
        refuse_own(spec.workloads, code_of(spec))
        workloads_of(replace(spec, data_dir=None, synthetic=True))  # a typo is an error before a host is asked
        way = way_to(hosts, choice, given)
        design = session.FleetDesign(
            *begun("fleet-"), ("lparbench", *sys.argv[1:]), way.source,
            way.sha256, way.inventory.hosts, spec, waves, together, fanout,
            tuple(way.transport.command), None if ssh_config is None else str(ssh_config.resolve()),
            None if timeout is None else seconds("--timeout", timeout), scheduler=scheduler, remarks=way.remarks,
        )  # fmt: skip
        if alike:
            looks = completed(look_at(design.hosts, way.transport, fanout))
            require_alike(answered(looks))
        directory, transport = session.begin(design, out), way.transport
    try:
        with session.open_journal(directory) as journal:
            entries = Coordinator(design, directory, journal, transport, *listeners(), looks=looks).work()
        fleet = fleet_of(design, entries)
        text = fleet_text(fleet)
        write_file(directory / "report.html", render_fleet(fleet))
        write_file(directory / FLEET_NAME, to_bytes(text))
    except BaseException:
        if (directory / FLEET_NAME).exists():  # which is written last
            raise
        typer.echo(f"What was done is kept. Resume: lparbench fleet run --resume {directory}", err=True)
        raise
    _show(text if as_json else None, directory)


@fleet_app.command("report", cls=Command)
def report(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory of a fleet run, or ARCHIVE#RECORD.")],
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the page there, - for standard output.", show_default=False),
    ] = None,
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="Without names of hosts and partitions, to be mailed.")
    ] = False,
    as_json: RecordJson = False,
) -> None:
    """Say again which host of a fleet run is out of line, and in what it differs.

    Exit code: as of `lparbench fleet run`.

    Example: `lparbench fleet report results/fleet/20261101T120000Z-fleet-1a2b3c --html fleet.html --anonymous`
    """
    from harness.cli.outputs import shares_standard_output
    from harness.record.archived import archived
    from harness.record.files import write_output
    from harness.record.store import fleet_text, load_fleet
    from harness.reporting.fleet_html import render_fleet
    from harness.reporting.fleet_view import anonymous as without_names
    from harness.reporting.fleet_view import exit_code_of

    with archived([directory]) as (place,):
        fleet = load_fleet(place)
    shown = without_names(fleet) if anonymous else fleet
    if html is not None:
        piped = shares_standard_output(html, as_json=as_json)
        write_output(html, render_fleet(shown), inputs=[directory])
        if piped:
            raise typer.Exit(exit_code_of(fleet))
    if as_json:
        typer.echo(fleet_text(shown), nl=False)
    else:
        _print(shown)
    raise typer.Exit(exit_code_of(fleet))


@fleet_app.command("compare", cls=Command)
def compare(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="Directory of a fleet run, or ARCHIVE#RECORD.")],
    after: Annotated[
        Path, typer.Argument(metavar="AFTER", help="Directory of a later run of the same fleet, or ARCHIVE#RECORD.")
    ],
    margin: Annotated[str, typer.Option(metavar="SHARE", help="Change of a rate that matters.")] = "3%",
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the page there, - for standard output.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare two runs of one fleet, as around an update: host by host, all together, and which facts changed.

    Exit code 0: none is slower by more than the margin. 1: a host or all together are. 2: some are not decided or not
    in both. 3: the runs did other work.

    Example: `lparbench fleet compare results/fleet/BEFORE results/fleet/AFTER`
    """
    from harness.cli.outputs import shares_standard_output
    from harness.cli.shares import share
    from harness.decode import encode
    from harness.fleet.compare import compare_fleets
    from harness.record.archived import archived
    from harness.record.files import write_output
    from harness.reporting.fleet_change import change_text, exit_code_of
    from harness.reporting.fleet_change_html import render_change
    from harness.reporting.listing import output_width

    limit = share("--margin", margin)
    with archived([before, after]) as (first, second):
        changed = compare_fleets(first, second, limit)
    if html is not None:
        piped = shares_standard_output(html, as_json=as_json)
        write_output(html, render_change(changed), inputs=[before, after])
        if piped:
            raise typer.Exit(exit_code_of(changed))
    text = json.dumps(encode(changed), indent=2) + "\n" if as_json else change_text(changed, output_width())
    typer.echo(text, nl=False)
    raise typer.Exit(exit_code_of(changed))


@fleet_app.command("size", cls=Command)
def size(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory of a fleet run, or ARCHIVE#RECORD.")],
    rate: demand.Rate = None,
    p99: demand.Bound = None,
    growth: demand.Growth = None,
    headroom: demand.Headroom = None,
    confidence: demand.Confidence = "95",
    spare: demand.Spare = 0,
    workload: Annotated[str | None, demand.option_text("Where there are several.", "NAME", demand.DEMAND)] = None,
    as_json: Json = False,
) -> None:
    """Say how many LPARs of which kind serve a demand, from what those of a fleet run were measured to take.

    Exit code 0: answered. 2: of no kind can be said how many do.

    Example: `lparbench fleet size results/fleet/RUN --rate 100k/s --p99 10ms --spare 1`
    """
    from harness.decode import encode
    from harness.fleet.capacity import size_fleet
    from harness.record.archived import archived
    from harness.reporting.fleet_size import exit_code_of, size_text

    asked = demand.question_of(rate, p99, growth, headroom, demand.confidence_of(confidence), spare)
    with archived([directory]) as (place,):
        sized = size_fleet(place, asked, workload)
    typer.echo(json.dumps(encode(sized), indent=2) + "\n" if as_json else size_text(sized), nl=False)
    raise typer.Exit(exit_code_of(sized))


fleet_app.command("train", cls=Command)(fleet_train.train)


@fleet_app.command("host", cls=Command, hidden=True)
def host() -> None:
    """Answer one request of a fleet from standard input; `fleet run` starts it on every host.

    Example: `lparbench fleet host < request.json`
    """
    from harness.fleet.host import serve
    from harness.reporting.progress import Silence

    serve(Silence())


def _show(text: str | None, directory: Path) -> None:
    """Print a fleet run that ended, and exit with its code."""
    from harness.record.store import load_fleet
    from harness.reporting.fleet_view import exit_code_of

    fleet = load_fleet(directory)
    if text is not None:
        typer.echo(text, nl=False)
    else:
        _print(fleet)
        typer.echo(f"Page: {directory / 'report.html'}")
    raise typer.Exit(exit_code_of(fleet))


def _print(fleet: Fleet) -> None:
    from harness.reporting.fleet_terminal import fleet_text
    from harness.reporting.fleet_view import view_of
    from harness.reporting.listing import output_width

    typer.echo(fleet_text(fleet, view_of(fleet), output_width()), nl=False)
