"""A fleet run on disk: its design, its journal, the records of its hosts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness import trust
from harness.decode import PathPart, PositiveFloat, PositiveInt, decode_json_file, encode
from harness.errors import InputError
from harness.fleet.inventory import Host
from harness.fleet.protocol import Looked
from harness.record.files import write_file
from harness.record.fleet_model import HostState
from harness.record.journal import Journal, journal_entries, locked_journal
from harness.record.spec import RunSpec
from harness.record.store import FLEET_NAME, check_writable
from harness.runs.journal import SessionEntry

DESIGN_FILE = "design.json"
HOSTS = "hosts"
_PROGRAM = ("lparbench",)


@dataclass(frozen=True)
class FleetDesign:
    """What a fleet run was asked to do.

    Attributes:
        command: how lparbench is started on a host; none for that of a Dask worker.
        ssh_config: file of ssh's settings; None for the user's.
        timeout_s: of one measurement; None takes it from those that ended.
        scheduler: of the Dask cluster whose workers the hosts are; None reaches them over ssh.
        remarks: what is to be known of the way to the hosts.
    """

    identity: PathPart
    created: str
    argv: tuple[str, ...]
    inventory: str
    inventory_sha256: str
    hosts: tuple[Host, ...]
    spec: RunSpec
    waves: PositiveInt
    together: bool
    fanout: PositiveInt
    command: tuple[str, ...]
    ssh_config: str | None = None
    timeout_s: PositiveFloat | None = None
    margin: float = 0.03
    scheduler: str | None = None
    remarks: tuple[str, ...] = ()
    kind: Literal["fleet"] = "fleet"


@dataclass(frozen=True)
class LookedEntry:
    """A host was looked at.

    Attributes:
        looked: None where it gave no answer; then ``state`` and ``reason`` say why.
        offset_s: of its clock.
    """

    host: str
    looked: Looked | None
    offset_s: float | None = None
    state: HostState = HostState.DONE
    reason: str | None = None
    kind: Literal["looked"] = "looked"


@dataclass(frozen=True)
class WaveEntry:
    """A wave began, in this order."""

    number: int
    order: tuple[str, ...]
    at: str
    kind: Literal["wave"] = "wave"


@dataclass(frozen=True)
class Timed:
    """Time of one call of one result.

    Attributes:
        problems: why it may not be used.
        settled: whether its series did.
        page_faults: minor ones of a call; None where they were not counted.
    """

    workload: str
    scenario: str
    backend: str
    dtype: str
    batch_size: int
    seconds: float | None
    problems: tuple[str, ...] = ()
    settled: bool = True
    page_faults: float | None = None


@dataclass(frozen=True)
class MeasuredEntry:
    """A host was measured in a wave, and its record is on the disk."""

    host: str
    wave: int
    path: str
    digest: str
    wall_s: float
    timed: tuple[Timed, ...]
    kind: Literal["measured"] = "measured"


@dataclass(frozen=True)
class MissedEntry:
    """A host gave no record in a wave."""

    host: str
    wave: int
    state: HostState
    reason: str
    kind: Literal["missed"] = "missed"


Entry = SessionEntry | LookedEntry | WaveEntry | MeasuredEntry | MissedEntry
FleetJournal = Journal[Entry]


def begin(design: FleetDesign, out: Path) -> Path:
    """Make the directory of a fleet run, with its design in it.

    Raises:
        LparbenchError: nothing can be written there.
    """
    check_writable(out)
    directory = out / design.identity
    directory.mkdir()
    path = directory / DESIGN_FILE
    write_file(path, (json.dumps(encode(design), indent=1) + "\n").encode())
    if _code(design):
        trust.remember(path)
    return directory


def design_to_resume(directory: Path) -> FleetDesign:
    """The design of a fleet run whose work may be done from here.

    Raises:
        InputError: there is none, it is damaged, or what it runs comes from elsewhere.
    """
    path = directory / DESIGN_FILE
    if not path.exists():
        raise InputError(f"{path}: no such file.", remedy="Give the directory that `lparbench fleet run` named.")
    design = decode_json_file(FleetDesign, path)
    trust.require(_code(design), path)
    return design


def _code(design: FleetDesign) -> list[str]:
    """What it runs that is not the product: a command on the hosts, and what settings of ssh run here."""
    command = [] if design.command in ((), _PROGRAM) else [shlex.join(design.command)]
    return command + ([] if design.ssh_config is None else [f"ssh -F {design.ssh_config}"])


@contextmanager
def open_journal(directory: Path) -> Iterator[FleetJournal]:
    """The journal of a fleet run, held alone.

    Raises:
        InputError: another process is at work there, it is finished, or a line is damaged.
    """
    if (directory / FLEET_NAME).exists():
        raise InputError(
            f"{directory}: this fleet run is finished.", remedy=f"Look at it by: lparbench fleet report {directory}"
        )
    with locked_journal(directory, Entry, DESIGN_FILE) as (file, entries, link):
        yield Journal(file, entries, link)


def read_journal(directory: Path) -> list[Entry]:
    """What a fleet run has done so far.

    Raises:
        InputError: there is none, or a line is damaged.
    """
    try:
        return journal_entries(directory, Entry, DESIGN_FILE)
    except FileNotFoundError:
        raise InputError(f"{directory}: no journal of a fleet run.", remedy="Give its directory.") from None
