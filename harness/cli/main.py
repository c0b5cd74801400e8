"""The ``lparbench`` command: assembles the commands and turns errors into one line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from types import FrameType
from typing import Annotated

import typer

from harness import __version__
from harness.cli import (
    compare,
    data,
    doctor,
    export,
    gate,
    history,
    kernels,
    listing,
    place,
    probe,
    report,
    run,
    smt,
    sweep,
)
from harness.errors import ExitCode, LparbenchError

# Typer carries its own copy of click from 0.27 on; this finds the base of all its usage errors in either case.
_ClickException: type[Exception] = typer.BadParameter.__mro__[2]

_SIGNALLED = 128  # plus the number of the signal, as shells report it

app = typer.Typer(
    name="lparbench",
    help=(
        "Benchmark anomaly detectors on this machine: check its NUMA/SMT/LPAR layout, pin, train, infer, judge every "
        "number, and report.\n\nStart with `lparbench run`."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"lparbench {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


_MAIN = "The main job"
app.command("run", rich_help_panel=_MAIN)(run.run)
app.command("list", rich_help_panel=_MAIN)(listing.list_workloads)
app.command("report", rich_help_panel=_MAIN)(report.report)
app.add_typer(data.data_app, rich_help_panel=_MAIN)

_RUNS = "Runs side by side"
app.command("sweep", rich_help_panel=_RUNS)(sweep.sweep)
app.command("compare", rich_help_panel=_RUNS)(compare.compare)
app.command("gate", rich_help_panel=_RUNS)(gate.gate)
app.command("history", rich_help_panel=_RUNS)(history.history)
app.command("export", rich_help_panel=_RUNS)(export.export)

_MACHINE = "This machine"
app.command("probe", rich_help_panel=_MACHINE)(probe.probe)
app.command("doctor", rich_help_panel=_MACHINE)(doctor.doctor)
app.command("place", rich_help_panel=_MACHINE)(place.place)
app.command("kernels", rich_help_panel=_MACHINE)(kernels.kernels)
app.add_typer(smt.smt_app, name="smt", rich_help_panel=_MACHINE)


class _Terminated(BaseException):
    """SIGTERM, treated as Ctrl-C is: every clean-up on the way out runs.

    Not a KeyboardInterrupt, because typer turns that into its own Abort and the signal would be forgotten.
    """


def _terminate(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a signal handler
    raise _Terminated


def main(arguments: list[str] | None = None) -> None:
    """Entry point: runs one command and exits with its code (see ``harness.errors.ExitCode``)."""
    signal.signal(signal.SIGTERM, _terminate)
    stdout = sys.stdout
    try:
        code = _run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
        if sys.stdout is not stdout:  # typer met a closed pipe first: it wraps the stream and exits with 1
            code = ExitCode.GOOD
    except BrokenPipeError:
        # The reader (head, less) went away; nothing is wrong. Keep the interpreter's final flush quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.GOOD
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    try:
        outcome = typer.main.get_command(app).main(arguments, prog_name="lparbench", standalone_mode=False)
    except LparbenchError as error:
        if "--debug" in arguments:
            traceback.print_exc()
        _complain(error.message, error.remedy)
        return error.exit_code
    except _Terminated:
        typer.echo("lparbench: terminated", err=True)
        return _SIGNALLED + signal.SIGTERM
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("lparbench: interrupted", err=True)
        return _SIGNALLED + signal.SIGINT
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else ExitCode.REGRESSION
    except _ClickException as error:
        context = getattr(error, "ctx", None)
        message = getattr(error, "format_message", error.__str__)()
        if message or context is None:
            _complain(message, f"See: {context.command_path if context else 'lparbench'} --help")
        else:  # a group without a command: typer's own way to ask for its help
            typer.echo(context.get_help())
        return ExitCode.USAGE
    return outcome if isinstance(outcome, int) else ExitCode.GOOD


def _complain(message: str, remedy: str | None) -> None:
    typer.echo(f"lparbench: error: {message}", err=True)
    if remedy:
        typer.echo(f"  {remedy}", err=True)
