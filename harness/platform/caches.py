"""Caches and who shares them, from ``cpuN/cache/indexM``; the device tree where a tree has no such files."""

from __future__ import annotations

from harness.platform import parse
from harness.platform.devicetree import CpuNode, DeviceTree
from harness.platform.facts import Cache, CacheFacts
from harness.platform.sysroot import SysRoot

_CPUS = "sys/devices/system/cpu"

_Geometry = tuple[int, str, int | None, int | None, int | None, int | None]  # level, type, size, line, ways, sets


def collect(sysroot: SysRoot, online: tuple[int, ...], tree: DeviceTree) -> CacheFacts:
    """The caches of the online CPUs.

    One member of each sharing set is read, for a machine of 1,920 CPUs has 60,000 such files.
    """
    instances: dict[_Geometry, list[tuple[int, ...]]] = {}
    covered: set[tuple[int, int]] = set()
    here = frozenset(online)
    indexes: tuple[int, ...] = ()
    for cpu in online:
        if indexes and all((index, cpu) in covered for index in indexes):
            continue  # it has the caches of the last CPU looked at, and shares every one
        base = f"{_CPUS}/cpu{cpu}/cache"
        indexes = sysroot.numbered(base, "index")
        for index in indexes:
            if (index, cpu) in covered:
                continue
            geometry, shared = _read(sysroot, f"{base}/index{index}")
            if geometry is None:
                continue
            members = tuple(other for other in shared if other in here and (index, other) not in covered) or (cpu,)
            covered.update((index, other) for other in members)
            instances.setdefault(geometry, []).append(members)
    if instances:
        caches = tuple(Cache(*geometry, instances=tuple(sorted(sets))) for geometry, sets in instances.items())
        return CacheFacts(_ordered(caches), {"caches": "sysfs:devices/system/cpu/cpu*/cache/index*"})
    return _from_device_tree(tree)


def _read(sysroot: SysRoot, base: str) -> tuple[_Geometry | None, tuple[int, ...]]:
    """One index directory; the geometry is ``None`` when level or type cannot be read."""
    level = sysroot.read_int(f"{base}/level")
    kind = sysroot.read_text(f"{base}/type")
    if level is None or not 1 <= level <= 9 or kind not in ("Data", "Instruction", "Unified"):
        return None, ()
    shared = parse.cpu_list(sysroot.read_text(f"{base}/shared_cpu_list"))
    if shared is None:  # kernels before 3.x have only the mask
        shared = parse.cpu_mask(sysroot.read_text(f"{base}/shared_cpu_map"))
    geometry = (
        level,
        kind,
        _positive(parse.size(sysroot.read_text(f"{base}/size"))),
        _positive(sysroot.read_int(f"{base}/coherency_line_size")),
        _positive(sysroot.read_int(f"{base}/ways_of_associativity")),
        _positive(sysroot.read_int(f"{base}/number_of_sets")),
    )
    return geometry, shared or ()


def _positive(value: int | None) -> int | None:
    """The kernel writes 0 where firmware tells nothing (and for ways, "fully associative")."""
    return value if value is not None and value > 0 else None


def _ordered(caches: tuple[Cache, ...]) -> tuple[Cache, ...]:
    return tuple(sorted(caches, key=lambda cache: (cache.level, cache.type, cache.size_bytes or 0)))


def _from_device_tree(tree: DeviceTree) -> CacheFacts:
    """Sizes as firmware gives them; it does not say which CPUs share a cache, so there are no instances."""
    node = next(iter(tree.cpus()), None)
    if node is None:
        return CacheFacts()
    caches = [
        Cache(1, kind, size, None, None, None, ())
        for kind, size in (("Data", node.l1d_bytes), ("Instruction", node.l1i_bytes))
        if size
    ]
    caches += [Cache(level, "Unified", size, None, None, None, ()) for level, size in _outer_sizes(tree, node)]
    if not caches:
        return CacheFacts()
    return CacheFacts(_ordered(tuple(caches)), {"caches": "device-tree:cpus/*/*-cache-size"})


def _outer_sizes(tree: DeviceTree, node: CpuNode) -> list[tuple[int, int]]:
    nodes = tree.caches()
    sizes: list[tuple[int, int]] = []
    handle = node.l2_handle
    for level in range(2, 5):
        cache = nodes.get(handle) if handle is not None else None
        if cache is None:
            break
        if cache.size_bytes:
            sizes.append((level, cache.size_bytes))
        handle = cache.next_handle
    return sizes


def last_level_bytes(caches: CacheFacts, cpus: set[int]) -> int:
    """Sum over the caches of the highest level that any of ``cpus`` uses; 0 when not known."""
    data = [cache for cache in caches.caches if cache.type != "Instruction" and cache.size_bytes]
    last = max((cache.level for cache in data), default=0)
    return sum(
        cache.size_bytes
        for cache in data
        if cache.level == last and cache.size_bytes
        for sharing in cache.instances
        if cpus & set(sharing)
    )
