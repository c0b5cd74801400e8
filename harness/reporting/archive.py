"""What an archive holds, as lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import printable
from harness.record.archive_entry import FILES, SEVERAL, Entry, Kind
from harness.record.store import KINDS
from harness.reporting.listing import listing
from harness.wording import plural


@dataclass(frozen=True)
class ArchiveHolding:
    """The records of one workload on one partition.

    Attributes:
        records: kind -> how many.
        first, last: when the oldest and the newest were made.
    """

    partition: str
    machine: str
    workload: str
    records: dict[Kind, int]
    first: str
    last: str


def holdings_of(entries: Sequence[Entry]) -> list[ArchiveHolding]:
    """By partition and workload."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        for workload in entry.workloads:
            groups.setdefault((entry.partition, workload), []).append(entry)
    return [
        ArchiveHolding(
            partition,
            "; ".join(dict.fromkeys(entry.machine for entry in group)) if partition == SEVERAL else group[-1].machine,
            workload,
            dict(Counter(entry.kind for entry in group)),
            min(entry.created for entry in group),
            max(entry.created for entry in group),
        )
        for (partition, workload), group in sorted(groups.items())
    ]


def holdings_text(holdings: Sequence[ArchiveHolding], width: int | None) -> str:
    """A line per workload on a partition."""
    if not holdings:
        return "No records.\n"
    rows = [
        (
            printable(holding.workload),
            holding.partition,
            ", ".join(plural(number, KINDS[FILES[kind]]) for kind, number in sorted(holding.records.items())),
            " to ".join(dict.fromkeys((holding.first[:10], holding.last[:10]))),
            printable(holding.machine),
        )
        for holding in holdings
    ]
    return listing(("workload", "partition", "records", "from", "machine"), rows, width)


def entries_text(entries: Sequence[Entry], width: int | None) -> str:
    """A line per record."""
    if not entries:
        return "No such record.\n"
    rows = [
        (
            entry.id,
            KINDS[FILES[entry.kind]],
            entry.partition,
            f"{entry.valid} of {plural(entry.results, 'result')} valid" if entry.kind == "run" else "",
            f"{', '.join(map(printable, entry.workloads))} on {printable(entry.machine)}",
        )
        for entry in entries
    ]
    return listing(("record", "kind", "partition", "validity", "workloads and machine"), rows, width)
