"""The search for a highest rate on made-up machines: ``python tests/bench/rate_searches.py [--searches 200]``.

With as many trials as `load --find-rate` makes at most, and as a process of a run. A machine's speed wanders from trial
to trial by ``drift``; a trial at the limit is met by chance, over a range of ``spread``; a share ``paused`` of the
trials is missed at any rate. Printed are the trials of a search, the rate against the one at which half of the other
trials are met at the machine's middle speed, and the standard deviation of its logarithm.
"""

from __future__ import annotations

import argparse
import itertools
import math

import numpy as np

from harness.measure.rate_estimate import estimated_rate

MIDDLE = 1000.0  # of a closed loop, per second
LIMIT = 0.85  # of it
TRIALS = (60, 24)


class Machine:
    """Whose speed wanders."""

    def __init__(self, seed: int, drift: float, spread: float, paused: float) -> None:
        self._rng, self._level, self._drift, self._spread = np.random.default_rng(seed), 0.0, drift, spread
        self._paused, self.trials = paused, 0

    def reference(self) -> float:
        """A closed loop."""
        return MIDDLE * math.exp(self._level) * (1 + self._rng.normal(0, 0.01))

    def meets(self, rate: float) -> bool:
        """A trial."""
        self.trials += 1
        self._level = 0.97 * self._level + self._rng.normal(0, self._drift)
        if self._rng.random() < self._paused:
            return False
        limit = LIMIT * MIDDLE * math.exp(self._level)
        return bool(self._rng.random() < 1 / (1 + math.exp(min((rate - limit) / (self._spread * limit), 50.0))))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=200)
    searches = parser.parse_args().searches
    machines = itertools.product((0.0, 0.005, 0.025), (0.005, 0.02, 0.05), (0.0, 0.15))
    for drift, spread, paused in machines:
        print(f"drift {drift:.1%} a trial, spread {spread:.1%}, paused {paused:.0%}")
        for most in TRIALS:
            tested = [Machine(seed, drift, spread, paused) for seed in range(searches)]
            rates = [estimated_rate(machine.meets, machine.reference, most=most).rate for machine in tested]
            logs = np.log([rate / (LIMIT * MIDDLE) for rate in rates if rate is not None])
            trials = [machine.trials for machine in tested]
            print(
                f"  at most {most} trials, {np.mean(trials):.1f} on average; rate "
                f"{math.exp(float(np.median(logs))):.3f}, deviation {logs.std():.1%}, without an answer "
                f"{searches - len(logs)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
