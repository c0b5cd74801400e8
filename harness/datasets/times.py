"""Points in time as people write them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Stamps = npt.NDArray[np.int64]

UNKNOWN = np.iinfo(np.int64).min  # the stamp of what is no time
HALF_DAY = 43_200_000_000
_CLOCKS = ("", "%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p", "%I:%M:%S.%f %p", "%I:%M:%S%p")
_DAY_FIRST = ("%d-%m-%Y", "%d-%m-%y", "%d-%b-%Y", "%d-%b-%y")
_DATES = {  # a way of writing dates -> its forms, day before month where both fit
    "ISO 8601": ("ISO8601",),
    "year, month, day": ("%Y/%m/%d", "%Y.%m.%d", "%Y-%m-%d"),
    "day, month, year": tuple(form.replace("-", mark) for mark in "/-. " for form in _DAY_FIRST),
    "month, day, year": (
        *(form.replace("-", mark) for mark in "/-. " for form in ("%m-%d-%Y", "%m-%d-%y", "%b-%d-%Y", "%b-%d-%y")),
        "%b %d, %Y",
        "%B %d, %Y",
    ),
    "those of mail and of web servers": (
        "%a, %d %b %Y %H:%M:%S %z", "%a, %d %b %Y %H:%M:%S", "%d/%b/%Y:%H:%M:%S %z", "[%d/%b/%Y:%H:%M:%S %z]",
        "%a %b %d %H:%M:%S %Y",
    ),
}  # fmt: skip
_SAMPLE = 200
_UNIVERSAL = re.compile(r"(?<=[\d:]{2})\s*(UTC|GMT)$")
_COMMA = re.compile(r"(\d:\d{2}),(?=\d{1,9}\b)")  # as Python's logging writes them


@dataclass(frozen=True, eq=False)
class Times:
    """Stamps in µs since 1970 (``UNKNOWN`` where a text is no time), how the dates were read, whether that was open."""

    stamps: Stamps
    form: str
    ambiguous: bool = False


def parse(texts: Sequence[str], codes: npt.NDArray[Any] | None = None) -> Times:
    """Read times in the one way of writing dates that fits the most texts.

    Where day and month can be exchanged, the reading in which the rows go back in time less often wins, then the one
    with the day first.

    Args:
        texts: each different text once.
        codes: position in ``texts`` of each row, in file order; the texts themselves when ``None``.
    """
    written = pd.Series([_plain(text) for text in texts], dtype=object)
    order = np.arange(len(written)) if codes is None else codes[codes >= 0]
    best = Times(np.full(len(written), UNKNOWN), "")
    best_rank = (0, 0)
    for form, dates in _DATES.items():
        stamps = _read(written, dates)
        known = int((stamps != UNKNOWN).sum())
        rank = (known, -int((np.diff(stamps[order]) < 0).sum()))
        if not known or rank[0] < best_rank[0]:
            continue
        both = rank[0] == best_rank[0] and not np.array_equal(stamps, best.stamps)
        if rank > best_rank:
            best, best_rank = Times(stamps, form, both), rank
        elif both:
            best = Times(best.stamps, best.form, ambiguous=True)
    return best


def _plain(text: str) -> str:
    """Without the name of universal time at its end, and with a point before fractions of a second."""
    return _COMMA.sub(r"\1.", _UNIVERSAL.sub("", text.strip()))


def _read(written: pd.Series[Any], dates: Sequence[str]) -> Stamps:
    stamps = np.full(len(written), UNKNOWN)
    start = written.iloc[:: max(1, len(written) // _SAMPLE)]
    forms = [
        f"{day} {clock}".strip()
        for day in dates
        for clock in _CLOCKS
        if not clock or not (day == "ISO8601" or "%H" in day)  # those have one
    ]
    for form in forms:
        if len(start) >= _SAMPLE and not _stamps(start, form)[1].any():
            continue
        open_rows = np.flatnonzero(stamps == UNKNOWN)
        if not len(open_rows):
            break
        values, known = _stamps(written.iloc[open_rows], form)
        stamps[open_rows[known]] = values[known]
    return stamps


def _stamps(written: pd.Series[Any], form: str) -> tuple[Stamps, npt.NDArray[np.bool_]]:
    times = pd.to_datetime(written, errors="coerce", format=form, utc=True).dt.tz_localize(None)
    known = times.notna().to_numpy()
    return times.to_numpy().astype("datetime64[us]").astype(np.int64), known


def twelve_hour_clock(stamps: Stamps) -> npt.NDArray[np.bool_]:
    """The stamps of an afternoon written 1:00 to 7:59, where no hour but 1 to 12 occurs and some are of a morning.

    CICFlowMeter's captures ran from eight in the morning to the evening, and some of its files have no AM or PM.
    """
    hours = np.where(stamps == UNKNOWN, -1, stamps // 3_600_000_000 % 24)
    known = hours[hours >= 0]
    afternoon = (hours >= 1) & (hours < 8)
    on_a_dial = len(known) and known.min() >= 1 and known.max() <= 12 and (known >= 8).any()
    return np.asarray(afternoon if on_a_dial else np.zeros(len(stamps), np.bool_))
