"""The auxiliary vector: what the kernel tells every program about the processor."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from harness.platform.sysroot import SysRoot

AT_PAGESZ, AT_PLATFORM, AT_HWCAP, AT_BASE_PLATFORM, AT_HWCAP2 = 6, 15, 16, 24, 26

# Linux, arch/powerpc/include/uapi/asm/cputable.h
_POWER_HWCAP = {"altivec": 0x10000000, "vsx": 0x00000080}
_POWER_HWCAP2 = {"arch_2_07": 0x80000000, "arch_3_00": 0x00800000, "arch_3_1": 0x00040000, "mma": 0x00020000}


@dataclass(frozen=True)
class AuxVector:
    """Entries by type, and the texts that two of them point to (of this process only)."""

    entries: Mapping[int, int]
    byte_order: str | None  # of the vector itself: "little" or "big"
    source: str
    platform: str | None = None
    base_platform: str | None = None

    def power_features(self) -> dict[str, bool | None]:
        """Usable Power features; one is ``None`` when its word is not in the vector."""
        features: dict[str, bool | None] = {}
        for word, bits in ((AT_HWCAP, _POWER_HWCAP), (AT_HWCAP2, _POWER_HWCAP2)):
            value = self.entries.get(word)
            features.update({name: None if value is None else bool(value & bit) for name, bit in bits.items()})
        return features


def parse(content: bytes | None) -> tuple[dict[int, int], str] | None:
    """Entries and byte order of a 64-bit ``/proc/self/auxv``; ``None`` when it is not one."""
    if not content or len(content) % 16:
        return None
    for order, name in (("<", "little"), (">", "big")):
        words = struct.unpack(f"{order}{len(content) // 8}Q", content)
        entries = dict(zip(words[::2], words[1::2], strict=True))
        # Types are small numbers, so the wrong byte order shows; AT_PAGESZ is in every vector.
        if all(key < 1 << 16 for key in entries) and AT_PAGESZ in entries:
            entries.pop(0, None)  # AT_NULL ends the vector
            return entries, name
    return None


def read(sysroot: SysRoot) -> AuxVector | None:
    """The vector of this process for the live machine, else the one stored in the tree."""
    parsed = parse(sysroot.read_bytes("proc/self/auxv"))
    if not sysroot.live:
        return None if parsed is None else AuxVector(parsed[0], parsed[1], "auxv")
    if parsed is None:  # no /proc: ask the C library
        entries = {key: value for key in (AT_PAGESZ, AT_HWCAP, AT_HWCAP2) if (value := _getauxval(key))}
        parsed = entries, ("little" if struct.pack("=H", 1)[0] else "big")
    platform, base = (_text_at(_getauxval(key)) for key in (AT_PLATFORM, AT_BASE_PLATFORM))
    return AuxVector(parsed[0], parsed[1], "auxv", platform, base)


def _getauxval(key: int) -> int:
    """``getauxval(3)``: 0 when there is no such entry or no such function."""
    try:
        function = ctypes.CDLL(None).getauxval
    except (OSError, AttributeError):
        return 0
    function.argtypes, function.restype = [ctypes.c_ulong], ctypes.c_ulong
    return int(function(key))


def _text_at(address: int) -> str | None:
    """The C string at an address of this process, as the kernel placed it there; ``None`` for a null pointer."""
    if not address or os.name != "posix":
        return None
    content = ctypes.string_at(address)[:64]
    return content.decode("ascii", "replace") or None
