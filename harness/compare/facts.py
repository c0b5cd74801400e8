"""Facts of an environment, flat: dotted names and their values, and how those of two sides stand to each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from harness.decode import encode

FactValue = bool | int | float | str | tuple[bool | int | float | str | None, ...] | None
Facts = Mapping[str, FactValue]  # dotted name ("libraries.torch") -> value; None: not known


def conflict(a: FactValue, b: FactValue) -> bool:
    """Whether two values of a fact contradict each other; what is not known contradicts nothing."""
    return a is not None and b is not None and a != b


def conflicts(a: Facts, b: Facts) -> list[str]:
    """Names of the facts in which two sides contradict each other."""
    return [name for name, value in a.items() if conflict(value, b.get(name))]


def merged(a: Facts, b: Facts) -> Facts:
    """All that either knows, ``a`` first."""
    return {**b, **{name: value for name, value in a.items() if value is not None or name not in b}}


def facts_of(value: Any) -> dict[str, FactValue]:
    """The leaves of a dataclass or of JSON values by their dotted names; a list of texts or numbers is a leaf."""
    return dict(_leaves("", encode(value)))


def _leaves(name: str, value: Any) -> Iterable[tuple[str, FactValue]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(f"{name}.{key}" if name else str(key), item)
    elif isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        for index, item in enumerate(value):
            yield from _leaves(f"{name}[{index}]", item)
    else:
        yield name, tuple(value) if isinstance(value, list) else value
