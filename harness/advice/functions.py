"""The functions that rule expressions may call: pure, total apart from arithmetic errors, over known values only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.advice.kinds import BOOL, NUMBER, TEXT, Collection, Kind, Table
from harness.platform.parse import format_cpulist
from harness.wording import cores_by_threads, counted, cpu_time


@dataclass(frozen=True)
class Function:
    """One function.

    Attributes:
        takes: its arguments, in words.
        result: kind of the result for kinds of arguments; ``None`` when they do not fit.
        apply: the function itself.
    """

    takes: str
    result: Callable[[Sequence[Kind]], Kind | None]
    apply: Callable[..., Any]


_NUMBERS = Collection(NUMBER)


def _exactly(arguments: Sequence[Kind], result: Kind) -> Callable[[Sequence[Kind]], Kind | None]:
    return lambda given: result if list(given) == list(arguments) else None


def _countable(given: Sequence[Kind]) -> Kind | None:
    return NUMBER if len(given) == 1 and isinstance(given[0], (Collection, Table)) else None


def _element(given: Sequence[Kind]) -> Kind | None:
    return given[0].element if len(given) == 1 and isinstance(given[0], Collection) else None


def _extreme(given: Sequence[Kind]) -> Kind | None:
    """``max`` and ``min`` of a collection of numbers or of two or more numbers."""
    several = len(given) > 1 and all(kind == NUMBER for kind in given)
    return NUMBER if list(given) == [_NUMBERS] or several else None


def _distinct(given: Sequence[Kind]) -> Kind | None:
    return given[0] if len(given) == 1 and given[0] in (_NUMBERS, Collection(TEXT)) else None


def _joinable(given: Sequence[Kind]) -> Kind | None:
    return TEXT if list(given) in ([_NUMBERS, TEXT], [Collection(TEXT), TEXT]) else None


def _first(values: Sequence[Any]) -> Any:
    if not values:
        raise ValueError("nothing to take the first of")
    return values[0]


def _rounded(value: float, digits: float) -> float:
    return round(value, int(digits)) if digits > 0 else round(value)


FUNCTIONS: dict[str, Function] = {
    "len": Function("a collection or a table", _countable, len),
    "first": Function("a collection", _element, _first),
    "max": Function("a collection of numbers, or two or more numbers", _extreme, max),
    "min": Function("a collection of numbers, or two or more numbers", _extreme, min),
    "sum": Function("a collection of numbers", _exactly([_NUMBERS], NUMBER), sum),
    "distinct": Function("a collection of numbers or texts", _distinct, lambda values: tuple(sorted(set(values)))),
    "round": Function("a number and the number of decimals", _exactly([NUMBER, NUMBER], NUMBER), _rounded),
    "integer": Function("a text of digits", _exactly([TEXT], NUMBER), int),
    "lower": Function("a text", _exactly([TEXT], TEXT), str.lower),
    "startswith": Function("a text and its beginning", _exactly([TEXT, TEXT], BOOL), str.startswith),
    "join": Function(
        "a collection and a separator",
        _joinable,
        lambda values, separator: separator.join(str(item) for item in values),
    ),
    "cpulist": Function("a collection of CPU or node numbers", _exactly([_NUMBERS], TEXT), format_cpulist),
    "counted": Function("a number and a noun in the singular", _exactly([NUMBER, TEXT], TEXT), counted),
    "cores_by_threads": Function(
        "a table of cores by threads", _exactly([Table(NUMBER, NUMBER)], TEXT), cores_by_threads
    ),
    "cpu_time": Function("a number of CPUs", _exactly([NUMBER], TEXT), cpu_time),
    "gib": Function("a number of bytes", _exactly([NUMBER], NUMBER), lambda size: round(size / 2**30, 1)),
}
