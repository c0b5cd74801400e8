"""A fleet run and a look at a fleet, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.errors import printable
from harness.fleet.session import LookedEntry
from harness.record.fleet_model import Fleet, FleetTest
from harness.reporting.fleet_view import FleetView, HostLine
from harness.reporting.listing import listing
from harness.reporting.text import percent, size

_LITTLE = 1 << 30  # bytes: rows, bundles and records of a workload take some hundred millions


def fleet_text(fleet: Fleet, view: FleetView, width: int | None) -> str:
    """The sentence, a line per host that is not as the others, and what could be seen at all."""
    lines = [
        f"{view.status.shape} {sentence}" if not at else f"  {sentence}" for at, sentence in enumerate(view.sentences)
    ]
    odd = [line for line in view.lines if line.status.kind != "good"]
    if odd:
        rows = [(line.host.name, line.status.word, line.host.frame or "", _why(line)) for line in odd]
        lines += ["", *listing(("HOST", "STATE", "FRAME", "WHY"), rows, width).splitlines()]
    lines += ["", *(_test(test) for test in fleet.tests), *fleet.notes]
    return printable_lines(lines)


def looked_text(looks: Sequence[LookedEntry], frames: Mapping[str, str], width: int | None) -> str:
    """A line per host of a check."""
    rows = []
    for look in looks:
        if look.looked is None:
            rows.append((look.host, look.state.value, "", "", look.reason or ""))
            continue
        findings = [finding.title for finding in look.looked.findings if finding.severity.rank < 2]
        clock = "" if not look.offset_s or abs(look.offset_s) < 2 else f"its clock is {look.offset_s:+.0f} s off; "
        if look.looked.measuring:
            clock = f"another fleet measures there now; {clock}"
        free = look.looked.disk_free_bytes
        disk = "" if free is None else size(free)
        if free is not None and free < _LITTLE:
            clock = f"little room on its disk for temporary files; {clock}"
        rows.append(
            (look.host, "answers", frames[look.host], disk, clock + ("; ".join(findings) or "no finding that costs"))
        )
    return printable_lines(listing(("HOST", "STATE", "FRAME", "DISK FREE", "FINDINGS"), rows, width).splitlines())


def printable_lines(lines: Sequence[str]) -> str:
    """Text without anything that a host could command a terminal with; no text makes a line of its own in it."""
    return "".join(f"{printable(line)}\n" for line in lines)


def _why(line: HostLine) -> str:
    return "; ".join((*line.effects, *line.causes, *([] if line.host.reason is None else [line.host.reason])))


def _test(test: FleetTest) -> str:
    if test.detectable is None:
        return f"{test.title}: too few hosts or waves to compare."
    return (
        f"{test.title}: noise {percent(test.spread, 2)}; a host {percent(test.detectable, 2)} slower is named in 9 of"
        " 10 fleets."
    )
