"""Run records on disk: a run directory appears whole or not at all, and only valid records are written or read."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from harness.decode import NotPlainError
from harness.errors import InputError, LparbenchError
from harness.parsing import parse_json, read_json
from harness.record.check import SchemaError, check, check_fleet, check_load, check_size, check_sweep
from harness.record.codec import DIGEST, DigestError, check_digest, digest_of, dumps, from_json, to_json
from harness.record.earlier import sweep_of_today
from harness.record.files import sync_directory, unwritable, write_synced
from harness.record.fleet_model import Fleet
from harness.record.load_model import LoadRecord
from harness.record.model import Run
from harness.record.size_model import Size
from harness.record.sweep_model import Sweep
from harness.scratch import aside, folder_made

T = TypeVar("T")

RECORD_NAME = "run.json"
SWEEP_NAME = "sweep.json"
SIZE_NAME = "size.json"
LOAD_NAME = "load.json"
FLEET_NAME = "fleet.json"
BUNDLES = "bundles"  # folder of a run directory
KINDS = {  # of records, by file name
    RECORD_NAME: "run",
    SWEEP_NAME: "sweep",
    SIZE_NAME: "sizing",
    LOAD_NAME: "load test",
    FLEET_NAME: "fleet run",
}


def load_run(path: Path) -> Run:
    """Read a record.

    Args:
        path: a run directory or the ``run.json`` in it.

    Raises:
        InputError: there is no such file, or it is truncated, not JSON, or not a record of this schema.
    """
    return _load(Run, path, RECORD_NAME, "run", check)


def load_sweep(path: Path) -> Sweep:
    """Read the record of a sweep.

    Args:
        path: a sweep directory or the ``sweep.json`` in it.

    Raises:
        InputError: there is no such file, or it is truncated, not JSON, or not a record of this schema.
    """
    return _load(Sweep, path, SWEEP_NAME, "sweep", check_sweep, sweep_of_today)


def load_size(path: Path) -> Size:
    """Read the record of a sizing.

    Args:
        path: the directory of a sizing or the ``size.json`` in it.

    Raises:
        InputError: there is no such file, or it is truncated, not JSON, or not a record of this schema.
    """
    return _load(Size, path, SIZE_NAME, "sizing", check_size)


def is_load_test(path: Path) -> bool:
    """Whether this is the record of a load test, which has any name, or a directory with a ``load.json`` and no run."""
    if path.is_file() and path.name not in KINDS:
        with suppress(LparbenchError):  # what else is wrong with it is said by who reads it
            document = read_json(path)
            return isinstance(document, dict) and "load_id" in document
    return path.name == LOAD_NAME or ((path / LOAD_NAME).exists() and not (path / RECORD_NAME).exists())


def load_load_test(path: Path) -> LoadRecord:
    """Read the record of a load test.

    Args:
        path: the record, or a directory with a ``load.json``.

    Raises:
        InputError: there is no such file, or it is truncated, not JSON, or not a record of this schema.
    """
    return _load(LoadRecord, path, LOAD_NAME, "load test", check_load)


def load_fleet(path: Path) -> Fleet:
    """Read the record of a fleet run.

    Args:
        path: the directory of a fleet run or the ``fleet.json`` in it.

    Raises:
        InputError: there is no such file, or it is truncated, not JSON, or not a record of this schema.
    """
    return _load(Fleet, path, FLEET_NAME, "fleet run", check_fleet)


def require_record(path: Path, names: Sequence[str]) -> None:
    """See that there may be a record: a file, or a directory with one of any kind.

    Args:
        path: what a user named.
        names: of the records that are accepted there.

    Raises:
        InputError: there is nothing, or a directory without a record; says which kinds are accepted.
    """
    if (path.exists() and not path.is_dir()) or any((path / other).exists() for other in KINDS):
        return
    *others, last = (KINDS[name] for name in names)
    kinds = f"{', '.join(others)} or {last}" if others else last
    inside = sorted(record.parent for name in names for record in path.glob(f"*/{name}"))
    raise InputError(
        f"{path}: no record of a {kinds} in this directory."
        if path.exists()
        else f"{path}: no such file or directory.",
        remedy=f"Name one of those in it, such as {inside[-1]}."
        if inside
        else f"Give the directory of a {kinds}, or the record in it ({', '.join(names)}).",
    )


def _load(
    cls: type[T],
    path: Path,
    name: str,
    kind: str,
    check_shape: Callable[[Any], None],
    today: Callable[[Any], Any] = lambda document: document,
) -> T:
    """``today`` puts what earlier versions wrote into this one's words."""
    file = path / name if path.is_dir() else path
    actual = next((KINDS[other] for other in KINDS if (path / other).exists()), None)
    if path.is_dir() and not file.exists() and actual is not None:
        raise InputError(f"{path}: this is a {actual}, not a {kind}.", remedy=f"Give a {kind} directory.")
    require_record(path, (name,))
    return _decoded(cls, read_json(file), str(file), kind, check_shape, today)


def parse_run(text: str, where: str) -> Run:
    """The record in a text that came from elsewhere; ``where`` names it in errors.

    Raises:
        InputError: it is not a record of this schema, or not what its digest says.
    """
    return _parsed(Run, text, where, "run", check)


def parse_fleet(text: str, where: str) -> Fleet:
    """As `parse_run`, of a fleet run."""
    return _parsed(Fleet, text, where, "fleet run", check_fleet)


def _parsed(cls: type[T], text: str, where: str, kind: str, check_shape: Callable[[Any], None]) -> T:
    document = parse_json(text, where)
    if not isinstance(document, dict) or DIGEST not in document:
        raise InputError(f"{where}: not a {kind} record with a digest.", remedy="Give what lparbench wrote, unedited.")
    return _decoded(cls, document, where, kind, check_shape)


def _decoded(
    cls: type[T],
    document: Any,
    where: str,
    kind: str,
    check_shape: Callable[[Any], None],
    today: Callable[[Any], Any] = lambda document: document,
) -> T:
    try:
        present = today(document)
        check_shape(present)
        check_digest(document)  # last: what else is wrong says more
    except (SchemaError, DigestError) as error:
        raise InputError(
            f"{where}: not a {kind} record of this version: {error}.",
            remedy="Give a record written by lparbench, unedited.",
        ) from None
    return from_json(cls, present, where)


def record_text(run: Run) -> str:
    """The text of ``run.json``: the same record gives the same bytes.

    Raises:
        LparbenchError: the record does not hold to the schema or has a number that is not finite.
    """
    return _text(run, f"run {run.run_id!r}", check)


def sweep_text(sweep: Sweep) -> str:
    """The text of ``sweep.json``: the same record gives the same bytes.

    Raises:
        LparbenchError: the record does not hold to the schema or has a number that is not finite.
    """
    return _text(sweep, f"sweep {sweep.sweep_id!r}", check_sweep)


def size_text(size: Size) -> str:
    """The text of ``size.json``: the same record gives the same bytes.

    Raises:
        LparbenchError: the record does not hold to the schema or has a number that is not finite.
    """
    return _text(size, f"sizing {size.size_id!r}", check_size)


def load_text(record: LoadRecord) -> str:
    """The text of ``load.json``: the same record gives the same bytes.

    Raises:
        LparbenchError: the record does not hold to the schema or has a number that is not finite.
    """
    return _text(record, f"load test {record.load_id!r}", check_load)


def fleet_text(fleet: Fleet) -> str:
    """The text of ``fleet.json``: the same record gives the same bytes.

    Raises:
        LparbenchError: the record does not hold to the schema or has a number that is not finite.
    """
    return _text(fleet, f"fleet run {fleet.fleet_id!r}", check_fleet)


def _text(record: Run | Sweep | Size | LoadRecord | Fleet, name: str, check_shape: Callable[[Any], None]) -> str:
    try:
        document = to_json(record)
        check_shape(document)
    except (NotPlainError, SchemaError) as error:
        raise LparbenchError(
            f"the record of {name} is not valid and was not written: {error}.",
            remedy="This is a defect of lparbench or of a detector's own figures: please report it with this line.",
        ) from error
    return dumps({**document, DIGEST: digest_of(document)})


def check_writable(directory: Path, option: str = "--out") -> None:
    """Make ``directory``, which ``option`` names, and see that a file can be written into it.

    Raises:
        LparbenchError: it cannot; nothing is left behind.
    """
    try:
        with folder_made(directory), aside(directory / "writable") as probe:
            probe.write_bytes(b"0" * 4096)
    except OSError as error:
        raise unwritable(directory, error, f"Choose another {option}, or make room.") from None


def write_run(run: Run, directory: Path, files: Mapping[str, bytes] | None = None) -> Path:
    """Write ``directory/<run id>/run.json`` and the files that belong to it, all or nothing.

    Args:
        run: the record.
        directory: where run directories are; made when missing.
        files: file name -> content, such as the HTML report.

    Returns:
        The run directory.

    Raises:
        LparbenchError: the record is not valid, the run is there already, or the disk refuses.
    """
    contents = {RECORD_NAME: encode(record_text(run)), **(files or {})}
    target = directory / run.run_id
    if target.exists():
        raise LparbenchError(f"{target} is there already; nothing was written.", remedy="Choose another --out.")
    write_directory(target, contents)
    return target


def kept_bundles(run: Run, directory: Path) -> dict[str, Path]:
    """Workload -> its model bundle, of those that a run kept in its ``directory`` or where it was asked to."""
    folder = directory / BUNDLES if run.spec.save is None else Path(run.spec.save)
    bundles = {result.workload: folder / result.workload for result in run.results}
    return {workload: bundle for workload, bundle in bundles.items() if bundle.is_dir()}


def write_directory(target: Path, contents: Mapping[str, bytes]) -> None:
    """Make the directory ``target`` with files of these names, all or nothing.

    Raises:
        LparbenchError: the disk or its permissions refuse.
    """
    directory = target.parent
    try:
        with folder_made(directory), aside(target, directory=True) as hidden:
            for name, content in contents.items():
                (hidden / name).parent.mkdir(parents=True, exist_ok=True)
                write_synced(hidden / name, content)
            sync_directory(hidden)
            hidden.rename(target)
        sync_directory(directory)
    except OSError as error:
        remedy = "Nothing was left behind. Choose another --out, or make room."
        raise unwritable(target, error, remedy) from error


def kept_aside(error: LparbenchError, name: str, contents: Mapping[str, bytes]) -> LparbenchError:
    """The error for a record that could not be written, which is kept where temporary files are if there is room.

    Args:
        error: why it could not.
        name: of its directory there.
        contents: file name -> content.
    """
    place = Path(tempfile.gettempdir()) / name
    with suppress(LparbenchError):
        write_directory(place, contents)
        return type(error)(error.message, remedy=f"What was measured is kept. See: lparbench report {place}")
    return error


def encode(text: str) -> bytes:
    r"""UTF-8; what a file name could not decode (a lone surrogate) becomes JSON's own ``\udcXX`` escape."""
    return text.encode("utf-8", "backslashreplace")
