"""Typed reading of the tables in ``sysconfig``: every error names the file, the key, and what was expected there."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.content import content_dir
from harness.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Table:
    """One TOML table, with the file and the key it stands at."""

    def __init__(self, values: Mapping[str, Any], file: Path, key: str = "") -> None:
        self._values = values
        self._file = file
        self._key = key

    def text(self, name: str) -> str:
        """A string that is not empty."""
        value = self._required(name)
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(name, "a text", value)
        return value

    def integer(self, name: str) -> int:
        """A positive whole number."""
        value = self._required(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.wrong(name, "a positive whole number", value)
        return value

    def number(self, name: str) -> float:
        """A positive number."""
        value = self._required(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
            raise self.wrong(name, "a positive number", value)
        return float(value)

    def numbers(self, name: str) -> dict[str, float]:
        """A table of positive numbers."""
        table = self.table(name)
        return {key: table.number(key) for key in table.keys()}  # noqa: SIM118 - not a mapping

    def integers(self, name: str) -> tuple[int, ...]:
        """A list of positive whole numbers, at least one."""
        value = self._required(name)
        if not isinstance(value, list) or not value or not all(type(item) is int and item > 0 for item in value):
            raise self.wrong(name, "a list of positive whole numbers", value)
        return tuple(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings, which may be empty."""
        value = self._required(name)
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise self.wrong(name, "a list of texts", value)
        return tuple(value)

    def ranges(self, name: str) -> tuple[tuple[int, int], ...]:
        """A list of ``[low, high]`` pairs."""
        value = self._required(name)
        if not isinstance(value, list) or not all(
            isinstance(item, list) and len(item) == 2 and all(type(end) is int for end in item) and item[0] <= item[1]
            for item in value
        ):
            raise self.wrong(name, "a list of [low, high] pairs", value)
        return tuple((item[0], item[1]) for item in value)

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self._required(name)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false", value)
        return value

    def table(self, name: str) -> Table:
        """A table inside this one."""
        value = self._required(name)
        if not isinstance(value, dict):
            raise self.wrong(name, "a table", value)
        return Table(value, self._file, f"{self._key}{name}.")

    def tables(self, name: str) -> Iterator[Table]:
        """The tables of an array ``[[name]]``, at least one."""
        value = self._required(name)
        if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
            raise self.wrong(name, f"one or more [[{self._key}{name}]] tables", value)
        for index, item in enumerate(value):
            yield Table(item, self._file, f"{self._key}{name}[{index}].")

    def has(self, name: str) -> bool:
        """Whether the key is there."""
        return name in self._values

    def keys(self) -> tuple[str, ...]:
        """The keys of the table."""
        return tuple(self._values)

    def only(self, *names: str) -> None:
        """Refuse keys that nothing reads: a misspelt one would silently count for nothing.

        Raises:
            InputError: naming the key and the ones that are known.
        """
        for key in self._values:
            if key not in names:
                raise InputError(
                    f"{self._file}: unknown key {self._key}{key}.", remedy=f"Known there: {', '.join(names)}."
                )

    def wrong(self, name: str, expected: str, value: object) -> InputError:
        """The error for a value that is not what was expected."""
        return InputError(f"{self._file}: {self._key}{name} must be {expected}, not {value!r}.")

    def _required(self, name: str) -> Any:
        if name not in self._values:
            raise InputError(f"{self._file}: {self._key}{name} is missing.")
        return self._values[name]


def load(path: Path) -> Table:
    """One TOML file.

    Raises:
        InputError: it cannot be read or is not TOML; the message has the line.
    """
    try:
        return Table(tomllib.loads(path.read_text(encoding="utf-8")), path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not TOML: {error}.") from error


def files(folder: str) -> tuple[Path, ...]:
    """The TOML files of a folder of ``sysconfig``, by name."""
    return tuple(sorted((content_dir("sysconfig") / folder).glob("*.toml")))
