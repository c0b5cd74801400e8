"""What a sweep will do, written before it does anything: settings, and the order of its processes."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.placement.smt import SmtMethod
from harness.record.store import encode, write_file
from harness.sweeps.settings import Place, Setting

PLAN_FILE = "plan.json"
_FORMAT = 1


@dataclass(frozen=True)
class SweepSlot:
    """One measurement of one setting: a process, or several at once."""

    block: int
    cell: int  # index of its setting

    @property
    def name(self) -> str:
        """Unique in the sweep, and a file name."""
        return f"{self.block}-{self.cell}"


@dataclass(frozen=True)
class SweepPlan:
    """Everything a sweep was asked to do.

    Attributes:
        entries: name of a workload -> what its worker processes load it by.
        titles: name of a workload -> what people call it.
        data_dir, protocol, epochs, rows: for the one fit of each workload.
        facts: of the machine as it was found (``platform.facts.Facts`` as JSON).
        margin: relative difference that does not matter.
        skipped: why settings were left out -> how many.
        slots: every measurement, in order.
    """

    sweep_id: str
    created: str  # ISO 8601, UTC
    argv: tuple[str, ...]
    method: SmtMethod
    seed: int
    blocks: int
    series_seconds: float
    entries: Mapping[str, str]
    titles: Mapping[str, str]
    data_dir: str | None
    protocol: str
    epochs: int
    rows: int | None
    facts: Mapping[str, Any]
    margin: float
    settings: tuple[Setting, ...]
    skipped: Mapping[str, int]
    slots: tuple[SweepSlot, ...]

    def to_json(self) -> dict[str, Any]:
        """The plan as a JSON object."""
        document = asdict(self)
        document["slots"] = [[slot.block, slot.cell] for slot in self.slots]
        return {"format": _FORMAT, **document, "method": self.method.value}


def slots_of(settings: Sequence[Setting], *, blocks: int, seed: int) -> tuple[SweepSlot, ...]:
    """Each block measures each setting once, in an order of its own.

    SMT levels are gone through in random order, and all settings of a level together: a switch takes seconds, during
    which the whole machine changes. Within a level the order is random. It depends on ``seed`` and the block alone.
    """
    order: list[SweepSlot] = []
    for block in range(blocks):
        generator = random.Random(f"{seed}/{block}")  # noqa: S311 - order of measurements, not a secret
        levels = sorted({setting.smt for setting in settings})
        for level in generator.sample(levels, len(levels)):
            cells = [cell for cell, setting in enumerate(settings) if setting.smt == level]
            order += [SweepSlot(block, cell) for cell in generator.sample(cells, len(cells))]
    return tuple(order)


def write_plan(plan: SweepPlan, directory: Path) -> None:
    """Write ``plan.json``, whole and onto the disk.

    Raises:
        LparbenchError: it cannot be written there.
    """
    write_file(directory / PLAN_FILE, encode(json.dumps(plan.to_json(), indent=1) + "\n"))


def read_plan(directory: Path) -> SweepPlan:
    """The plan of a sweep directory.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = directory / PLAN_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.pop("format") != _FORMAT:
            raise ValueError("it is of another format")
        return _plan(document)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.", remedy="Give the directory of a sweep to --resume.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not the plan of a sweep: {error!r}.", remedy="Start a new sweep.") from None


def _plan(document: dict[str, Any]) -> SweepPlan:
    settings = tuple(Setting(**{**values, "place": Place(**values["place"])}) for values in document["settings"])
    slots = tuple(SweepSlot(block, cell) for block, cell in document["slots"])
    if any(not 0 <= slot.cell < len(settings) for slot in slots) or len(set(slots)) != len(slots):
        raise ValueError("its slots do not fit its settings")
    return SweepPlan(
        **{
            **document,
            "argv": tuple(document["argv"]),
            "method": SmtMethod(document["method"]),
            "settings": settings,
            "slots": slots,
        }
    )
