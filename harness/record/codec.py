"""Between the dataclasses of a run and JSON text: same record, same bytes."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from harness.record.model import Run
from harness.record.sweep_model import Sweep

DIGEST = "digest"  # key of the digest in a record
_SCALARS = frozenset({int, float, bool, str, NoneType})


class NotJsonError(ValueError):
    """A value or a text that has no place in a record; the message names where it is."""


def to_json(record: Run | Sweep) -> dict[str, Any]:
    """The record as JSON types only: keys of the model in its order, keys of free-form objects sorted.

    Raises:
        NotJsonError: a float that is not finite, a key that is not text, or a value of another type; names its path.
    """
    document = _plain(record, "")
    if not isinstance(document, dict):
        raise TypeError(f"expected a record, got {type(record).__name__}")
    return document


def from_json(document: Mapping[str, Any]) -> Run:
    """The record from JSON that holds to the schema (``harness.record.schema.check``)."""
    run = _build(Run, document)
    if not isinstance(run, Run):
        raise TypeError("expected a JSON object")
    return run


def sweep_from_json(document: Mapping[str, Any]) -> Sweep:
    """The sweep from JSON that holds to the schema (``harness.record.schema.check_sweep``)."""
    sweep = _build(Sweep, document)
    if not isinstance(sweep, Sweep):
        raise TypeError("expected a JSON object")
    return sweep


def dumps(document: Any) -> str:
    """Indented JSON text in which a list of numbers or texts takes one line, however long it is."""
    return "".join(_lines(document, "")) + "\n"


def digest_of(document: Mapping[str, Any]) -> str:
    """Digest of a JSON object, whatever its layout, without the one that it may hold under ``digest``.

    A bit that flips on a disk or in a mail can leave a record that looks sound and says something else.
    """
    content = {key: value for key, value in document.items() if key != DIGEST}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"sha256:{hashlib.sha256(text.encode('ascii')).hexdigest()}"


def check_digest(document: Any) -> None:
    """See that a JSON object is what was written, where it tells its digest.

    Raises:
        NotJsonError: it is not.
    """
    if not isinstance(document, dict) or DIGEST not in document:
        return
    try:
        found = digest_of(document)
    except (ValueError, RecursionError) as error:  # a NaN, or nesting that cannot be written again
        raise NotJsonError(f"it has no digest: {error}") from error
    if document[DIGEST] != found:
        raise NotJsonError("its content does not match its digest, so it was damaged or edited")


def loads(text: str) -> Any:
    """Parse strict JSON: no NaN or infinity in any spelling, no key twice in an object.

    Raises:
        NotJsonError: what is wrong, with line and column where the parser knows them.
    """
    try:
        return json.loads(
            text, parse_constant=_refuse_constant, parse_float=_finite_float, object_pairs_hook=_unique_keys
        )
    except json.JSONDecodeError as error:
        raise NotJsonError(f"line {error.lineno} column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise NotJsonError("objects are nested too deeply") from error
    except NotJsonError:
        raise
    except ValueError as error:  # an integer of more digits than Python converts
        raise NotJsonError(str(error)) from error


def _plain(value: Any, path: str) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name), _join(path, f.name)) for f in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise NotJsonError(f"{path}: key {key!r} is not text")
        return {key: _plain(value[key], _join(path, key)) for key in sorted(value)}
    if isinstance(value, list | tuple):
        if set(map(type, value)) <= {int, bool, str, NoneType}:  # a million samples must not be walked one by one
            return list(value)
        return [_plain(item, f"{path}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotJsonError(f"{path}: {value} is not a finite number")
        return float(value)  # numpy.float64 is a float with another repr
    if type(value) in _SCALARS:
        return value
    raise NotJsonError(f"{path}: {type(value).__name__} is not a JSON type")


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _lines(value: Any, indent: str) -> list[str]:
    inner = indent + "  "
    if isinstance(value, dict) and value:
        parts: list[str] = []
        for key, item in value.items():
            parts += [",\n" if parts else "{\n", inner, json.dumps(key, ensure_ascii=False), ": ", *_lines(item, inner)]
        return [*parts, "\n", indent, "}"]
    if isinstance(value, list) and value and not set(map(type, value)) <= _SCALARS:
        parts = []
        for item in value:
            parts += [",\n" if parts else "[\n", inner, *_lines(item, inner)]
        return [*parts, "\n", indent, "]"]
    return [json.dumps(value, ensure_ascii=False, allow_nan=False)]


def _refuse_constant(name: str) -> float:
    raise NotJsonError(f"{name} is not a finite number")


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise NotJsonError(f"{text} is too large for a finite number")
    return number


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise NotJsonError(f"key {twice!r} appears twice in one object")
    return unique


@lru_cache(maxsize=64)
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _build(hint: Any, value: Any) -> Any:
    origin = get_origin(hint)
    if origin is Union or origin is UnionType:
        if value is None:
            return None
        return _build(next(arg for arg in get_args(hint) if arg is not NoneType), value)
    if origin is tuple:
        item = get_args(hint)[0]
        return tuple(value) if item in (int, str) else tuple(_build(item, entry) for entry in value)
    if origin is dict:
        item = get_args(hint)[1]
        return dict(value) if item in (Any, int, str) else {key: _build(item, value[key]) for key in value}
    if hint is float:
        return float(value)
    if isinstance(hint, type) and is_dataclass(hint):
        hints = _hints(hint)
        known = {
            f.name: _build(hints[f.name], value[f.name])
            for f in fields(hint)
            if f.name in value or (f.default is MISSING and f.default_factory is MISSING)
        }
        return hint(**known)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    return value
