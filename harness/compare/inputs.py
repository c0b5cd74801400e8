"""Where the sides of a comparison come from: run records, and files of pytest-benchmark and other tools."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import shlex
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO, Any

from harness.compare.facts import conflicts
from harness.compare.foreign import ForeignFile, Unusable, side_of_files
from harness.compare.observations import Side, side_of
from harness.compare.other_tools import read_other_tool
from harness.compare.pytest_benchmark import is_pytest_benchmark, read_own_export, read_pytest_benchmark
from harness.errors import InputError
from harness.parsing import bounded, read_content
from harness.record.archive import Query, is_archive, opened
from harness.record.files import DISK_FULL
from harness.record.journal import JOURNAL_FILE, UNFINISHED
from harness.record.store import KINDS, RECORD_NAME, SWEEP_NAME, load_run
from harness.scratch import scratch
from harness.wording import plural

_JSON, _GZIP = (".json", ".json.gz"), b"\x1f\x8b"
_BEFORE_JSON = b"\xef\xbb\xbf\xfe\xff\x00 \t\r\n"  # marks of the byte order, and blanks
_LARGEST = 1 << 28  # bytes that are unpacked of an archive
_NAMED = 3  # runs of a folder that a message names
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError)
_WRITERS = (
    "pytest --benchmark-json FILE, pyperf, hyperfine --export-json, google-benchmark, JMH -rf json, or lparbench export"
)


def load_side(path: Path) -> Side:
    """Read one side.

    Args:
        path: a run directory, a ``run.json``, a JSON file of pytest-benchmark, pyperf, hyperfine or google-benchmark,
            or a directory or archive (zip, tar) of such files, whose processes are put together; what else is there is
            left out and named.

    Raises:
        InputError: it is none of these, it is damaged, or it holds more than one side; names the file and the place.
    """
    if path.name.endswith(UNFINISHED) and (path / JOURNAL_FILE).exists():
        raise InputError(f"{path}: this run is not finished.", remedy=f"Finish it: lparbench run --resume {path}")
    if path.name == SWEEP_NAME or (path / SWEEP_NAME).exists() or (path / JOURNAL_FILE).exists():
        raise InputError(
            f"{path}: this is a sweep, whose settings are compared with each other in its own report.",
            remedy="To compare two machines or versions, give runs of the setting you chose (`lparbench run`).",
        )
    with _unpacked(path) as folder:
        if folder.is_dir() and not (folder / RECORD_NAME).exists():
            records = _records_below(folder)
            if [*records.values()] == ["run"]:  # as `run --out DIR` leaves it
                return side_of(load_run(*records)).named(path.name)
            files = _json_files(folder)
            if not files:
                raise InputError(
                    f"{path}: neither a {RECORD_NAME} nor files of pytest-benchmark in there.",
                    remedy=f"Give a run directory, or a folder of files written by {_WRITERS}.",
                )
            try:
                return _side_of_folder(path, {_shown(file, folder, path): file for file in files})
            except InputError:
                _refuse_records(path, records, packed=folder != path)
                raise
        source = _foreign(folder, str(folder)) if folder.is_file() and folder.name != RECORD_NAME else None
        match source:
            case ForeignFile():
                return side_of_files(path.stem, [source])
            case Unusable():
                raise InputError(source.why, remedy=source.remedy)
        return source or side_of(load_run(folder))


def _records_below(folder: Path) -> dict[Path, str]:
    """Directories of our own records, with the kind of each."""
    kinds: dict[Path, str] = {}
    for file in sorted(folder.rglob("*.json*")):
        if file.name in KINDS:
            kinds[file.parent] = KINDS[file.name]
        elif file.name == JOURNAL_FILE:
            kinds.setdefault(file.parent, "unfinished measurement")
    return kinds


def _refuse_records(path: Path, records: Mapping[Path, str], *, packed: bool) -> None:
    """Say which of our own records are in a folder, where there are any, and what to do with them.

    Raises:
        InputError: there are some.
    """
    if not records:
        return
    runs = [directory for directory, kind in records.items() if kind == "run"]
    held = ", ".join(plural(amount, kind) for kind, amount in Counter(records.values()).items())
    if packed:
        remedy = f"Give one of them: {path}#RECORD of an archive, or its own directory."
    elif runs:
        named = " ".join(shlex.quote(str(run)) for run in runs[:_NAMED]) + (" ..." if len(runs) > _NAMED else "")
        remedy = f"Name the runs: lparbench compare {named}. Or see them over time: lparbench history {path}"
    else:
        remedy = f"Only runs are compared. What it says by itself: lparbench report {next(iter(records))}"
    raise InputError(f"{path} holds {held}; a side is one run.", remedy=remedy)


def load_history(paths: list[Path]) -> list[Side]:
    """Every side in the given files, folders and archives: run records, and each commit's files of other tools.

    Raises:
        InputError: there is none, or one is damaged.
    """
    sources: dict[Path, ForeignFile | Side] = {}
    unusable: list[Unusable] = []
    for path in paths:
        with _unpacked(path) as folder:
            files = _history_files(folder)
            alone = sum(file.name == RECORD_NAME for file in files) == 1 and not (folder / RECORD_NAME).exists()
            for file in files:
                source = None if file.name == RECORD_NAME else _foreign(file, _shown(file, folder, path))
                if isinstance(source, ForeignFile | Side):
                    sources[file.resolve()] = source
                elif file.name == RECORD_NAME or file == folder:
                    side = load_side(file)
                    # The folder that the user chose: the given one where it has one run, as `run --out DIR` leaves it.
                    folder_name = path.name if alone and folder.is_dir() else file.resolve().parent.name
                    sources[file.resolve()] = side.named(folder_name) if file.name == RECORD_NAME else side
                elif isinstance(source, Unusable):
                    unusable.append(source)
    if unusable and not sources:
        raise InputError(unusable[0].why, remedy=unusable[0].remedy)
    if not any(
        source.readings if isinstance(source, ForeignFile) else source.observations for source in sources.values()
    ):
        raise InputError(
            f"no run records in {', '.join(str(path) for path in paths)}, nor files of another tool.",
            remedy=f"Give directories that `lparbench run --out DIR` has filled, or files written by {_WRITERS}.",
        )
    foreign = [source for source in sources.values() if isinstance(source, ForeignFile)]
    return [
        *(source for source in sources.values() if isinstance(source, Side)),
        *map(_commit_side, by_commit(foreign)),
    ]


def by_commit(files: list[ForeignFile]) -> list[list[ForeignFile]]:
    """Files of one commit by one tool in one environment together, as far as they say so; each other file alone."""
    groups: list[list[ForeignFile]] = []
    for file in files:
        group = next((group for group in groups if all(_goes_with(file, member) for member in group)), None)
        if group is None:
            groups.append([file])
        else:
            group.append(file)
    return groups


def _goes_with(a: ForeignFile, b: ForeignFile) -> bool:
    if a.commit is None or b.commit is None or a.tool != b.tool or not a.commit.is_same(b.commit):
        return False
    return not conflicts(a.facts, b.facts)


def _commit_side(files: list[ForeignFile]) -> Side:
    name = str(files[0].commit) if len(files) > 1 else Path(files[0].path).stem
    return side_of_files(name, files)


def _history_files(folder: Path) -> list[Path]:
    """The records below ``folder``, and what may be files of other tools; the other files of a run are its own."""
    if not folder.is_dir():
        return [folder]
    own = {file.parent for file in folder.rglob("*.json*") if file.name in (RECORD_NAME, SWEEP_NAME, JOURNAL_FILE)}
    return [file for file in _json_files(folder) if file.name == RECORD_NAME or not own & set(file.parents)]


def _json_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.name.endswith(_JSON) and file.is_file())


def _shown(file: Path, folder: Path, path: Path) -> str:
    """How messages call a file that was unpacked from ``path`` to ``folder``."""
    return str(file) if folder == path else f"{path}: {file.relative_to(folder)}"


def _side_of_folder(path: Path, files: Mapping[str, Path]) -> Side:
    sources = [_foreign(file, shown) or _unknown(shown) for shown, file in files.items()]
    unusable = [source for source in sources if isinstance(source, Unusable)]
    if len(unusable) == len(sources):
        raise InputError(unusable[0].why, remedy=unusable[0].remedy)
    left_out = tuple(source.why for source in unusable)
    exports = [source for source in sources if isinstance(source, Side)]
    if exports:
        if len(sources) > len(unusable) + 1:
            raise InputError(
                f"{path} holds an export of lparbench and other files; an export is a whole side.",
                remedy="Give the exported file itself.",
            )
        return replace(exports[0], left_out=left_out)
    foreign = [source for source in sources if isinstance(source, ForeignFile)]
    return replace(side_of_files(path.name, foreign, str(path)), left_out=left_out)


def _unknown(shown: str) -> Unusable:
    why = f"{shown}: no file of a tool that is known: there is no 'benchmarks' and 'machine_info' in it."
    return Unusable(why, f"Give files written by {_WRITERS}.")


def _foreign(path: Path, shown: str) -> ForeignFile | Side | Unusable | None:
    """What another tool or our own export wrote; None when nothing known did.

    Raises:
        InputError: the file cannot be read, is not JSON, or is of a known tool and damaged.
    """
    document = _parsed(path, shown)
    if not is_pytest_benchmark(document):
        known = read_other_tool(shown, document)
        return known or (None if isinstance(document, dict) and "schema_version" in document else _unknown(shown))
    try:
        return read_own_export(shown, document) or read_pytest_benchmark(shown, document)
    except InputError as error:
        raise InputError(
            f"not a file of pytest-benchmark: {error.message}", remedy=error.remedy or f"Write it with {_WRITERS}."
        ) from None


def _parsed(path: Path, shown: str) -> Any:
    """The JSON in a file of any tool: UTF-8, 16 or 32, with or without a byte order mark, NaN as Python writes it."""
    content = read_content(path, _LARGEST)
    if content.startswith(_GZIP):
        content = _unzipped(content, shown)
    try:
        return json.loads(bounded(content.decode(json.detect_encoding(content)), shown))
    except (ValueError, RecursionError) as error:
        opens = content.lstrip(_BEFORE_JSON)[:1] in (b"{", b"[", b"")
        remedy = "The file is damaged or cut short: copy it again." if opens else f"Give files written by {_WRITERS}."
        raise InputError(f"{shown}: not JSON: {error}.", remedy=remedy) from None


def _unzipped(content: bytes, shown: str) -> bytes:
    try:
        with gzip.open(io.BytesIO(content)) as stream:
            plain = stream.read(_LARGEST + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{shown}: not sound gzip: {error}.", remedy="Copy it again.") from None
    if len(plain) > _LARGEST:
        raise InputError(f"{shown}: more than {_LARGEST >> 20} MiB of JSON.", remedy="Give a smaller file.")
    return plain


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """``path``, or the folder that the JSON files of an archive were unpacked to, gone afterwards."""
    if is_archive(path):
        with scratch("compare") as unpacked, opened(str(path)) as archive:
            archive.write(archive.entries(Query(kind="run")), unpacked)
            yield unpacked
        return
    if not path.is_file() or not (zipfile.is_zipfile(path) or tarfile.is_tarfile(path)):
        yield path
        return
    with scratch("compare") as unpacked:
        folder = unpacked / path.name.partition(".")[0]
        folder.mkdir(exist_ok=True)
        left = _LARGEST
        for name, content in _members(path):
            left -= len(content)
            if left < 0:
                raise InputError(
                    f"{path}: more than {_LARGEST >> 20} MiB of JSON.", remedy="Unpack it and give folders."
                )
            _put(folder, name, content, path)
        yield folder


def _put(folder: Path, name: str, content: bytes, path: Path) -> None:
    inside = PurePosixPath(name)
    if inside.is_absolute() or ".." in inside.parts:
        raise InputError(f"{path}: {name} leads out of the archive.", remedy="Do not use this archive.")
    target = folder / inside
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise
        raise InputError(f"{path}: {name!r} is no name of a file.", remedy="Do not use this archive.") from None


def _begin(stream: IO[bytes]) -> bytes:
    """What is unpacked of a member, and one byte more where it is too large."""
    with stream:
        return stream.read(_LARGEST + 1)


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of the JSON files in an archive."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                yield from ((name, _begin(archive.open(name))) for name in archive.namelist() if name.endswith(_JSON))
            return
        with tarfile.open(path) as packed:
            for member in packed:
                stream = packed.extractfile(member) if member.isfile() and member.name.endswith(_JSON) else None
                if stream is not None:
                    yield member.name, _begin(stream)
    except (*_DAMAGED, EOFError, OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: not a sound archive: {error}.", remedy="Copy it again.") from None
