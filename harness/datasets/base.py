"""From a name to an ``EncodedDataset``: find, read or synthesise, and encode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from harness.datasets import registry
from harness.datasets.catalogue import Variant
from harness.datasets.encoded import EncodedDataset, Protocol, Synthetic
from harness.datasets.locate import search_directories
from harness.datasets.pipeline import encode, test_rows
from harness.datasets.recipe import Reading, Recipe, Request
from harness.datasets.store import Found
from harness.errors import InputError


def load(
    name: str,
    *,
    protocol: Protocol = "clean",
    directory: Path | None = None,
    options: Mapping[str, Any] | None = None,
    synthetic: Synthetic = "when-missing",
) -> EncodedDataset:
    """Read, split and encode a data set.

    Args:
        name: a name of the registry (``nsl-kdd``), or ``csv:PATH`` / ``parquet:PATH`` for a file of one's own.
        protocol: ``clean`` fits everything on training rows; ``as-published`` repeats the source document, leaks and
            all.
        directory: searched before ``LPARBENCH_DATA``, ``./data`` and the user cache.
        options: the ``[dataset_options]`` table of a workload file; see ``harness.datasets.options``.
        synthetic: whether a stand-in of the same schema may take the place of files that are not there.

    Raises:
        InputError: unknown name or option; broken file; files missing while ``synthetic`` is ``never``.
    """
    recipe, request, files = _source(name, protocol, directory, options or {}, synthetic)
    if files is not None:
        reading = recipe.read(files, request)
        encoded = encode(reading.split, request)
        return replace(
            encoded,
            origin="real",
            sha256=reading.digests,
            file_columns=recipe.file_columns,
            verified=reading.verified,
            notes=(*_provenance(reading, files.variant), *encoded.notes),
        )
    # A stand-in is what its process made it, so that nothing about it is suspicious.
    return replace(encode(recipe.synthesise(request), request, real=False), file_columns=recipe.file_columns)


def count_test_rows(
    name: str,
    *,
    protocol: Protocol = "clean",
    directory: Path | None = None,
    options: Mapping[str, Any] | None = None,
    synthetic: Synthetic = "when-missing",
) -> int:
    """How many test rows :func:`load` gives.

    Args:
        name, protocol, directory, options, synthetic: as :func:`load` takes them.

    Raises:
        InputError: as :func:`load` does.
    """
    recipe, request, files = _source(name, protocol, directory, options or {}, synthetic)
    split = recipe.synthesise(request) if files is None else recipe.read(files, request).split
    return test_rows(split, request)


def _source(
    name: str, protocol: Protocol, directory: Path | None, options: Mapping[str, Any], synthetic: Synthetic
) -> tuple[Recipe, Request, Found | None]:
    """How a data set is read, what is asked of it, and its files; None for a stand-in."""
    if protocol not in get_args(Protocol):
        raise InputError(f"Protocol {protocol!r} is unknown; {' or '.join(get_args(Protocol))} expected.")
    request = Request(name, protocol, registry.resolve_options(name, protocol, options))
    form = request.options["form"]
    match synthetic:
        case "always":
            files = None
        case "never":
            files = registry.require(name, directory, form)
        case "when-missing":
            files = registry.find(name, search_directories(directory), form)
    return registry.recipe(registry.spec(name)), request, files


def _provenance(reading: Reading, form: Variant) -> tuple[str, ...]:
    notes = () if form.note is None else (form.note,)
    if reading.verified is False:
        return (
            *notes,
            "The files bear the published names but are not the published files: their sha256 differ from the pinned "
            "ones, so figures do not compare with published ones.",
        )
    if reading.verified is None and form.files and form.name != registry.OWN:
        return (*notes, "Unverified: no sha256 of the published files is known to compare with.")
    return notes
