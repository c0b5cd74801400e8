"""Both searches for a highest rate on made-up machines: ``python tests/bench/rate_searches.py [--searches 200]``.

`harness.measure.rate_search` is that of runs, sweeps and sizing, `harness.measure.rate_estimate` that of
`load --find-rate`, here also with as few trials as a block of a run has time for. A machine's speed wanders from trial
to trial by ``drift``; a trial at the limit is met by chance, over a range of ``spread``. Printed are the trials of a
search, the rate against the one at which half of the trials are met at the machine's middle speed, and the standard
deviation of its logarithm.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from functools import partial
from unittest.mock import patch

import numpy as np

from harness.measure import rate_estimate
from harness.measure.rate_search import highest_rate

MIDDLE = 1000.0  # of a closed loop, per second
LIMIT = 0.85  # of it
TRIALS = 12


class Machine:
    """Whose speed wanders."""

    def __init__(self, seed: int, drift: float, spread: float) -> None:
        self._rng, self._level, self._drift, self._spread = np.random.default_rng(seed), 0.0, drift, spread
        self.trials = 0

    def reference(self) -> float:
        """A closed loop."""
        return MIDDLE * math.exp(self._level) * (1 + self._rng.normal(0, 0.01))

    def meets(self, rate: float) -> bool:
        """A trial."""
        self.trials += 1
        self._level = 0.97 * self._level + self._rng.normal(0, self._drift)
        limit = LIMIT * MIDDLE * math.exp(self._level)
        return bool(self._rng.random() < 1 / (1 + math.exp(min((rate - limit) / (self._spread * limit), 50.0))))


def searched(machine: Machine) -> float | None:
    """By the search, from the bounds that a run gives it."""
    busy = machine.reference()
    return highest_rate(machine.meets, busy / 8, busy).rate


def estimated(machine: Machine, most: int) -> float | None:
    """By the estimate."""
    with patch.object(rate_estimate, "_MOST", most):
        return rate_estimate.estimated_rate(machine.meets, machine.reference).rate


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=200)
    searches = parser.parse_args().searches
    ways: dict[str, Callable[[Machine], float | None]] = {
        "search": searched,
        "estimate": partial(estimated, most=40),
        f"estimate of {TRIALS} trials": partial(estimated, most=TRIALS),
    }
    for drift in (0.0, 0.005, 0.025):
        for spread in (0.005, 0.02, 0.05):
            print(f"drift {drift:.1%} a trial, spread {spread:.1%}")
            for name, way in ways.items():
                machines = [Machine(seed, drift, spread) for seed in range(searches)]
                rates = [way(machine) for machine in machines]
                logs = np.log([rate / (LIMIT * MIDDLE) for rate in rates if rate is not None])
                trials = [machine.trials for machine in machines]
                print(
                    f"  {name:<22} {np.mean(trials):5.1f} trials, at most {max(trials)}; rate "
                    f"{math.exp(float(np.median(logs))):.3f}, deviation {logs.std():.1%}, without an answer "
                    f"{searches - len(logs)}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
