"""Options that list the levels of a factor: ``1,2,4``, ``1-4``, ``0,1,0:1``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import InputError

if TYPE_CHECKING:
    from harness.sweeps.settings import Location

_MOST_LEVELS = 4096


def parse_whole_numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    """Whole numbers of at least 1 and ranges of them, ascending, without repetitions; None for the default levels.

    Raises:
        InputError: one of them is not; names the option.
    """
    if text is None:
        return None
    numbers = {number for part in text.split(",") for number in _range(option, text, part.strip(), least=1)}
    return tuple(sorted(numbers))


def parse_locations(option: str, text: str | None) -> tuple[Location, ...] | None:
    """NUMA nodes to run on, each with the node to take memory from where that is another; None for the default.

    Raises:
        InputError: one of them is not a node number or two with a colon between; names the option.
    """
    from harness.sweeps.settings import Location

    if text is None:
        return None
    locations = []
    for part in (part.strip() for part in text.split(",")):
        node, colon, memory = part.partition(":")
        if not colon:
            locations += [Location(number) for number in _range(option, text, part, least=0)]
            continue
        (cpus,), (pages,) = (_range(option, text, each, least=0, most=1) for each in (node, memory))
        locations.append(Location(cpus, pages if pages != cpus else None))
    return tuple(dict.fromkeys(locations))


def _range(option: str, text: str, part: str, *, least: int, most: int = _MOST_LEVELS) -> tuple[int, ...]:
    """The numbers of ``4`` or ``1-4``.

    Raises:
        InputError: it is neither, runs backwards, or holds too many.
    """
    first, dash, last = part.partition("-")
    ends = (first, last if dash else first)
    if all(end.isascii() and end.isdigit() and least <= int(end) < 2**31 for end in ends):
        low, high = (int(end) for end in ends)
        if low <= high < low + most:
            return tuple(range(low, high + 1))
        if low > high:
            raise InputError(f"{option} {text!r}: the range runs backwards.", remedy=f"Expected {high}-{low}.")
    what = "a whole number of at least 1" if least else "a NUMA node"
    example = "1,2,4 or 1-4" if least else "0,1 or 0-3 or, to take memory from another node, 0,0:1"
    raise InputError(f"{option} {text!r}: {part!r} is not {what}.", remedy=f"Expected a list: {example}")
