"""What can be run: workloads by data set, with whether its real data are here, and suites."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.datasets.encoded import Origin
from harness.datasets.inventory import Holding
from harness.reporting.listing import listing
from harness.workload.model import Role, Suite, Workload

_NAMED = 6  # workloads of a suite that are listed by name


@dataclass(frozen=True)
class WorkloadEntry:
    """A workload as a list shows it; ``data`` is what a run of it would use."""

    name: str
    title: str
    role: Role
    detector: str
    dataset: str
    data: Origin


@dataclass(frozen=True)
class DatasetGroup:
    """A data set with its workloads, the systems before the baseline detectors."""

    name: str
    title: str
    where: Literal["here", "built in", "download", "by hand"]
    data: Origin
    workloads: tuple[WorkloadEntry, ...]


def groups_of(workloads: Sequence[Workload], holdings: Sequence[Holding]) -> tuple[DatasetGroup, ...]:
    """Workloads under the data sets they name.

    Args:
        workloads: in any order.
        holdings: one per data set that a workload names; the groups keep their order.
    """
    groups = []
    for holding in holdings:
        data: Origin = "synthetic" if holding.local is None else "real"
        entries = [
            WorkloadEntry(item.name, item.title, item.role, item.detector, item.dataset, data)
            for item in workloads
            if item.dataset == holding.name
        ]
        entries.sort(key=lambda entry: (entry.role != "system", entry.name))
        groups.append(DatasetGroup(holding.name, holding.spec.title, holding.where, data, tuple(entries)))
    return tuple(groups)


def workloads_text(groups: Sequence[DatasetGroup], suites: Sequence[Suite], width: int | None) -> str:
    """Every workload below its data set, then the suites; no name is ever cut."""
    longest = max((len(entry.name) for group in groups for entry in group.workloads), default=0)
    lines: list[str] = []
    for group in groups:
        lines += [*_prose(f"{group.title} [{group.name}]", width), f"  {_data(group)}"]
        rows = [(f"  {entry.name}".ljust(longest + 2), entry.title) for entry in group.workloads]
        lines += [*listing(None, rows, width).splitlines(), ""]
    lines += _prose("Suites, for `lparbench run --suite NAME`:", width)
    lines += listing(None, [(f"  {suite.name}", _suite(suite)) for suite in suites], width).splitlines()
    return "\n".join(lines) + "\n"


def _data(group: DatasetGroup) -> str:
    match group.where:
        case "here":
            return "real data here"
        case "built in":
            return "real data, built in"
        case "download" | "by hand":
            return f"synthetic stand-in; real: lparbench data get {group.name}"


def _suite(suite: Suite) -> str:
    names = f": {', '.join(suite.workloads)}" if len(suite.workloads) <= _NAMED else ""
    return f"{suite.title} ({len(suite.workloads)} workloads{names})"


def _prose(text: str, width: int | None) -> list[str]:
    return [text] if width is None else textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
