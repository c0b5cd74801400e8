"""Between the dataclasses of a record and JSON text: same record, same bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from harness.decode import decode, encode

DIGEST = "digest"  # key of the digest in a record
T = TypeVar("T")


class DigestError(ValueError):
    """A document whose content does not match its digest."""


def to_json(record: object) -> dict[str, Any]:
    """The record as JSON types only: keys of the model in its order, keys of mappings sorted.

    Raises:
        NotPlainError: a float that is not finite; names its path.
    """
    document = encode(record)
    assert isinstance(document, dict)
    return document


def from_json(cls: type[T], document: Mapping[str, Any], where: str = "the record") -> T:
    """The record of type ``cls`` from JSON.

    Raises:
        InputError: it is not of that shape; ``where`` leads the path in the message.
    """
    return decode(cls, {key: value for key, value in document.items() if key != DIGEST}, where)


def normal(record: T) -> T:
    """The record as it comes back from disk: numbers of the types that its fields have."""
    return from_json(type(record), to_json(record))


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
    """See that a JSON object is what was written, where it has a digest.

    Raises:
        DigestError: it is not.
    """
    if not isinstance(document, dict) or DIGEST not in document:
        return
    try:
        digest = digest_of(document)
    except (ValueError, RecursionError) as error:  # a NaN, or nesting that cannot be written again
        raise DigestError(f"it has no digest: {error}") from error
    if document[DIGEST] != digest:
        raise DigestError("its content does not match its digest, so it was damaged or edited")


_SCALARS = frozenset({int, float, bool, str, type(None)})


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
