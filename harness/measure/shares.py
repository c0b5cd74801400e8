"""Shares as people write them: ``3%``, ``3`` or ``0.03``."""

from __future__ import annotations

_LARGEST_PLAIN = 0.2  # below it a plain number is a share, from 1 on a percentage, and in between it may be either
_LARGEST = 10.0


def parse_share(text: str) -> float:
    """A share above 0 and at most 10 (1000 %).

    With a percent sign, and from 1 on, it is a percentage: ``5%`` and ``5`` are 0.05. Up to 0.2 it is the share itself:
    ``0.05`` is 0.05.

    Raises:
        ValueError: it is not one, or it can be read both ways (``0.5``); says why, without naming the text.
    """
    bare = text.strip()
    percent = bare.endswith("%")
    try:
        number = float(bare.removesuffix("%"))
    except ValueError:
        number = float("nan")
    if not percent and _LARGEST_PLAIN < number < 1:
        raise ValueError(f"can be read as {number:g} % and as {100 * number:g} %")
    value = number / 100 if percent or number >= 1 else number
    if not 0 < value <= _LARGEST:
        raise ValueError("is not a share above 0 and at most 1000%")
    return value
