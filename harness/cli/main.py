"""The ``lparbench`` command: assembles the commands and turns errors into one line and an exit code."""

from __future__ import annotations

import errno
import gc
import os
import re
import signal
import sys
import traceback
import weakref
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from harness import __version__
from harness.cli import (
    archive,
    compare,
    data,
    doctor,
    export,
    fleet,
    gate,
    history,
    kernels,
    listing,
    load,
    place,
    probe,
    report,
    run,
    score,
    serve,
    site,
    size,
    smt,
    sweep,
)
from harness.cli.help import Command, Group
from harness.cli.streams import standard_streams
from harness.errors import ExitCode, LparbenchError, cause_of, one_line

# Typer carries its own copy of click from 0.27 on; this finds the base of all its usage errors in either case.
# What some versions of the option parser say of a value, and what people say.
_PARSED = {
    "Input should be a valid integer, unable to parse string as an integer": "expected one whole number.",
    "Input should be a valid number, unable to parse string as a number": "expected one number.",
}
_ClickException: type[Exception] = typer.BadParameter.__mro__[2]

_SIGNALLED = 128  # plus the number of the signal, as shells report it
_SIGNALS = {signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}
_LOST_S = 0.02
_COLLECTED_AFTER = 100_000  # new objects; Python's own figure is 700, or 2,000 from 3.13 on
_DEBUG = "--debug"
_NUMBER = re.compile(r"Input should be a valid integer.*")
_NEAR = 0.75  # how alike the spelling of an option is that was probably meant
# As other programs call the same.
_ALSO_CALLED = {
    "--delimiter": "--sep", "--separator": "--sep", "--target": "--label", "--exclude": "--drop", "--ignore": "--drop",
    "--output-dir": "--out", "--outdir": "--out",
}  # fmt: skip
_WORDS = {"help": "--help", "version": "--version"}  # as many programs have them

_LOOP = "Symlink loop"  # what pathlib says of links that lead to themselves, up to Python 3.12
# What is wrong with a path that the user gave.
_OF_A_PATH = frozenset(
    {errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR}
)

app = typer.Typer(
    name="lparbench",
    help=(
        "Benchmark anomaly detectors on this machine: check its NUMA/SMT/LPAR layout, pin, train, infer, judge every "
        "number, and report.\n\nStart with `lparbench run`."
    ),
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"lparbench {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    debug: Annotated[bool, typer.Option(_DEBUG, help="Show the traceback of an error; also after a command.")] = False,
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def _add(name: str, panel: str, cls: type[Command] = Command) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return app.command(name, cls=cls, rich_help_panel=panel)


_MAIN = "The main job"
_add("run", _MAIN, run.RunCommand)(run.run)
_add("list", _MAIN)(listing.list_workloads)
_add("report", _MAIN)(report.report)
_add("score", _MAIN)(score.score)
_add("serve", _MAIN)(serve.serve)
_add("load", _MAIN)(load.load)
app.add_typer(data.data_app, rich_help_panel=_MAIN)

_RUNS = "Runs side by side"
_add("sweep", _RUNS)(sweep.sweep)
_add("size", _RUNS)(size.size)
_add("compare", _RUNS)(compare.compare)
_add("gate", _RUNS)(gate.gate)
_add("history", _RUNS)(history.history)
_add("export", _RUNS)(export.export)
app.add_typer(archive.archive_app, rich_help_panel=_RUNS)
_add("site", _RUNS)(site.site)
app.add_typer(fleet.fleet_app, rich_help_panel=_RUNS)

_MACHINE = "This machine"
_add("probe", _MACHINE)(probe.probe)
_add("doctor", _MACHINE)(doctor.doctor)
_add("place", _MACHINE)(place.place)
_add("kernels", _MACHINE)(kernels.kernels)
app.add_typer(smt.smt_app, name="smt", rich_help_panel=_MACHINE)


class _SignalledError(BaseException):
    """SIGTERM or SIGHUP, treated as Ctrl-C is: every clean-up on the way out runs.

    Not a KeyboardInterrupt, because typer turns that into an exit of its own and the signal would be forgotten.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a signal handler
    """Raise; and see that it is not forgotten, for a bare ``except`` of some library may drop what is raised.

    While the exception is on its way out something holds it, however long the clean-ups that it passes take.
    """
    signalled = _SignalledError(number)
    held = weakref.ref(signalled)

    def repeat(alarm: int, inner: FrameType | None) -> None:  # noqa: ARG001 - the signature of a signal handler
        if held() is None:
            _stop(number, inner)

    signal.signal(signal.SIGALRM, repeat)
    signal.setitimer(signal.ITIMER_REAL, _LOST_S, _LOST_S)
    try:
        raise signalled
    finally:
        del signalled  # the traceback holds this frame, which would hold it for ever


def _send_lost_signal(ignored: sys.UnraisableHookArgs) -> None:
    """Ctrl-C that came within a finaliser or a callback, where Python drops what is raised: it comes again."""
    lost = ignored.exc_value
    if isinstance(lost, _SignalledError):  # comes again by itself
        return
    if not isinstance(lost, KeyboardInterrupt):
        sys.__unraisablehook__(ignored)
        return

    def raise_lost(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a signal handler
        raise lost

    signal.signal(signal.SIGALRM, raise_lost)
    signal.setitimer(signal.ITIMER_REAL, _LOST_S)


def main(arguments: list[str] | None = None) -> None:
    """Entry point: runs one command and exits with its code (see ``harness.errors.ExitCode``)."""
    gc.set_threshold(_COLLECTED_AFTER)  # what is imported lives on: walking it again and again is a tenth of a start
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _stop)
    sys.unraisablehook = _send_lost_signal
    given, debug = _without_debug(sys.argv[1:] if arguments is None else arguments)
    with standard_streams():
        code: int = ExitCode.GOOD
        try:
            code = _run(given, debug=debug)
            sys.stdout.flush()
        except OSError as error:  # also of an answer to a misuse, such as a help text
            code = code if code == ExitCode.TOOL_FAILED else _failed(error, debug)
    if arguments is None:
        gc.freeze()  # else the interpreter walks all that lives before it goes, for a third of a second
    sys.exit(code)


def _without_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """The arguments without ``--debug``, which may stand anywhere up to ``--``, and whether it was there."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    own = [argument for argument in arguments[:end] if argument != _DEBUG]
    own[:1] = [_WORDS.get(word, word) for word in own[:1]]
    return [*own, *arguments[end:]], len(own) < end


def _run(arguments: list[str], *, debug: bool) -> int:
    """Exit code of a command; errors are shown in one line."""
    try:
        code = _outcome(typer.main.get_command(app).main(arguments, prog_name="lparbench", standalone_mode=False))
    except LparbenchError as error:
        _trace(debug)
        return _complain(error.message, error.remedy, error.exit_code)
    except _SignalledError as signalled:
        return _ended(signalled.number)
    except KeyboardInterrupt:
        return _ended(signal.SIGINT)
    except _ClickException as error:
        return _misused(error, arguments)
    except typer.Abort as error:
        return _ended(signal.SIGINT) if error.__cause__ is None else _failed(error.__cause__, debug)
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # of a socket; typer takes it for standard output's
            return _failed(stop.__context__, debug)
        code = _outcome(stop.code)
    except OSError as error:
        if not _is_given(error, arguments):
            return _failed(error, debug)
        _trace(debug)
        return _complain(f"{error.filename}: {error.strerror}.", "Check the path and who may read it.", ExitCode.USAGE)
    except Exception as error:  # noqa: BLE001 - the last resort: a bug must not look like a result
        loop, _, path = str(error).partition(" from ")
        if not isinstance(error, RuntimeError) or loop != _LOOP:
            return _failed(error, debug)
        _trace(debug)
        return _complain(f"{path.strip(chr(39))}: {os.strerror(errno.ELOOP)}.", "Check the links.", ExitCode.USAGE)
    return _ended(signal.SIGINT) if code == ExitCode.INTERRUPTED else code


def _is_given(error: OSError, arguments: Sequence[str]) -> bool:
    """Whether an error is of a path that the arguments name, or of what lies below it."""
    if error.errno not in _OF_A_PATH or not isinstance(error.filename, str | os.PathLike):
        return False
    words = [word for each in arguments for word in (each, each.partition("=")[2], each.partition(":")[2]) if word]
    given = [Path(shape) for word in words for shape in (Path(word).absolute(), os.path.realpath(word))]
    path = Path(error.filename).absolute()
    return any(path.is_relative_to(each) for each in given)


def _outcome(value: object) -> int:
    match value:
        case int():
            return value
        case str():
            return _complain(value, None, ExitCode.TOOL_FAILED)
        case _:
            return ExitCode.GOOD


def _ended(number: int) -> int:
    signal.setitimer(signal.ITIMER_REAL, 0)
    typer.echo(f"lparbench: {_SIGNALS.get(signal.Signals(number), 'interrupted')}", err=True)
    return _SIGNALLED + number


def _misused(error: Exception, arguments: Sequence[str]) -> int:
    context = getattr(error, "ctx", None)
    message = getattr(error, "format_message", error.__str__)().replace("Value error, ", "")
    if context is not None and message in ("", context.get_help()):  # a group without a command
        typer.echo(context.get_help())
        return ExitCode.GOOD
    path, commands = context.command_path if context else "lparbench", _commands()
    if path == "lparbench" and arguments and arguments[0] in commands:  # the error is of what follows it
        path = f"{path} {arguments[0]}"
    see = f"See: {path} --help"
    if (worded := _NUMBER.sub("a whole number was expected.", message)) != message:  # in words of the library
        option = max(getattr(getattr(error, "param", None), "opts", ()), key=len, default="")
        several = path != "lparbench sweep" and any(option in each.opts for each in commands["sweep"].params)
        hint = f"lparbench sweep {option} compares several. " if several else ""
        return _complain(worded, f"{hint}{see}", ExitCode.USAGE)
    option = getattr(error, "option_name", None)
    if context is not None and option and hasattr(error, "possibilities"):
        return _complain(f"No such option: {option}.", f"{_option_meant(option, context)}{see}", ExitCode.USAGE)
    for theirs, ours in _PARSED.items():
        message = message.replace(theirs, ours)
    return _complain(message, see, ExitCode.USAGE)


def _option_meant(option: str, context: Any) -> str:
    """A word on an option that a command lacks: the one that is spelt nearly so, or the commands that have it."""
    own = {text for parameter in context.command.params for text in parameter.opts if text.startswith("--")}
    longer = sorted(text for text in own if text.startswith(f"{option}-") or text == _ALSO_CALLED.get(option))
    near = longer or get_close_matches(option, sorted(own), n=1, cutoff=_NEAR)
    if near:
        return f"Did you mean {near[0]}? "
    commands = _commands()
    having = [name for name, each in commands.items() if any(option in parameter.opts for parameter in each.params)]
    return f"{', '.join(having)} {'has' if len(having) == 1 else 'have'} {option}. " if having else ""


def _commands() -> dict[str, Any]:
    commands: dict[str, Any] = getattr(typer.main.get_command(app), "commands", {})
    return commands


def _failed(error: BaseException, debug: bool) -> int:
    """Say in one line that it is the tool, or the system under it, that failed."""
    _trace(debug)
    typer.echo(f"lparbench failed: {cause_of(error)}; {_DEBUG} shows the traceback.", err=True)
    return ExitCode.TOOL_FAILED


def _trace(debug: bool) -> None:
    if debug:
        traceback.print_exc()


def _complain(message: str, remedy: str | None, code: ExitCode) -> ExitCode:
    typer.echo(f"lparbench: error: {one_line(message)}", err=True)
    if remedy:
        typer.echo(f"  {one_line(remedy)}", err=True)
    return code
