"""Every data set by name: its published files, digests, addresses and terms, and the module that reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from harness.datasets.catalogue import DataFile, DatasetSpec, Download, Variant
from harness.datasets.store import Found, FoundFile, locate, located, plain_name
from harness.errors import InputError

if TYPE_CHECKING:
    from harness.datasets.recipe import Recipe

_PINNED_MEMBERS = {  # files of families (odds, adbench) whose sha256 is known
    "arrhythmia.mat": "e4d47e499591ae31e5d7f0cd983367092353eac240f48e14c9b36457edb3460d",
}
_NSL_KDD = "https://raw.githubusercontent.com/defcom17/NSL_KDD/master/"

SPECS: tuple[DatasetSpec, ...] = (
    DatasetSpec(
        name="nsl-kdd",
        title="NSL-KDD: connections of a simulated military network, KDDTrain+ and KDDTest+",
        module="nsl_kdd",
        variants=(
            Variant(
                "text",
                (
                    DataFile(
                        "KDDTrain+.txt",
                        sha256="1b86d2f957b33082081bba410fe129b475efebcc13c9014c3f447c8271aadf95",
                        size=19_109_424,
                        download=Download(
                            _NSL_KDD + "KDDTrain%2B.txt",
                            sha256="1b86d2f957b33082081bba410fe129b475efebcc13c9014c3f447c8271aadf95",
                            size=19_109_424,
                        ),
                    ),
                    DataFile(
                        "KDDTest+.txt",
                        sha256="fa46b0935342616aa83b7c2578db355b6a7aaabbc492248172c7a1e8b7ab8f84",
                        size=3_441_513,
                        download=Download(
                            _NSL_KDD + "KDDTest%2B.txt",
                            sha256="fa46b0935342616aa83b7c2578db355b6a7aaabbc492248172c7a1e8b7ab8f84",
                            size=3_441_513,
                        ),
                    ),
                ),
            ),
        ),
        publisher="https://www.unb.ca/cic/datasets/nsl.html",
        terms=None,
    ),
)


def spec(name: str) -> DatasetSpec:
    """The entry of a name such as ``nsl-kdd``; for a member of a family (``odds:arrhythmia``) with that member's files.

    Raises:
        InputError: no such data set, or the part after the colon is missing or not wanted.
    """
    base, _, parameter = name.partition(":")
    for entry in SPECS:
        if entry.name == base:
            if bool(parameter) != (entry.parameter is not None):
                form = f"{base}:{entry.parameter}" if entry.parameter else base
                raise InputError(f"Data set {name!r}: {form!r} expected.")
            return _of_member(entry, parameter) if parameter else entry
    near = get_close_matches(base, [entry.name for entry in SPECS], n=1)
    hint = f"Did you mean {near[0]!r}?" if near else "`lparbench data list` shows what there is."
    raise InputError(f"There is no data set {name!r}.", remedy=hint)


def recipe(entry: DatasetSpec) -> Recipe:
    """The recipe of an entry; its module, with pandas, is imported here and not before."""
    found: Recipe = import_module(f"harness.datasets.{entry.module}").RECIPE
    return found


def find(name: str, directories: Sequence[Path]) -> Found | None:
    """The files of a data set on this machine, or ``None``.

    Raises:
        InputError: no such data set, or a file of one's own (``csv:PATH``) that is not there.
    """
    entry = spec(name)
    if entry.variants:
        return locate(entry, directories)
    path = Path(name.partition(":")[2]).expanduser()
    if not path.is_file():
        raise InputError(f"{path} is not there, or is no file.")
    own = DataFile(path.name)
    return Found(Variant("own", (own,)), (FoundFile(own, path),))


def members(entry: DatasetSpec, directories: Sequence[Path]) -> tuple[str, ...]:
    """Names of the members of a family that are on this machine, as ``spec`` takes them."""
    names = set()
    for file in entry.files:
        start, _, end = file.name.partition("{}")
        for path in located(entry.name, file.name.replace("{}", "*"), directories):
            plain = plain_name(path)
            if plain.endswith(end):
                stem = plain.removesuffix(end)
                names.add(f"{entry.name}:{stem.partition('_')[2] if start and '_' in stem else stem}")
    return tuple(sorted(names))


def _of_member(entry: DatasetSpec, parameter: str) -> DatasetSpec:
    variants = tuple(
        replace(variant, files=tuple(_file_of_member(file, parameter) for file in variant.files))
        for variant in entry.variants
    )
    return replace(entry, variants=variants)


def _file_of_member(file: DataFile, parameter: str) -> DataFile:
    name = file.name.replace("{}", parameter)
    aliases = tuple(alias.replace("{}", parameter) for alias in file.aliases)
    return replace(file, name=name, aliases=aliases, sha256=_PINNED_MEMBERS.get(name))
