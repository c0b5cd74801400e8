"""Alarms and power of gates on stored sessions of forty benchmarks: ``python tests/bench/gate_simulation.py 1000``.

A second number is the first seed: judge a change of the rules with seeds that it was not made with.
"""

from __future__ import annotations

import math
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.suite_simulation import REGIMES, SIZE, in_one
from support.suite_simulation import count as count_from

_TWO_PERCENT = ("even", "shared")  # regimes whose session spread is 2 %; elsewhere some results are too noisy for 20 %
_AFTER = {0: "three sessions", 2: "after two accepted changes"}


def main(suites: int = 1000, first: int = 0) -> int:
    """Print one line per figure; 1 when one misses its bar."""
    missed, count = 0, partial(count_from, first=first)

    def figure(what: str, part: int, whole: int, bar: float) -> None:
        nonlocal missed
        share, most = part / whole, what.endswith("alarms")
        wrong = share > bar if most else share < bar
        missed += wrong
        sign, end = "<=" if most else ">=", "  MISSED" if wrong else ""
        print(f"{what:<66}{part:>6} of {whole:<6}{share:>8.2%} {sign} {bar:.1%}{end}", flush=True)

    for regime in REGIMES:
        for changes, name in _AFTER.items():
            counts = count(regime, suites, lambda _: 0.0, changes=changes)
            figure(f"{regime}, {name}: unchanged: alarms", counts["REGRESSION"], suites, 0.005)
            figure(f"{regime}, {name}: unchanged: exit 0", counts["GOOD"], suites, 0.95 * (regime in _TWO_PERCENT))
    fewer = max(1, suites // 2)
    for regime in REGIMES:
        for changes, name in _AFTER.items():
            counts = count(regime, fewer, lambda number: in_one(0.10, number % SIZE), changes=changes)
            figure(f"{regime}, {name}: +10 % in one of forty: found", counts["found"], fewer, 0.80)
    for changes, name in _AFTER.items():
        counts = count("even", fewer, lambda _: math.log1p(0.25), changes=changes)
        figure(f"even, {name}: +25 % in all forty: exit 1", counts["REGRESSION"], fewer, 1.0)
        figure(f"even, {name}: +25 % in all forty: results found", counts["found"], counts["slower"], 0.99)
    for regime in REGIMES:
        counts = count(regime, fewer, lambda number: in_one(1.0, number % SIZE), changes=1)
        figure(f"{regime}: twice as slow after an accepted change: found", counts["found"], fewer, 1.0)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
