"""The SMT state of a machine, and the file that keeps it while it is changed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.platform.parse import cpu_list, format_cpulist
from harness.platform.sysroot import SysRoot

CPUS = "sys/devices/system/cpu"
CONTROL = f"{CPUS}/smt/control"
CPUSETS = "sys/fs/cgroup/cpuset"
_BOOT_ID = "proc/sys/kernel/random/boot_id"
_STATE = "run/lparbench/smt.json"


@dataclass(frozen=True)
class SmtState:
    """Everything that switching changes.

    Attributes:
        control: content of ``smt/control``; ``None`` where there is no such file.
        online: CPU -> online, for each CPU that has a switch of its own.
        boot_id: of the boot that the state belongs to.
        cpusets: control group below ``sys/fs/cgroup/cpuset`` -> its CPUs. Under version 1 a CPU that goes offline
            leaves them for good; version 2 keeps what was asked for, and has none here.
    """

    control: str | None
    online: Mapping[int, bool]
    boot_id: str | None
    cpusets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SavedState:
    """What the state file holds.

    Attributes:
        state: what to go back to.
        persistent: a level was set to stay; else a run set it, and is still at it or was killed.
        left: what the last switch left; ``None`` while one is under way, or when it was killed on the way.
        outer: what was saved before: a level set to stay, within which a run switches and is still at it.
    """

    state: SmtState
    persistent: bool
    left: SmtState | None = None
    outer: SavedState | None = None

    def changed_by_others(self, now: SmtState) -> str | None:
        """What is neither as it was left nor as it was before; CPUs plugged in since are no change."""
        left = self.left
        if left is None or not (_differing(left, now) and _differing(self.state, now)):
            return None
        return "; ".join(_differing(left, now))


def _differing(before: SmtState, now: SmtState) -> list[str]:
    words = [] if before.control == now.control else [f"smt/control is {now.control}, was left at {before.control}"]
    for on, word in ((True, "online"), (False, "offline")):
        turned = tuple(
            cpu for cpu, was in before.online.items() if cpu in now.online and now.online[cpu] is on is not was
        )
        if turned:
            cpus = f"CPU {turned[0]} is" if len(turned) == 1 else f"CPUs {format_cpulist(turned)} are"
            words.append(f"{cpus} {word}")
    return words


def whole_state(sysroot: SysRoot) -> SmtState:
    """The state as it stands, with the cpusets that switching takes CPUs out of."""
    return replace(read_state(sysroot), cpusets=read_cpusets(sysroot))


def read_state(sysroot: SysRoot) -> SmtState:
    """The state of the switches as they stand.

    On Power every CPU that may be plugged in some day has a directory, and a switch that is off. It is no part of the
    state: a core that arrives comes online by itself, and is not to be switched off as one that was not there before.
    """
    present = frozenset(cpu_list(sysroot.read_text(f"{CPUS}/present")) or sysroot.numbered(CPUS, "cpu"))
    switches = {
        cpu: sysroot.read_text(f"{CPUS}/cpu{cpu}/online") for cpu in sysroot.numbered(CPUS, "cpu") if cpu in present
    }
    online = {cpu: text == "1" for cpu, text in switches.items() if text in ("0", "1")}
    return SmtState(sysroot.read_text(CONTROL), online, sysroot.read_text(_BOOT_ID))


def read_cpusets(sysroot: SysRoot) -> dict[str, str]:
    """CPUs of every control group of version 1 but the root, whose are all that are online; parents first."""
    if sysroot.exists("sys/fs/cgroup/cgroup.controllers"):
        return {}  # version 2
    top = sysroot.path / CPUSETS
    groups = (Path(directory) for directory, _, files in os.walk(top) if "cpuset.cpus" in files)
    cpusets: dict[str, str] = {}
    for group in sorted(groups, key=lambda group: (len(group.parts), group)):
        name = group.relative_to(top).as_posix()
        text = sysroot.read_text(f"{CPUSETS}/{name}/cpuset.cpus")
        if name != "." and text:
            cpusets[name] = text
    return cpusets


def load(sysroot: SysRoot) -> SavedState | None:
    """The state that was saved; ``None`` when there is none.

    Raises:
        InputError: the file is damaged.
    """
    path = sysroot.path / _STATE
    try:
        return _saved(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        remedy = "Set the level by hand with ppc64_cpu --smt=N, then remove the file."
        raise InputError(f"{path}: not a saved SMT state ({error}).", remedy=remedy) from error


def _saved(document: Mapping[str, Any]) -> SavedState:
    left, outer = document.get("left"), document.get("outer")
    return SavedState(
        _state(document),
        _flag(document["persistent"]),
        None if left is None else _state({**document, **left}),
        None if outer is None else _saved(outer),
    )


def _state(document: Mapping[str, Any]) -> SmtState:
    online = {int(cpu): _flag(value) for cpu, value in document["online"].items()}
    control, boot_id = document["control"], document["boot_id"]
    cpusets = dict(document.get("cpusets", {}))
    if any(text is not None and not isinstance(text, str) for text in (control, boot_id, *cpusets.values())):
        raise TypeError("control, boot_id and cpusets are texts")
    return SmtState(control, online, boot_id, cpusets)


def _document(saved: SavedState) -> dict[str, Any]:
    return {
        **_switches(saved.state),
        "boot_id": saved.state.boot_id,
        "cpusets": dict(saved.state.cpusets),
        "persistent": saved.persistent,
        "left": None if saved.left is None else _switches(saved.left),
        "outer": None if saved.outer is None else _document(saved.outer),
    }


def _switches(state: SmtState) -> dict[str, Any]:
    return {"control": state.control, "online": {str(cpu): on for cpu, on in state.online.items()}}


def save(sysroot: SysRoot, saved: SavedState) -> None:
    """Write the state file, whole or not at all, and onto the disk."""
    path = sysroot.path / _STATE
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".new")
    with aside.open("w", encoding="utf-8") as handle:
        json.dump(_document(saved), handle)
        handle.flush()
        os.fsync(handle.fileno())
    aside.replace(path)


def forget(sysroot: SysRoot, outer: SavedState | None = None) -> None:
    """Remove the state file, or leave in it what was saved before."""
    if outer is not None:
        save(sysroot, outer)
    else:
        (sysroot.path / _STATE).unlink(missing_ok=True)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value
