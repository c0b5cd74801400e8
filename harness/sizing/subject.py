"""What is sized: a workload by its name, the one that a run measured, or a model bundle as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.detectors.opening import fastest, fastest_backend
from harness.detectors.registry import possible_backends
from harness.errors import InputError
from harness.record.archived import MARK, archived
from harness.record.spec import RunSpec
from harness.record.store import RECORD_NAME, load_run
from harness.runs.design import require_trusted
from harness.scoring.bundle import is_bundle, open_bundle
from harness.workload.model import Workload


def spec_of(name: str, asked: RunSpec) -> RunSpec:
    """The spec of a sizing.

    Args:
        name: a workload, ``module:Class``, the directory or record of a run, ``ARCHIVE#RECORD``, or a model bundle.
        asked: what the command line says; what it leaves open is the run's.

    Raises:
        InputError: the directory is no run, or a run of several workloads.
    """
    path = Path(name)
    if MARK in name and not path.exists() and "(" not in name:  # which arguments of a class have
        with archived([path]) as (record,):
            return spec_of(str(record), asked)
    if not path.is_dir() and path.name != RECORD_NAME:
        return replace(asked, workloads=(name,))
    if path.is_dir() and is_bundle(path):
        bundle = open_bundle(path)
        provenance = bundle.manifest.provenance
        return replace(
            asked,
            workloads=(provenance.workload,),
            bundle=str(path.resolve()),
            backends=asked.backends or (fastest_backend(bundle),),
        )
    run = load_run(path)
    names = run.spec.workloads
    if len(names) != 1:
        raise InputError(f"{path}: a run of {len(names)} workloads.", remedy=f"Name one: {', '.join(names)}.")
    require_trusted(run.spec, path / RECORD_NAME if path.is_dir() else path)
    return replace(
        run.spec,
        suite=None,
        backends=asked.backends or (run.results[0].backend,),
        dtypes=asked.dtypes or (run.results[0].dtype,),
        data_dir=asked.data_dir or run.spec.data_dir,
        synthetic=asked.synthetic or run.spec.synthetic,
        rows=asked.rows or run.spec.rows,
        scenarios=None,
        seeds=1,
        epochs=1,
        learning_rates=(),
        both_protocols=False,
        series_seconds=asked.series_seconds,
        seed=asked.seed,
        save=None,
    )


def backend_of(workload: Workload, spec: RunSpec) -> str:
    """The backend that is sized: the one asked for, or the fastest of the workload that works here."""
    if spec.backends:
        return spec.backends[0]
    able = possible_backends(workload.detector)
    return fastest([name for name in workload.inference.backends if name in able])
