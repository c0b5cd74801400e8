"""Whether calls fault their memory again, which some processes of one setting may do and others not: in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.wording import plural, some_of

WHY = "because memory that it frees goes back to the kernel"
_LEAST_S = 0.25e-6  # that a fault of a page takes, zeroing it included, on a fast machine
_SHARE = 0.01  # of a call's time, from which that is said


def noteworthy(faults: float | None, seconds: float | None) -> bool:
    """Whether the page faults of a call take a part of its time that is to be known."""
    return faults is not None and bool(seconds) and faults * _LEAST_S > _SHARE * (seconds or 0.0)


def faulting(faults: Sequence[float | None], seconds: Sequence[float | None]) -> str | None:
    """How many pages each call faults; None where that is not known, or noteworthy in no process.

    Args:
        faults: minor page faults of a call, by process.
        seconds: its time.
    """
    known = sum(count is not None for count in faults)
    many = [count or 0.0 for count, time in zip(faults, seconds, strict=True) if noteworthy(count, time)]
    if not many:
        return None
    where = f"in {some_of(len(many), known, 'process', 'processes')} " if known > 1 else ""
    pages = plural(round(float(np.median(many))), "page")
    others = "; in the others it stays, so that these times are of two kinds" if len(many) < known else ""
    return f"{where}each call faulted {pages}, {WHY}{others}."
