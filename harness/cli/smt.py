"""``lparbench smt``: show, set and restore the number of threads per core."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.help import Command, Group
from harness.cli.options import Json
from harness.errors import InputError

smt_app = typer.Typer(
    help="Show, set and restore SMT. Example: `lparbench smt set 2`",
    no_args_is_help=True,
    rich_markup_mode=None,
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Root = Annotated[
    Path,
    typer.Option(
        "--sysroot", metavar="DIR", help="Work on a stored tree that holds proc and sys, not on this machine."
    ),
]


@smt_app.command("show", cls=Command)
def show(sysroot: _Root = Path("/"), as_json: Json = False) -> None:
    """Show threads per core, how a level is set here, and whether a state waits to be restored.

    Example: `lparbench smt show`
    """
    from harness.placement.smt import SmtMethod, may_switch, not_permitted
    from harness.placement.smt_state import load
    from harness.platform import limits
    from harness.platform.dump import opened
    from harness.platform.probe import read_topology
    from harness.wording import cores_by_threads

    root = opened(sysroot)
    smt = read_topology(root).smt
    saved = load(root)
    method = SmtMethod.SWITCHED if may_switch(root) else SmtMethod.AFFINITY
    if as_json:
        document = {
            "online": smt.online,
            "max": smt.max,
            "mixed": smt.mixed,
            "cores_by_threads": {str(threads): cores for threads, cores in smt.cores_by_threads.items()},
            "control": smt.control,
            "method": method.value,
            "saved": saved is not None,
        }
        typer.echo(json.dumps(document, indent=2))
        return
    unknown = "not known"
    online = f"mixed: {cores_by_threads(smt.cores_by_threads)};" if smt.mixed else f"{smt.online or unknown} of"
    typer.echo(f"threads online per core  {online} {smt.max or unknown}{' at most' if smt.mixed else ''}")
    typer.echo(f"smt/control              {smt.control or unknown}")
    if smt.max == 1:
        typer.echo("switching                nothing to switch: the cores have one thread")
    elif method is SmtMethod.SWITCHED:
        typer.echo("switching                permitted")
    else:
        typer.echo(f"switching                not permitted {not_permitted(root, limits.collect(root))}")
        typer.echo("                         SMT by affinity: threads stay online and are left idle")
    if saved is not None:
        typer.echo("saved state              waits to be restored: lparbench smt restore")


@smt_app.command("set", cls=Command, context_settings={"ignore_unknown_options": True})
def set_threads(
    threads: Annotated[int, typer.Argument(min=1, metavar="N", help="Threads to have online on every core in use.")],
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- COMMAND...]",
            help="Run this with the level, then put back the state before, also after an error or any signal.",
            show_default=False,
        ),
    ] = None,
    sysroot: _Root = Path("/"),
) -> None:
    """Set threads per core; the state before is saved for `lparbench smt restore`. Needs root of the host.

    Control groups of version 1 lose CPUs that go offline, running containers among them; restore gives them back.

    Example: `lparbench smt set 2`, or for one command only: `lparbench smt set 4 -- python train.py`
    """
    from harness.placement.smt import may_switch, set_level, smt_session
    from harness.placement.smt_guard import guarded
    from harness.placement.smt_state import read_cpusets
    from harness.platform.sysroot import SysRoot
    from harness.wording import plural

    if command and command[0].startswith("-"):
        raise InputError(f"smt set has no option {command[0]}.", remedy="A command to run comes after --. See: --help")
    root = SysRoot(sysroot)
    if groups := len(read_cpusets(root)):
        typer.echo(
            f"note: {plural(groups, 'control group')} of version 1 with CPUs assigned: those that go offline are lost "
            "there until the state before is back",
            err=True,
        )
    if not command:
        set_level(root, threads)
        typer.echo(f"SMT {threads}. Back to the state before: lparbench smt restore")
        return
    with guarded(root) if may_switch(root) else nullcontext(), smt_session(root) as session:
        method = session.switch(threads)
        typer.echo(f"SMT {threads} ({method.value})", err=True)
        raise typer.Exit(_run(command))


@smt_app.command("restore", cls=Command)
def restore_state(
    sysroot: _Root = Path("/"),
    force: Annotated[
        bool, typer.Option("--force", help="Restore the earlier state although another program has changed SMT since.")
    ] = False,
    leave_it: Annotated[bool, typer.Option("--leave", help="Leave SMT as it is and drop the saved state.")] = False,
) -> None:
    """Put back the exact state before the first `smt set`, or before a run that was killed. Needs root.

    CPUs of control groups of version 1 included; groups made in between keep what they were given. What another
    program has switched in between is named and not overwritten.

    Example: `lparbench smt restore`
    """
    from harness.placement.smt import leave, restore
    from harness.platform.sysroot import SysRoot

    if force and leave_it:
        raise InputError("--force and --leave exclude each other.", remedy="Give one of them.")
    root = SysRoot(sysroot)
    if leave_it:
        typer.echo("SMT stays as it is." if leave(root) else "There is nothing to restore.")
    else:
        typer.echo("The state before is back." if restore(root, force=force) else "There is nothing to restore.")


def _run(command: list[str]) -> int:
    """Exit code of a command; one killed by signal n gives 128 + n, as shells report it."""
    from harness.process_tree import child, ended

    try:
        with child(command) as process:  # the state is put back only once it is gone
            code = ended(process)
    except OSError as error:
        raise InputError(f"{command[0]}: {error.strerror}.", remedy="Give a program after --.") from error
    return code if code >= 0 else 128 - code
