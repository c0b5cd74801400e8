"""``--what-if rate=10k,20k p99=2ms,5ms``: many questions in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from harness.cli.durations import seconds
from harness.cli.rates import per_second
from harness.errors import InputError

if TYPE_CHECKING:
    from harness.record.size_model import SizeQuestion

_NAMES = ("rate", "p99")


def first(text: str | None, name: str, given: Sequence[str] | None) -> str | None:
    """An option's own value, or the first of its what-ifs."""
    return text if text is not None else next(iter(_parsed(given or ()).get(name, ())), None)


def questions(question: SizeQuestion, given: Sequence[str]) -> list[SizeQuestion]:
    """Every rate at every bound; what is not varied is as in ``question``.

    Raises:
        InputError: a name or a value is not one; names it.
    """
    parsed = _parsed(given)
    rates = [per_second("--what-if rate", text) for text in parsed.get("rate", ())] or [question.rate]
    bounds: list[float | None] = [seconds("--what-if p99", text) for text in parsed.get("p99", ())]
    bounds = bounds or [question.p99_s]
    return [replace(question, rate=rate, p99_s=bound) for bound, rate in product(bounds, rates)]


def _parsed(given: Sequence[str]) -> dict[str, list[str]]:
    parsed: dict[str, list[str]] = {}
    for part in (word for text in given for word in text.split()):
        name, equals, values = part.partition("=")
        if name not in _NAMES or not equals or not values:
            raise InputError(f"--what-if {part!r}.", remedy="Expected rate=10k,20k or p99=2ms,5ms.")
        parsed.setdefault(name, []).extend(value for value in values.split(",") if value)
    return parsed
