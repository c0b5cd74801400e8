"""What can be run: workloads by data set, with whether its real data are here, and suites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.datasets.encoded import Origin
from harness.datasets.inventory import Holding
from harness.reporting.listing import listing, paragraph
from harness.reporting.sections.figures import metric_name
from harness.wording import plural
from harness.workload.model import Role, Settings, Suite, Value, Workload

Where = Literal["here", "built in", "download", "by hand"]
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
    where: Where
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
        lines += [*paragraph(f"{group.title} [{group.name}]", width), f"  {_where(group.where, group.name)}"]
        rows = [(f"  {entry.name}".ljust(longest + 2), entry.title) for entry in group.workloads]
        lines += [*listing(None, rows, width).splitlines(), ""]
    lines += paragraph("Suites, for `lparbench run --suite NAME`:", width)
    lines += listing(None, [(f"  {suite.name}", _suite(suite)) for suite in suites], width).splitlines()
    return "\n".join(lines) + "\n"


def workload_text(workload: Workload, holding: Holding, width: int | None, takes: str) -> str:
    """All that a workload sets, what is different when its publication is repeated, and what a run of it takes."""
    clean, published = workload.settings("clean"), workload.settings("as-published")
    figure = workload.published
    inference = workload.inference
    rows = [
        ("detector", workload.detector),
        ("data set", f"{holding.spec.title} [{workload.dataset}]: {_where(holding.where, holding.name)}"),
        ("judged by", metric_name(workload.accuracy.metric)),
        *_settings(clean),
        ("inference", f"batches {_values(inference.batch_sizes)}; {_values((*inference.backends, *inference.dtypes))}"),
    ]
    if figure is not None:
        spread = "" if figure.spread is None else f" ± {figure.spread:g}"
        rows += [
            ("published", f"{metric_name(figure.metric)} {figure.value:g}{spread}: {figure.source}"),
            ("difference", figure.difference),
        ]
    for protocol, floors in workload.accuracy.floor.items():
        listed = ", ".join(f"{value:g} on {origin} data" for origin, value in floors.items())
        rows.append(("accepted from", f"{metric_name(workload.accuracy.metric)} {listed} ({protocol} protocol)"))
    other = [row for row in _settings(published) if row not in _settings(clean)]
    rows += [(f"as published: {name}", text) for name, text in other]
    rows += [*(("note", note) for note in workload.notes), ("a run of it", takes)]
    lines = [*paragraph(f"{workload.title} [{workload.name}]", width), *listing(None, rows, width).splitlines()]
    return "\n".join(lines) + "\n"


def _settings(settings: Settings) -> list[tuple[str, str]]:
    training = settings.training
    counts = {"epochs": training.epochs, "batch size": training.batch_size, "seeds": training.seeds}
    return [
        ("training", ", ".join(f"{name} {count}" for name, count in counts.items() if count is not None)),
        ("parameters", _pairs(settings.hyperparameters)),
        ("data options", _pairs(settings.dataset_options)),
    ]


def _pairs(values: Mapping[str, Value]) -> str:
    shown = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return ", ".join(f"{name}={value}" for name, value in shown.items()) or "defaults"


def _values(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _where(where: Where, name: str) -> str:
    match where:
        case "here":
            return "real data here"
        case "built in":
            return "real data, built in"
        case "download" | "by hand":
            return f"synthetic stand-in; real: lparbench data get {name}"


def _suite(suite: Suite) -> str:
    names = f": {', '.join(suite.workloads)}" if len(suite.workloads) <= _NAMED else ""
    return f"{suite.title} ({plural(len(suite.workloads), 'workload')}{names})"
