"""An archive as static pages: partitions, workloads, each result over time with its steps, and every other record."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness import __version__
from harness.compare.archived_sides import sides
from harness.compare.history import History, history
from harness.compare.observations import Side
from harness.errors import InputError
from harness.record.archive import Archive, Query
from harness.record.archive_entry import FILES, Entry
from harness.reporting.history_html import render_history
from harness.reporting.history_view import lines_of, sentence
from harness.reporting.page import page_of, within_bound
from harness.reporting.sections.status import Status
from harness.reporting.stored import page_of as report_of
from harness.reporting.text import and_list
from harness.scratch import scratch
from harness.wording import plural

INDEX = "index.html"
_TITLE, _HEAD_BYTES = b"LPARBench</title>", 4096  # of every page
NEWEST = 50  # records of each kind but runs that get pages of their own: one takes up to a second
_KINDS = {"sweep": "sweep", "sizing": "sizing", "load": "load test", "fleet": "fleet run"}
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}")


@dataclass(frozen=True)
class RecordLine:
    """A record in the index that is no run; ``page`` is empty where the record is too old to have a page here."""

    id: str
    page: str
    kind: str
    machine: str
    workloads: str
    created: str


@dataclass(frozen=True)
class SiteLine:
    """A partition or a workload in the index; ``status`` is that of the last steps of its results."""

    name: str
    page: str
    about: str
    runs: int
    valid: str
    first: str
    last: str
    status: Status


def site_of(archive: Archive, *, margin: float) -> dict[str, bytes]:
    """File name -> page; the same archive gives the same bytes.

    Args:
        margin: step that matters, as a share.

    Raises:
        InputError: a record in the archive is damaged.
    """
    everything = archive.entries(Query())
    entries = [entry for entry in everything if entry.kind == "run"]
    by_partition: dict[str, list[Side]] = {}
    for entry, side in sides(archive, entries):
        by_partition.setdefault(entry.partition, []).append(side)
    of_partition = {partition: history(runs, margin=margin) for partition, runs in sorted(by_partition.items())}
    of_workload: dict[str, list[tuple[str, History]]] = {}
    for partition, histories in of_partition.items():
        for each in histories:
            of_workload.setdefault(each.key.workload, []).append((partition, each))
    pages: dict[str, bytes] = {}
    machines, workloads = [], []
    for partition, histories in of_partition.items():
        own = [entry for entry in entries if entry.partition == partition]
        page = f"partition-{_file(partition)}.html"
        pages[page] = render_history(histories)
        machines.append(_line(partition, page, own[-1].machine, own, histories))
    for workload, pairs in sorted(of_workload.items()):
        own = [entry for entry in entries if workload in entry.workloads]
        page = f"workload-{_file(workload)}.html"
        histories = tuple(_on(partition, each, several=len(of_partition) > 1) for partition, each in pairs)
        pages[page] = render_history(histories)
        partitions = plural(len({partition for partition, _ in pairs}), "partition")
        workloads.append(_line(workload, page, f"on {partitions}", own, histories))
    others = [entry for entry in everything if entry.kind != "run"]
    own_pages = _pages_of(archive, others)
    pages |= dict(own_pages.values())
    records = [_record_line(entry, own_pages.get(entry.digest, ("",))[0]) for entry in reversed(others)]
    pages[INDEX] = _index(entries, machines, workloads, records)
    return pages


def _pages_of(archive: Archive, entries: Sequence[Entry]) -> dict[str, tuple[str, bytes]]:
    """Digest -> name and content of its page, of the newest records of each kind."""
    chosen = [entry for kind in FILES for entry in [each for each in reversed(entries) if each.kind == kind][:NEWEST]]
    pages: dict[str, tuple[str, bytes]] = {}
    names: set[str] = set()
    with scratch("site") as folder:
        for entry, content in archive.texts(chosen):
            file = folder / FILES[entry.kind]
            file.write_bytes(content)
            name = f"{entry.kind}-{_file(entry.id)}.html"
            if name in names:  # two records of one name
                name = f"{entry.kind}-{_file(entry.id)}-{entry.digest[-8:]}.html"
            names.add(name)
            try:
                pages[entry.digest] = (name, report_of(file).content)
            except InputError as error:  # by the name that the user knows
                raise InputError(error.message.replace(str(file), entry.id), remedy=error.remedy) from None
            file.unlink()
    return pages


def _record_line(entry: Entry, page: str) -> RecordLine:
    kind = _KINDS.get(entry.kind, entry.kind)
    return RecordLine(entry.id, page, kind, entry.machine, ", ".join(entry.workloads), entry.created[:10])


def _on(partition: str, of: History, *, several: bool) -> History:
    """A history that says which partition it is of, where there are several."""
    return replace(of, machine=partition) if several else of


def _line(name: str, page: str, about: str, entries: Sequence[Entry], histories: Sequence[History]) -> SiteLine:
    results, valid = sum(entry.results for entry in entries), sum(entry.valid for entry in entries)
    created = [entry.created for entry in entries]
    status = sentence(lines_of(histories))[0]
    return SiteLine(
        name,
        page,
        about,
        len(entries),
        f"{valid:,} of {results:,}",
        min(created, default="")[:10],
        max(created, default="")[:10],
        status,
    )


def _index(
    entries: Sequence[Entry],
    machines: Sequence[SiteLine],
    workloads: Sequence[SiteLine],
    records: Sequence[RecordLine],
) -> bytes:
    page = page_of("site.html.j2")
    kinds = Counter(line.kind for line in records)
    held = [plural(len(entries), "run"), *(plural(kinds[kind], kind) for kind in _KINDS.values() if kinds[kind])]

    def draw(most: int) -> bytes:
        return page(
            runs=plural(len(entries), "run"),
            held=and_list(held),
            machines=machines[:most],
            workloads=workloads[:most],
            records=records[:most],
            newest=NEWEST if any(not line.page for line in records) else 0,
            left_out=sum(len(lines) - len(lines[:most]) for lines in (machines, workloads, records)),
            slower=[line for line in machines if line.status.kind == "bad"][:most],
            first=min((entry.created for entry in entries), default="")[:10],
            last=max((entry.created for entry in entries), default="")[:10],
            version=__version__,
        )

    return within_bound(draw, max(len(machines), len(workloads), len(records), 1))


def _file(name: str) -> str:
    """A name that a file can have, and no other name gets."""
    if _PLAIN.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()
    return f"{re.sub('[^A-Za-z0-9]+', '-', name)[:40]}-{digest[:8]}"


def check_site(names: Iterable[str], directory: Path) -> None:
    """See that pages replace nothing but pages of an earlier site.

    Raises:
        InputError: a file of such a name is somebody else's.
    """
    for path in (directory / name for name in names):
        if path.is_file() and not _is_page(path):
            raise InputError(f"{path}: this is no page of an archive, and would be lost.", remedy="Choose another DIR.")


def unlisted(names: Iterable[str], directory: Path) -> list[Path]:
    """Pages of an earlier site of this kind that the new one has not, which would show what is no longer so."""
    own = re.compile(rf"(partition|workload|{'|'.join(_KINDS)})-.*\.html")
    present = [path for path in directory.iterdir() if own.fullmatch(path.name) and path.name not in {*names}]
    return sorted(path for path in present if path.is_file() and _is_page(path))


def _is_page(path: Path) -> bool:
    with path.open("rb") as file:
        return _TITLE in file.read(_HEAD_BYTES)
