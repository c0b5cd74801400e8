"""Shares as options: ``3%``, ``3`` or ``0.03``."""

from __future__ import annotations

from harness.errors import InputError
from harness.measure.shares import LARGEST, parse_share


def share(option: str, text: str, most: float = LARGEST) -> float:
    """A share above 0 and at most ``most``; see :func:`harness.measure.shares.parse_share`.

    Raises:
        InputError: it is not one, or can be read in two ways; names the option.
    """
    try:
        return parse_share(text, most)
    except ValueError as error:
        raise InputError(f"{option} {text!r} {error}.", remedy="Write it with its sign: '3%' or '0.5%'.") from None
