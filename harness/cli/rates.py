"""Rates as options: ``500/s``, ``20k/s``, ``100M/h``; and how requests arrive."""

from __future__ import annotations

import re
from pathlib import Path

from harness.errors import InputError

_FACTORS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_PERIODS = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def per_second(option: str, text: str) -> float:
    """The rate per second, more than 0; without a period it is per second.

    Raises:
        InputError: it is not one; names the option.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?)\s*(?:/\s*(s|min|m|h|d))?", text.strip().lower())
    value = float(match[1]) * _FACTORS[match[2]] / _PERIODS[match[3] or "s"] if match else 0.0
    if not 0 < value < float("inf"):
        raise InputError(
            f"{option} {text!r} is not a rate above 0.", remedy="Expected one such as 500/s, 20k/s or 100M/h."
        )
    return value


def parse_arrivals(text: str) -> str:
    """``poisson``, ``constant`` or the path of a file.

    Raises:
        InputError: it is none of them.
    """
    if text in ("poisson", "constant") or Path(text).exists():
        return text
    raise InputError(f"--arrivals is {text!r}.", remedy="Expected: poisson, constant, or a file that is there.")
