"""Shared libraries as files: what they need, and whether they hold MMA instructions."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

_PT_LOAD, _PT_DYNAMIC = 1, 2
_PF_X = 1
_DT_NEEDED, _DT_STRTAB = 1, 5
_EM_PPC64 = 21
_ENOUGH = 16  # instructions that are no chance pattern in data between functions
_CHUNK = 1 << 22  # bytes of code looked at at once

# Accumulating outer products (Power ISA 3.1): primary opcode 59, two zero bits after the accumulator, extended opcode.
_IS_OPCODE_59 = bytes(value >> 2 == 59 for value in range(256))  # of an instruction's last byte in memory
_FIXED = 0xFC6007F9
_OUTER_PRODUCTS = frozenset(
    59 << 26 | extended << 3
    for extended in (2, 18, 26, 50, 58)  # xvi8ger4pp, xvf16ger2pp, xvf32gerpp, xvbf16ger2pp, xvf64gerpp
)


@dataclass(frozen=True)
class _Segment:
    kind: int
    flags: int
    offset: int
    address: int
    size: int


def needed(path: Path) -> tuple[str, ...]:
    """Names of the libraries that a 64-bit ELF file is linked with; empty when it is not one."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _needed(content)
    except (OSError, ValueError, struct.error):
        return ()


def holds_mma(path: Path) -> bool | None:
    """Whether the code of a little-endian Power library has MMA outer products; ``None`` when that is not known."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content[:6] != b"\x7fELF\x02\x01" or struct.unpack_from("<H", content, 18)[0] != _EM_PPC64:
                return None
            products = (
                kind
                for segment in _segments(content, "<")
                if segment.kind == _PT_LOAD and segment.flags & _PF_X
                for kind in _outer_products(content, segment)
            )
            return sum(1 for _ in islice(products, _ENOUGH)) == _ENOUGH
    except (OSError, ValueError, struct.error):
        return None


def _needed(content: mmap.mmap) -> tuple[str, ...]:
    if content[:5] != b"\x7fELF\x02":
        return ()
    order = "<" if content[5:6] == b"\x01" else ">"
    segments = _segments(content, order)
    dynamic = next((segment for segment in segments if segment.kind == _PT_DYNAMIC), None)
    if dynamic is None:
        return ()
    names: list[int] = []
    strings: int | None = None
    for offset in range(dynamic.offset, dynamic.offset + dynamic.size, 16):
        tag, value = struct.unpack_from(f"{order}qQ", content, offset)
        if tag == _DT_NEEDED:
            names.append(value)
        elif tag == _DT_STRTAB:
            strings = value
        elif tag == 0:
            break
    if strings is None:
        return ()
    start = next(
        (item.offset + strings - item.address for item in segments if 0 <= strings - item.address < item.size), None
    )
    if start is None:
        return ()
    return tuple(_string(content, start + name) for name in names)


def _segments(content: mmap.mmap, order: str) -> list[_Segment]:
    table = struct.unpack_from(f"{order}Q", content, 32)[0]
    entry, count = struct.unpack_from(f"{order}HH", content, 54)
    segments: list[_Segment] = []
    for index in range(count):
        kind, flags, offset, address, _, size = struct.unpack_from(f"{order}IIQQQQ", content, table + index * entry)
        segments.append(_Segment(kind, flags, offset, address, size))
    return segments


def _string(content: mmap.mmap, offset: int) -> str:
    end = content.find(b"\0", offset, offset + 4096)
    return content[offset:end].decode("utf-8", "replace") if end >= 0 else ""


def _outer_products(content: mmap.mmap, segment: _Segment) -> Iterator[int]:
    """Offsets of the accumulating outer products in a segment of code.

    Only the words of their primary opcode are looked at one by one: a library may hold a hundred million others.
    """
    end = segment.offset + segment.size
    for start in range(segment.offset + -segment.offset % 4, end, _CHUNK):
        marks = content[start + 3 : min(start + _CHUNK, end) : 4].translate(_IS_OPCODE_59)
        at = marks.find(1)
        while at >= 0:
            offset = start + 4 * at
            if struct.unpack_from("<I", content, offset)[0] & _FIXED in _OUTER_PRODUCTS:
                yield offset
            at = marks.find(1, at + 1)
