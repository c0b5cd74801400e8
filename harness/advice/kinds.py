"""Kinds of values in rule expressions, derived from the type annotations of the facts."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Scalar:
    """A single value: "true/false", "number", "text", or "none"."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Collection:
    """Several values of one kind."""

    element: Kind

    def __str__(self) -> str:
        return f"collection of {self.element}"


@dataclass(frozen=True)
class Table:
    """Values of one kind by key."""

    key: Kind
    value: Kind

    def __str__(self) -> str:
        return f"table of {self.value} by {self.key}"


@dataclass(frozen=True)
class Record:
    """A frozen dataclass of facts."""

    type: type

    def __str__(self) -> str:
        return self.type.__name__


Kind = Union[Scalar, Collection, Table, Record]  # noqa: UP007 - names classes defined above it

BOOL = Scalar("true/false")
NUMBER = Scalar("number")
TEXT = Scalar("text")
NONE = Scalar("none")

_SCALARS: dict[object, Kind] = {bool: BOOL, int: NUMBER, float: NUMBER, str: TEXT, type(None): NONE}


@cache
def fields_of(record: type) -> Mapping[str, Kind]:
    """Kind of each field of a dataclass that an expression may name; ``sources`` is evidence, not a fact."""
    hints = get_type_hints(record)
    return {item.name: kind_of(hints[item.name]) for item in fields(record) if item.name != "sources"}


def kind_of(annotation: Any) -> Kind:
    """Kind of a type annotation. ``T | None`` is a ``T`` that may be unknown.

    Raises:
        TypeError: an annotation that expressions cannot work with.
    """
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    if isinstance(annotation, type) and is_dataclass(annotation):
        return Record(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        known = {kind_of(argument) for argument in arguments if argument is not type(None)}
        if len(known) == 1:
            return known.pop()
    elif origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return Collection(kind_of(arguments[0]))
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        return Table(kind_of(arguments[0]), kind_of(arguments[1]))
    raise TypeError(f"no kind of value for the annotation {annotation!r}")
