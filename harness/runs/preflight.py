"""What is checked in the parent before anything starts: a typo in a workload file costs no survey and no fit."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from harness.datasets import registry, row_bounds
from harness.datasets.locate import search_directories
from harness.datasets.packed import container_of
from harness.detectors.registry import BUILT_IN, check, data_parallel, possible_backends
from harness.errors import InputError
from harness.placement.model import Placement
from harness.record.spec import PROTOCOLS, RunSpec
from harness.record.store import check_writable
from harness.runs.forecast import further_splits
from harness.scoring.backends import BACKENDS
from harness.scratch import scratch
from harness.trust import names_code
from harness.workers.executor import Executor
from harness.workers.jobs import CheckJob
from harness.workers.outcomes import CheckOutcome
from harness.workload.files import check_dataset_options
from harness.workload.model import Workload

_READ_AT_ONCE = 64 << 20  # bytes of files that are read to see what is wrong in them; larger ones wait for the fit
_CHECK_TIMEOUT_S = 300.0


def check_workloads(workloads: Iterable[Workload], own_options: Collection[str]) -> None:
    """See that data sets take their options, and detectors their hyper-parameters, under either protocol.

    A class of somebody else's (``module:Class``) is imported by worker processes alone: see `checked_by_worker`.

    Args:
        workloads: of a spec.
        own_options: names of those whose options of the data are the user's; the product's own need no look, which
            would load pandas.

    Raises:
        InputError: naming the workload file, the option or parameter, and what was expected.
    """
    for workload in workloads:
        try:
            for protocol in PROTOCOLS if ":" not in workload.detector else ():
                check(workload.detector, workload.parameters_for(protocol, 0))
            if workload.name in own_options:
                check_dataset_options(workload)
        except InputError as error:
            raise InputError(f"{workload.source}: {error.message}", remedy=error.remedy) from error


def check_data(workloads: Iterable[Workload], spec: RunSpec) -> None:
    """See that the files are here where no stand-in may take their place.

    Raises:
        InputError: naming the files that were looked for, and what is there.
    """
    if spec.stand_ins != "never":
        return
    for workload in workloads:
        form = workload.options_for(spec.protocol).get("form")
        registry.require(
            workload.dataset,
            None if spec.data_dir is None else Path(spec.data_dir),
            form if isinstance(form, str) else None,
        )


def check_backends(workloads: Iterable[Workload], spec: RunSpec) -> None:
    """See that each workload that was named can run on one of the backends asked for, in one of the formats.

    Raises:
        InputError: naming what it can run on.
    """
    for workload in workloads if spec.suite is None else ():
        wanted, able = spec.backends or workload.inference.backends, possible_backends(workload.detector)
        if not {*wanted} & {*able}:
            raise InputError(
                f"{workload.name} cannot run on {' or '.join(wanted)}.", remedy=f"It runs on: {', '.join(able)}."
            )
        formats = dict.fromkeys(dtype for name in wanted if name in able for dtype in BACKENDS[name])
        if spec.dtypes is not None and not {*spec.dtypes} & {*formats}:
            raise InputError(
                f"{workload.name} has no {' or '.join(spec.dtypes)} on {', '.join(wanted)}.",
                remedy=f"There it has: {', '.join(formats)}.",
            )


def check_ranks(workloads: Iterable[Workload], spec: RunSpec) -> None:
    """See that several ranks can train each workload.

    Raises:
        InputError: naming the workload, and what ranks can train.
    """
    if spec.ranks is None:
        if spec.reduce != "gloo":
            raise InputError("--reduce is of several ranks.", remedy="Give --ranks too.")
        return
    for workload in workloads:
        if not data_parallel(workload.detector):
            able = ", ".join(name for name in BUILT_IN if data_parallel(name))
            raise InputError(
                f"{workload.name}: {workload.detector} is not trained by several ranks.",
                remedy=f"Leave out --ranks, or take a workload of: {able}.",
            )
    if "train" in (spec.scenarios or ()):
        raise InputError(
            "The train scenario times the loop of one process, not of ranks.",
            remedy="Leave it out: what the ranks took stands with the other scenarios.",
        )


def check_group(spec: RunSpec) -> None:
    """See that ranks which are started apart from each other have one training, in which all of them meet.

    Raises:
        InputError: there are several.
    """
    if len(spec.workloads) != 1 or spec.both_protocols:
        raise InputError(
            "Ranks that are started apart train one workload together.", remedy="Name one workload, and no suite."
        )
    if spec.reduce != "gloo":
        raise InputError(
            "Ranks that are started apart combine gradients over gloo.", remedy="Leave out --reduce, or torchrun."
        )


def checked_by_worker(
    workloads: Sequence[Workload], spec: RunSpec, executor: Executor, placement: Placement, *, own_only: bool
) -> Mapping[str, int]:
    """Have a worker build somebody else's classes and read small files; test rows of the workloads, as far as known.

    Args:
        own_only: only files of one's own are read, the others are as the publisher made them.

    Raises:
        InputError: a class or a file is not usable.
    """
    known = {} if own_only else _known_rows(workloads, spec)
    unknown = [workload for workload in workloads if workload.name not in known]
    read = tuple(workload.name for workload in unknown if _is_read(workload, spec, own_only=own_only))
    if not read and not any(names_code(workload.detector) for workload in workloads):
        return known
    with scratch("check") as directory:
        job = CheckJob(
            workloads=tuple(workloads),
            read=read,
            protocol=spec.protocol,
            data_dir=spec.data_dir,
            rows=spec.rows,
            directory=str(directory / "job"),
            synthetic=spec.stand_ins,
            save=spec.save is not None,
        )
        outcome = executor.run(job, placement, timeout_s=_CHECK_TIMEOUT_S).outcome(CheckOutcome)
    return known if outcome is None else {**known, **outcome.test_rows}  # a crash is the fit's to report


def _known_rows(workloads: Iterable[Workload], spec: RunSpec) -> dict[str, int]:
    """Test rows of the workloads on stand-ins, where these need not be made to know them."""
    directory = None if spec.data_dir is None else Path(spec.data_dir)
    known = {}
    for workload in workloads if spec.protocol == "clean" else ():
        rows = row_bounds.stand_in_test_rows(
            workload.dataset, workload.options_for(spec.protocol), directory=directory, synthetic=spec.stand_ins
        )
        if rows is not None:
            known[workload.name] = rows if spec.rows is None else min(rows, spec.rows)
    return known


def check_save(workloads: Sequence[Workload], spec: RunSpec) -> None:
    """See that model bundles can be kept where the spec says, before anything is trained.

    Raises:
        InputError: there is one of a workload already, or nothing may be written there.
        LparbenchError: the disk is full.
    """
    if spec.save is None:
        return
    there = [kept for workload in workloads if (kept := Path(spec.save) / workload.name).exists()]
    if there:
        raise InputError(f"--save: {there[0]} exists already.", remedy="Choose another directory, or remove it.")
    check_writable(Path(spec.save), "--save")


def fewest_test_rows(
    workloads: Sequence[Workload], spec: RunSpec, executor: Executor | None, placement: Placement, *, own_only: bool
) -> int | None:
    """Rows that a batch of every workload may have, as far as known after :func:`checked_by_worker`.

    Args:
        executor: of the worker; without it nothing is checked or read.
    """
    rows = {} if executor is None else checked_by_worker(workloads, spec, executor, placement, own_only=own_only)
    return min([*rows.values(), *([] if spec.rows is None else [spec.rows])], default=None)


def most_test_rows(workloads: Iterable[Workload], spec: RunSpec) -> int | None:
    """Test rows that each of the workloads has at most, as far as that is known without reading them."""
    directory = None if spec.data_dir is None else Path(spec.data_dir)
    bounds = [spec.rows]
    for workload in workloads:
        options = workload.options_for(spec.protocol)
        bounds.append(
            row_bounds.most_test_rows(workload.dataset, options, directory=directory, synthetic=spec.stand_ins)
        )
    return min((bound for bound in bounds if bound is not None), default=None)


def drawn_rows(workloads: Iterable[Workload], spec: RunSpec) -> dict[str, int]:
    """Rows of the files of one's own that random splits are drawn from, as far as counting their lines shows them."""
    rows: dict[str, int] = {}
    for workload in workloads:
        options = workload.options_for(spec.protocol)
        if registry.is_own_table(workload.dataset) and further_splits([workload], spec):
            count = row_bounds.most_test_rows(workload.dataset, options, directory=None)
            rows |= {} if count is None else {workload.name: count}
    return rows


def _is_read(workload: Workload, spec: RunSpec, *, own_only: bool) -> bool:
    if own_only and not registry.is_own_table(workload.dataset):
        return False
    if spec.stand_ins == "always":
        return True
    form = workload.options_for(spec.protocol).get("form")
    directories = search_directories(None if spec.data_dir is None else Path(spec.data_dir))
    files = registry.find(workload.dataset, directories, form if isinstance(form, str) else None)
    return files is None or sum(container_of(file.path).stat().st_size for file in files.files) <= _READ_AT_ONCE
