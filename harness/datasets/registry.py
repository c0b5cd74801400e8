"""Data sets by name: what is known of their files, where those lie here, and the module that reads them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from harness.datasets.catalogue import DataFile, DatasetSpec, Variant, specs
from harness.datasets.locate import (
    COLUMNAR,
    TABLES,
    WORKBOOKS,
    locate,
    own_files,
    own_tables,
    search_directories,
    surroundings,
)
from harness.datasets.options import COMMON, resolve
from harness.datasets.packed import SUFFIXES, plain_name
from harness.datasets.store import Found
from harness.errors import InputError, unknown

if TYPE_CHECKING:
    from harness.datasets.encoded import Protocol
    from harness.datasets.recipe import Recipe

OWN = "own"  # name of the form of a file of one's own
_OWN_KINDS = ("csv", "parquet")


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
    see = "See: lparbench data list"
    there = os.path.isfile(name)  # noqa: PTH113 - false of a name that no path can have
    if there or Path(name).suffix.lower() in (*TABLES, *SUFFIXES):
        kind = "parquet" if COLUMNAR & {suffix.lower() for suffix in Path(name).suffixes} else "csv"
        raise InputError(
            f"{name!r} is the name of a file; that of a data set was expected.",
            remedy=f"A file of your own: {kind}:{name}",
        )
    raise unknown("data set", name, [entry.name for entry in specs()], see=see)


def is_own_table(name: str) -> bool:
    """Whether a name is that of a file of the user's: ``csv:PATH`` or ``parquet:PATH``."""
    return name.partition(":")[0] in _OWN_KINDS


def draws_test_rows(name: str, protocol: Protocol, given: Mapping[str, Any]) -> bool:
    """Whether each seed gives a split of its own, as far as that is known without the files.

    Raises:
        InputError: no such data set.
    """
    return spec(name).drawn and protocol == "clean" and not given.get("time") and not given.get("test_files")


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


def find(name: str, directories: Sequence[Path], form: str | None = None) -> Found | None:
    """The files of a data set on this machine, or ``None``.

    Args:
        name: as `spec` takes it.
        directories: searched in this order.
        form: name of the published form (`Variant`) to take; the first that is here when ``None``.

    Raises:
        InputError: no such data set or form, or a file of one's own (``csv:PATH``) that is not there.
    """
    entry = spec(name)
    if entry.variants and not entry.files:
        return Found(entry.variants[0], ())  # it comes with a library
    if entry.variants:
        forms = [variant.name for variant in entry.variants]
        if form is not None and form not in forms:
            raise InputError(f"Data set {name} has no form {form!r}.", remedy=f"Its forms: {', '.join(forms)}.")
        return locate(entry, directories, form)
    own = own_tables(name.partition(":")[2])
    return Found(Variant(OWN, tuple(file.file for file in own)), own)


def require(name: str, directory: Path | None, form: str | None = None) -> Found:
    """The files of a data set that must be on this machine.

    Raises:
        InputError: they are not here: which files were looked for, where, and what lies there.
    """
    directories = search_directories(directory)
    local = find(name, directories, form)
    if local is not None:
        return local
    entry = spec(name)
    forms = [variant for variant in entry.variants if form in (None, variant.name)]
    wanted = ", ".join(file.name for file in forms[0].files)
    others = f" Other forms: {', '.join(variant.name for variant in forms[1:])}." if forms[1:] else ""
    there, near_files = surroundings(entry, directories)
    family = next(known for known in specs() if known.name == entry.name)
    near = get_close_matches(name, members(family, directories), n=1) if entry.parameter else ()
    hints = [f"Did you mean {near[0]}?"] if near else []
    sheets = [file for file in near_files if Path(file).suffix.lower() in WORKBOOKS]
    hints += [f"{sheets[0]} is a workbook, which is not read: save its sheet as CSV."] if sheets else []
    others_near = [file for file in near_files if file not in sheets]
    hints += [f"Is {', '.join(others_near)} one of them? Rename it."] if others_near and not near else []
    raise InputError(
        f"Data set {name} is not here: {wanted} not found in {', '.join(map(str, directories))}."
        + (f" There: {there}." if there else "")
        + others,
        remedy=" ".join(
            (
                *hints,
                f"`lparbench data get {name}` downloads it or says from where; "
                f"`lparbench data import {name} FILE` takes a file you have; `run --synthetic` uses a stand-in.",
            )
        ),
    )


def members(entry: DatasetSpec, directories: Sequence[Path]) -> tuple[str, ...]:
    """Names of the members of a family that are on this machine, as ``spec`` takes them."""
    names = set()
    for path in own_files(entry, directories):
        plain = plain_name(path)
        for file in entry.files:
            end = file.name.removeprefix("{}")
            if plain.endswith(end):
                stem = plain.removesuffix(end)
                names.add(f"{entry.name}:{re.sub(r'^[0-9]+_', '', stem) if file.aliases else stem}")
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
