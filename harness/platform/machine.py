"""The server model: machine type-model from firmware, the rest from the tables in ``sysconfig/machines``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from harness.errors import InputError
from harness.platform import tables
from harness.platform.cpuinfo import CpuInfo
from harness.platform.devicetree import DeviceTree
from harness.platform.facts import MachineFacts, Module
from harness.platform.gather import Gathered
from harness.platform.tables import Table

_MTM = re.compile(r"(?:IBM,)?([0-9]{4}-[0-9A-Z]{3})(?![0-9A-Z])")
_CHIPS = {"SCM": 1, "eSCM": 1, "DCM": 2}  # with computing cores; the second chip of an eSCM has none
_VERIFIABLE = ("name", "sockets", "threads_per_core", "modules", "cores_per_chip", "bandwidth_per_chip")


@dataclass(frozen=True)
class MachineModel:
    """One entry of the tables. ``unverified`` names its fields without a published source."""

    mtm: tuple[str, ...]
    name: str
    generation: str
    sockets: int | None
    threads_per_core: int
    modules: tuple[Module, ...]
    source: str
    unverified: tuple[str, ...]
    file: Path


def load_models(paths: Iterable[Path]) -> Mapping[str, MachineModel]:
    """Models by machine type-model.

    Raises:
        InputError: a file, key or value is not as described in ``sysconfig/machines``; or a model stands twice.
    """
    found: dict[str, MachineModel] = {}
    for path in paths:
        document = tables.load(path)
        document.only("machine")
        for entry in document.tables("machine"):
            model = _model(entry, path)
            for mtm in model.mtm:
                if mtm in found:
                    raise InputError(f"{path}: {mtm} is described already in {found[mtm].file}.")
                found[mtm] = model
    return found


@lru_cache(maxsize=1)
def models() -> Mapping[str, MachineModel]:
    """The models that the project knows."""
    return load_models(tables.files("machines"))


def _model(entry: Table, path: Path) -> MachineModel:
    entry.only("mtm", "name", "generation", "sockets", "threads_per_core", "module", "source", "unverified")
    mtm = entry.texts("mtm")
    if not mtm or any(not _MTM.fullmatch(item) for item in mtm):
        raise entry.wrong("mtm", 'a list of machine type-models such as "9105-22A"', list(mtm))
    unverified = entry.texts("unverified") if entry.has("unverified") else ()
    if any(name not in _VERIFIABLE for name in unverified):
        raise entry.wrong("unverified", f"a list out of {', '.join(_VERIFIABLE)}", list(unverified))
    return MachineModel(
        mtm=mtm,
        name=entry.text("name"),
        generation=entry.text("generation"),
        sockets=entry.integer("sockets") if entry.has("sockets") else None,
        threads_per_core=entry.integer("threads_per_core"),
        modules=tuple(_module(item) for item in entry.tables("module")) if entry.has("module") else (),
        source=entry.text("source"),
        unverified=unverified,
        file=path,
    )


def _module(entry: Table) -> Module:
    entry.only("type", "chips_with_memory", "cores_per_chip", "memory_channels_per_chip", "bandwidth_per_chip")
    kind = entry.text("type")
    if kind not in _CHIPS:
        raise entry.wrong("type", f"one of {', '.join(_CHIPS)}", kind)
    chips = _CHIPS[kind]
    with_memory = entry.integer("chips_with_memory") if entry.has("chips_with_memory") else chips
    if with_memory > chips:
        raise entry.wrong("chips_with_memory", f"at most the {chips} chips of a {kind}", with_memory)
    return Module(
        type=kind,
        chips=chips,
        chips_with_memory=with_memory,
        cores_per_chip=entry.integers("cores_per_chip"),
        memory_channels_per_chip=(
            entry.integer("memory_channels_per_chip") if entry.has("memory_channels_per_chip") else None
        ),
        bandwidth_per_chip=entry.numbers("bandwidth_per_chip") if entry.has("bandwidth_per_chip") else {},
    )


def mtm_of(text: str | None) -> str | None:
    """The machine type-model in ``IBM,9105-22A``, ``PowerNV 8247-22L`` or ``9006-12P``."""
    match = _MTM.search(text or "")
    return match[1] if match else None


def collect(lparcfg: Mapping[str, str], info: CpuInfo, tree: DeviceTree) -> MachineFacts:
    """The model of the machine that the partition runs on; one that no table has keeps its type-model only."""
    gathered = Gathered()
    mtm = gathered.first(
        "mtm",
        (mtm_of(tree.text("model")), "device-tree:model"),
        (mtm_of(lparcfg.get("system_type")), "lparcfg:system_type"),
        (mtm_of(info.machine), "cpuinfo:machine"),
        (mtm_of(info.model), "cpuinfo:model"),
    )
    facts = MachineFacts(mtm=mtm, sources=gathered.sources)
    model = models().get(mtm) if mtm is not None else None
    if model is None:
        return facts
    place = f"sysconfig/machines/{model.file.name}"
    for field in ("name", "generation", "threads_per_core", "modules"):
        gathered.sources[field] = place
    gathered.note("sockets", model.sockets, place)
    return replace(
        facts,
        name=model.name,
        generation=model.generation,
        sockets=model.sockets,
        threads_per_core=model.threads_per_core,
        modules=model.modules,
        unverified=model.unverified,
    )
