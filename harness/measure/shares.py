"""Shares as people write them: ``3%``, ``3`` or ``0.03``."""

from __future__ import annotations

from harness.wording import percentage

_LARGEST_PLAIN = 0.2  # below it a plain number is a share, from 1 on a percentage, and in between it may be either
LARGEST = 1.0  # of a margin: what lets code pass that takes twice as long, lets anything pass


def parse_share(text: str, most: float = LARGEST) -> float:
    """A share above 0 and at most ``most``.

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
    if value > most:
        raise ValueError(f"is {percentage(value)}, more than the {percentage(most)} that it may be")
    if not value > 0:
        raise ValueError(f"is not a share above 0 and at most {percentage(most)}")
    return value
