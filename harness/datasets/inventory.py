"""Which published files are on this machine, whether they are the published ones, and taking in one that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from harness.datasets import registry
from harness.datasets.catalogue import DataFile, DatasetSpec, Variant, specs
from harness.datasets.download import Progress, fetch, put, unpack
from harness.datasets.locate import found_in
from harness.datasets.packed import plain_name
from harness.datasets.store import Found, digest
from harness.errors import CheckFailedError, InputError

Status = Literal["verified", "unverified", "different", "unreadable"]
_WRONG: tuple[Status, ...] = ("different", "unreadable")
_STATUS: dict[bool | None, Status] = {True: "verified", None: "unverified", False: "different"}


@dataclass(frozen=True)
class Holding:
    """A data set and what of it is here."""

    name: str
    spec: DatasetSpec
    local: Found | None

    @property
    def downloadable(self) -> bool:
        """Whether some form of it has an address for every file."""
        return any(_has_addresses(variant) for variant in self.spec.variants)

    @property
    def where(self) -> Literal["here", "built in", "download", "by hand"]:
        """Where its files are, or how they come here."""
        if self.local is not None:
            return "here" if self.local.files else "built in"
        return "download" if self.downloadable else "by hand"


@dataclass(frozen=True)
class FetchedFile:
    """A file of a data set that is here now. ``downloaded`` is False where it was here before, and verified."""

    file: str
    path: Path
    downloaded: bool


@dataclass(frozen=True)
class FileCheck:
    """One file, digested. ``status`` is ``different`` when a pinned sha256 says otherwise."""

    name: str
    path: Path
    status: Status
    sha256: str | None
    expected: str | None
    problem: str | None = None


def holding(name: str, directories: Sequence[Path]) -> Holding:
    """One data set and what of it is here.

    Raises:
        InputError: no such data set.
    """
    return Holding(name, registry.spec(name), registry.find(name, directories))


def holdings(directories: Sequence[Path]) -> tuple[Holding, ...]:
    """Every data set of the registry; families such as ``odds`` with one entry per member that is here."""
    entries: list[Holding] = []
    for spec in specs():
        if not spec.variants:
            continue
        members = registry.members(spec, directories) if spec.parameter else ()
        if not members:
            name = f"{spec.name}:{spec.parameter}" if spec.parameter else spec.name
            local = None if spec.parameter else registry.find(spec.name, directories)
            entries.append(Holding(name, spec, local))
        entries.extend(holding(name, directories) for name in members)
    return tuple(entries)


def check(local: Found) -> tuple[FileCheck, ...]:
    """Digest every file of a data set; an unreadable one is a result, not an error."""
    checks = []
    for entry in local.files:
        expected = entry.file.sha256
        try:
            sha256 = digest(entry.path)
        except InputError as error:
            checks.append(FileCheck(entry.name, entry.path, "unreadable", None, expected, error.message))
            continue
        checks.append(FileCheck(entry.name, entry.path, _STATUS[entry.file.judge(sha256)], sha256, expected))
    return tuple(checks)


def verified_in(folder: Path, files: tuple[DataFile, ...]) -> dict[str, Path]:
    """Those of ``files`` that lie in ``folder`` with the published content, by canonical name."""
    local = found_in(folder, Variant("any", files, "any"))
    if local is None:
        return {}
    judged = zip(local.files, check(local), strict=True)
    return {entry.file.name: result.path for entry, result in judged if result.status == "verified"}


def get(
    name: str, directory: Path, bar: Callable[[str], AbstractContextManager[Progress]], *, mirror: str | None = None
) -> Iterator[FetchedFile]:
    """Download what is missing of a data set into a folder of its own in ``directory``, one file after the other.

    Args:
        name: as ``registry.spec`` takes it.
        directory: made when missing.
        bar: gives the progress of one file by its name.
        mirror: base address that takes the place of the publisher's.

    Raises:
        InputError: no such data set, or no address that gives its files; it cannot be reached.
        CheckFailedError: the content is another than the published one.
        LparbenchError: no room on the disk.
    """
    spec = registry.spec(name)
    if spec.variants and not spec.files:
        raise InputError(f"{name} comes with a library and needs no files.")
    if registry.is_own_table(name):
        raise InputError(
            f"{name} is a file of your own; there is nothing to get.",
            remedy=f"Use it as it is: lparbench run WORKLOAD --dataset {name} --label COLUMN",
        )
    variant = next(filter(_has_addresses, spec.variants), None)
    if variant is None:
        raise InputError(
            f"{name} has no address that gives its files without a form or a changing link.",
            remedy=f"Get them from {spec.publisher}, then: lparbench data import {name} FILE",
        )
    folder = directory / spec.name
    present = verified_in(folder, variant.files)
    for file in variant.files:
        if file.name in present:
            yield FetchedFile(file.name, present[file.name], downloaded=False)
            continue
        with bar(file.name) as progress:
            path = fetch(file, folder, progress=progress, mirror=mirror)
        yield FetchedFile(file.name, path, downloaded=True)


def check_all(names: Sequence[str], directories: Sequence[Path]) -> dict[str, tuple[FileCheck, ...] | None]:
    """Digest the files of data sets, by default of all that have files here; None for one that is not here.

    Raises:
        InputError: no such data set.
    """
    if names:
        sets = {name: registry.find(name, directories) for name in names}
    else:
        sets = {entry.name: entry.local for entry in holdings(directories) if entry.local and entry.local.files}
    return {name: None if files is None else check(files) for name, files in sets.items()}


def require_published(checks: Mapping[str, tuple[FileCheck, ...] | None]) -> None:
    """Refuse what is not as published, and what is not here.

    Raises:
        CheckFailedError: a file has another content, or cannot be read.
        InputError: a data set is not here.
    """
    wrong = [result for of_name in checks.values() for result in of_name or () if result.status in _WRONG]
    if wrong:
        raise CheckFailedError(
            f"{len(wrong)} file{'s are' if len(wrong) > 1 else ' is'} not as published: {wrong[0].path}.",
            remedy="Remove it, then `lparbench data get NAME` or `lparbench data import NAME FILE`.",
        )
    missing = next((name for name, of_name in checks.items() if of_name is None), None)
    if missing is not None:
        raise InputError(f"{missing} is not here.", remedy=f"`lparbench data get {missing}` may download it.")


def _has_addresses(variant: Variant) -> bool:
    return bool(variant.files) and all(file.download for file in variant.files)


def take_in(name: str, source: Path, directory: Path) -> FileCheck:
    """Copy a file of one's own into ``directory``, under the name it is looked for.

    It is recognised by its sha256, else by its name where no sha256 is pinned for that name. An archive whose sha256 is
    pinned is unpacked.

    Raises:
        InputError: unknown data set; unreadable file; a file that does not belong to it.
        CheckFailedError: its name is one of the data set's, but its content is another.
    """
    spec = registry.spec(name)
    if not spec.variants:
        raise InputError(f"{name} names a file of your own, which is read where it lies.")
    sha256 = digest(source)
    folder = directory / spec.name
    for file in spec.files:
        if file.download is not None and file.download.member is not None and file.download.sha256 == sha256:
            target = unpack(source, file.download.member, folder)
            return FileCheck(file.name, target, "verified", sha256, file.download.sha256)
    plain = plain_name(source)
    packing = source.name[len(plain) :]
    file, status = _recognised(spec, plain, sha256)
    target = folder / ((file.name if status == "verified" else plain) + packing)
    put(source, target)
    return FileCheck(target.name, target, status, sha256, file.sha256)


def _recognised(spec: DatasetSpec, plain: str, sha256: str) -> tuple[DataFile, Status]:
    for file in spec.files:
        if file.judge(sha256):
            return file, "verified"
    for file in spec.files:
        if any(fnmatchcase(plain.casefold(), known.casefold()) for known in (file.name, *file.aliases)):
            if file.sha256 is None:
                return file, "unverified"
            raise CheckFailedError(
                f"{plain} is not the published file of {spec.name}: sha256 {sha256}, {file.sha256} expected.",
                remedy="To use it anyway, put it into ./data yourself; results will then say it is not verified.",
            )
    names = ", ".join(dict.fromkeys(file.name for file in spec.files))
    raise InputError(f"{plain} is no file of {spec.name}.", remedy=f"Its files are: {names}.")
