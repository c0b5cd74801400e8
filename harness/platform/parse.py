"""Parsers of the kernel's text and binary formats: pure, total, ``None`` for anything that is not that format."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

_MAX_ID = 1 << 16  # CPU and node numbers; the kernel's largest NR_CPUS is 8192
_MAX_U64 = (1 << 64) - 1
_RANGE = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6}))?\Z")
_SIZE = re.compile(r"([0-9]{1,15})\s*([KMGT])(?:i?B)?\Z", re.IGNORECASE)
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def cpu_list(text: str | None) -> tuple[int, ...] | None:
    """A list such as ``0-3,8,10-11`` as sorted numbers; an empty text is an empty list."""
    if text is None:
        return None
    numbers: set[int] = set()
    for part in text.split(",") if text.strip() else []:
        match = _RANGE.match(part.strip())
        if match is None:
            return None
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if last < first or last >= _MAX_ID:
            return None
        numbers.update(range(first, last + 1))
    return tuple(sorted(numbers))


def cpu_mask(text: str | None) -> tuple[int, ...] | None:
    """A bit mask such as ``000000ff,ffff0000`` (groups of 32 bits, highest first) as sorted numbers."""
    if text is None:
        return None
    head, *groups = text.strip().split(",")
    if not 1 <= len(head) <= 8 and groups:
        return None
    if any(len(group) != 8 for group in groups):
        return None
    digits = head + "".join(groups)
    if not re.fullmatch(rf"[0-9a-fA-F]{{1,{_MAX_ID // 4}}}", digits):
        return None
    bits = f"{int(digits, 16):b}"[::-1]
    return tuple(number for number, bit in enumerate(bits) if bit == "1")


def format_cpulist(numbers: tuple[int, ...]) -> str:
    """Numbers as the kernel writes them: ``0-3,8``; the inverse of :func:`cpu_list`."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def integer(text: str | None) -> int | None:
    """A decimal integer of at most 64 bits."""
    if text is None or not re.fullmatch(r"\s*[+-]?[0-9]{1,20}\s*", text):
        return None
    value = int(text)
    return value if abs(value) <= _MAX_U64 else None


def hexadecimal(text: str | None) -> int | None:
    """A hexadecimal integer of at most 64 bits, with or without ``0x``."""
    match = re.fullmatch(r"\s*(?:0[xX])?([0-9a-fA-F]{1,16})\s*", text or "")
    return int(match[1], 16) if match else None


def number(text: str | None) -> float | None:
    """A plain non-negative decimal number."""
    match = re.fullmatch(r"\s*([0-9]{1,20}(?:\.[0-9]{1,20})?)\s*", text or "")
    return float(match[1]) if match else None


def size(text: str | None) -> int | None:
    """A size such as ``32K``, ``2 MB`` or ``98250752 kB`` in bytes; units are powers of 1024.

    A number without its unit is a line cut short, not a size.
    """
    match = _SIZE.match((text or "").strip())
    return int(match[1]) * _UNITS[match[2].upper()] if match else None


def selected(text: str | None) -> str | None:
    """The bracketed choice of a sysfs option: ``madvise`` of ``always [madvise] never``."""
    match = re.search(r"\[([^\[\]\s]{1,64})\]", text or "")
    return match[1] if match else None


def key_values(text: str | None, separator: str) -> dict[str, str]:
    """Lines ``key<separator>value`` as a mapping; the first of repeated keys counts, other lines are passed over."""
    values: dict[str, str] = {}
    for line in (text or "").splitlines():
        key, middle, value = line.partition(separator)
        if middle and key.strip():
            values.setdefault(key.strip(), value.strip())
    return values


def cells(content: bytes | None) -> tuple[int, ...] | None:
    """A device-tree property of 32-bit cells, which are big-endian on every machine."""
    if not content or len(content) % 4:
        return None
    return struct.unpack(f">{len(content) // 4}I", content)


def strings(content: bytes | None) -> tuple[str, ...]:
    """A device-tree property of NUL-terminated strings."""
    text = (content or b"").decode("utf-8", "replace")
    return tuple(part.strip() for part in text.split("\0") if part.strip())


def stanzas(text: str | None) -> Iterator[dict[str, str]]:
    """The blocks of ``key : value`` lines of ``/proc/cpuinfo``, which blank lines divide."""
    block: dict[str, str] = {}
    for line in (text or "").splitlines():
        key, middle, value = line.partition(":")
        if middle:
            block.setdefault(key.strip(), value.strip())
        elif not line.strip() and block:
            yield block
            block = {}
    if block:
        yield block
