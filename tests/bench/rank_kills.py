"""Kill a rank of a training again and again: all others must end, no model and no process may be left.

python tests/bench/rank_kills.py [TIMES] [SEED] [gloo|native]
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.ranks import kill_a_rank

from harness.record.spec import Reduction


def main(times: int, seed: int, reduce: Reduction) -> int:
    """Kill so many; the exit code."""
    moments = random.Random(seed)
    failures, slowest = 0, 0.0
    for _ in range(times):
        victim, after_s = moments.randrange(3), moments.uniform(0, 2)
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            result, seconds, left = kill_a_rank(directory, 3, victim, after_s, reduce)
            slowest = max(slowest, seconds)
            models = [*directory.rglob("detector.json"), *directory.glob("bundle*")]
            if left or models or result.failure != f"rank {victim}: killed by signal 9 (SIGKILL)":
                failures += 1
                print(f"rank {victim} after {after_s:.2f} s: {result.failure}; left: {left} {models}")
    print(f"{times} kills, {failures} failures, all ended within {slowest:.1f} s")
    return int(failures > 0)


if __name__ == "__main__":
    times, seed, reduce = [*sys.argv[1:], *("20", "1", "gloo")[len(sys.argv) - 1 :]]
    sys.exit(main(int(times), int(seed), "native" if reduce == "native" else "gloo"))
