"""Data sets by name: what is known of their files, where those lie here, and the module that reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from harness.datasets.catalogue import DataFile, DatasetSpec, Variant, specs
from harness.datasets.options import COMMON, resolve
from harness.datasets.store import Found, FoundFile, locate, located, plain_name
from harness.errors import InputError, unknown

if TYPE_CHECKING:
    from harness.datasets.encoded import Protocol
    from harness.datasets.recipe import Recipe


def spec(name: str) -> DatasetSpec:
    """The entry of a name such as ``nsl-kdd``; for a member of a family (``odds:arrhythmia``) with that member's files.

    Raises:
        InputError: no such data set, or the part after the colon is missing or not wanted.
    """
    base, _, parameter = name.partition(":")
    for entry in specs():
        if entry.name == base:
            if bool(parameter) != (entry.parameter is not None):
                form = f"{base}:{entry.parameter}" if entry.parameter else base
                raise InputError(f"Data set {name!r}: {form!r} expected.")
            return _of_member(entry, parameter) if parameter and entry.variants else entry
    raise unknown("data set", name, [entry.name for entry in specs()], see="See: lparbench data list")


def recipe(entry: DatasetSpec) -> Recipe:
    """The recipe of an entry; its module, with pandas, is imported here and not before."""
    loaded: Recipe = resolve_name(f"harness.datasets.{entry.recipe}")
    return loaded


def default_encoding(name: str) -> str:
    """How the columns of a data set become numbers when nobody asks for anything else, whatever the protocol.

    Raises:
        InputError: no such data set.
    """
    default: str = {**COMMON, **recipe(spec(name)).options}["encoding"].default
    return default


def resolve_options(name: str, protocol: Protocol, given: Mapping[str, Any]) -> dict[str, Any]:
    """The value of every option of a data set under a protocol; see ``harness.datasets.options.resolve``.

    Raises:
        InputError: no such data set, an option that it does not have, or a value that the option does not take.
    """
    reader = recipe(spec(name))
    presets = reader.published if protocol == "as-published" else {}
    return resolve(name, given, {**COMMON, **reader.options}, presets)


def find(name: str, directories: Sequence[Path]) -> Found | None:
    """The files of a data set on this machine, or ``None``.

    Raises:
        InputError: no such data set, or a file of one's own (``csv:PATH``) that is not there.
    """
    entry = spec(name)
    if entry.variants and not entry.files:
        return Found(entry.variants[0], ())  # it comes with a library
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
    if not re.fullmatch(r"[\w.+-]+", parameter):
        raise InputError(
            f"Data set '{entry.name}:{parameter}': a name of letters, digits, '.', '+', '-', '_' expected."
        )

    def of_member(file: DataFile) -> DataFile:
        name = file.name.replace("{}", parameter)
        aliases = tuple(alias.replace("{}", parameter) for alias in file.aliases)
        return replace(file, name=name, aliases=aliases, sha256=entry.member_sha256.get(name))

    variants = [replace(variant, files=tuple(map(of_member, variant.files))) for variant in entry.variants]
    return replace(entry, variants=tuple(variants))
