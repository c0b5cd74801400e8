"""Alarms and power of gates on stored sessions of forty benchmarks: ``python tests/bench/gate_simulation.py 1000``.

A second number is the first seed: judge a change of the rules with seeds that it was not made with. A third argument
names a journal, which keeps what was counted, fifty suites to a line: the command goes on from there after any end.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.suite_simulation import REGIMES, SIZE, count, in_one

_TWO_PERCENT = ("even", "shared")  # regimes whose session spread is 2 %; elsewhere some results are too noisy for 20 %
_AFTER = {0: "three sessions", 1: "after an accepted change", 2: "after two accepted changes"}
_LINE = 50  # suites to a line of the journal

# What a suite is slower by on the log scale, by its number.
_EFFECTS: dict[str, Callable[[int], np.ndarray | float]] = {
    "unchanged": lambda _: 0.0,
    "+10 % in one of forty": lambda number: in_one(0.10, number % SIZE),
    "+25 % in all forty": lambda _: math.log1p(0.25),
    "twice as slow": lambda number: in_one(1.0, number % SIZE),
}


class Figures:
    """Counts suites, and prints one line per figure with its bar; ``missed``: how many are not met."""

    def __init__(self, first: int, journal: Path | None) -> None:
        self._first, self._journal, self.missed = first, journal, 0
        lines = journal.read_text(encoding="utf-8").splitlines() if journal is not None and journal.exists() else []
        self._kept = {tuple(case): counts for case, counts in map(json.loads, lines)}

    def count(self, effect: str, regime: str, changes: int, suites: int) -> Counter[str]:
        """Of so many suites, what :func:`support.suite_simulation.count` gives."""
        total: Counter[str] = Counter()
        for number in range(0, suites, _LINE):
            case = (effect, regime, changes, self._first + number, min(_LINE, suites - number))
            if case not in self._kept:
                self._kept[case] = self._counted(case, number)
            total.update(self._kept[case])
        return total

    def _counted(self, case: tuple[str, str, int, int, int], number: int) -> Counter[str]:
        effect, regime, changes, first, suites = case
        counts = count(regime, suites, lambda own: _EFFECTS[effect](number + own), changes=changes, first=first)
        if self._journal is not None:
            with self._journal.open("a", encoding="utf-8") as journal:
                print(json.dumps([case, counts]), file=journal)
        return counts

    def __call__(self, what: str, part: int, whole: int, bar: float) -> None:
        share, most = part / whole, what.endswith("alarms")
        wrong = share > bar if most else share < bar
        self.missed += wrong
        sign, end = "<=" if most else ">=", "  MISSED" if wrong else ""
        print(f"{what:<66}{part:>6} of {whole:<6}{share:>8.2%} {sign} {bar:.1%}{end}", flush=True)


def main(suites: int = 1000, first: int = 0, journal: Path | None = None) -> int:
    """Print one line per figure; 1 when one misses its bar."""
    figure = Figures(first, journal)
    fewer = max(1, suites // 2)
    for regime in REGIMES:
        for changes in (0, 2):
            counts, name = figure.count("unchanged", regime, changes, suites), f"{regime}, {_AFTER[changes]}: unchanged"
            figure(f"{name}: alarms", counts["REGRESSION"], suites, 0.005)
            figure(f"{name}: exit 0", counts["GOOD"], suites, 0.95 * (regime in _TWO_PERCENT))
    for effect, regimes, after, bar in (
        ("+10 % in one of forty", tuple(REGIMES), (0, 2), 0.80),
        ("+25 % in all forty", ("even",), (0, 2), 0.99),
        ("twice as slow", tuple(REGIMES), (1,), 1.0),
    ):
        for regime in regimes:
            for changes in after:
                counts, name = figure.count(effect, regime, changes, fewer), f"{regime}, {_AFTER[changes]}: {effect}"
                if counts["slower"] > fewer:
                    figure(f"{name}: exit 1", counts["REGRESSION"], fewer, 1.0)
                figure(f"{name}: found", counts["found"], counts["slower"], bar)
    return int(figure.missed > 0)


if __name__ == "__main__":
    numbers, journals = sys.argv[1:3], sys.argv[3:]
    sys.exit(main(*map(int, numbers), journal=Path(journals[0]) if journals else None))
