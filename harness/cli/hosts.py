"""Options that say which hosts a fleet has, and how they are reached."""

from __future__ import annotations

import hashlib
import json
import shlex
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.record.identity import now

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.fleet.dask_transport import DaskTransport
    from harness.fleet.inventory import Host, Inventory
    from harness.fleet.push import Push
    from harness.fleet.session import Entry, FleetDesign
    from harness.fleet.transport import SshTransport

WHERE = "Which hosts, and how they are reached"
_AS_JSON = ContextVar("as_json", default=False)  # lines of progress
PROGRAM = "lparbench"  # in place of --command
PYTHON = "python3"
PLACE = ".local/share/lparbench"  # below the home directory, where a session of ssh begins

_INVENTORY = "Inventory: lines such as lpar[01-16] or USER@HOST:PORT, or Ansible's INI."

Hosts = Annotated[Path, typer.Argument(metavar="HOSTS", help=_INVENTORY)]
HostsUnlessScheduler = Annotated[
    Path | None, typer.Argument(metavar="HOSTS", help=f"{_INVENTORY} Not with --scheduler.", show_default=False)
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="The hosts are the workers of this Dask cluster: tls://HOST:PORT, or tcp:// without encryption.",
        rich_help_panel=WHERE,
        show_default=False,
    ),
]
Choice = Annotated[
    str | None,
    typer.Option(
        "--hosts", metavar="LIST", help="Only these: @group,lpar[01-04],-lpar03.", rich_help_panel=WHERE,
        show_default=False,
    ),
]  # fmt: skip
Program = Annotated[
    str, typer.Option("--command", metavar="WORDS", help="How lparbench is started there.", rich_help_panel=WHERE)
]
SshConfig = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Settings of ssh, instead of yours (ssh -F).", rich_help_panel=WHERE, show_default=False
    ),
]
Pushed = Annotated[
    Path | None,
    typer.Option(
        "--push", metavar="WHEEL",
        help="Bring this wheel of lparbench to the hosts that lack it, and start that one.", rich_help_panel=WHERE,
        show_default=False,
    ),
]  # fmt: skip
Python = Annotated[
    str,
    typer.Option(
        "--python", metavar="WORDS", help="With --push: Python of the hosts, which has the libraries.",
        rich_help_panel=WHERE,
    ),
]  # fmt: skip
Place = Annotated[
    str,
    typer.Option(
        "--push-to", metavar="DIR", help="With --push: where it is unpacked, below the home directory.",
        rich_help_panel=WHERE,
    ),
]  # fmt: skip
Alike = Annotated[
    bool,
    typer.Option(
        "--alike", help="All are to be of one kind: exit with 3 where they are not, before anything is measured.",
        rich_help_panel=WHERE,
    ),
]  # fmt: skip
Fanout = Annotated[int, typer.Option(min=1, max=1024, help="Hosts asked at once.", rich_help_panel=WHERE)]


@dataclass(frozen=True)
class Way:
    """The hosts of a fleet, what named them with its digest, how they are reached, and what is to be known of that."""

    inventory: Inventory
    source: str
    sha256: str
    transport: SshTransport | DaskTransport
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Given:
    """Options of how hosts are reached."""

    command: str
    ssh_config: Path | None
    push: Push | None
    fanout: int
    scheduler: str | None


def way_to(hosts: Path | None, choice: str | None, given: Given) -> Way:
    """The hosts and the way to them, along which a wheel is brought where that is asked for.

    Raises:
        InputError: there are no hosts, or options do not go together.
    """
    if given.scheduler is not None:
        return _way_over(given.scheduler, choice, given)
    if hosts is None:
        raise typer.BadParameter("an inventory is needed, or --scheduler.")
    inventory = inventory_of(hosts, choice)
    transport = with_push(transport_of(given.command, given.ssh_config), given.push, inventory.hosts, given.fanout)
    return Way(inventory, str(hosts), inventory.sha256, transport)


def _way_over(scheduler: str, choice: str | None, given: Given) -> Way:
    from harness.errors import InputError

    if given.push is not None or given.ssh_config is not None:
        raise InputError("--push and --ssh-config are of ssh, and --scheduler of Dask.", remedy="Leave one out.")
    if not scheduler.startswith(("tls://", "tcp://")):
        raise InputError(f"--scheduler {scheduler!r}: expected tls://HOST:PORT or tcp://HOST:PORT.")
    if scheduler.startswith("tcp://"):
        say(f"{scheduler}: not encrypted, and whoever reaches the cluster may run code on its hosts. Prefer tls://.")
    words = () if given.command == PROGRAM else _words("--command", given.command, "how lparbench is started")
    inventory, transport, remarks = _workers(scheduler, words)
    inventory = inventory if choice is None else inventory.selected(choice)
    digest = hashlib.sha256("\n".join(host.name for host in inventory.hosts).encode()).hexdigest()
    return Way(inventory, scheduler, digest, transport, remarks)


def _workers(scheduler: str, words: tuple[str, ...]) -> tuple[Inventory, DaskTransport, tuple[str, ...]]:
    from harness.fleet.dask_transport import DaskTransport, workers_of
    from harness.fleet.waves import completed

    inventory, addresses, remarks = completed(workers_of(scheduler))
    for remark in remarks:
        say(remark)
    return inventory, DaskTransport(scheduler, words, addresses), tuple(remarks)


def way_of(design: FleetDesign) -> SshTransport | DaskTransport:
    """The way to the hosts of a fleet run; the workers of a Dask cluster may have other addresses by now."""
    if design.scheduler is not None:
        return _workers(design.scheduler, design.command)[1]
    return transport_of(shlex.join(design.command), None if design.ssh_config is None else Path(design.ssh_config))


def inventory_of(hosts: Path, choice: str | None) -> Inventory:
    """The hosts of an inventory, or a part of them."""
    from harness.fleet.inventory import load_inventory

    inventory = load_inventory(hosts)
    return inventory if choice is None else inventory.selected(choice)


def transport_of(command: str, config: Path | None) -> SshTransport:
    """The way to the hosts.

    Raises:
        InputError: no word starts lparbench there, or the settings are not there.
    """
    from harness.errors import InputError
    from harness.fleet.transport import SshTransport

    words = _words("--command", command, "how lparbench is started: /opt/bin/lparbench")
    if config is not None and not config.is_file():
        raise InputError(f"{config}: no such file.", remedy="Give a file as ~/.ssh/config is.")
    return SshTransport(words, config)


def _words(option: str, text: str, expected: str) -> tuple[str, ...]:
    """The words of an option, as a shell divides them.

    Raises:
        InputError: there is none, or a quotation does not end.
    """
    from harness.errors import InputError

    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise InputError(f"{option} {text!r}: {error}.", remedy=f"Expected {expected}.") from None
    if not words:
        raise InputError(f"{option} has no word.", remedy=f"Expected {expected}.")
    return words


def push_of(wheel: Path | None, python: str, place: str, command: str) -> Push | None:
    """What is to be brought to the hosts; None where nothing is.

    Raises:
        InputError: no wheel of this version, two ways to start lparbench are named, or no Python is.
    """
    from harness.errors import InputError
    from harness.fleet.push import Push, Wheel

    if wheel is None:
        return None
    if command != PROGRAM:
        raise InputError("--push starts what it brings, and --command something else.", remedy="Leave out one of them.")
    return Push(Wheel.read(wheel), _words("--python", python, "a Python of the hosts: python3.11"), place.rstrip("/"))


def with_push(transport: SshTransport, push: Push | None, hosts: Sequence[Host], fanout: int) -> SshTransport:
    """The way to the hosts after the wheel was brought to them; where that failed, it is said."""
    if push is None:
        return transport
    from harness.fleet.push import pushed
    from harness.fleet.waves import completed

    transport, ended = completed(pushed(hosts, push, transport, fanout))
    for name, what in ended.items():
        if what not in ("there", "unpacked"):
            say(f"{name}: the wheel is not there: {what}")
    say(
        f"Wheel {push.wheel.digest[:16]}: {list(ended.values()).count('unpacked')} unpacked, "
        f"{list(ended.values()).count('there')} there before."
    )
    return transport


def refuse_own(names: tuple[str, ...], code: list[str]) -> None:
    """See that the workloads are those of the product.

    Raises:
        InputError: one is code or a file of somebody's.
    """
    from harness.errors import InputError

    own = [*code, *(name for name in names if name.endswith(".toml"))]
    if own:
        raise InputError(
            f"{own[0]}: a fleet runs the workloads of the product, no code or file of somebody's.",
            remedy="See: lparbench list",
        )


def say_as(*, json_lines: bool) -> None:
    """How `say` writes in the command that runs."""
    _AS_JSON.set(json_lines)


def say(text: str) -> None:
    """A line of progress on standard error; with --json a line of JSON."""
    from harness.errors import printable

    line = json.dumps({"event": "message", "at": now(), "text": text}) if _AS_JSON.get() else printable(text)
    typer.echo(line, err=True)


def say_event(entry: Entry) -> None:
    """An entry of the journal of a fleet run as a line of JSON on standard error, without the facts of a host."""
    from harness.decode import encode

    event = {name: value for name, value in encode(entry).items() if name not in ("kind", "at", "looked", "timed")}
    typer.echo(json.dumps({"event": entry.kind, "at": now(), **event}), err=True)


def listeners() -> tuple[Callable[[str], None], Callable[[Entry], None]]:
    """Of a fleet run: of its lines, or of the entries of its journal alone."""
    return (_say_nothing, say_event) if _AS_JSON.get() else (say, _say_nothing)


def _say_nothing(_: object) -> None:
    """What the other listener says."""
