"""Shared libraries as files: what they need, and whether they hold MMA instructions."""

from __future__ import annotations

import mmap
import re
import struct
from dataclasses import dataclass
from pathlib import Path

_PT_LOAD, _PT_DYNAMIC = 1, 2
_PF_X = 1
_DT_NEEDED, _DT_STRTAB = 1, 5
_ENOUGH = 16  # instructions that are no chance pattern in data between functions


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
    """Whether the code of a little-endian Power library has MMA outer products; ``None`` when that cannot be told."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content[:6] != b"\x7fELF\x02\x01" or struct.unpack_from("<H", content, 18)[0] != _EM_PPC64:
                return None
            found = 0
            for segment in _segments(content, "<"):
                if segment.kind == _PT_LOAD and segment.flags & _PF_X:
                    for match in _MMA.finditer(content, segment.offset, segment.offset + segment.size):
                        found += match.start() % 4 == 0
                        if found >= _ENOUGH:
                            return True
            return False
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
    found: list[_Segment] = []
    for index in range(count):
        kind, flags, offset, address, _, size = struct.unpack_from(f"{order}IIQQQQ", content, table + index * entry)
        found.append(_Segment(kind, flags, offset, address, size))
    return found


def _string(content: mmap.mmap, offset: int) -> str:
    end = content.find(b"\0", offset, offset + 4096)
    return content[offset:end].decode("utf-8", "replace") if end >= 0 else ""


_EM_PPC64 = 21


def _outer_products() -> re.Pattern[bytes]:
    """Accumulating outer products: primary opcode 59, two zero bits after the accumulator, extended opcode as below."""
    extended = (2, 18, 26, 50, 58)  # xvi8ger4pp, xvf16ger2pp, xvf32gerpp, xvbf16ger2pp, xvf64gerpp
    third = bytes(value for value in range(256) if not value & 0x60)
    choices: list[bytes] = []
    for code in extended:
        first = bytes((code << 3 & 0xFF) | low for low in (0, 2, 4, 6))
        second = bytes(high << 3 | code >> 5 for high in range(32))
        choices.append(_one_of(first) + _one_of(second) + _one_of(third) + b"[\xec-\xef]")
    return re.compile(b"|".join(choices), re.DOTALL)


def _one_of(values: bytes) -> bytes:
    return b"[" + b"".join(b"\\x%02x" % value for value in values) + b"]"


_MMA = _outer_products()
