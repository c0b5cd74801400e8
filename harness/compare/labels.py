"""What runs are called: by a label, else by their directory, which says more than an identifier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from harness.compare.inputs import load_history, load_side
from harness.compare.observations import Side
from harness.errors import InputError
from harness.record.store import RECORD_NAME
from harness.wording import plural


def load_sides(paths: Sequence[Path], labels: Sequence[str] = ()) -> list[Side]:
    """The sides of a comparison under the names that the user knows them by.

    Args:
        paths: as of :func:`harness.compare.inputs.load_side`.
        labels: one per path, or none.

    Raises:
        InputError: a path is no side, or there are labels for some of them only.
    """
    names = _labels(paths, labels) or _short([_directory(path) for path in paths])
    sides = [load_side(path) for path in paths]
    return [side.named(name) if name else side for side, name in zip(sides, names, strict=True)]


def load_runs(folders: Sequence[Path], labels: Sequence[str] = ()) -> list[Side]:
    """The runs of a history, those of each folder under its label where there are several.

    Args:
        folders: as of :func:`harness.compare.inputs.load_history`.
        labels: one per folder, or none.

    Raises:
        InputError: there is no run, or there are labels for some folders only.
    """
    if not labels:
        return load_history(list(folders))
    named = zip(folders, _labels(folders, labels), strict=True)
    return [side.named(f"{label} {side.name}") for folder, label in named for side in load_history([folder])]


def _labels(paths: Sequence[Path], labels: Sequence[str]) -> list[str]:
    if labels and len(labels) != len(paths):
        raise InputError(
            f"{plural(len(labels), 'label')} for {plural(len(paths), 'path')}.",
            remedy="Give --label once for each, in the same order.",
        )
    if any(not label.strip() for label in labels):
        raise InputError("A label is empty.", remedy="Give each a name, such as --label smt2.")
    return list(labels)


def _directory(path: Path) -> tuple[str, ...]:
    """The parts of the directory of a run; none of what is no run, which names itself."""
    if path.name == RECORD_NAME:
        return path.resolve().parent.parts
    return path.resolve().parts if path.is_dir() and (path / RECORD_NAME).exists() else ()


def _short(directories: Sequence[tuple[str, ...]]) -> list[str]:
    """The last part of each, with as many before it as distinguish it from the others."""
    longest = max(map(len, directories), default=0)
    counts = {length: Counter(parts[-length:] for parts in directories) for length in range(1, longest + 1)}
    names = []
    for parts in directories:
        length = next((n for n in range(1, len(parts)) if counts[n][parts[-n:]] == 1), 1)
        names.append("/".join(parts[-length:]))
    return names
