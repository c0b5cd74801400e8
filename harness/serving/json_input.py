"""JSON of a request, checked: what does not fit is named by its JSON path."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

from harness.serving.exchange import HttpError

try:
    _quick: Callable[[bytes], Any] | None = import_module("orjson").loads
except ImportError:  # as on Power without a compiler for it
    _quick = None

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
    except RecursionError:
        raise HttpError(400, "the body is nested too deeply") from None
    except ValueError as error:
        raise HttpError(400, f"the body is not JSON: {_problem(error)}") from None
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
    if b"\\u" in body:
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair could not be sent back
    return value


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def _problem(error: ValueError) -> str:
    match error:
        case UnicodeDecodeError():
            return "it is not UTF-8"
        case UnicodeEncodeError():
            return "a text holds half a surrogate pair"
        case json.JSONDecodeError():
            return f"{error.msg} at character {error.pos}"
        case _:
            return str(error) if "is not JSON" in str(error) else "a number has too many digits"


_DECODE = json.JSONDecoder(parse_constant=_refuse).decode
