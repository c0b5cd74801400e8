"""Reading free-form parts of a record, which may lack anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def dig(tree: Any, *keys: str) -> Any:
    """The value under a path of keys, None where the path ends early."""
    for key in keys:
        if not isinstance(tree, Mapping):
            return None
        tree = tree.get(key)
    return tree


def text_at(tree: Any, *keys: str) -> str | None:
    """Text under a path; None when it is absent, empty or something else."""
    found = dig(tree, *keys)
    return found if isinstance(found, str) and found else None


def number_at(tree: Any, *keys: str) -> float | None:
    """A number under a path; None when it is absent or something else."""
    found = dig(tree, *keys)
    return found if isinstance(found, int | float) and not isinstance(found, bool) else None


def whole_number_at(tree: Any, *keys: str) -> int | None:
    """A whole number under a path; None when it is absent or something else."""
    found = dig(tree, *keys)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def objects_at(tree: Any, *keys: str) -> list[Mapping[str, Any]]:
    """The objects of a list under a path; empty when there is none."""
    found = dig(tree, *keys)
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list | tuple) else []


def texts_at(tree: Any, *keys: str) -> list[str]:
    """The texts of a list under a path; empty when there is none."""
    found = dig(tree, *keys)
    return [item for item in found if isinstance(item, str)] if isinstance(found, list | tuple) else []


def whole_numbers_at(tree: Any, *keys: str) -> list[int]:
    """The whole numbers of a list under a path; empty when there is none."""
    found = dig(tree, *keys)
    if not isinstance(found, list | tuple):
        return []
    return [item for item in found if isinstance(item, int) and not isinstance(item, bool)]
