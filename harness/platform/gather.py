"""A group of facts while it is being collected: values, each kept together with where it came from."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


class Gathered:
    """Sources by field name; a value without content leaves none."""

    def __init__(self) -> None:
        self.sources: dict[str, str] = {}

    def note(self, field: str, value: T, source: str) -> T:
        """Remember where ``field`` was read, unless ``value`` is ``None``, and hand the value through."""
        if value is not None:
            self.sources[field] = source
        return value

    def first(self, field: str, *candidates: tuple[T | None, str]) -> T | None:
        """The first known value of ``(value, source)`` pairs in order of trust, its source remembered."""
        for value, source in candidates:
            if value is not None:
                return self.note(field, value, source)
        return None
