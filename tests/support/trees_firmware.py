"""Device tree, lparcfg and papr of a synthetic Power machine (see ``trees``).

The lines of lparcfg are those of Linux, arch/powerpc/platforms/pseries/lparcfg.c, in its order and formats; no dump
of a POWER10 file is public, so the values are made up.
"""

from __future__ import annotations

import struct
from pathlib import Path

from support import trees_procfs
from support.trees import Layout, LparSpec, TreeSpec, write_file


def write(spec: TreeSpec, laid: Layout, root: Path) -> None:
    """Firmware's own description of the machine."""
    if spec.device_tree:
        _device_tree(spec, laid, root)
    if spec.lpar is not None and spec.platform == "PowerVM":
        write_file(root / "proc/ppc64/lparcfg", lparcfg(spec, spec.lpar, laid))
    if spec.energy is not None:
        for number, (description, value, words) in spec.energy.items():
            base = root / f"sys/firmware/papr/energy_scale_info/{number}"
            write_file(base / "desc", description)
            write_file(base / "value", str(value))
            if words is not None:
                write_file(base / "value_desc", words)


def _cells(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def _strings(*values: str) -> bytes:
    return b"".join(value.encode() + b"\0" for value in values)


def _device_tree(spec: TreeSpec, laid: Layout, root: Path) -> None:
    base = root / "sys/firmware/devicetree/base"
    link = root / "proc/device-tree"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to("/sys/firmware/devicetree/base")  # absolute, as the kernel makes it
    bare = spec.platform == "PowerNV"
    guest = spec.platform in ("KVM", "TCG")
    if bare:
        write_file(base / "model", _strings(spec.mtm or "unknown"))
        write_file(base / "compatible", _strings("ibm,powernv", "ibm,synthetic"))
    elif guest:
        write_file(base / "model", _strings("IBM pSeries (emulated by qemu)"))
        write_file(base / "compatible", _strings("qemu,pseries"))
        write_file(base / "device_type", _strings("chrp"))
        write_file(base / "chosen/bootargs", _strings(""))
    else:
        write_file(base / "model", _strings(f"IBM,{spec.mtm}"))
        write_file(base / "compatible", _strings(f"IBM,{spec.mtm}"))
        write_file(base / "device_type", _strings("chrp"))
    if spec.platform == "KVM":
        write_file(base / "hypervisor/compatible", _strings("linux,kvm"))
    if spec.lpar is not None and spec.platform == "PowerVM":
        write_file(base / "ibm,partition-name", _strings(spec.lpar.name))
        write_file(base / "ibm,partition-no", _cells(spec.lpar.id))
    if spec.platform == "PowerVM":
        write_file(base / "rtas/ibm,associativity-reference-points", _cells(4, 2))
        if spec.has_numa:
            _memory(spec, laid, root)
    version = trees_procfs.pvr(spec)
    for core in laid.cores:
        node = base / f"cpus/PowerPC,{trees_procfs.mode(spec).replace('POWER11', 'Power11')}@{core.cpus[0]:x}"
        write_file(node / "device_type", _strings("cpu"))
        write_file(node / "reg", _cells(core.cpus[0]))
        write_file(node / "status", _strings("okay"))
        write_file(node / "cpu-version", _cells(version))
        write_file(node / "ibm,ppc-interrupt-server#s", _cells(*core.cpus))
        write_file(node / "clock-frequency", _cells(int(spec.clock_mhz * 1e6) & 0xFFFFFFFF))
        if spec.platform == "PowerVM":
            firmware = spec.moved.get(core.node, core.node)
            write_file(node / "ibm,associativity", _cells(5, 0, 0, 0, firmware, core.cpus[0]))
        if bare:
            write_file(node / "ibm,chip-id", _cells(core.package))


def _memory(spec: TreeSpec, laid: Layout, root: Path) -> None:
    """Logical memory blocks, one after another in the order of the nodes, and the kernel's blocks of the same size."""
    size_mb = 1024
    runs, arrays, address = [], [], 0
    system = root / "sys/devices/system"
    write_file(system / "memory/block_size_bytes", f"{size_mb << 20:x}")
    for index, node in enumerate(laid.nodes):
        count = node.memory_mb // size_mb
        arrays.append(_cells(0, 0, 0, spec.moved.get(node.id, node.id)))
        runs.append(struct.pack(">IQIII", count, address, 0x80000000 + address // (size_mb << 20), index, 0x8))
        first = address // (size_mb << 20)
        for number in range(first, first + count if count <= 64 else first):  # no link for each of thousands
            (system / f"node/node{node.id}/memory{number}").mkdir(parents=True)
        address += count * (size_mb << 20)
    base = root / "sys/firmware/devicetree/base/ibm,dynamic-reconfiguration-memory"
    write_file(base / "ibm,lmb-size", struct.pack(">Q", size_mb << 20))
    write_file(base / "ibm,associativity-lookup-arrays", _cells(len(arrays), 4) + b"".join(arrays))
    write_file(base / "ibm,dynamic-memory-v2", _cells(len(runs)) + b"".join(runs))


def lparcfg(spec: TreeSpec, lpar: LparSpec, laid: Layout) -> str:
    """The file's text."""
    cores = len(laid.cores)
    virtual = lpar.virtual_processors if lpar.virtual_processors is not None else cores
    entitled = lpar.entitled_percent if lpar.entitled_percent is not None else 100 * virtual
    memory = lpar.desired_memory_mb or sum(node.memory_mb for node in laid.nodes)
    lines = [
        f"lparcfg {lpar.version}",
        f"serial_number=IBM,{lpar.serial}",
        f"system_type=IBM,{spec.mtm}",
        f"partition_id={lpar.id}",
        f"partition_name={lpar.name}",
        "BoundThrds=1",
        "CapInc=1",
        "DisWheRotPer=5120000",
        "MinEntCap=10",
        "MinEntCapPerVP=5",
        "MinMem=2048",
        "MinProcs=1",
        f"partition_max_entitled_capacity={entitled * 2}",
        f"system_potential_processors={lpar.system_processors}",
        f"DesEntCap={entitled}",
        f"DesMem={memory}",
        f"DesProcs={virtual}",
        f"DesVarCapWt={lpar.weight}",
    ]
    if lpar.donating is not None:
        lines.append(f"DedDonMode={int(lpar.donating)}")
    lines += [
        "",
        f"partition_entitled_capacity={entitled}",
        "group=32773",
        f"system_active_processors={lpar.system_processors}",
    ]
    if lpar.shared:
        lines += [
            f"pool={lpar.pool}",
            f"pool_capacity={lpar.pool_processors * 100}",
            "pool_idle_time=123456789012",
            f"pool_num_procs={lpar.pool_processors}",
        ]
    lines += [
        "unallocated_capacity_weight=0",
        f"capacity_weight={lpar.weight}",
        f"capped={int(lpar.capped)}",
        "unallocated_capacity=0",
        f"entitled_memory={memory << 20}",
        "entitled_memory_group_number=32773",
        "entitled_memory_pool_number=65535",
        "entitled_memory_weight=0",
        f"backing_memory={memory << 20} bytes",
        "cmo_enabled=0",
        f"dispatches={lpar.dispatches}",
        f"dispatch_dispersions={lpar.dispersions}",
        "purr=123456789012345",
        "tbr=987654321098765",
    ]
    if lpar.affinity_score is not None:
        lines.append(f"partition_affinity_score={lpar.affinity_score}")
    lines += [
        f"partition_active_processors={virtual}",
        f"partition_potential_processors={virtual * 2}",
        f"shared_processor_mode={int(lpar.shared)}",
    ]
    if lpar.power_mode is not None:
        lines.append(f"power_mode_data={lpar.power_mode:016x}")
    lines += [f"MaxMem={memory << 21}", "security_flavor=1"]
    return "\n".join(lines)
