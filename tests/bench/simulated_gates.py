"""False alarms and power of the whole gate on simulated machines: ``python tests/bench/simulated_gates.py 1000``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.gate_simulation import REGIMES, count_codes

from harness.errors import ExitCode

EFFECTS = (0.0, 0.01, 0.03, 0.05, 0.10)


def main(gates: int) -> int:
    """Print one line per noise regime and true slowdown; 1 when more than 0.5 % of gates failed unchanged code."""
    alarms = 0
    print(f"{'noise':<20}{'slowdown':>10}{'passed':>10}{'regressed':>11}{'inconclusive':>14}")
    for regime in REGIMES:
        for effect in EFFECTS:
            codes = count_codes(regime, gates if effect == 0 else max(1, gates // 5), effect=effect)
            total = sum(codes.values())
            shares = [codes[code] / total for code in (ExitCode.GOOD, ExitCode.REGRESSION, ExitCode.INCONCLUSIVE)]
            print(f"{regime:<20}{effect:>10.0%}{shares[0]:>10.1%}{shares[1]:>11.1%}{shares[2]:>14.1%}", flush=True)
            alarms += codes[ExitCode.REGRESSION] if effect == 0 else 0
    share = alarms / (gates * len(REGIMES))
    print(f"false alarms: {alarms} of {gates * len(REGIMES)} gates ({share:.2%})")
    return int(share > 0.005)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
