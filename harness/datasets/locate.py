"""Where data is looked for, and what is there: folders, their sub-folders, and zip archives."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path

from harness.content import user_cache
from harness.datasets.catalogue import DataFile, DatasetSpec, Variant
from harness.datasets.file_days import by_day
from harness.datasets.packed import SUFFIXES, archived, plain_name
from harness.datasets.store import Found, FoundFile
from harness.errors import InputError

COLUMNAR = frozenset({".parquet", ".pq", ".feather", ".arrow"})  # which ``parquet:`` reads
TABLES = frozenset({".csv", ".tsv", ".txt", ".data", ".json", ".jsonl", ".ndjson", *COLUMNAR})  # of a folder
WORKBOOKS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")
_DEPTH = 3  # of sub-folders
_MOST_FOLDERS = 300  # looked into below one directory
_TELLING = 4  # letters of a pattern's stem from which it is trusted outside the data set's own folder


def cache_directory() -> Path:
    """Where downloads and imports go: ``$XDG_CACHE_HOME/lparbench/data``, by default below ``~/.cache``.

    Raises:
        InputError: no such variable, and the user has no home directory, as in many containers.
    """
    directory = _user_cache()
    if directory is None:
        raise InputError("This user has no home directory.", remedy="Give --into DIR, or set XDG_CACHE_HOME.")
    return directory


def _user_cache() -> Path | None:
    cache = user_cache()
    return None if cache is None else cache / "data"


def search_directories(explicit: Path | None = None) -> tuple[Path, ...]:
    """Where data is looked for, in order: ``explicit``, ``$LPARBENCH_DATA``, ``./data``, the user cache."""
    named = os.environ.get("LPARBENCH_DATA")
    candidates = (explicit, Path(named) if named else None, Path("data"), _user_cache())
    return tuple(dict.fromkeys(directory for directory in candidates if directory is not None))


@dataclass(frozen=True)
class _Folder:
    """A folder or a zip archive: plain names, in lower case, of the files in it, with their paths."""

    path: Path
    files: dict[str, Path]
    own: bool  # the directory or a folder in it that is named after the data set, or within such a one

    def matching(self, pattern: str) -> list[Path]:
        """Files of a name or a pattern, whatever the case of their letters."""
        wanted = pattern.casefold()
        if wanted in self.files:
            return [self.files[wanted]]
        if not _is_pattern(wanted):
            return []
        return [self.files[name] for name in sorted(self.files) if fnmatchcase(name, wanted)]


def locate(spec: DatasetSpec, directories: Sequence[Path], form: str | None = None) -> Found | None:
    """The first variant of ``spec`` that is complete in one folder of the first directory that has any.

    Folders are, for each directory, those named after the data set, then the directory itself, then its other
    sub-folders; a zip archive counts as a folder.

    Args:
        spec: what to look for.
        directories: in this order.
        form: the one variant to look for; all when ``None``.
    """
    variants = [variant for variant in spec.variants if form in (None, variant.name)]
    for directory in directories:
        for folder in _folders(directory, spec):
            for variant in variants:
                local = _in_folder(folder, variant)
                if local is not None:
                    return local
    return None


def own_files(spec: DatasetSpec, directories: Sequence[Path]) -> Iterator[Path]:
    """Every file in the folders named after a data set."""
    for directory in directories:
        for folder in _folders(directory, spec):
            if folder.own:
                yield from folder.files.values()


def own_tables(pattern: str) -> tuple[FoundFile, ...]:
    """The files of a path, a folder or a pattern such as ``day*.csv``, in the order of the days in their names.

    Raises:
        InputError: there are none, or one is a workbook.
    """
    path = Path(pattern).expanduser()
    paths = [path]
    if path.is_dir():
        there = [child for child in path.iterdir() if child.is_file() and not child.name.startswith((".", "_"))]
        paths = [child for child in there if Path(plain_name(child)).suffix.lower() in TABLES] or there
    elif _is_pattern(pattern) and not path.exists():
        paths = [child for child in Path(path.anchor).glob(str(path.relative_to(path.anchor))) if child.is_file()]
    if not paths:
        raise InputError(f"{pattern}: no files there.")
    paths.sort()
    return tuple(_own_table(paths[position]) for position in by_day([child.name for child in paths]))


def _own_table(path: Path) -> FoundFile:
    if path.suffix.lower() in WORKBOOKS:
        raise InputError(f"{path} is a workbook, which is not read.", remedy="Save its sheet as CSV: csv:FILE.csv")
    archive = any(parent.suffix.lower() == ".zip" and parent.is_file() for parent in path.parents)
    if not path.is_file() and not archive:
        if path.exists() or path.is_symlink():
            raise InputError(
                f"{path} is no file that can be read twice, or a link to nowhere.", remedy="Save it as a file."
            )
        there = sorted(child.name for child in path.parent.iterdir()) if path.parent.is_dir() else []
        near = get_close_matches(path.name, there, n=1)
        remedy = f"Did you mean {path.parent / near[0]}?" if near else "Check the path."
        raise InputError(f"{path} is not there.", remedy=remedy)
    return FoundFile(DataFile(path.name), path)


def found_in(folder: Path, variant: Variant) -> Found | None:
    """The files of a variant in one folder, without its sub-folders, or ``None`` when they are not enough."""
    return _in_folder(_Folder(folder, _listing(folder)[0], own=True), variant)


def surroundings(spec: DatasetSpec, directories: Sequence[Path]) -> tuple[str, tuple[str, ...]]:
    """What lies where a data set was looked for, in words, and those files whose names are nearly the wanted ones."""
    there: list[str] = []
    names: set[str] = set()
    for directory in directories:
        folders = list(_folders(directory, spec))
        names |= {path.name for folder in folders for path in folder.files.values()}
        shown = next((folder for folder in folders if folder.own), folders[0] if folders else None)
        if shown is None:
            continue
        entries = sorted(path.name for path in shown.files.values())
        if shown.path == directory:
            entries = [f"{child.name}/" for child in _listing(directory)[1]] + entries
        there.append(f"{shown.path}: {', '.join(entries[:8]) or 'empty'}{' …' if len(entries) > 8 else ''}")
    spare = sorted(names - {name for file in spec.files for name in (file.name, *file.aliases)})
    near = [name for file in spec.files for name in get_close_matches(file.name, spare, n=1, cutoff=0.75)]
    return "; ".join(there[:3]), tuple(dict.fromkeys(near))


def _is_pattern(name: str) -> bool:
    return any(mark in name for mark in "*?[")


def _folders(directory: Path, spec: DatasetSpec) -> list[_Folder]:
    """The directory and what is below it, folders named after the data set first."""
    if not directory.is_dir():
        return []
    names = {_key(name) for name in (spec.name, *spec.folders)}
    waiting = deque([(directory, 0, _key(directory.name) in names)])
    folders: list[_Folder] = []
    while waiting and len(folders) < _MOST_FOLDERS:
        path, depth, own = waiting.popleft()
        files, children, archives = _listing(path)
        folders.append(_Folder(path, files, own))
        folders.extend(
            _Folder(archive, {plain_name(file).casefold(): file for file in archived(archive).values()}, own)
            for archive in archives
        )
        if depth < _DEPTH:
            waiting.extend((child, depth + 1, own or (not depth and _key(child.name) in names)) for child in children)
    return sorted(folders, key=lambda folder: not folder.own)


def _listing(folder: Path) -> tuple[dict[str, Path], list[Path], list[Path]]:
    """Files by plain name, sub-folders and zip archives; a plain file goes before a compressed one."""
    try:
        entries = sorted(folder.iterdir(), key=lambda path: (path.suffix.lower() in SUFFIXES, path.name))
    except OSError:  # a directory that may not be listed
        return {}, [], []
    files: dict[str, Path] = {}
    children, archives = [], []
    for path in entries:
        if path.name.startswith("."):
            continue
        if path.is_dir():
            children.append(path)
        elif path.is_file():
            files.setdefault(plain_name(path).casefold(), path)
            if path.suffix.lower() == ".zip":
                archives.append(path)
    return files, children, archives


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def _in_folder(folder: _Folder, variant: Variant) -> Found | None:
    files: list[FoundFile] = []
    for file in variant.files:
        paths = _files_of(folder, file)
        if not paths and variant.require == "all":
            return None
        files.extend(FoundFile(file, path) for path in paths)
    return Found(variant, tuple(files)) if files else None


def _files_of(folder: _Folder, file: DataFile) -> list[Path]:
    """The files of the first name or pattern that there are any of.

    Any file matches a pattern such as ``*.csv``, so that only the data set's own folder is trusted for it.
    """
    for name in (file.name, *file.aliases):
        telling = len(re.sub(r"\[.*?\]|[*?]", "", name.rpartition(".")[0])) >= _TELLING
        if (not _is_pattern(name) or telling or folder.own) and (paths := folder.matching(name)):
            return paths
    return []
