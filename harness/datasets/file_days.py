"""Files in the order of the days that their names give."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from pathlib import PurePath
from typing import Any

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
# The files of a day in order; CIC's attack of the second half of Friday's afternoon is named after that of the first.
_PARTS = ("morning", "afternoon-portscan", "afternoon", "evening", "night")
_NAME_DATES = (
    (r"(\d{4})[-_.](\d\d?)[-_.](\d\d?)", (0, 1, 2)),
    (r"(?<!\d)(\d{4})(\d\d)(\d\d)(?!\d)", (0, 1, 2)),
    (r"(?<!\d)(\d\d?)[-_.](\d\d?)[-_.](\d{4})", (2, 1, 0)),
    (r"(?<!\d)(\d\d?)[-_.](\d\d?)[-_.](\d{4})", (2, 0, 1)),
)


def by_day(names: Sequence[str]) -> list[int]:
    """Positions of file names in the order of their days: dates first, else days of the week, else numbers and text."""
    dates = _dates(names)
    keys: list[tuple[Any, ...]] = []
    for position, name in enumerate(names):
        text = PurePath(name).name.casefold()
        weekday = next((number for number, day in enumerate(_DAYS) if day in text), len(_DAYS))
        part = next((number for number, word in enumerate(_PARTS) if word in text.replace("_", "-")), 0)
        natural = [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in re.split(r"(\d+)", text)]
        keys.append((dates[position] if dates else 0, 0 if dates else weekday, part, natural))
    return sorted(range(len(names)), key=lambda position: keys[position])


def _dates(names: Sequence[str]) -> list[int] | None:
    """Each name's date, in the one form that all of them have and that agrees with days of the week they name."""
    for pattern, places in _NAME_DATES:
        days = []
        for name in names:
            match = re.search(pattern, PurePath(name).name)
            numbers = [int(match.groups()[place]) for place in places] if match else [0, 0, 0]
            try:
                day = date(numbers[0], numbers[1], numbers[2])
            except ValueError:
                break
            named = next((number for number, word in enumerate(_DAYS) if word in name.casefold()), None)
            if named not in (None, day.weekday()):
                break
            days.append(day.toordinal())
        else:
            return days
    return None
