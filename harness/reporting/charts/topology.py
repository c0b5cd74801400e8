"""The picture of where a run was: nodes, their cores, the threads of each core on its halves."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from harness.reporting.text import ranges

_NUMBERED = 21  # cell edge in CSS pixels when it holds its CPU number
_BARE = 8
_PAD = 3
_HALF_GAP = 3


class ThreadState(Enum):
    """What a hardware thread did in the run."""

    CHOSEN = "chosen"
    IDLE = "online, not used"
    OFFLINE = "offline"


@dataclass(frozen=True)
class CorePicture:
    """One core.

    Attributes:
        id: its logical number, None when not known.
        rows: threads (CPU number, state) of each half, or of the whole core where halves are not known.
    """

    id: int | None
    rows: Sequence[Sequence[tuple[int, ThreadState]]]

    def cpus(self, state: ThreadState) -> list[int]:
        """CPU numbers in one state."""
        return [cpu for row in self.rows for cpu, actual in row if actual is state]


def core_picture(core: CorePicture, *, numbered: bool) -> str:
    """One core as a small ``<svg>``, a row of cells per half: filled is chosen, grey is idle, dashed is offline."""
    edge = _NUMBERED if numbered else _BARE
    step = edge + (2 if numbered else 1)
    columns = max((len(row) for row in core.rows), default=0)
    width = 2 * _PAD + max(columns * step - (step - edge), edge)
    height = 2 * _PAD + len(core.rows) * edge + max(0, len(core.rows) - 1) * _HALF_GAP
    cells: dict[ThreadState, list[str]] = {state: [] for state in ThreadState}
    numbers = []
    for line, row in enumerate(core.rows):
        for column, (cpu, state) in enumerate(row):
            x, y = _PAD + column * step, _PAD + line * (edge + _HALF_GAP)
            cells[state].append(f"M{x + 0.5:g} {y + 0.5:g}h{edge - 1}v{edge - 1}h-{edge - 1}z")
            if numbered:
                kind = state.name.lower()
                numbers.append(f'<text class="{kind}" x="{x + edge / 2:g}" y="{y + edge / 2 + 3.5:g}">{cpu}</text>')
    chosen = core.cpus(ThreadState.CHOSEN)
    frame = "core used" if chosen else "core"
    paths = "".join(f'<path class="{state.name.lower()}" d="{"".join(d)}"/>' for state, d in cells.items() if d)
    return (
        f'<svg class="{frame}" width="{width}" height="{height}" viewBox="0 0 {width} {height}" aria-hidden="true">'
        f"<title>{html.escape(_words(core, chosen))}</title>"
        f'<rect class="frame" x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="3"/>'
        f"{paths}{''.join(numbers)}</svg>"
    )


def _words(core: CorePicture, chosen: Sequence[int]) -> str:
    every = [cpu for row in core.rows for cpu, _ in row]
    parts = [f"Core{'' if core.id is None else f' {core.id}'}: CPUs {ranges(every)}"]
    if chosen:
        parts.append(f"chosen {ranges(chosen)}")
    if offline := core.cpus(ThreadState.OFFLINE):
        parts.append(f"offline {ranges(offline)}")
    return "; ".join(parts)
