"""``lparbench size``: how many cores, which SMT level and what entitlement serve a demand."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import completion, own_data
from harness.cli.choices import parse_backends, parse_dtypes, parse_list, parse_source, refuse_with_resume
from harness.cli.demand import (
    DEMAND,
    Bound,
    Confidence,
    Growth,
    Headroom,
    Rate,
    Spare,
    confidence_of,
    option_text,
    question_of,
)
from harness.cli.durations import seconds as duration
from harness.cli.levels import parse_whole_numbers
from harness.cli.options import (
    AMOUNT,
    OUTPUT,
    DataDir,
    RecordJson,
    Rows,
    Seed,
    Synthetic,
    Trust,
    given_by_user,
    node_option,
)
from harness.cli.rates import parse_arrivals, per_second
from harness.errors import ExitCode, InputError, unknown
from harness.trust import allow

if TYPE_CHECKING:
    from harness.record.size_model import PlanKind, Size, SizeQuestion

_STORED = "Without measuring"
_SETTINGS = "What is measured"


@own_data.takes_own_data
def size(
    context: typer.Context,
    workload: Annotated[
        str | None,
        typer.Argument(
            metavar="WORKLOAD|RUN|BUNDLE|module:Class",
            help="A workload by name or .toml file, a class, the directory of a run (or ARCHIVE#RECORD), or a bundle.",
            show_default=False,
            autocompletion=completion.workloads,
        ),
    ] = None,
    rate: Rate = None,
    p99: Bound = None,
    growth: Growth = None,
    headroom: Headroom = None,
    confidence: Confidence = "95",
    spare: Spare = 0,
    fit: Annotated[
        Path | None, option_text("Fit a table of cores and rates; say what may be concluded.", "FILE.csv", _STORED)
    ] = None,
    cores: Annotated[
        str | None, option_text("Core counts. Default: 1, 2, 4, ..., then what it takes.", "A,B", _SETTINGS)
    ] = None,
    threads_per_core: Annotated[
        str | None,
        typer.Option(
            "--threads-per-core",
            "--smt",
            metavar="A,B",
            rich_help_panel=_SETTINGS,
            show_default=False,
            help="SMT levels. Default: all.",
        ),
    ] = None,
    layouts: Annotated[
        str | None, option_text("per-core, per-thread, single. Default: the first two.", "A,B", _SETTINGS)
    ] = None,
    plan: Annotated[
        str,
        typer.Option(metavar="KIND", help="Partitions: dedicated, shared, both or none.", rich_help_panel=DEMAND),
    ] = "both",
    records: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            metavar="RECORD",
            help="Answer from a sizing, a sweep, or runs of one machine, also ARCHIVE#RECORD; may be repeated.",
            rich_help_panel=_STORED,
            show_default=False,
        ),
    ] = None,
    what_if: Annotated[
        list[str] | None,
        option_text("A table instead: rate=10k,20k p99=2ms,5ms; may be repeated.", "NAME=A,B", _STORED),
    ] = None,
    on: Annotated[str | None, option_text("Project onto a machine that is not here: bounds.", "MTM", _STORED)] = None,
    scenario: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_SETTINGS,
            help="server: in the process; http: behind the product's server, loaded from another core.",
        ),
    ] = "server",
    arrivals: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            rich_help_panel=_SETTINGS,
            help="poisson, constant, or a file of recorded times, stretched to each rate.",
        ),
    ] = "poisson",
    node: Annotated[int | None, node_option("the one with most cores", _SETTINGS)] = None,
    backend: Annotated[
        str | None, option_text("Default: the fastest of the workload that works here.", "NAME", _SETTINGS)
    ] = None,
    dtype: Annotated[str | None, option_text("Number format. Default: float32.", "NAME", _SETTINGS)] = None,
    budget: Annotated[str, typer.Option(metavar="TIME", help="Time for all of it.", rich_help_panel=AMOUNT)] = "10m",
    seconds: Annotated[
        float, typer.Option(min=0.01, max=600, help="Least time of a trial.", rich_help_panel=AMOUNT)
    ] = 0.5,
    rows: Rows = None,
    *,
    own: own_data.Given,
    data: DataDir = None,
    synthetic: Synthetic = False,
    seed: Seed = 1,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Directories are made in here.", rich_help_panel=OUTPUT)
    ] = Path("results/sizes"),
    resume: Annotated[
        Path | None,
        option_text(
            "Continue a sizing, with --budget for so much longer; takes no other option but --json.", "DIR", OUTPUT
        ),
    ] = None,
    trust: Trust = False,
    as_json: RecordJson = False,
) -> None:
    """Measure capacity at a latency bound and say how many cores serve a demand, with an interval.

    Core counts, SMT levels and instance layouts are measured in blocks of fresh processes; further blocks go where the
    decision is open. Exit code 0: answered from measured cores; 2: extrapolated, open, refused or not valid.

    Example: `lparbench size nsl-kdd-mlp --rate 20k/s --p99 5ms --headroom 20%`
    """
    from harness.record.files import write_file
    from harness.record.size_model import LAYOUTS
    from harness.record.spec import RunSpec
    from harness.record.store import SIZE_NAME, encode, size_text
    from harness.reporting.progress import progress_for
    from harness.sizing import session as sizing
    from harness.sizing.subject import spec_of
    from harness.workers.executor import ProcessExecutor

    allow(trust)
    if fit is not None:
        _fit(fit, rate, confidence_of(confidence), as_json=as_json)
    kinds, more_s = _kinds(plan), None
    if records or what_if:
        question = question_of(rate, p99, growth, headroom, confidence_of(confidence), spare, what_if)
        _stored(records, question, what_if, kinds, on, as_json=as_json)
    if resume is not None:
        refuse_with_resume(context, "sizing", but=("budget",))
        directory = resume
        more_s = duration("--budget", budget) if given_by_user(context, "budget") else None
    else:
        question = question_of(rate, p99, growth, headroom, confidence_of(confidence), spare)
        if workload is None:
            raise InputError("Which workload?", remedy="Name one: lparbench size nsl-kdd-mlp --rate 20k/s --p99 5ms")
        spec = RunSpec(
            workloads=(workload,),
            protocol=parse_source(data, "clean"),
            data_dir=None if data is None else str(data.resolve()),
            synthetic=synthetic,
            backends=parse_backends(backend),
            dtypes=parse_dtypes(dtype),
            seeds=1,
            epochs=1,
            rows=rows,
            series_seconds=seconds,
            seed=seed,
        )
        wanted = sizing.Wanted(
            question,
            kinds,
            budget_s=duration("--budget", budget),
            cores=parse_whole_numbers("--cores", cores),
            threads_per_core=parse_whole_numbers("--threads-per-core", threads_per_core),
            layouts=None if layouts is None else parse_list("--layouts", layouts, LAYOUTS),
            node=node,
            arrivals=parse_arrivals(arrivals),
            http=_over_http(scenario),
        )
        spec = own.of(spec_of(workload, spec))
        command = ("lparbench", *sys.argv[1:])
        directory = sizing.begin(spec, wanted, command, out, executor=ProcessExecutor())
    with sizing.resumable(directory), progress_for(quiet=as_json) as progress:
        record = _projected(sizing.proceed(directory, ProcessExecutor(), progress, more_s=more_s), on)
        from harness.reporting.size_html import render_size  # not before the command line is known to be right

        write_file(directory / SIZE_NAME, encode(size_text(record)))
        write_file(directory / "report.html", render_size(record))
    from harness.reporting.size_terminal import print_size

    if as_json:
        typer.echo(size_text(record), nl=False)
    else:
        print_size(record, directory)
    raise typer.Exit(sizing.exit_code(record))


def _over_http(scenario: str) -> bool:
    if scenario not in ("server", "http"):
        raise InputError(f"--scenario is {scenario!r}.", remedy="Expected: server or http.")
    return scenario == "http"


def _fit(path: Path, rate: str | None, confidence: float, *, as_json: bool) -> None:
    from harness.decode import encode
    from harness.reporting.size_fit import print_fit
    from harness.sizing.table import fit_table, read_table

    wanted = None if rate is None else per_second("--rate", rate)
    result = fit_table(read_table(path), str(path), rate=wanted, confidence=confidence)
    if as_json:
        typer.echo(json.dumps(encode(result), indent=2))
    else:
        print_fit(result)
    raise typer.Exit(ExitCode.judged(failed=False, inconclusive=not result.conclusive))


def _stored(
    records: list[Path] | None,
    question: SizeQuestion,
    what_if: list[str] | None,
    kinds: tuple[PlanKind, ...],
    on: str | None,
    *,
    as_json: bool,
) -> None:
    """Answer without measuring."""
    from harness.cli.what_if import questions
    from harness.decode import encode
    from harness.record.archived import archived
    from harness.record.store import size_text
    from harness.reporting.size_terminal import print_size, print_what_if
    from harness.sizing.session import exit_code
    from harness.sizing.stored import size_from
    from harness.sizing.stored import what_if as answers

    if not records:
        raise InputError("--what-if answers from a stored curve.", remedy="Add --from DIR, a sizing that was measured.")
    with archived(records) as paths:
        record = _projected(size_from(paths, question, kinds), on)
    if what_if:
        table = answers(record, questions(question, what_if))
        if as_json:
            typer.echo(json.dumps(encode(table), indent=1))
        else:
            print_what_if(table)
        verdicts = {each.verdict for each in table.answers}
        raise typer.Exit(ExitCode.judged(failed=False, inconclusive=verdicts != {"answered"}))
    if as_json:
        typer.echo(size_text(record), nl=False)
    else:
        print_size(record, None)
    raise typer.Exit(exit_code(record))


def _projected(record: Size, on: str | None) -> Size:
    from harness.sizing.project import project

    return record if on is None else replace(record, answer=replace(record.answer, projection=project(record, on)))


def _kinds(text: str) -> tuple[PlanKind, ...]:
    from harness.record.size_model import PLAN_KINDS

    by_name = {"both": PLAN_KINDS, "none": (), "dedicated": PLAN_KINDS[:1], "shared": PLAN_KINDS[1:]}
    if text not in by_name:
        raise unknown("value", text, by_name, where="--plan")
    return by_name[text]
