"""Typed reading and writing of data from outside: TOML and JSON into dataclasses, errors with the file and the key.

A dataclass is its own schema. Fields may be ``bool``, ``int``, ``float``, ``str``, ``Path``, enums, ``Literal``,
dataclasses, ``tuple``, ``Mapping`` or ``dict`` (keys: text, whole numbers, ``Literal`` or enums), ``Any``, and unions
of these; of a union of dataclasses the member is chosen by its field ``kind``, a ``Literal``. What a value must be
beyond its type is a :class:`Check` in ``Annotated``: ``PositiveInt``. A field that files hold in words has
:func:`in_words` in its metadata. An int stands for a float and a list for a tuple, as TOML and JSON have neither.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from harness.errors import InputError, unknown
from harness.parsing import read_json, read_toml

T = TypeVar("T")
KIND = "kind"
_WORDS = "words"  # key of a field's metadata
LONGEST_TEXT = 1 << 17  # characters; as long as an argument of a command may be
LARGEST_INT = 2**63 - 1
LARGEST_FLOAT = 1e100
_SCALARS = frozenset({int, float, bool, str, NoneType})
_NAMES: dict[Any, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text",
                          NoneType: "nothing", Path: "a path"}  # fmt: skip


@dataclass(frozen=True)
class Check:
    """A condition, given as ``Annotated[int, Check(...)]``; errors say what was ``expected``: "a positive number"."""

    expected: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class _Words:
    """How words become a value; ``parse`` raises ValueError, with what was expected."""

    parse: Callable[[str], Any]


def in_words(parse: Callable[[str], Any]) -> dict[str, Any]:
    """Metadata of a field that files hold as the text which ``str`` gives, and ``parse`` reads.

    Args:
        parse: raises ValueError, with what was expected.
    """
    return {_WORDS: _Words(parse)}


Text = Annotated[str, Check("a text that is not empty", lambda text: bool(text.strip()))]
_LONGEST_PART = 150  # characters of a name that others are appended to, all in 255 bytes


def _is_path_part(text: str) -> bool:
    short = len(text) <= _LONGEST_PART and len(text.encode("utf-8", "replace")) <= _LONGEST_PART
    return short and bool(text.strip()) and "/" not in text and text.isprintable() and text not in (".", "..")


PathPart = Annotated[
    str, Check(f"a name without / that a file can have, of at most {_LONGEST_PART} characters", _is_path_part)
]
PositiveInt = Annotated[int, Check("a positive whole number", lambda number: number > 0)]
NOT_EMPTY = Check("a list that is not empty", bool)
PositiveFloat = Annotated[float, Check("a positive number", lambda number: 0 < number < math.inf)]


def one_of(known: Iterable[str]) -> Check:
    """The condition that a text is one of ``known``."""
    names = tuple(known)
    return Check(_choice(names), lambda text: text in names)


class NotPlainError(ValueError):
    """A value that JSON cannot hold; the message names where it is."""


def decode(hint: type[T], value: Any, where: str) -> T:
    """``value`` (JSON or TOML types) as ``hint``.

    Args:
        hint: a dataclass, or another of the types that the module names.
        value: what the file or the caller gave.
        where: how errors name the value: ``"nsl-kdd-mlp.toml: training"``.

    Raises:
        InputError: a value of another type, an unknown key, a missing key.
    """
    return cast("T", _decode(hint, value, where))


def encode(value: Any) -> Any:
    """A dataclass (or what one may hold) as JSON types: fields in their order, keys of mappings sorted.

    Raises:
        NotPlainError: a float that is not finite, or a value of another type.
    """
    return _encode(value, "")


def decode_json_file(hint: type[T], path: Path) -> T:
    """A JSON file as ``hint``; raises what :func:`read_json` and :func:`decode` raise."""
    return decode(hint, read_json(path), str(path))


def decode_toml_file(hint: type[T], path: Path) -> T:
    """A TOML file as ``hint``; raises what :func:`read_toml` and :func:`decode` raise."""
    return decode(hint, read_toml(path), str(path))


@cache
def field_types(cls: type) -> dict[str, Any]:
    """Name -> type of the fields that the constructor of dataclass ``cls`` takes."""
    hints = get_type_hints(cls, include_extras=True)
    return {item.name: _in_files(hints[item.name], item.metadata.get(_WORDS)) for item in fields(cls) if item.init}


def _in_files(hint: Any, words: _Words | None) -> Any:
    """The type of a field as files have it."""
    if words is None:
        return hint
    return Annotated[str | None, words] if NoneType in get_args(hint) else Annotated[str, words]


@cache
def _required(cls: type) -> tuple[str, ...]:
    return tuple(
        item.name for item in fields(cls) if item.init and item.default is MISSING and item.default_factory is MISSING
    )


def _decode(hint: Any, value: Any, where: str) -> Any:
    if hint is Any or hint is object:
        return value
    origin = get_origin(hint)
    if origin is None:
        return _decode_plain(hint, value, where)
    arguments = get_args(hint)
    if origin is Annotated:
        checks = [item for item in arguments[1:] if isinstance(item, Check)]
        if checks and arguments[0] in _SCALARS and type(value) not in (arguments[0], int):
            raise _wrong(value, checks[0].expected, where)  # says more than the type
        decoded = _decode(arguments[0], value, where)
        for check in checks:
            if not check.holds(decoded):
                raise _wrong(value, check.expected, where)
        return _parsed(decoded, arguments[1:], where)
    if origin is Literal:
        if any(value == argument and type(value) is type(argument) for argument in arguments):
            return value
        raise InputError(f"{where} is {_shown(value)}; expected {_choice(arguments)}.")
    if origin in (Union, UnionType):
        return _decode_union(arguments, value, where)
    if origin is tuple:
        return _decode_tuple(arguments, value, where)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _decode_mapping(arguments, value, where)
    raise TypeError(f"decode cannot read {hint}")


def _parsed(decoded: Any, annotations: Iterable[object], where: str) -> Any:
    words = next((item for item in annotations if isinstance(item, _Words)), None)
    if words is None or decoded is None:
        return decoded
    try:
        return words.parse(decoded)
    except ValueError as error:
        raise _wrong(decoded, str(error), where) from None


def _decode_plain(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, type) and is_dataclass(hint):
        return _decode_dataclass(hint, value, where)
    if isinstance(hint, type) and issubclass(hint, Enum):
        for member in hint:
            if value == member.value and type(value) is type(member.value):
                return member
        raise InputError(f"{where} is {_shown(value)}; expected {_named(hint)}.")
    if hint is float and type(value) in (int, float) and -sys.float_info.max <= value <= sys.float_info.max:
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint in (None, NoneType) and value is None:
        return None
    if hint in _SCALARS and type(value) is hint and _is_bounded(value):
        return value
    raise _wrong(value, _named(hint), where)


def _is_bounded(value: Any) -> bool:
    """Whether a scalar is of a size that a record may hold: what is measured with it must be writable."""
    if isinstance(value, str):
        return len(value) <= LONGEST_TEXT
    if isinstance(value, float):
        return math.isfinite(value)
    return type(value) is not int or -LARGEST_INT <= value <= LARGEST_INT


def _all_bounded(values: Sequence[Any]) -> bool:
    """:func:`_is_bounded` of many values of one type, and that floats are finite."""
    if not values:
        return True
    if isinstance(values[0], str):
        return max(map(len, values)) <= LONGEST_TEXT
    limit = sys.float_info.max if isinstance(values[0], float) else LARGEST_INT
    return -limit <= min(values) and max(values) <= limit and not any(map(math.isnan, values))


def _decode_dataclass(cls: type, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise _wrong(value, "a table", where)
    hints = field_types(cls)
    for name in value:
        if name not in hints:
            raise unknown("key", str(name), hints, where=where or cls.__name__)
    for name in _required(cls):
        if name not in value:
            raise InputError(f"{_at(where, name)} is missing; expected {_named(hints[name])}.")
    return cls(**{name: _decode(hints[name], item, _at(where, name)) for name, item in value.items()})


def _decode_union(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    members = tuple(argument for argument in arguments if _same_shape(argument, value))
    if len(members) == 1:  # its own error says more than "none of them"
        return _decode(members[0], value, where)
    if members and isinstance(value, Mapping):
        kinds = {kind: member for member in members for kind in get_args(field_types(member)[KIND])}
        kind = value.get(KIND)
        if not isinstance(kind, str) or kind not in kinds:
            raise InputError(f"{_at(where, KIND)} is {_shown(kind)}; expected {_choice(kinds)}.")
        return _decode(kinds[kind], value, where)
    for member in members:
        try:
            return _decode(member, value, where)
        except InputError:
            continue
    raise _wrong(value, _any_of(arguments), where)


def _same_shape(hint: Any, value: Any) -> bool:
    """Whether ``value`` is a table where ``hint`` is one, a list where it is one, and otherwise a scalar."""
    origin = get_origin(hint)
    if origin is Annotated:
        return _same_shape(get_args(hint)[0], value)
    if hint is Any or origin in (Union, UnionType):
        return True
    if is_dataclass(hint) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return isinstance(value, Mapping)
    if origin is tuple:
        return isinstance(value, list | tuple)
    if hint in (None, NoneType) or value is None:
        return hint in (None, NoneType) and value is None
    return not isinstance(value, Mapping | list | tuple)


def _bare(hint: Any) -> Any:
    """The type without annotations that are not checked here, such as the bounds of a schema."""
    if get_origin(hint) is Annotated and not any(isinstance(item, Check) for item in hint.__metadata__):
        return get_args(hint)[0]
    return hint


def _decode_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(value, "a list", where)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        item = _bare(arguments[0])
        if (
            item in (int, str, float) and set(map(type, value)) <= {item} and _all_bounded(value)
        ):  # a million samples in one step
            return tuple(value)
        return tuple(_decode(item, entry, f"{where}[{index}]") for index, entry in enumerate(value))
    if len(value) != len(arguments):
        raise _wrong(value, f"a list of {len(arguments)}", where)
    return tuple(
        _decode(item, entry, f"{where}[{index}]")
        for index, (item, entry) in enumerate(zip(arguments, value, strict=True))
    )


def _decode_mapping(arguments: tuple[Any, ...], value: Any, where: str) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(value, "a table", where)
    key_type, item = _bare(arguments[0]), arguments[1]
    decoded = {}
    for key, entry in value.items():
        at = _at(where, str(key))
        decoded[_decode_key(key_type, key, at)] = _decode(item, entry, at)
    return decoded


def _decode_key(hint: Any, key: Any, at: str) -> Any:
    if hint is int:
        try:
            return int(key)
        except ValueError:
            raise InputError(f"{at}: expected a whole number as the key.") from None
    try:
        return _decode(hint, key, at)
    except InputError:
        raise InputError(f"{at}: unknown key; expected {_named(hint)}.") from None


def _encode(value: Any, path: str) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _encode(_written(value, item), _at(path, item.name)) for item in fields(value) if item.init}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str | int) or isinstance(key, bool):
                raise NotPlainError(f"{path}: key {key!r} is neither text nor a whole number")
        names = {key: str(key.value if isinstance(key, Enum) else key) for key in sorted(value)}
        return {name: _encode(value[key], _at(path, name)) for key, name in names.items()}
    if isinstance(value, list | tuple):
        if set(map(type, value)) <= {int, bool, str, NoneType}:
            return list(value)
        return [_encode(item, f"{path}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotPlainError(f"{path}: {value} is not a finite number")
        return float(value)  # numpy.float64 is a float with another repr
    if isinstance(value, Path):
        return str(value)
    if type(value) in _SCALARS:
        return value
    raise NotPlainError(f"{path}: {type(value).__name__} is not a JSON type")


def _written(value: Any, item: Field[Any]) -> Any:
    """A field as files have it."""
    held = getattr(value, item.name)
    return str(held) if _WORDS in item.metadata and held is not None else held


def _at(where: str, key: str) -> str:
    """``file: key`` or ``file: table.key``."""
    if not where:
        return key
    return f"{where}: {key}" if where.endswith((".toml", ".json")) else f"{where}.{key}"


def _named(hint: Any) -> str:
    """What a value of the type is called in errors."""
    if hint in _NAMES:
        return _NAMES[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return next((item.expected for item in arguments[1:] if isinstance(item, Check)), _named(arguments[0]))
    if origin in (Union, UnionType):
        return _any_of(arguments)
    if origin is tuple:
        return "a list"
    if origin is Literal:
        return _choice(arguments)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _choice(member.value for member in hint)
    return "a table"


def _any_of(hints: Iterable[Any]) -> str:
    return " or ".join(_named(hint) for hint in hints if hint not in (None, NoneType))


def _choice(values: Iterable[Any]) -> str:
    return f"one of {', '.join(map(repr, values))}"


def _wrong(value: Any, expected: str, where: str) -> InputError:
    return InputError(f"{where} is {_shown(value)}; expected {expected}.")


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    if type(value) is int and abs(value) > LARGEST_INT:
        return "a number of more than 18 digits"
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        return f"a text of {len(value):,} characters"
    text = "null" if value is None else f"{value!r} ({type(value).__name__})"
    return text if len(text) <= 80 else f"{text[:77]}..."
