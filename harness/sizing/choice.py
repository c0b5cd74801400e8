"""Which settings are measured next: all at first, then those that the decision hangs on. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.measure.verdicts import MIN_BLOCKS
from harness.record.size_model import Capacity, Layout, SizeQuestion
from harness.sizing.answer import Bench, is_enough
from harness.sizing.curves import Curve

COARSE_BLOCKS = 2
MAX_BLOCKS = 15
_LAST_BLOCK = MAX_BLOCKS + MIN_BLOCKS  # for a larger setting, begun when a smaller one stayed open


@dataclass(frozen=True)
class Setting:
    """A number of cores and how they are used."""

    cores: int
    threads_per_core: int
    layout: Layout


@dataclass(frozen=True)
class Choice:
    """The settings of the next block; none where measuring is over, and why."""

    settings: frozenset[Setting]
    ended_by: Literal["decided", "blocks"] | None = None


def coarse(settings: Sequence[Setting]) -> frozenset[Setting]:
    """One, two, four, ... cores and the most, at every level and layout."""
    counts = sorted({setting.cores for setting in settings})
    doubling = {count for count in counts if count & (count - 1) == 0} | {counts[0], counts[-1]}
    return frozenset(setting for setting in settings if setting.cores in doubling)


def next_block(bench: Bench, question: SizeQuestion, settings: Sequence[Setting], done: int) -> Choice:
    """What to measure after ``done`` blocks.

    Settings whose interval lies below the need are dropped. What stays is the smallest configuration that is likely to
    be enough, the next smaller one, and whichever smaller one may still turn out to be enough; each for six blocks, and
    for more while the interval holds the need.
    """
    if done < COARSE_BLOCKS:
        return Choice(coarse(settings))
    known = {setting: _capacity(bench, setting, question.confidence) for setting in settings}
    likely = _likely(known, question.need)
    if likely is None:
        return _none_reaches(bench, question.need, known, done)
    below = max((setting.cores for setting in settings if setting.cores < likely.cores), default=None)
    decisive = [likely, *_some(_fastest(known, below))]
    rivals = [
        setting
        for setting, capacity in known.items()
        if setting.cores < likely.cores and capacity is not None and is_enough(capacity, question.need) is None
    ]
    wanted = {setting for setting in (*decisive, *rivals) if _is_open(bench, setting, known[setting], question.need)}
    if wanted and done >= MAX_BLOCKS:
        return Choice(frozenset(), "blocks")
    capacity = known[likely]
    if not wanted and capacity is not None and not is_enough(capacity, question.need) and done < _LAST_BLOCK:
        larger = min((setting.cores for setting in settings if setting.cores > likely.cores), default=None)
        wanted = {setting for setting in _some(_fastest(known, larger)) if _blocks(bench, setting) < MIN_BLOCKS}
    return Choice(frozenset(wanted), None if wanted else "decided")


def _none_reaches(bench: Bench, need: float, known: dict[Setting, Capacity | None], done: int) -> Choice:
    """No estimate reaches the need: the most cores, and what may yet turn out to be enough."""
    most = _fastest(known, max(setting.cores for setting in known))
    if most is None:
        return Choice(frozenset(), "decided") if done >= MIN_BLOCKS else Choice(coarse(tuple(known)))
    undecided = {setting: each for setting, each in known.items() if each and is_enough(each, need) is None}
    nearest = max(undecided, key=lambda setting: undecided[setting].value, default=None)
    unsettled = {each for each, capacity in undecided.items() if each == nearest or capacity.basis == "measured"}
    wanted = {each for each in unsettled if _blocks(bench, each) < MAX_BLOCKS}
    if _blocks(bench, most) < MIN_BLOCKS:
        wanted.add(most)
    if done >= MAX_BLOCKS or not wanted:
        return Choice(frozenset(), "blocks" if unsettled else "decided")
    return Choice(frozenset(wanted))


def _is_open(bench: Bench, setting: Setting, capacity: Capacity | None, need: float) -> bool:
    blocks = _blocks(bench, setting)
    if capacity is not None and capacity.basis == "measured" and is_enough(capacity, need) is False:
        return False  # its whole interval lies below: two blocks are enough to drop it
    if blocks < MIN_BLOCKS:
        return True
    return blocks < MAX_BLOCKS and (capacity is None or is_enough(capacity, need) is None)


def _likely(known: dict[Setting, Capacity | None], need: float) -> Setting | None:
    """Of the settings whose estimate reaches the need the smallest, and of these the fastest."""
    enough = [(setting, capacity) for setting, capacity in known.items() if capacity and capacity.value >= need]
    if not enough:
        return None
    return min(enough, key=lambda pair: (pair[0].cores, -pair[1].value))[0]


def _fastest(known: dict[Setting, Capacity | None], cores: int | None) -> Setting | None:
    those = [(setting, capacity) for setting, capacity in known.items() if setting.cores == cores and capacity]
    return max(those, key=lambda pair: pair[1].value)[0] if those else None


def _some(setting: Setting | None) -> Iterator[Setting]:
    if setting is not None:
        yield setting


def _curve(bench: Bench, setting: Setting) -> Curve | None:
    return next(
        (
            curve
            for curve in bench.curves
            if (curve.series.threads_per_core, curve.series.layout) == (setting.threads_per_core, setting.layout)
        ),
        None,
    )


def _capacity(bench: Bench, setting: Setting, confidence: float) -> Capacity | None:
    curve = _curve(bench, setting)
    return None if curve is None else curve.capacity(setting.cores, confidence)


def _blocks(bench: Bench, setting: Setting) -> int:
    curve = _curve(bench, setting)
    return 0 if curve is None else len(curve.logs.get(setting.cores, {}))
