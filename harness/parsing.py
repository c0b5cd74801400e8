"""TOML and JSON files as plain values: strict, and bounded in size and depth, whatever the file holds."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

from harness.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_DEEPEST = 64  # lists and tables in one another
_TOML_BYTES = 1 << 20
_JSON_BYTES = 1 << 28
_TOO_DEEP = f"lists or tables are nested more than {_DEEPEST} deep"
_SCALARS = frozenset({int, float, bool, str, type(None)})


def read_toml(path: Path) -> dict[str, Any]:
    """The table in a TOML file.

    Raises:
        InputError: it cannot be read, or is not TOML; names the line.
    """
    text = read_text(path, _TOML_BYTES)
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise InputError(f"{path}: {_TOO_DEEP}.", remedy="Write it with fewer levels.") from None
    except ValueError as error:  # also a number of more digits than Python converts
        raise InputError(f"{path}: not TOML: {error}.", remedy="Correct that line.") from error
    if not _is_shallow(table):
        raise InputError(f"{path}: {_TOO_DEEP}.", remedy="Write it with fewer levels.")
    return table


def read_json(path: Path) -> Any:
    """What a JSON file holds; NaN, infinity and a key twice in an object are refused.

    Raises:
        InputError: it cannot be read, or is not JSON; names line and column.
    """
    return parse_json(read_text(path, _JSON_BYTES), str(path))


def parse_json(text: str, where: str) -> Any:
    """Strict JSON; see :func:`read_json`.

    Raises:
        InputError: what is wrong, with line and column where the parser knows them.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_unique_keys)
        if _is_shallow(value):
            return value
        problem = _TOO_DEEP
    except json.JSONDecodeError as error:
        problem = f"line {error.lineno} column {error.colno}: {error.msg}"
    except RecursionError:
        problem = _TOO_DEEP
    except ValueError as error:  # also an integer of more digits than Python converts
        problem = str(error)
    raise InputError(f"{where}: not JSON: {problem}.", remedy="The file is damaged or cut short: copy it again.")


def read_text(path: Path, most: int) -> str:
    """A file's text; see :func:`read_content`.

    Raises:
        InputError: it cannot be read, is larger, or is not UTF-8.
    """
    try:
        return read_content(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8.", remedy="Save it as UTF-8.") from None


def read_content(path: Path, most: int) -> bytes:
    """What a file holds; one that may have no end, such as a device, is read as far as a sound one could go.

    A pipe that nobody writes to is empty, and not waited for.

    Args:
        path: the file.
        most: bytes that a sound one has.

    Raises:
        InputError: it cannot be read, or is larger.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(handle, True)
        with os.fdopen(handle, "rb") as stream:
            content = stream.read(most + 1)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.", remedy="Check the path.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}.", remedy="Check its permissions.") from error
    if len(content) > most:
        raise InputError(f"{path}: larger than {most >> 20} MiB, which no such file is.", remedy="Check the path.")
    return content


def _is_shallow(value: Any) -> bool:
    """Whether lists and tables are in one another no deeper than anything that recurs over them can take."""
    level = [value]
    for _ in range(_DEEPEST):
        inner = (item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list))
        level = [each for items in inner if not set(map(type, items)) <= _SCALARS for each in items]
        if not level:
            return True
    return not any(isinstance(item, dict | list) for item in level)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a finite number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large for a finite number")
    return number


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} appears twice in one object")
    return unique
