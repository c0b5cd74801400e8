"""What an archive says of a record, and which files it takes in: runs, sweeps, sizings, load tests and fleet runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from harness.decode import Check, PathPart, decode
from harness.errors import InputError
from harness.parsing import parse_json
from harness.platform.facts import Facts
from harness.record.codec import DIGEST
from harness.record.fleet_model import Fleet
from harness.record.identity import now
from harness.record.journal import UNFINISHED
from harness.record.load_model import LoadRecord
from harness.record.model import Run
from harness.record.size_model import Size
from harness.record.store import (
    FLEET_NAME,
    LOAD_NAME,
    RECORD_NAME,
    SIZE_NAME,
    SWEEP_NAME,
    load_fleet,
    load_load_test,
    load_run,
    load_size,
    load_sweep,
)
from harness.record.sweep_model import Sweep
from harness.wording import plural

Kind = Literal["run", "sweep", "sizing", "load", "fleet"]
Record = Run | Sweep | Size | LoadRecord | Fleet
FILES: Mapping[Kind, str] = {
    "run": RECORD_NAME, "sweep": SWEEP_NAME, "sizing": SIZE_NAME, "load": LOAD_NAME, "fleet": FLEET_NAME,
}  # fmt: skip
SEVERAL = "several"  # in place of a partition, of a fleet
Plain = Annotated[str, Check("a text without control characters", str.isprintable)]
_LONGEST_MACHINE = 200  # as the table has it


class _Read(NamedTuple):
    """How records of a kind are read."""

    identifier: str  # key that no other kind has
    load: Callable[[Path], Record]


_READ: Mapping[Kind, _Read] = {
    "run": _Read("run_id", load_run),
    "sweep": _Read("sweep_id", load_sweep),
    "sizing": _Read("size_id", load_size),
    "load": _Read("load_id", load_load_test),
    "fleet": _Read("fleet_id", load_fleet),
}


@dataclass(frozen=True)
class Entry:
    """What an archive says of one record.

    Attributes:
        digest: of the record; the archive holds no record twice.
        machine: model of the machine, or of its processor; of a fleet, how many hosts of which kinds.
        partition: short hash of what tells one partition from another, equal for records of the same one; of a load
            test that of the generator, of a fleet ``several``.
        workloads: sorted; of a load test the model that was served.
        results, valid: how many the record has, and how many of them are valid; of runs.
        added: when it was taken in.
    """

    digest: Plain
    kind: Kind
    id: PathPart
    created: Plain
    machine: str
    partition: Plain
    workloads: tuple[str, ...]
    results: int
    valid: int
    added: str


def record_files(path: Path) -> list[Path]:
    """The records that a path stands for: itself, those of its directory, or of any below it.

    Raises:
        InputError: there is none.
    """
    if path.is_file():
        return [path]
    files = sorted(file for name in FILES.values() for file in path.rglob(name))
    whole = [file for file in files if not any(part.endswith(UNFINISHED) for part in file.parts)]
    if not whole:
        raise InputError(f"{path}: no {', '.join(FILES.values())} in there.", remedy="Give a run, or a folder of runs.")
    return whole


def read_entry(file: Path) -> tuple[Entry, str, Record]:
    """What is said of a record, its text, and the record; one of an unknown name is known by what is in it.

    Raises:
        InputError: it is none, or damaged.
    """
    kind = next((kind for kind, name in FILES.items() if name == file.name), None) or _kind_of(file)
    record = _READ[kind].load(file)
    text = file.read_text(encoding="utf-8")
    digest = parse_json(text, str(file)).get(DIGEST)
    if digest is None:
        raise InputError(f"{file}: it has no digest.", remedy="Give a record as lparbench wrote it.")
    results = record.results if isinstance(record, Run) else ()
    entry = Entry(
        digest=digest,
        kind=kind,
        id=getattr(record, _READ[kind].identifier),
        created=record.created,
        machine=_machine_of(record)[:_LONGEST_MACHINE],
        partition=SEVERAL if isinstance(record, Fleet) else partition_of(record.facts),
        workloads=tuple(sorted(_workloads_of(record))),
        results=len(results),
        valid=sum(result.validity.verdict.value == "valid" for result in results),
        added=now(),
    )
    return entry, text, record


def _kind_of(file: Path) -> Kind:
    document = parse_json(file.read_text(encoding="utf-8", errors="replace"), str(file))
    keys = document if isinstance(document, dict) else {}
    return next((kind for kind, read in _READ.items() if read.identifier in keys), "run")


def _workloads_of(record: Record) -> set[str]:
    match record:
        case Run():
            return {result.workload for result in record.results}
        case Sweep():
            return set(record.workloads)
        case Size():
            return {record.workload.name}
        case LoadRecord():
            return set() if record.server is None or record.server.model is None else {record.server.model}
        case Fleet():
            return set(record.spec.workloads)


def _machine_of(record: Record) -> str:
    if isinstance(record, Fleet):
        kinds = dict.fromkeys(population.title.partition(",")[0] for population in record.populations)
        return ": ".join(filter(None, (plural(len(record.hosts), "host"), ", ".join(kinds))))
    facts = record.facts
    return facts.machine.name or facts.machine.mtm or facts.cpu.model_name or "not known"


def partition_of(facts: Facts) -> str:
    """Twelve digits that are the same for records of one partition, and say nothing else of it."""
    parts = (facts.machine.mtm, facts.cpu.architecture, facts.cpu.model_name, facts.lpar.serial_sha256,
             facts.lpar.partition_id, facts.lpar.partition_name)  # fmt: skip
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def records_of_hosts(fleet: Fleet, where: str) -> Iterator[tuple[str, str]]:
    """Digest and place, within the directory of a fleet run, of each record that a host gave.

    Raises:
        InputError: a place is outside of the directory.
    """
    for host in fleet.hosts:
        for record in host.records:
            parts = [decode(PathPart, part, f"{where}: record of {host.name}") for part in record.path.split("/")]
            yield record.digest, "/".join([*parts, RECORD_NAME])
