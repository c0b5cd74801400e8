"""Options that list the levels of a factor: ``1,2,4``, ``0,1,0:1``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import InputError

if TYPE_CHECKING:
    from harness.sweeps.settings import Location


def parse_whole_numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    """Whole numbers of at least 1, ascending, without repetitions; None for the default levels.

    Raises:
        InputError: one of them is not; names the option.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if not (part.isascii() and part.isdigit() and 0 < int(part) < 2**31):
            raise InputError(
                f"{option} {text!r}: {part!r} is not a whole number of at least 1.", remedy="Expected a list: 1,2,4"
            )
    return tuple(sorted({int(part) for part in parts}))


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
        if not _is_node(node) or (colon and not _is_node(memory)):
            raise InputError(
                f"{option} {text!r}: {part!r} is not a NUMA node.",
                remedy="Expected a list such as 0,1 or, to take memory from another node, 0,0:1",
            )
        locations.append(Location(int(node), int(memory) if colon and memory != node else None))
    return tuple(dict.fromkeys(locations))


def _is_node(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) < 2**31
