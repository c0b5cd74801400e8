"""How many test rows a data set has at most, known without reading its rows: what is above that is refused at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.datasets import registry
from harness.datasets.encoded import Synthetic
from harness.datasets.locate import own_tables, search_directories
from harness.datasets.packed import container_of
from harness.datasets.store import BLOCK_BYTES, Found, opened
from harness.errors import InputError

_MOST_BYTES = 64 << 20  # of content whose lines are counted
# Options that leave the test rows of a stand-in as many, or take some of them.
_NO_MORE = frozenset({
    "classes", "deduplicate", "drop", "encoding", "refit", "rows", "scaler_rows", "test_classes", "train_classes",
    "train_rows", "validation",
})  # fmt: skip
_FEWER = frozenset({"rows", "test_classes"})  # of these, those that take some


def most_test_rows(
    name: str, options: Mapping[str, Any], *, directory: Path | None, synthetic: Synthetic = "when-missing"
) -> int | None:
    """An upper bound of the test rows: the rows of the stand-in, or the lines of the files; None where none is known.

    Args:
        name, options, directory, synthetic: as ``harness.datasets.base.load`` takes them.

    Raises:
        InputError: no such data set or form, or a file of one's own that is not there.
    """
    local = _files(name, options, directory, synthetic)
    if local is None:
        rows = registry.spec(name).stand_in
        return None if rows is None else rows.test if options.keys() <= _NO_MORE else rows.all
    test_files = options.get("test_files")
    files = own_tables(str(test_files)) if test_files else local.files
    return _lines([file.path for file in files if file.file.tests] or [file.path for file in files])


def stand_in_test_rows(
    name: str, options: Mapping[str, Any], *, directory: Path | None, synthetic: Synthetic = "when-missing"
) -> int | None:
    """The test rows of a stand-in under the clean protocol, as :func:`most_test_rows`; None where it must be made to
    know, and for files.
    """
    rows = registry.spec(name).stand_in
    if rows is None or not options.keys() <= _NO_MORE - _FEWER or _files(name, options, directory, synthetic):
        return None
    return rows.test


def _files(name: str, options: Mapping[str, Any], directory: Path | None, synthetic: Synthetic) -> Found | None:
    form = options.get("form")
    if synthetic == "always":
        return None
    return registry.find(name, search_directories(directory), form if isinstance(form, str) else None)


def _lines(paths: Iterable[Path]) -> int | None:
    """Lines of text files, compressed or not; None where one is no text, is broken, or there is too much of it."""
    lines, left, block = 0, _MOST_BYTES, b""
    buffer = bytearray(BLOCK_BYTES)
    with suppress(InputError):
        for path in paths:
            if container_of(path).stat().st_size > left:
                return None
            with opened(path) as reader:
                while read := reader.readinto(buffer):
                    block, left = bytes(buffer[:read]), left - read
                    if left < 0 or b"\0" in block:
                        return None
                    lines += block.count(b"\n")
            lines += not block.endswith(b"\n")  # the last one may have no end
        return lines or None
    return None
