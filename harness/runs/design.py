"""What a run or a sweep will do, written before it does anything; it is resumed from this and its journal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harness import trust
from harness.datasets import registry as datasets
from harness.decode import PathPart, decode_json_file, encode
from harness.errors import InputError
from harness.parsing import read_json
from harness.placement.smt import SmtMethod
from harness.platform.facts import Facts
from harness.record import store
from harness.record.files import write_file
from harness.record.identity import begun
from harness.record.spec import RunSpec
from harness.runs.preflight import check_backends, check_data, check_ranks, check_workloads
from harness.runs.schedule import Configuration, Slot, block_of
from harness.runs.training_formats import check_processor, check_training_formats
from harness.scoring.artifacts import DETECTOR_FILE
from harness.workload.files import find_workload, load_suite
from harness.workload.model import Workload
from harness.workload.naming import absolute, file_of

DESIGN_FILE = "design.json"
FORMAT: Literal[2] = 2


@dataclass(frozen=True)
class Grid:
    """The settings of a sweep.

    Attributes:
        method: how SMT levels are obtained.
        margin: relative difference that does not matter.
        skipped: why configurations were left out -> how many.
    """

    configurations: tuple[Configuration, ...]
    method: SmtMethod
    margin: float
    skipped: dict[str, int]


@dataclass(frozen=True)
class Design:
    """A run or a sweep: its spec, and what the spec meant when it began.

    Attributes:
        identity: of the record.
        created: ISO 8601, UTC.
        argv: the command that reproduces it.
        workloads: decoded and checked, on the data set that the spec names.
        facts: of the machine as it was.
        grid: of a sweep; a run's configurations follow from what its fits can do.
    """

    identity: PathPart
    created: str
    argv: tuple[str, ...]
    spec: RunSpec
    workloads: tuple[Workload, ...]
    facts: Facts
    grid: Grid | None = None
    format: Literal[2] = FORMAT

    def slots(self) -> Iterator[Slot]:
        """Every measurement of a sweep, in order."""
        configurations = () if self.grid is None else self.grid.configurations
        for block in range(self.spec.blocks):
            yield from block_of(configurations, block=block, seed=self.spec.seed)


def new_design(spec: RunSpec, argv: tuple[str, ...], facts: Facts, grid: Grid | None = None) -> Design:
    """A design with an identity of its own; paths of files in the spec become absolute.

    Raises:
        InputError: a workload of the spec is not known, damaged or named twice, or has a hyper-parameter or an option
            that its detector or data set does not take.
    """
    identity, created = begun("" if grid is None else "sweep-")
    spec = replace(spec, workloads=tuple(absolute(name) for name in spec.workloads))
    workloads = workloads_of(spec)
    check_processor(workloads, spec)
    return Design(
        identity=identity,
        created=created,
        argv=argv,
        spec=spec,
        workloads=workloads,
        facts=facts,
        grid=grid,
    )


def spec_of_suite(name: str) -> RunSpec:
    """What a run of a suite is asked to do when nothing else is said.

    Raises:
        InputError: there is no such suite, or its file is wrong.
    """
    suite = load_suite(name)
    return RunSpec(
        workloads=suite.workloads,
        suite=name,
        seeds=suite.seeds,
        epochs=suite.epochs,
        both_protocols=suite.both_protocols,
        blocks=suite.blocks,
        series_seconds=suite.series_seconds,
    )


def code_of(spec: RunSpec) -> list[str]:
    """What a run of a spec runs that is no detector of the product, by ``module:Class``."""
    detectors = [find_workload(name).detector for name in spec.workloads]
    return [detector for detector in detectors if trust.names_code(detector)]


def named_files(source: Path, spec: RunSpec) -> list[Path]:
    """A file that holds a spec, and the workload files that it names."""
    return [source, *(file for name in spec.workloads if (file := file_of(name)) is not None)]


def require_trusted(spec: RunSpec, source: Path) -> None:
    """See that what a spec in a file runs may be run.

    Raises:
        InputError: it is code, which comes from elsewhere.
    """
    trust.require(code_of(spec), *named_files(source, spec))


def workloads_of(spec: RunSpec) -> tuple[Workload, ...]:
    """The workloads of a spec, decoded, with every hyper-parameter checked.

    Raises:
        InputError: see :func:`new_design`.
    """
    workloads = [find_workload(name) for name in spec.workloads]
    for name, workload in zip(spec.workloads, workloads, strict=True):
        if (file := file_of(name)) is not None and trust.names_code(workload.detector):
            trust.require_own([workload.detector], file)
    if spec.dataset is not None:
        datasets.spec(spec.dataset)
        options = {**spec.dataset_options, **({} if spec.label is None else {"label": spec.label})}
        workloads = [workload.on_dataset(spec.dataset, options) for workload in workloads]
    elif spec.label is not None or spec.dataset_options:
        given = ", ".join(["label"] * (spec.label is not None) + sorted(spec.dataset_options))
        raise InputError(
            f"{given}: options of the file that --dataset or --train gives, and none is given.",
            remedy="--label COLUMN and the like go with --dataset csv:PATH; a workload file has [dataset_options].",
        )
    names = [workload.name for workload in workloads]
    if len(set(names)) != len(names):
        raise InputError("The same workload is named twice.")
    pairs = zip(spec.workloads, workloads, strict=True)
    own = {each.name for name, each in pairs if spec.dataset is not None or file_of(name) is not None}
    check_workloads(workloads, own)
    check_backends(workloads, spec)
    check_ranks(workloads, spec)
    check_training_formats(workloads, spec)
    check_data(workloads, spec)
    return tuple(workloads)


def write_design(design: Design, directory: Path) -> None:
    """Write ``design.json``, whole and onto the disk.

    Raises:
        LparbenchError: it cannot be written there.
    """
    path = directory / DESIGN_FILE
    write_file(path, store.encode(json.dumps(encode(design), indent=1) + "\n"))
    if _code(design):
        trust.remember(path)


def _code(design: Design) -> list[str]:
    return [workload.detector for workload in design.workloads if trust.names_code(workload.detector)]


def design_to_resume(directory: Path) -> Design:
    """The design in a directory, whose work may be done here.

    Raises:
        InputError: there is none, it is damaged, or what it or a fit of it runs comes from elsewhere.
    """
    design = read_design(directory)
    trust.require(_code(design), directory / DESIGN_FILE)
    detectors = {workload.detector for workload in design.workloads}
    for path in directory.glob(f"fits/*/{DETECTOR_FILE}"):
        document = read_json(path)
        detector = document.get("detector") if isinstance(document, dict) else None
        if detector not in detectors:
            raise InputError(
                f"{path}: detector {detector!r} is none of {DESIGN_FILE}.", remedy="Begin again: it was changed."
            )
    return design


def read_design(directory: Path) -> Design:
    """The design in a directory.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = directory / DESIGN_FILE
    if not path.exists():
        raise InputError(
            f"{path}: no such file.", remedy="Give --resume the directory that the interrupted command named."
        )
    design = decode_json_file(Design, path)
    names = {workload.name for workload in design.workloads}
    used = {each.workload for each in design.grid.configurations} if design.grid is not None else set()
    if not used <= names:
        raise InputError(f"{path}: grid names {sorted(used - names)[0]!r}, which is none of its workloads.")
    return design
