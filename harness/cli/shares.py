"""Shares as options: ``3%`` or ``0.03``."""

from __future__ import annotations

from harness.errors import InputError


def share(option: str, text: str) -> float:
    """A share above 0 and at most 10 (1000 %).

    Raises:
        InputError: it is not one; names the option.
    """
    bare = text.strip()
    try:
        value = float(bare.removesuffix("%")) / (100 if bare.endswith("%") else 1)
    except ValueError:
        value = float("nan")
    if not 0 < value <= 10:
        raise InputError(f"{option} {text!r} is not a share above 0.", remedy="Expected a number such as 3% or 0.03.")
    return value
