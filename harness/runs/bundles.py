"""The bundle that is to be served: as it is, or trained and saved first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.datasets.packed import container_of
from harness.datasets.registry import find, is_own_table
from harness.decode import encode
from harness.errors import InputError
from harness.record.spec import RunSpec
from harness.record.store import RECORD_NAME, kept_bundles, load_run
from harness.scoring.bundle import is_bundle

if TYPE_CHECKING:
    from harness.runs.engine import Progress
    from harness.workload.model import Workload


def bundle_of(asked: RunSpec, save: Path, progress: Progress) -> Path:
    """Directory of the bundle.

    Args:
        asked: its workload is a bundle, a directory that holds exactly one, a run that kept exactly one, or a workload
            by name or file, which is trained on the data that it asks for.
        save: where the bundle of a workload is kept; one of the same data that is there already is not trained again.
        progress: shows the training.

    Raises:
        InputError: it is nothing of these, or the workload cannot be trained and saved.
    """
    (name,) = asked.workloads
    path = Path(name)
    if path.is_dir() and asked != RunSpec((name,)):
        raise InputError(
            f"{path} is trained already: options of its data are for a workload.",
            remedy="Leave them out, or name a workload.",
        )
    if is_bundle(path):
        return path
    if path.is_dir() or path.name == RECORD_NAME:
        return _kept_by(path) if (path / RECORD_NAME).exists() or path.is_file() else _one_of(path, path.iterdir())
    from harness.runs.design import workloads_of
    from harness.runs.run import run_once
    from harness.workers.executor import ProcessExecutor

    (workload,) = workloads_of(asked)
    folder = save if asked == RunSpec((name,)) else save / _digest(asked, workload)
    kept = folder / workload.name
    if not is_bundle(kept):
        spec = replace(asked, scenarios=("offline",), seeds=1, blocks=1, save=str(folder.resolve()))
        run = run_once(spec, ProcessExecutor(), progress, check=True)
        if not is_bundle(kept):
            reasons = [reason for result in run.results for reason in result.validity.reasons]
            raise InputError(f"{name} could not be trained and saved: {'; '.join(reasons) or 'no result'}.")
    return kept


def _kept_by(path: Path) -> Path:
    """The bundle that a run kept."""
    run = load_run(path)
    if run.spec.save is None and not run.spec.bundles:
        raise InputError(
            f"{path}: this run kept no model bundle.",
            remedy="Run it with --save DIR, or name its workload, which is trained then.",
        )
    return _one_of(path, kept_bundles(run, path if path.is_dir() else path.parent).values())


def _one_of(path: Path, folders: Iterable[Path]) -> Path:
    inside = sorted(filter(is_bundle, folders))
    if len(inside) != 1:
        listed = ", ".join(entry.name for entry in inside) or "none"
        remedy = f"Name one of them: {inside[0]}." if inside else "Keep one: lparbench run WORKLOAD --save DIR"
        raise InputError(f"{path} is no model bundle; bundles in it: {listed}.", remedy=remedy)
    return inside[0]


def _digest(asked: RunSpec, workload: Workload) -> str:
    """What distinguishes data that were asked for: a file of the user's that was changed is another."""
    files = find(workload.dataset, ()) if is_own_table(workload.dataset) else None
    states = [container_of(entry.path).stat() for entry in files.files] if files is not None else []
    parts = [encode(asked), [(state.st_size, state.st_mtime_ns) for state in states]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]
