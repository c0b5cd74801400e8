"""The bundle that is to be served: as it is, or trained and saved first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import InputError
from harness.scoring.bundle import is_bundle

if TYPE_CHECKING:
    from harness.runs.engine import Progress


def bundle_of(name: str, save: Path, progress: Progress) -> Path:
    """Directory of the bundle.

    Args:
        name: a bundle, a directory that holds exactly one, or a workload by name or file.
        save: where the bundle of a workload is kept; one that is there already is not trained again.
        progress: shows the training.

    Raises:
        InputError: it is nothing of these, or the workload cannot be trained and saved.
    """
    path = Path(name)
    if is_bundle(path):
        return path
    if path.is_dir():
        inside = sorted(filter(is_bundle, path.iterdir()))
        if len(inside) != 1:
            listed = ", ".join(entry.name for entry in inside) or "none"
            raise InputError(f"{path} is no model bundle; bundles in it: {listed}.", remedy="Name one of them.")
        return inside[0]
    from harness.record.spec import RunSpec
    from harness.runs.run import run_once
    from harness.workers.executor import ProcessExecutor
    from harness.workload.files import find_workload

    kept = save / find_workload(name).name
    if not is_bundle(kept):
        spec = RunSpec((name,), scenarios=("offline",), seeds=1, blocks=1, save=str(save.resolve()))
        run = run_once(spec, ProcessExecutor(), progress)
        if not is_bundle(kept):
            reasons = [reason for result in run.results for reason in result.validity.reasons]
            raise InputError(f"{name} could not be trained and saved: {'; '.join(reasons) or 'no result'}.")
    return kept
