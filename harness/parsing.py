"""TOML and JSON files as plain values: strict, and bounded in size and depth, whatever the file holds."""

from __future__ import annotations

import json
import math
import os
import re
import stat
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from harness.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_DEEPEST = 64  # lists and tables in one another
_TOML_BYTES = 1 << 20
_DOTS = 256  # in a line of TOML
_JSON_BYTES = 1 << 28
_JSON_TABLES = 1 << 22  # lists and tables of a file
_JSON_VALUES = 1 << 25
_SHOWN = 200  # characters of a key in an error
_TOO_DEEP = f"lists or tables are nested more than {_DEEPEST} deep"
_YAML_MARK = re.compile(r"---|- ")  # of a document or a list
_YAML_KEY = re.compile(r"[^\s=\[\]{}\"':#]+:(\s|$)")
_SCALARS = frozenset({int, float, bool, str, type(None)})


def read_toml(path: Path) -> dict[str, Any]:
    """The table in a TOML file.

    Raises:
        InputError: it cannot be read, or is not TOML; names the line.
    """
    text = read_text(path, _TOML_BYTES)
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") > _DOTS:  # a dotted key takes time by the square of its parts
            raise InputError(f"{path}: line {number} has more than {_DOTS} dots.", remedy="Write it in several lines.")
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise InputError(f"{path}: {_TOO_DEEP}.", remedy="Write it with fewer levels.") from None
    except ValueError as error:  # also a number of more digits than Python converts
        at = yaml_line(text)
        if at is not None:
            remedy = "Write KEY = VALUE below a [TABLE]; see https://toml.io."
            raise InputError(f"{path}: line {at}: this is YAML, and TOML is expected.", remedy=remedy) from error
        if text.lstrip().startswith("{"):
            raise InputError(f"{path}: this is JSON, and TOML is expected.", remedy="Check the path.") from error
        raise InputError(f"{path}: not TOML: {error}.", remedy="Correct that line.") from error
    if not _is_shallow(table):
        raise InputError(f"{path}: {_TOO_DEEP}.", remedy="Write it with fewer levels.")
    return table


def yaml_line(text: str) -> int | None:
    """Number of the first line that says something, where that and the next are YAML; None where they are not."""
    numbered = enumerate(text.split("\n"), 1)
    lines = ((number, line) for number, line in numbered if line.strip() and not line.lstrip().startswith("#"))
    number, first = next(lines, (0, ""))
    _, second = next(lines, (0, ""))
    if _YAML_MARK.match(first) or (
        _YAML_KEY.match(first) and (second.startswith((" ", "-")) or _YAML_KEY.match(second))
    ):
        return number
    return None


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
    bounded(text, where)
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


def bounded(text: str, where: str) -> str:
    """JSON that takes no more memory than a sound file: an empty list takes a hundred times what it is written in.

    Raises:
        InputError: it has more characters, lists and tables, or values.
    """
    if len(text) > _JSON_BYTES:
        raise _too_large(where, _JSON_BYTES)
    if text.count("[") + text.count("{") > _JSON_TABLES or text.count(",") > _JSON_VALUES:
        most = f"{_JSON_TABLES:,} lists and tables or {_JSON_VALUES:,} values"
        raise InputError(f"{where}: more than {most}, which no such file has.", remedy="Check the path.")
    return text


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

    A pipe that nobody writes to is not waited for.

    Args:
        path: the file.
        most: bytes that a sound one has.

    Raises:
        InputError: it cannot be read, is larger, or is a pipe that nothing comes from.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(handle, True)
        with os.fdopen(handle, "rb") as stream:
            content = stream.read(most + 1)
            silent = not content and stat.S_ISFIFO(os.fstat(handle).st_mode)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.", remedy="Check the path.") from None
    except OSError as error:
        remedy = "A file is expected." if isinstance(error, IsADirectoryError) else "Check its permissions."
        raise InputError(f"{path}: cannot be read: {error.strerror}.", remedy=remedy) from error
    if silent:
        raise InputError(f"{path}: a pipe that nothing comes from.", remedy="Start what writes to it first.")
    if len(content) > most:
        raise _too_large(path, most)
    return content


def _too_large(where: Path | str, most: int) -> InputError:
    return InputError(f"{where}: larger than {most >> 20} MiB, which no such file is.", remedy="Check the path.")


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
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise ValueError(f"key {twice[:_SHOWN]!r} appears twice in one object")
    return unique
