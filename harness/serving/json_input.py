"""JSON of a request, checked: what does not fit is named by its JSON path."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from harness.serving.exchange import HttpError

try:
    _quick: Callable[[bytes], Any] | None = import_module("orjson").loads
except ImportError:  # as on Power without a compiler for it
    _quick = None

DEEPEST = 8  # lists and objects, one in the other
_ALIKE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
PARSER = "json" if _quick is None else "orjson"


def field_error(path: str, expected: str, value: object) -> HttpError:
    """Status 400 for the value at ``path``."""
    text = json.dumps(value, default=repr)
    return HttpError(400, f"{path}: expected {expected}, not {text if len(text) <= 40 else text[:40] + '…'}")


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object that a body is.

    Raises:
        HttpError: it is not JSON, holds NaN or an infinity, is nested too deeply, or is no object.
    """
    try:
        value = _parsed(body)
        deep = _may_be_deep(body) and _is_deep(value)
    except RecursionError:
        deep = True
    except ValueError as error:
        raise HttpError(400, f"the body is not JSON: {_problem(error)}") from None
    if deep:
        raise HttpError(400, f"the body is nested too deeply: at most {DEEPEST} levels are taken")
    if not isinstance(value, dict):
        raise field_error("$", "an object", value)
    return value


def take(value: dict[str, Any], key: str, kind: type | tuple[type, ...], expected: str, path: str = "") -> Any:
    """``value[key]`` when it is there and of ``kind``; a boolean is no number.

    Raises:
        HttpError: it is missing or something else.
    """
    where = f"{path}.{key}" if path else key
    if key not in value:
        raise HttpError(400, f"{where} is missing; expected {expected}")
    item = value[key]
    if not isinstance(item, kind) or (isinstance(item, bool) and kind is not bool):
        raise field_error(where, expected, item)
    return item


def _parsed(body: bytes) -> Any:
    """The value; orjson is quicker where it is installed, and what it refuses is for the standard library to judge."""
    if _quick is not None:
        try:
            return _quick(body)
        except ValueError:
            pass
    value = _DECODE(body.decode("utf-8"))
    if (b"NaN" in body or b"Infinity" in body) and (constant := _constant(value)) is not None:
        path, name = constant
        raise HttpError(400, f"{path.removeprefix('.') or '$'}: expected a number, not {name}, which is not JSON")
    if b"\\u" in body:
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair could not be sent back
    return value


def _may_be_deep(body: bytes) -> bool:
    """Whether a body may be nested more deeply than is taken: brackets in its texts count as well."""
    if body.count(b"[") + body.count(b"{") <= DEEPEST:
        return False
    brackets = body.translate(_ALIKE, _NO_BRACKETS)
    for _ in range(DEEPEST):  # each time the innermost go
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _is_deep(value: Any) -> bool:
    level = [value] if isinstance(value, (list, dict)) else []
    for _ in range(DEEPEST):
        level = [part for each in level for _, part in _items(each) if isinstance(part, (list, dict))]
    return bool(level)


def _items(value: Any) -> Iterable[tuple[str | int, Any]]:
    match value:
        case dict():
            return value.items()
        case list():
            return enumerate(value)
    return ()


class _Constant(str):
    """What Python writes for a number that JSON has not: NaN, Infinity, -Infinity."""

    __slots__ = ()


def _constant(value: Any) -> tuple[str, _Constant] | None:
    """Path within a value, and name, of the first number that JSON has not."""
    if isinstance(value, _Constant):
        return "", value
    for key, part in _items(value):
        if isinstance(part, (list, dict, _Constant)) and (inner := _constant(part)) is not None:
            return (f".{key}" if isinstance(value, dict) else f"[{key}]") + inner[0], inner[1]
    return None


def _problem(error: ValueError) -> str:
    match error:
        case UnicodeDecodeError():
            return "it is not UTF-8"
        case UnicodeEncodeError():
            return "a text holds half a surrogate pair"
        case json.JSONDecodeError():
            return f"{error.msg} at character {error.pos}"
        case _:
            return "a number has too many digits"


_DECODE = json.JSONDecoder(parse_constant=_Constant).decode
