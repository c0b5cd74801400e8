"""The flattened device tree as the kernel shows it: firmware's own description of a Power machine."""

from __future__ import annotations

from dataclasses import dataclass

from harness.platform import parse
from harness.platform.sysroot import SysRoot

_ROOTS = ("proc/device-tree", "sys/firmware/devicetree/base")


@dataclass(frozen=True)
class CpuNode:
    """One ``cpus/PowerPC,POWER10@10`` node: a core."""

    name: str
    threads: tuple[int, ...]  # hardware numbers, ibm,ppc-interrupt-server#s
    available: bool  # status "okay": configured, not guarded out
    chip_id: int | None
    pvr: int | None
    clock_hz: float | None
    timebase_hz: float | None
    l1d_bytes: int | None
    l1i_bytes: int | None
    l2_handle: int | None  # phandle of the next cache


@dataclass(frozen=True)
class CacheNode:
    """One unified cache below the first level, and the phandle of the one after it."""

    size_bytes: int | None
    next_handle: int | None


class DeviceTree:
    """Reader of one tree. Integers are big-endian 32-bit cells, texts end in NUL."""

    def __init__(self, sysroot: SysRoot) -> None:
        self._sysroot = sysroot
        self.root = next((root for root in _ROOTS if sysroot.list_dir(root)), None)

    def text(self, name: str) -> str | None:
        """First string of a property."""
        strings = self.strings(name)
        return strings[0] if strings else None

    def strings(self, name: str) -> tuple[str, ...]:
        """All strings of a property."""
        return parse.strings(self.bytes(name))

    def cell(self, name: str) -> int | None:
        """First cell of a property."""
        cells = self.cells(name)
        return cells[0] if cells else None

    def cells(self, name: str) -> tuple[int, ...] | None:
        """All cells of a property."""
        return parse.cells(self.bytes(name))

    def quantity(self, name: str) -> int | None:
        """A property of one or two cells as one number."""
        cells = parse.cells(self.bytes(name))
        if cells is None or len(cells) > 2:
            return None
        return cells[0] if len(cells) == 1 else cells[0] << 32 | cells[1]

    def exists(self, name: str) -> bool:
        """Whether the node or property is there."""
        return self.root is not None and self._sysroot.exists(f"{self.root}/{name}")

    def cpus(self) -> tuple[CpuNode, ...]:
        """The cores, in the order of their hardware numbers."""
        nodes = [self._cpu(name) for name in self._list("cpus") if "@" in name]
        return tuple(sorted((node for node in nodes if node is not None), key=lambda node: node.threads))

    def caches(self) -> dict[int, CacheNode]:
        """The cache nodes next to the CPU nodes, by phandle."""
        nodes: dict[int, CacheNode] = {}
        for name in self._list("cpus"):
            base = f"cpus/{name}"
            handle = self.cell(f"{base}/phandle") or self.cell(f"{base}/ibm,phandle")
            if handle is not None and "cache" in name:
                size = self.cell(f"{base}/d-cache-size") or self.cell(f"{base}/cache-size")
                nodes[handle] = CacheNode(size, self._next(base))
        return nodes

    def _cpu(self, name: str) -> CpuNode | None:
        base = f"cpus/{name}"
        if self.text(f"{base}/device_type") != "cpu":
            return None
        threads = parse.cells(self.bytes(f"{base}/ibm,ppc-interrupt-server#s"))
        threads = threads or parse.cells(self.bytes(f"{base}/reg"))
        if not threads:
            return None
        clock = self.quantity(f"{base}/ibm,extended-clock-frequency") or self.quantity(f"{base}/clock-frequency")
        timebase = self.quantity(f"{base}/timebase-frequency")
        return CpuNode(
            name=name,
            threads=threads,
            available=self.text(f"{base}/status") in (None, "okay", "ok"),
            chip_id=self.cell(f"{base}/ibm,chip-id"),
            pvr=self.cell(f"{base}/cpu-version"),
            clock_hz=float(clock) if clock else None,
            timebase_hz=float(timebase) if timebase else None,
            l1d_bytes=self.cell(f"{base}/d-cache-size"),
            l1i_bytes=self.cell(f"{base}/i-cache-size"),
            l2_handle=self._next(base),
        )

    def _next(self, base: str) -> int | None:
        return self.cell(f"{base}/l2-cache") or self.cell(f"{base}/next-level-cache")

    def _list(self, name: str) -> tuple[str, ...]:
        return () if self.root is None else self._sysroot.list_dir(f"{self.root}/{name}")

    def bytes(self, name: str) -> bytes | None:
        """A property as it is stored."""
        return None if self.root is None else self._sysroot.read_bytes(f"{self.root}/{name}")
