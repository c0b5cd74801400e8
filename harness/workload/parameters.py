"""Typed reading of parameters from outside (TOML, JSON, command line): one error naming the key, never a traceback."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

from harness.errors import InputError


def coerce(value: Any, hint: Any, where: str) -> Any:
    """``value`` as ``hint`` demands; an int stands for a float and a list for a tuple, as TOML and JSON have neither.

    Args:
        value: what the file or the caller gave.
        hint: a type: bool, int, float, str, None, Any, ``Literal``, unions, ``tuple[T, ...]`` and ``Mapping[str,
        T]``.
        where: how to name the value in the error, e.g. ``"nsl-kdd-mlp.toml: training.epochs"``.

    Raises:
        InputError: the value is of another type.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin is Literal:
        if value in arguments and type(value) in {type(argument) for argument in arguments}:
            return value
        expected = ", ".join(repr(argument) for argument in arguments)
        raise InputError(f"{where} is {value!r}; expected one of {expected}.")
    if origin in (Union, types.UnionType):
        return _coerce_union(value, arguments, where)
    if origin is tuple:
        return _coerce_tuple(value, arguments, where)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise _wrong(value, "a table", where)
        return {key: coerce(item, arguments[1], f"{where}.{key}") for key, item in value.items()}
    if hint is float and type(value) in (int, float):
        return float(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    if hint is type(None) and value is None:
        return None
    raise _wrong(value, getattr(hint, "__name__", str(hint)), where)


def _coerce_union(value: Any, arguments: tuple[Any, ...], where: str) -> Any:
    for argument in arguments:
        try:
            return coerce(value, argument, where)
        except InputError:
            continue
    names = ("nothing" if item is type(None) else getattr(item, "__name__", str(item)) for item in arguments)
    expected = " or ".join(names)
    raise _wrong(value, expected, where)


def _coerce_tuple(value: Any, arguments: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(value, "a list", where)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(coerce(item, arguments[0], f"{where}[{index}]") for index, item in enumerate(value))
    if len(value) != len(arguments):
        raise _wrong(value, f"a list of {len(arguments)}", where)
    return tuple(coerce(item, hint, where) for item, hint in zip(value, arguments, strict=True))


def _wrong(value: Any, expected: str, where: str) -> InputError:
    return InputError(f"{where} is {value!r} ({type(value).__name__}); expected {expected}.")
