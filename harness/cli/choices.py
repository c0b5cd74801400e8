"""Options that choose what is timed, where its data come from and for how long; checked for what means nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli.durations import seconds
from harness.cli.shares import share
from harness.errors import InputError

if TYPE_CHECKING:
    from harness.runs.spec import Entry

SCENARIOS = ("train", "offline", "single_stream", "multi_stream", "server")
_COLD = ("offline", "single_stream", "multi_stream")  # only between requests is there a moment to evict in
_TOGETHER = ("offline",)


def entries_of(references: Iterable[str]) -> tuple[Entry, ...]:
    """Workloads by name, ``.toml`` file or ``module:Class``.

    Raises:
        InputError: one of them is not known, damaged, or named twice.
    """
    from harness.runs.spec import Entry
    from harness.workers.fit import find_workload

    whole = [str(Path(one).resolve()) if one.endswith(".toml") else one for one in references]
    entries = tuple(Entry(one, find_workload(one)) for one in whole)
    if len({entry.workload.name for entry in entries}) != len(entries):
        raise InputError("The same workload is named twice.")
    return entries


def on_data(entries: tuple[Entry, ...], dataset: str | None, label: str | None) -> tuple[Entry, ...]:
    """The entries on another data set than their own, if one is named.

    Raises:
        InputError: no such data set, or a label column without one.
    """
    if dataset is None:
        if label is not None:
            raise InputError("--label names a column of the file that --dataset gives; there is none.")
        return entries
    from harness.datasets.registry import spec
    from harness.workload.files import on_dataset

    spec(dataset)
    return tuple(
        replace(entry, workload=on_dataset(entry.workload, dataset, label), dataset=dataset, label=label)
        for entry in entries
    )


def check_source(data: Path | None, protocol: str) -> None:
    """See that ``--data`` and ``--protocol`` can be meant.

    Raises:
        InputError: no such folder, or no such protocol.
    """
    from harness.record.spec import PROTOCOLS

    if protocol not in PROTOCOLS:
        raise InputError(f"--protocol is {protocol!r}; expected one of: {', '.join(PROTOCOLS)}.")
    if data is not None and not data.is_dir():
        raise InputError(f"--data {data}: no such folder.", remedy="Give the folder that holds the data sets.")


def timed(scenarios: str | None, cache: str, instances: int) -> dict[str, Any]:
    """Fields of a request: scenarios, cache mode, instances.

    Raises:
        InputError: one of them is unknown, or they do not go together.
    """
    chosen = None if scenarios is None else names("--scenarios", scenarios, SCENARIOS)
    if cache not in ("hot", "cold"):
        raise InputError(f"--cache is {cache!r}; expected hot or cold.")
    if cache == "cold" and instances > 1:
        raise InputError("--cache cold evicts what other instances use.", remedy="Measure one instance at a time.")
    possible, why = (_COLD, "--cache cold") if cache == "cold" else (_TOGETHER, "--instances")
    if cache == "cold" or instances > 1:
        for name in chosen or ():
            if name not in possible:
                can = ", ".join(possible)
                raise InputError(f"The {name} scenario cannot be measured with {why}.", remedy=f"It takes: {can}.")
        chosen = chosen or possible[:2]
    return {"scenarios": chosen, "cache": cache, "instances": instances}


def amount(blocks: int | None, budget: str | None, until_ci: str | None) -> dict[str, Any]:
    """Fields of a request: time budget in seconds and half-width to reach.

    Raises:
        InputError: not a duration or a share, or given together with a number of blocks.
    """
    if blocks is not None and (budget is not None or until_ci is not None):
        raise InputError(
            "--blocks fixes what --budget and --until-ci would choose.", remedy="Leave out one or the other."
        )
    return {
        "budget_s": None if budget is None else seconds("--budget", budget),
        "half_width": None if until_ci is None else share("--until-ci", until_ci),
    }


def formats(text: str | None) -> tuple[str, ...] | None:
    """Number formats, of those that any backend has.

    Raises:
        InputError: one of them is not known.
    """
    from harness.scoring.scorer import BACKENDS

    if text is None:
        return None
    known = tuple(dict.fromkeys(dtype for backend in BACKENDS.values() for dtype in backend.dtypes))
    return names("--dtypes", text, known)


def rates(text: str | None) -> tuple[float, ...]:
    """Learning rates, without repetitions.

    Raises:
        InputError: one of them is not a positive number.
    """
    found: dict[float, None] = {}
    for part in () if text is None else text.split(","):
        try:
            rate = float(part)
        except ValueError:
            rate = 0.0
        if not 0.0 < rate < float("inf"):
            raise InputError(f"--learning-rates: {part.strip()!r} is no positive number; expected such as 1e-4,1e-3.")
        found[rate] = None
    return tuple(found)


def names(option: str, text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """A list separated by commas, without repetitions.

    Raises:
        InputError: one of them is not known.
    """
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in found:
        if name not in known:
            raise InputError(f"{option}: unknown {name!r}; expected some of: {', '.join(known)}.")
    return found
