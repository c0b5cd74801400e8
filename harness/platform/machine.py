"""The server model: machine type-model from firmware, the rest from the tables in ``sysconfig/machines``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from harness.content import toml_files
from harness.decode import NOT_EMPTY, Check, PositiveFloat, PositiveInt, Text, decode_toml_file
from harness.errors import InputError
from harness.platform.cpuinfo import CpuInfo
from harness.platform.devicetree import DeviceTree
from harness.platform.facts import MachineFacts, Module
from harness.platform.gather import Gathered

_MTM = re.compile(r"(?:IBM,)?([0-9]{4}-[0-9A-Z]{3})(?![0-9A-Z])")
_CHIPS = {"SCM": 1, "eSCM": 1, "DCM": 2}  # with computing cores; the second chip of an eSCM has none
_Mtm = Annotated[str, Check('a machine type-model such as "9105-22A"', lambda text: bool(_MTM.fullmatch(text)))]
_Verifiable = Literal["name", "sockets", "threads_per_core", "modules", "cores_per_chip", "bandwidth_per_chip"]


@dataclass(frozen=True)
class _ModuleEntry:
    """``[[machine.module]]``."""

    type: Literal["SCM", "eSCM", "DCM"]
    cores_per_chip: Annotated[tuple[PositiveInt, ...], NOT_EMPTY]
    chips_with_memory: PositiveInt | None = None
    memory_channels_per_chip: PositiveInt | None = None
    bandwidth_per_chip: Mapping[str, PositiveFloat] = field(default_factory=dict)


@dataclass(frozen=True)
class _Entry:
    """``[[machine]]``: one server model. ``unverified`` names its fields without a published source."""

    mtm: Annotated[tuple[_Mtm, ...], NOT_EMPTY]
    name: Text
    generation: Text
    threads_per_core: PositiveInt
    source: Text
    sockets: PositiveInt | None = None
    clock_hz: tuple[PositiveFloat, PositiveFloat] | None = None  # lowest typical to highest, over the modules
    module: tuple[_ModuleEntry, ...] = ()
    unverified: tuple[_Verifiable, ...] = ()

    @property
    def modules(self) -> tuple[Module, ...]:
        """The processor modules it is sold with."""
        return tuple(
            Module(
                type=entry.type,
                chips=_CHIPS[entry.type],
                chips_with_memory=entry.chips_with_memory or _CHIPS[entry.type],
                cores_per_chip=entry.cores_per_chip,
                memory_channels_per_chip=entry.memory_channels_per_chip,
                bandwidth_per_chip=entry.bandwidth_per_chip,
            )
            for entry in self.module
        )


@dataclass(frozen=True)
class _File:
    machine: Annotated[tuple[_Entry, ...], NOT_EMPTY]


@dataclass(frozen=True)
class MachineModel(_Entry):
    """One server model, and the file that describes it."""

    file: Path = Path()


def load_models(paths: Iterable[Path]) -> Mapping[str, MachineModel]:
    """Models by machine type-model.

    Raises:
        InputError: a file, key or value is not as described in ``sysconfig/machines``; or a model stands twice.
    """
    models: dict[str, MachineModel] = {}
    for path in paths:
        for index, entry in enumerate(decode_toml_file(_File, path).machine):
            _check_chips(entry, f"{path}: machine[{index}]")
            for mtm in entry.mtm:
                if mtm in models:
                    raise InputError(f"{path}: {mtm} is described already in {models[mtm].file}.")
                models[mtm] = MachineModel(**vars(entry), file=path)
    return models


@lru_cache(maxsize=1)
def models() -> Mapping[str, MachineModel]:
    """The models that the project knows."""
    return load_models(toml_files("sysconfig", "machines"))


def _check_chips(model: _Entry, where: str) -> None:
    for index, entry in enumerate(model.module):
        with_memory, chips = entry.chips_with_memory, _CHIPS[entry.type]
        if with_memory is not None and with_memory > chips:
            key = f"{where}.module[{index}].chips_with_memory"
            raise InputError(f"{key} is {with_memory}; expected at most the {chips} chips of a {entry.type}.")


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
    for name in ("name", "generation", "threads_per_core", "modules"):
        gathered.sources[name] = place
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
