"""The Python interface: what the commands do, as functions on records; ``from harness import probe, load, ...``."""

from __future__ import annotations

from collections.abc import Collection
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.compare.compare import CompareReport
    from harness.platform.facts import Facts
    from harness.record.model import Run
    from harness.record.spec import RunSpec
    from harness.record.sweep_model import Sweep

StrPath = str | PathLike[str]


def probe(sysroot: StrPath = "/") -> Facts:
    """What is known of a machine; ``None`` for what cannot be read, never a guess.

    Args:
        sysroot: this machine, a stored tree that holds ``proc`` and ``sys``, or what ``harness.platform.dump`` opens.
    """
    from harness.platform.dump import opened
    from harness.platform.probe import probe as facts_of

    return facts_of(opened(Path(sysroot)))


def load(path: StrPath) -> Run | Sweep:
    """Read a record, checked against its schema and its digest; of a sweep that is not finished, what there is.

    Args:
        path: a run or sweep directory, the ``run.json`` or ``sweep.json`` in it, or ``ARCHIVE#RECORD``.

    Raises:
        InputError: there is no such file, or it is damaged or of another schema.
    """
    from harness.record.archived import archived
    from harness.record.store import load_run
    from harness.sweeps.result import is_sweep, stored_sweep

    with archived([Path(path)]) as (file,):
        return stored_sweep(file) if is_sweep(file) else load_run(file)


def run(spec: RunSpec) -> Run:
    """Do a run, and give its record; nothing is left on the disk but the bundles that ``spec.save`` asks for.

    Args:
        spec: what to run: ``RunSpec(("nsl-kdd-mlp",))`` is a run of one workload with every default.

    Raises:
        InputError: a workload, a parameter, a data file or the placement is not usable.
        LparbenchError: the disk refuses.
    """
    from harness.reporting.progress import Silence
    from harness.runs.run import run_once
    from harness.workers.executor import ProcessExecutor

    return run_once(spec, ProcessExecutor(), Silence())


def compare_runs(
    baseline: Run | StrPath,
    *others: Run | StrPath,
    margin: float = 0.03,
    accuracy_margin: float = 0.01,
    allowed: Collection[str] = (),
) -> CompareReport:
    """Compare runs with a baseline, all comparisons forming one family; estimates are made from the raw samples.

    Args:
        baseline: a record, its path, ``ARCHIVE#RECORD``, or files of pytest-benchmark.
        others: at least one, of the same kinds.
        margin: relative change of a time that matters.
        accuracy_margin: absolute change of an accuracy metric that matters.
        allowed: facts that may differ although they make the comparison meaningless otherwise.

    Raises:
        EnvironmentMismatchError: the runs did different work, or one is emulated.
        InputError: a file is damaged, or two runs have no result in common.
    """
    from harness.compare.compare import compare
    from harness.compare.inputs import load_side
    from harness.compare.observations import side_of
    from harness.record.archived import archived
    from harness.record.model import Run

    given = (baseline, *others)
    with archived([Path(side) for side in given if not isinstance(side, Run)]) as paths:
        read = map(load_side, paths)
        sides = [side_of(side) if isinstance(side, Run) else next(read) for side in given]
    return compare(sides, margin=margin, accuracy_margin=accuracy_margin, allowed=allowed)
