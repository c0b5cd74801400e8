"""JSON Schemas (draft 2020-12) of records, generated from their dataclasses.

``python -m harness.record.schema`` writes them into ``results/schema``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from harness.content import content_dir
from harness.decode import KIND, LARGEST_FLOAT, LARGEST_INT, LONGEST_TEXT, field_types
from harness.record.codec import DIGEST, dumps
from harness.record.fields import Bounds, Pattern
from harness.record.fleet_model import FLEET_SCHEMA_VERSION, Fleet
from harness.record.load_model import LOAD_SCHEMA_VERSION, LoadRecord
from harness.record.model import SCHEMA_VERSION, Run
from harness.record.size_model import SIZE_SCHEMA_VERSION, Size
from harness.record.sweep_model import SWEEP_SCHEMA_VERSION, Sweep

Schema = dict[str, Any]  # JSON

_TYPES: Mapping[Any, str] = {bool: "boolean", int: "integer", float: "number", str: "string", NoneType: "null"}
_LIMITS: Mapping[Any, Schema] = {  # what readers, writers and pages can take
    int: {"minimum": -LARGEST_INT, "maximum": LARGEST_INT},
    float: {"minimum": -LARGEST_FLOAT, "maximum": LARGEST_FLOAT},
    str: {"maxLength": LONGEST_TEXT},
}
_NAME = 4096  # characters of a key
_VALUE_LEVELS = 6
_NO_LINE_BREAK = "(?!\\n)"  # which $ lets pass
_INNER = {"properties", "items", "prefixItems", "additionalProperties", "pattern"}
_DIGEST_RULE = "SHA-256 of the record without this key: JSON, keys sorted, no spaces, ASCII only. Checked if present."
Kind = Literal["run", "sweep", "size", "load", "fleet"]
KINDS: tuple[Kind, ...] = ("run", "sweep", "size", "load", "fleet")
_RECORDS: Mapping[Kind, tuple[type, int]] = {
    "run": (Run, SCHEMA_VERSION),
    "sweep": (Sweep, SWEEP_SCHEMA_VERSION),
    "size": (Size, SIZE_SCHEMA_VERSION),
    "load": (LoadRecord, LOAD_SCHEMA_VERSION),
    "fleet": (Fleet, FLEET_SCHEMA_VERSION),
}


def schema_of(kind: Kind) -> Schema:
    """The schema of a record of this kind; every dataclass in it is a definition by its name."""
    cls, version = _RECORDS[kind]
    definitions: dict[str, Schema] = {}
    root = _of(cls, definitions, {})
    definitions[cls.__name__]["properties"][DIGEST] = {"type": "string", "maxLength": 100, "description": _DIGEST_RULE}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:lparbench:{kind}:{version}",
        "title": f"LPARBench {kind} record",
        "description": "Times are in seconds unless the key ends in _ns, sizes in bytes, shares in [0, 1]."
        " null means not known, never zero.",
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def schema_file(kind: Kind) -> str:
    """Name of the file in ``results/schema``."""
    return f"{kind}-v{_RECORDS[kind][1]}.json"


def _of(hint: Any, definitions: dict[str, Schema], owners: dict[str, type]) -> Schema:
    if hint is Any:  # the value of a fact that a finding rests on
        return _value(definitions, _VALUE_LEVELS)
    if hint in _TYPES:
        return {"type": _TYPES[hint], **_LIMITS.get(hint, {})}
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _bounded(_of(arguments[0], definitions, owners), arguments[1:])
    if origin is Literal:
        return {"const": arguments[0]} if len(arguments) == 1 else {"enum": list(arguments)}
    if origin in (Union, UnionType):
        return _union([_of(member, definitions, owners) for member in arguments])
    if origin is tuple:
        return _tuple(arguments, definitions, owners)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(arguments, _of(arguments[1], definitions, owners))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [member.value for member in hint]}
    if isinstance(hint, type) and is_dataclass(hint):
        return _object(hint, definitions, owners)
    raise TypeError(f"a record cannot hold {hint}")


def _bounded(schema: Schema, bounds: Iterable[object]) -> Schema:
    for bound in bounds:
        match bound:
            case Bounds(minimum, maximum, above):
                limits = {"minimum": minimum, "maximum": maximum, "exclusiveMinimum": above}
                schema |= {name: limit for name, limit in limits.items() if limit is not None}
            case Pattern(regex):
                schema["pattern"] = regex + _NO_LINE_BREAK
    return schema


def _union(members: list[Schema]) -> Schema:
    if all(isinstance(member.get("type"), str) and not _INNER & member.keys() for member in members):
        limits = {name: limit for member in members for name, limit in member.items()}  # each is for its type alone
        if len({member["type"] for member in members} & {"integer", "number"}) < 2:
            return {**limits, "type": [member["type"] for member in members]}
    return {"anyOf": members}


def _tuple(arguments: tuple[Any, ...], definitions: dict[str, Schema], owners: dict[str, type]) -> Schema:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return {"type": "array", "items": _of(arguments[0], definitions, owners)}
    items = [_of(item, definitions, owners) for item in arguments]
    return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}


def _mapping(arguments: tuple[Any, ...], value: Schema) -> Schema:
    """Whole numbers are keys too; JSON has them as text."""
    key = arguments[0]
    plain, bounds = (get_args(key)[0], get_args(key)[1]) if get_origin(key) is Annotated else (key, Bounds())
    if plain is not int:
        return {"type": "object", "propertyNames": {"maxLength": _NAME}, "additionalProperties": value}
    pattern = "^[1-9][0-9]{0,17}$" if bounds.minimum else "^(0|[1-9][0-9]{0,17})$"
    return {"type": "object", "propertyNames": {"pattern": pattern + _NO_LINE_BREAK}, "additionalProperties": value}


def _value(definitions: dict[str, Schema], levels: int) -> Schema:
    """Any JSON value with so many levels of lists and objects, which bounds what recurs over it."""
    scalars = _union([_of(hint, definitions, {}) for hint in (bool, float, str, NoneType)])
    if not levels:
        return scalars
    name = f"Value{levels}"
    if name not in definitions:
        inner = _value(definitions, levels - 1)
        lists = {"type": "array", "items": inner}
        objects = {"type": "object", "propertyNames": {"maxLength": _NAME}, "additionalProperties": inner}
        definitions[name] = {"anyOf": [scalars, lists, objects]}
    return {"$ref": f"#/$defs/{name}"}


def _object(cls: type, definitions: dict[str, Schema], owners: dict[str, type]) -> Schema:
    name = cls.__name__
    if owners.setdefault(name, cls) is not cls:
        raise TypeError(f"two dataclasses are called {name}")
    if name not in definitions:
        definitions[name] = {}  # its place, should it hold itself
        hints = field_types(cls)
        required = [
            item.name
            for item in fields(cls)
            if item.name == KIND or (item.default is MISSING and item.default_factory is MISSING)
        ]
        described = {"description": _first_sentence(cls)} if cls.__module__.startswith("harness.record.") else {}
        definitions[name] |= {
            **described,
            "type": "object",
            "required": required,
            "additionalProperties": False,
            "properties": {key: _of(hint, definitions, owners) for key, hint in hints.items()},
        }
    return {"$ref": f"#/$defs/{name}"}


def _first_sentence(cls: type) -> str:
    return re.sub(r"\s+", " ", (cls.__doc__ or "").partition("\n\n")[0]).strip()


def main() -> None:
    """Write the schemas of this version."""
    for kind in KINDS:
        path = content_dir("results") / "schema" / schema_file(kind)
        path.write_text(dumps(schema_of(kind)), encoding="utf-8")


if __name__ == "__main__":
    main()
