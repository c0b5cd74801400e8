"""Alarms and power of gates on stored sessions of forty benchmarks: ``python tests/bench/gate_simulation.py 1000``."""

from __future__ import annotations

import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.suite_simulation import REGIMES, SIZE, count, in_one


def main(suites: int) -> int:
    """Print one line per figure; 1 when one misses its bar."""
    missed = 0

    def figure(what: str, part: int, whole: int, bar: float) -> None:
        nonlocal missed
        share, most = part / whole, what.endswith("alarms")
        wrong = share > bar if most else share < bar
        missed += wrong
        sign = "<=" if most else ">="
        print(
            f"{what:<74}{part:>7} of {whole:<7}{share:>8.2%} {sign} {bar:.1%}{'  MISSED' if wrong else ''}", flush=True
        )

    for regime in REGIMES:
        counts = count(regime, suites, lambda _: 0.0, changes=2)
        figure(
            f"{regime}: unchanged, after two accepted changes: alarms", counts["REGRESSION"], suites, 0.005, most=True
        )
        if regime == "even":
            figure(f"{regime}: the same: exit 0", counts["GOOD"], suites, 0.95)
    counts = count("even", suites, lambda _: 0.0, changes=0)
    figure("even: unchanged, three sessions: alarms", counts["REGRESSION"], suites, 0.005)
    figure("even: the same: exit 0", counts["GOOD"], suites, 0.95)
    fewer = max(1, suites // 5)
    for changes, name in ((0, "three sessions"), (2, "after two accepted changes")):
        counts = count("even", fewer, lambda number: in_one(0.10, number % SIZE), changes=changes)
        figure(f"even: +10 % in one of forty, {name}: found", counts["found"], fewer, 0.80)
        counts = count("even", fewer, lambda _: math.log1p(0.25), changes=changes)
        figure(f"even: +25 % in all forty, {name}: exit 1", counts["REGRESSION"], fewer, 1.0)
        figure("even: the same: results found", counts["found"], counts["slower"], 0.99)
    for regime in REGIMES:
        counts = count(regime, fewer, lambda number: in_one(1.0, number % SIZE), changes=1)
        figure(f"{regime}: twice as slow in one of forty after an accepted change: found", counts["found"], fewer, 1.0)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
