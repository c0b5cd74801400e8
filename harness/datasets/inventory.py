"""Which published files are on this machine, whether they are the published ones, and taking in one that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from harness.datasets import registry
from harness.datasets.catalogue import DataFile, DatasetSpec, Variant
from harness.datasets.download import put, unpack
from harness.datasets.published import SPECS
from harness.datasets.store import Found, digest, found_in, plain_name
from harness.errors import CheckFailedError, InputError

Status = Literal["verified", "unverified", "different", "unreadable"]
_STATUS: dict[bool | None, Status] = {True: "verified", None: "unverified", False: "different"}


@dataclass(frozen=True)
class Holding:
    """A data set and what of it is here."""

    name: str
    spec: DatasetSpec
    found: Found | None


@dataclass(frozen=True)
class FileCheck:
    """One file, digested. ``status`` is ``different`` when a pinned sha256 says otherwise."""

    name: str
    path: Path
    status: Status
    sha256: str | None
    expected: str | None
    problem: str | None = None


def holdings(directories: Sequence[Path]) -> tuple[Holding, ...]:
    """Every data set of the registry; families such as ``odds`` with one entry per member that is here."""
    entries: list[Holding] = []
    for spec in SPECS:
        if not spec.variants:
            continue
        members = registry.members(spec, directories) if spec.parameter else ()
        if not members:
            name = f"{spec.name}:{spec.parameter}" if spec.parameter else spec.name
            found = None if spec.parameter else registry.find(spec.name, directories)
            entries.append(Holding(name, spec, found))
        entries.extend(Holding(name, spec, registry.find(name, directories)) for name in members)
    return tuple(entries)


def check(found: Found) -> tuple[FileCheck, ...]:
    """Digest every file of a data set; an unreadable one is a result, not an error."""
    checks = []
    for entry in found.files:
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
    found = found_in(folder, Variant("any", files, "any"))
    if found is None:
        return {}
    judged = zip(found.files, check(found), strict=True)
    return {entry.file.name: one.path for entry, one in judged if one.status == "verified"}


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
    target = folder / ((plain if "*" in file.name else file.name) + packing)
    put(source, target)
    return FileCheck(target.name, target, status, sha256, file.sha256)


def _recognised(spec: DatasetSpec, plain: str, sha256: str) -> tuple[DataFile, Status]:
    for file in spec.files:
        if file.judge(sha256):
            return file, "verified"
    for file in spec.files:
        if any(fnmatch(plain, known) for known in (file.name, *file.aliases)):
            if file.sha256 is None:
                return file, "unverified"
            raise CheckFailedError(
                f"{plain} is not the published file of {spec.name}: sha256 {sha256}, {file.sha256} expected.",
                remedy="To use it all the same, put it into ./data yourself; results will then say it is not verified.",
            )
    names = ", ".join(file.name for file in spec.files)
    raise InputError(f"{plain} is no file of {spec.name}.", remedy=f"Its files are: {names}.")
