"""Figures and lists as words: three significant digits, SI prefixes, one spelling everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from harness.errors import printable
from harness.platform.parse import format_cpulist
from harness.wording import count, signed

UNKNOWN = "not known"
NO_BREAK = "\u00a0"

_PREFIXES = {-9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P"}
# Time is not counted in kiloseconds.
_HIGHEST = {"s": 0}
_TIMES = 2.0  # a ratio from which "× 2.4" says more than "+140 %"
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


_UNITS: dict[str, Callable[[float], str]] = {
    "_hz": lambda value: quantity(value, "Hz"),
    "_bytes": lambda value: size(value),
    "_share": lambda value: percent(value, 2),
}


def number(value: float, digits: int = 3) -> str:
    """``digits`` significant digits without an exponent: 0.884, 12.3, 1,230."""
    if value == 0:
        return "0"
    rounded = _rounded(value, digits)
    if not math.isfinite(rounded):  # a percentage of what is near the largest number
        return str(rounded)
    return f"{rounded:,.{_decimals(rounded, digits)}f}"


def quantity(value: float, unit: str, digits: int = 3) -> str:
    """A value with its unit and SI prefix: ``4.81 M rows/s``, ``2.10 µs``, ``12.3 s``."""
    exponent = prefix_exponent(value, unit, digits)
    return f"{number(value / 10.0**exponent, digits)}{NO_BREAK}{prefixed(unit, exponent)}".rstrip(NO_BREAK)


def prefix_exponent(value: float, unit: str, digits: int = 3) -> int:
    """Power of ten, a multiple of three, that brings ``value`` between 1 and 1000 after rounding; 0 without a unit."""
    if value == 0 or not unit or not math.isfinite(_rounded(value, digits)):
        return 0
    exponent = 3 * math.floor(math.log10(abs(_rounded(value, digits))) / 3 + 1e-12)
    return min(max(exponent, min(_PREFIXES)), _HIGHEST.get(unit, max(_PREFIXES)))


def prefixed(unit: str, exponent: int) -> str:
    """The unit under a power of ten: ``ms``, ``M rows/s``; a unit in words keeps a space after the prefix."""
    prefix = _PREFIXES[exponent]
    if not prefix or not unit:
        return prefix + unit
    return f"{prefix}{NO_BREAK}{unit}" if unit.startswith("row") else f"{prefix}{unit}"


def interval(low: float, high: float, exponent: int) -> str:
    """``[4.71, 4.91]`` under the power of ten its value is printed with."""
    return f"[{number(low / 10.0**exponent)}, {number(high / 10.0**exponent)}]"


def plus_minus(value: float, low: float, high: float) -> str:
    """The wider side of an interval in percent of its value: ``±2 %``."""
    if value == 0:
        return ""
    side = 100 * max(value - low, high - value) / abs(value)
    return f"±{number(side, 2 if side >= 1 else 1)}{NO_BREAK}%"


def change(ratio: float, low: float | None, high: float | None) -> tuple[str, str]:
    """A time against another, and its limits: ``+31.0 %``, ``[+27.1, +35.2]``; from twice on ``× 2.4``, ``[2, 3]``.

    Without limits the second text is empty.
    """

    def shown(value: float) -> str:
        return number(value) if ratio >= _TIMES else signed(100 * (value - 1))

    limits = "" if low is None or high is None else f"[{shown(low)},{NO_BREAK}{shown(high)}]"
    return f"×{NO_BREAK}{shown(ratio)}" if ratio >= _TIMES else f"{shown(ratio)}{NO_BREAK}%", limits


def moment(created: str) -> str:
    """A time of a record for people: ``2026-08-01 12:00:00 UTC``."""
    return created.replace("T", " ").replace("Z", " UTC")


def percent(share: float, digits: int = 3) -> str:
    """A share in [0, 1] as a percentage, of which only the whole is 100 %."""
    shown = number(100 * share, digits)
    if shown == "100" and share < 1:
        shown = f"{math.floor(1000 * share) / 10:.1f}"
    return f"{shown}{NO_BREAK}%"


def score(value: float) -> str:
    """An accuracy figure in [0, 1], three decimals, so that figures in a column line up."""
    return f"{value:.3f}"


def as_given(value: float) -> str:
    """A figure that was not measured here, such as a published one, with the digits it came with."""
    return f"{value:.6g}"


def size(value: float) -> str:
    """Bytes in binary units: ``256 GiB``."""
    step = 0
    while abs(value) >= 1024 and step < len(_BINARY) - 1:
        value, step = value / 1024, step + 1
    return f"{count(int(value)) if value == int(value) else number(value)}{NO_BREAK}{_BINARY[step]}"


def ranges(numbers: Iterable[int]) -> str:
    """Whole numbers as the kernel lists them: ``0-3,8``."""
    return format_cpulist(tuple(numbers))


def and_list(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def capital(text: str) -> str:
    """With its first letter large; a name with digits (x86-64) keeps its case."""
    return text if any(map(str.isdigit, text.partition(" ")[0])) else text[:1].upper() + text[1:]


def clip(text: str, limit: int) -> str:
    """At most ``limit`` characters, the cut marked; without the control characters that no document may hold."""
    kept = printable(text)
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"


def fact_text(path: str, value: Any) -> str:
    """A fact in a sentence or a cell, in the unit that the end of its path names: ``4 GHz``, ``80 GiB``, ``4.8 %``."""
    if isinstance(value, list | tuple) and not all(isinstance(item, int) for item in value):
        return ", ".join(fact_text(path, item) for item in value) or "none"
    if isinstance(value, int | float) and not isinstance(value, bool):
        for ending, shown in _UNITS.items():
            if path.endswith(ending):
                return shown(value)
    return value_text(value)


def value_text(value: Any) -> str:
    """Any JSON value in a table cell."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list | tuple):
        if all(isinstance(item, int) and not isinstance(item, bool) for item in value):
            return ranges(value) or "none"
        return ", ".join(value_text(item) for item in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {value_text(value[key])}" for key in sorted(value)) or "none"
    return str(value)


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits - 1}e}")


def _decimals(rounded: float, digits: int) -> int:
    return max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
