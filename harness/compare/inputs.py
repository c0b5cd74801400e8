"""Where the sides of a comparison come from: run records, and files of pytest-benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.compare.observations import Side, side_of
from harness.compare.pytest_benchmark import is_pytest_benchmark, side_of_processes
from harness.decode import read_json
from harness.errors import InputError
from harness.record.store import RECORD_NAME, SWEEP_NAME, load_run

_SWEEP_JOURNAL = "journal.jsonl"  # of a sweep that is not finished


def load_side(path: Path) -> Side:
    """Read one side.

    Args:
        path: a run directory, a ``run.json``, a JSON file of pytest-benchmark, or a directory of such files, each of
            which is then one process.

    Raises:
        InputError: it is none of these, or it is damaged; names the file and the place in it.
    """
    if path.name == SWEEP_NAME or (path / SWEEP_NAME).exists() or (path / _SWEEP_JOURNAL).exists():
        raise InputError(
            f"{path}: this is a sweep, whose settings are compared with each other in its own report.",
            remedy="To compare two machines or versions, give runs of the setting you chose (`lparbench run`).",
        )
    if path.is_dir() and not (path / RECORD_NAME).exists():
        files = sorted(path.rglob("*.json"))
        if not files:
            raise InputError(
                f"{path}: neither a {RECORD_NAME} nor files of pytest-benchmark in there.",
                remedy="Give a run directory, or a folder of files written by pytest --benchmark-save.",
            )
        return _of_processes(path.name, [(str(file), read_json(file)) for file in files])
    if path.is_file() and is_pytest_benchmark(document := _parsed_if_json(path)):
        return _of_processes(path.stem, [(str(path), document)])
    return side_of(load_run(path))


def load_history(paths: list[Path]) -> list[Side]:
    """Every run record below the given directories, and the given records themselves.

    Raises:
        InputError: there is none, or one is damaged.
    """
    sides: dict[Path, Side] = {}
    for path in paths:
        records = sorted(path.rglob(RECORD_NAME)) if path.is_dir() else [path]
        for record in records:
            sides[record.resolve()] = load_side(record)
    if not sides:
        raise InputError(
            f"no run records in {', '.join(str(path) for path in paths)}.",
            remedy="Give directories that `lparbench run --out DIR` has filled.",
        )
    return list(sides.values())


def _of_processes(name: str, documents: list[tuple[str, Any]]) -> Side:
    try:
        for path, document in documents:
            if not is_pytest_benchmark(document):
                raise InputError(f"{path}: no 'benchmarks' and 'machine_info' in it.")
        return side_of_processes(name, documents)
    except InputError as error:
        raise InputError(
            f"not a file of pytest-benchmark: {error.message}",
            remedy="Write it with pytest --benchmark-json FILE, or with lparbench export.",
        ) from None


def _parsed_if_json(path: Path) -> Any:
    """The parsed file, None when it is not JSON: then the reader of run records says what is wrong with it."""
    try:
        return read_json(path)
    except InputError:
        return None
