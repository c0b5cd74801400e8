"""The logical partition, from ``/proc/ppc64/lparcfg`` (Linux, arch/powerpc/platforms/pseries/lparcfg.c)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from harness.platform import parse
from harness.platform.devicetree import DeviceTree
from harness.platform.facts import LparFacts
from harness.platform.gather import Gathered
from harness.platform.kernel import emulates_pseries
from harness.platform.sysroot import SysRoot

_PATHS = ("proc/ppc64/lparcfg", "proc/powerpc/lparcfg")
_MEGABYTE = 1 << 20
_HASHED = "sha256:"
# MaxMem is in bytes since version 1.9 of the file and in megabytes before: no partition has 256 TiB or 256 MiB.
_BYTES_FROM = 1 << 28


def read(sysroot: SysRoot) -> dict[str, str]:
    """The file's ``key=value`` lines; empty where there is no partition (bare metal, x86, guests of KVM).

    A guest of KVM has the file too, but its lines describe no partition: QEMU calls every processor shared
    (hw/ppc/spapr_hcall.c) and numbers every guest 0. Where QEMU emulates the whole machine, the machine is what it says
    it is, and no time is taken there.
    """
    for path in _PATHS:
        text = sysroot.read_text(path)
        if text is not None:
            values = parse.key_values(text, "=")
            of_qemu = "emulated by qemu" in values.get("system_type", "")
            return {} if of_qemu and not emulates_pseries(DeviceTree(sysroot)) else values
    return {}


def collect(sysroot: SysRoot, tree: DeviceTree) -> LparFacts:
    """The partition's facts; all ``None`` where there is no partition."""
    values = read(sysroot)
    gathered = Gathered()

    def whole(field: str, *keys: str) -> int | None:
        return gathered.first(field, *((_amount(values.get(key)), f"lparcfg:{key}") for key in keys))

    def cores(field: str, key: str) -> float | None:
        percent = _amount(values.get(key))  # 100 is one core
        return gathered.note(field, None if percent is None else percent / 100, f"lparcfg:{key}")

    def megabytes(field: str, key: str) -> int | None:
        amount = _amount(values.get(key))
        if amount is not None and amount < _BYTES_FROM:
            amount *= _MEGABYTE
        return gathered.note(field, amount, f"lparcfg:{key}")

    shared = _switch(values, "shared_processor_mode")
    capped = gathered.note("capped", _switch(values, "capped"), "lparcfg:capped")
    # The line is there for shared partitions too, which have no processors of their own to lend.
    donating = gathered.note("donating", None if shared else _switch(values, "DedDonMode"), "lparcfg:DedDonMode")
    dedicated = gathered.note("dedicated", None if shared is None else not shared, "lparcfg:shared_processor_mode")
    serial = values.get("serial_number")
    return LparFacts(
        partition_id=gathered.first(
            "partition_id",
            (_amount(values.get("partition_id")), "lparcfg:partition_id"),
            (tree.cell("ibm,partition-no"), "device-tree:ibm,partition-no"),
        ),
        partition_name=gathered.first(
            "partition_name",
            (values.get("partition_name") or None, "lparcfg:partition_name"),
            (tree.text("ibm,partition-name"), "device-tree:ibm,partition-name"),
        ),
        system_type=gathered.note("system_type", values.get("system_type") or None, "lparcfg:system_type"),
        serial_sha256=gathered.note(
            "serial_sha256",
            hashed_serial(serial).removeprefix(_HASHED) if serial else None,
            "lparcfg:serial_number",
        ),
        mode=gathered.note("mode", _mode(shared, capped, donating), "lparcfg:shared_processor_mode"),
        dedicated=dedicated,
        donating=donating,
        capped=capped,
        capacity_weight=whole("capacity_weight", "capacity_weight"),
        entitled_cores=cores("entitled_cores", "partition_entitled_capacity"),
        desired_entitled_cores=cores("desired_entitled_cores", "DesEntCap"),
        minimum_entitled_cores=cores("minimum_entitled_cores", "MinEntCap"),
        maximum_entitled_cores=cores("maximum_entitled_cores", "partition_max_entitled_capacity"),
        virtual_processors=whole("virtual_processors", "partition_active_processors"),
        virtual_processors_max=whole("virtual_processors_max", "partition_potential_processors"),
        system_active_processors=whole("system_active_processors", "system_active_processors"),
        system_potential_processors=whole("system_potential_processors", "system_potential_processors"),
        pool_id=whole("pool_id", "pool"),
        pool_cores=cores("pool_cores", "pool_capacity"),
        pool_processors=whole("pool_processors", "pool_num_procs"),
        affinity_score=whole("affinity_score", "partition_affinity_score"),
        dispatches=whole("dispatches", "dispatches"),
        dispatch_dispersions=whole("dispatch_dispersions", "dispatch_dispersions"),
        desired_memory_bytes=megabytes("desired_memory_bytes", "DesMem"),
        minimum_memory_bytes=megabytes("minimum_memory_bytes", "MinMem"),
        maximum_memory_bytes=megabytes("maximum_memory_bytes", "MaxMem"),
        entitled_memory_bytes=whole("entitled_memory_bytes", "entitled_memory"),
        power_mode_data=gathered.note(
            "power_mode_data", parse.hexadecimal(values.get("power_mode_data")), "lparcfg:power_mode_data"
        ),
        purr=whole("purr", "purr"),
        security_flavor=whole("security_flavor", "security_flavor"),
        hmc_managed=gathered.note("hmc_managed", _managed(tree.text("hmc-managed?")), "device-tree:hmc-managed?"),
        sources=gathered.sources,
    )


def hashed_serial(serial: str) -> str:
    """What stands for a serial number wherever facts are kept: ``sha256:`` and the first half of its digest."""
    if serial.startswith(_HASHED):
        return serial  # of a saved tree
    return f"{_HASHED}{hashlib.sha256(serial.encode()).hexdigest()[:16]}"


def _amount(text: str | None) -> int | None:
    """A non-negative number, "bytes" after it allowed; the file writes -1 for what firmware does not tell."""
    value = parse.integer((text or "").removesuffix(" bytes"))
    return value if value is not None and value >= 0 else None


def _switch(values: Mapping[str, str], key: str) -> bool | None:
    return {"0": False, "1": True}.get(values.get(key, ""))


def _mode(shared: bool | None, capped: bool | None, donating: bool | None) -> str | None:
    if shared is None:
        return None
    if not shared:
        return "dedicated donating" if donating else "dedicated"
    return "shared" if capped is None else "shared capped" if capped else "shared uncapped"


def _managed(text: str | None) -> bool | None:
    return {"1": True, "0": False, "true": True, "false": False}.get((text or "").lower())
