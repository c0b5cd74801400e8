"""Durations as options: ``10ms``, ``90s``, ``10m``, ``1h30m``, ``30d``."""

from __future__ import annotations

import re

from harness.errors import InputError

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d)"


def seconds(option: str, text: str) -> float:
    """The duration in seconds, more than 0; a bare number where the option itself is called by the unit.

    Raises:
        InputError: it is not one; names the option.
    """
    bare = "".join(text.lower().split())
    if option == "--seconds" and re.fullmatch(r"\d+(\.\d+)?", bare):
        bare += "s"
    total = 0.0
    if re.fullmatch(f"(?:{_PART})+", bare):
        total = sum(float(amount) * _SECONDS[unit] for amount, unit in re.findall(_PART, bare))
        if not total:
            raise InputError(f"{option} {text!r}: more than nothing was expected.", remedy="For example 90s.")
    if not 0 < total < float("inf"):
        raise InputError(
            f"{option} {text!r} is not a duration.", remedy="Expected one such as 10ms, 90s, 10m or 1h30m."
        )
    return total
