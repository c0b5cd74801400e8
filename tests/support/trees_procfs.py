"""``/proc`` of a synthetic machine (see ``trees``); formats of Linux 6 unless the spec says otherwise."""

from __future__ import annotations

import struct
from pathlib import Path

from support.trees import Layout, TreeSpec, cpu_list, write_file

# generation -> PVR as seen on such machines; see tests/../sysconfig and the kernel's cputable
PVR = {
    "POWER7": 0x003F0201,
    "POWER8": 0x004D0200,
    "POWER9": 0x004E0202,
    "POWER10": 0x00800200,
    "POWER11": 0x00820200,
}
_HWCAP = 0xDC0065C2
_HWCAP2 = {
    "POWER7": 0x00000000,
    "POWER8": 0xAE000000,
    "POWER9": 0xAEE00000,
    "POWER10": 0xAEE60000,
    "POWER11": 0xAEE60000,
}
_MMA = 0x00020000


def pvr(spec: TreeSpec) -> int:
    """Processor version register of the machine."""
    whole = PVR[spec.generation]
    if spec.pvr_low is not None:
        return whole & 0xFFFF0000 | spec.pvr_low
    four_threads = spec.generation in ("POWER9", "POWER10", "POWER11") and spec.threads == 4
    return whole | 0x1000 if four_threads else whole


def mode(spec: TreeSpec) -> str:
    """Compatibility mode."""
    return spec.mode or spec.generation


def write(spec: TreeSpec, laid: Layout, root: Path) -> None:
    """Everything below ``/proc`` but the firmware's part."""
    proc = root / "proc"
    write_file(proc / "cpuinfo", _power_cpuinfo(spec, laid) if spec.power else _x86_cpuinfo(spec, laid))
    _memory(spec, laid, proc)
    _kernel(spec, proc)
    _process(spec, laid, proc)
    _load(spec, laid, proc)


def _cpu_text(spec: TreeSpec) -> str:
    name = mode(spec)
    name = name.replace("POWER11", "Power11")
    if spec.platform == "PowerNV":
        return f"{'POWER8E (raw)' if name == 'POWER8' else name}, altivec supported"
    return f"{name} (architected), altivec supported"


def _machine(spec: TreeSpec) -> tuple[str, str]:
    """The ``model`` and ``machine`` lines."""
    if spec.platform == "PowerNV":
        return spec.mtm or "unknown", f"PowerNV {spec.mtm or 'unknown'}"
    if spec.platform == "PowerVM":
        return f"IBM,{spec.mtm}", f"CHRP IBM,{spec.mtm}"
    return "IBM pSeries (emulated by qemu)", "CHRP IBM pSeries (emulated by qemu)"


def _power_cpuinfo(spec: TreeSpec, laid: Layout) -> str:
    version = pvr(spec)
    high, low = version >> 16, version & 0xFFFF
    major = low >> 8 & (0x0F if spec.generation in ("POWER9", "POWER10") else 0xFF)
    clock = 1000.0 if spec.platform == "TCG" else spec.clock_mhz
    blocks = [
        f"processor\t: {cpu}\ncpu\t\t: {_cpu_text(spec)}\nclock\t\t: {clock:.6f}MHz\n"
        f"revision\t: {major}.{low & 0xFF} (pvr {high:04x} {low:04x})\n"
        for cpu in laid.online
    ]
    model, machine = _machine(spec)
    trailer = ["timebase\t: 512000000", f"platform\t: {'PowerNV' if spec.platform == 'PowerNV' else 'pSeries'}"]
    if spec.has_model_line:
        trailer.append(f"model\t\t: {model}")
    trailer.append(f"machine\t\t: {machine}")
    if spec.platform == "PowerNV":
        trailer.append("firmware\t: OPAL")
    if spec.has_model_line:
        trailer.append(f"MMU\t\t: {'Hash' if mode(spec) in ('POWER7', 'POWER8') else 'Radix'}")
    return "\n".join([*blocks, *trailer])


def _x86_cpuinfo(spec: TreeSpec, laid: Layout) -> str:
    core_of = {cpu: core for core in laid.cores for cpu in core.online}
    return "\n".join(
        f"processor\t: {cpu}\nvendor_id\t: {spec.x86_vendor}\ncpu family\t: 6\nmodel\t\t: 143\n"
        f"model name\t: {spec.x86_model}\nstepping\t: 8\ncpu MHz\t\t: {spec.clock_mhz:.3f}\n"
        f"physical id\t: {core_of[cpu].package}\nsiblings\t: 2\ncore id\t\t: {core_of[cpu].number}\n"
        f"flags\t\t: {spec.x86_flags}\n"
        for cpu in laid.online
    )


def _memory(spec: TreeSpec, laid: Layout, proc: Path) -> None:
    total = spec.memory_total_mb or sum(node.memory_mb for node in laid.nodes)
    write_file(
        proc / "meminfo",
        f"MemTotal:{total * 1024:16d} kB\nMemFree:{total * 921:17d} kB\nMemAvailable:{total * 972:12d} kB\n"
        f"HugePages_Total:{spec.huge_pages_2m:8d}\nHugepagesize:{2048:8d} kB",
    )
    write_file(proc / "sys/vm/zone_reclaim_mode", "0")
    if spec.has_numa:
        write_file(proc / "sys/kernel/numa_balancing", str(spec.numa_balancing))


def _architecture(spec: TreeSpec) -> str:
    if not spec.power:
        return "x86_64"
    return "ppc64le" if spec.little_endian else "ppc64"


def _kernel(spec: TreeSpec, proc: Path) -> None:
    write_file(proc / "version", f"Linux version {spec.release} (synthetic tree, not a machine)")
    write_file(proc / "sys/kernel/osrelease", spec.release)
    write_file(proc / "sys/kernel/arch", _architecture(spec))
    write_file(proc / "cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/sda2 ro")


def _process(spec: TreeSpec, laid: Layout, proc: Path) -> None:
    allowed = spec.allowed_cpus if spec.allowed_cpus is not None else cpu_list(laid.online)
    with_memory = tuple(node.id for node in laid.nodes if node.memory_mb)
    mems = spec.allowed_mems if spec.allowed_mems is not None else cpu_list(with_memory)
    write_file(proc / "self/status", f"Name:\ttree\nCpus_allowed_list:\t{allowed}\nMems_allowed_list:\t{mems}")
    write_file(proc / "self/cgroup", "0::/")
    if spec.auxv and spec.power:
        word = _HWCAP2[mode(spec)]
        if spec.mma is not None:
            word = word | _MMA if spec.mma else word & ~_MMA
        pairs = ((16, _HWCAP), (6, spec.page_size), (17, 100), (26, word), (0, 0))
        order = "<" if spec.little_endian else ">"
        write_file(proc / "self/auxv", b"".join(struct.pack(f"{order}QQ", *pair) for pair in pairs))
    elif spec.auxv:
        pairs = ((16, 0x178BFBFF), (6, 4096), (17, 100), (26, 2), (0, 0))
        write_file(proc / "self/auxv", b"".join(struct.pack("<QQ", *pair) for pair in pairs))


def _load(spec: TreeSpec, laid: Layout, proc: Path) -> None:
    averages = " ".join(f"{value:.2f}" for value in spec.load)
    write_file(proc / "loadavg", f"{averages} 1/345 6789")
    write_file(proc / "uptime", "86400.00 345600.00")
    count = len(laid.online)
    busy, stolen = spec.busy_ticks, spec.steal_ticks
    lines = [f"cpu  {busy * count} 0 {busy * count} {busy * count * 8} 0 0 0 {stolen * count} 0 0"]
    lines += [f"cpu{cpu} {busy} 0 {busy} {busy * 8} 0 0 0 {stolen} 0 0" for cpu in laid.online]
    write_file(proc / "stat", "\n".join([*lines, "intr 0", "ctxt 1", "btime 1700000000"]))
