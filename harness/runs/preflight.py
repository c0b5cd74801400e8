"""What is checked in the parent before anything starts: a typo in a workload file costs no survey and no fit."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harness.datasets import registry
from harness.detectors.registry import check
from harness.errors import InputError
from harness.record.spec import PROTOCOLS, RunSpec
from harness.workload.files import check_dataset_options
from harness.workload.model import Workload


def check_workloads(workloads: Iterable[Workload]) -> None:
    """See that data sets take their options, and detectors their hyper-parameters, under either protocol.

    A class of somebody else's (``module:Class``) is imported by the worker processes alone, which check it.

    Raises:
        InputError: naming the workload file, the option or parameter, and what was expected.
    """
    for workload in workloads:
        try:
            for protocol in PROTOCOLS if ":" not in workload.detector else ():
                check(workload.detector, workload.parameters_for(protocol, 0))
            check_dataset_options(workload)  # last: the reader of a data set loads pandas
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
