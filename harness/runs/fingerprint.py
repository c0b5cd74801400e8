"""The facts two runs must share before their times may be compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Path into the facts JSON -> name in the fingerprint. Clock readings, load and memory (which a hypervisor moves at
# will) are left out; kernel and library versions are in, because an update is what a gate is asked about.
FINGERPRINT_PATHS: Mapping[str, str] = {
    "cpu.architecture": "arch",
    "cpu.model_name": "cpu",
    "cpu.generation_hw": "generation",
    "cpu.generation_mode": "mode",
    "machine.mtm": "machine",
    "topology.smt": "smt",
    "topology.cpus_online": "cpus_online",
    "memory.base_page_bytes": "page_size_bytes",
    "kernel.release": "kernel",
    "kernel.hypervisor": "hypervisor",
    "lpar.dedicated": "lpar_dedicated",
    "lpar.capped": "lpar_capped",
    "lpar.entitled_cores": "lpar_entitled_capacity",
    "lpar.virtual_processors": "lpar_virtual_processors",
    "limits.cpu_quota_cores": "cpu_quota",
    "emulation.emulated": "emulated",
}


def fingerprint(facts: Mapping[str, Any], software: Mapping[str, Any]) -> dict[str, Any]:
    """Pick the comparison keys out of facts and software JSON; what is unknown stays ``None``."""
    picked = {name: _dig(facts, path) for path, name in FINGERPRINT_PATHS.items()}
    libraries = {package["name"]: package["version"] for package in software.get("packages", ())}
    return {**picked, "libraries": libraries}


def _dig(tree: Mapping[str, Any], path: str) -> Any:
    node: Any = tree
    for key in path.split("."):
        if not isinstance(node, Mapping):
            return None
        node = node.get(key)
    return node
