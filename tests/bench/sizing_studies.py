"""1,000 sizing studies on simulated machines: coverage, whether the recommended cores are enough, and not too many.

Run: ``PYTHONPATH=tests:. python tests/bench/sizing_studies.py [STUDIES]``. Bars: enough in at least 95 %, more than one
core too many in at most 10 %, coverage of the 95 % intervals inside the range 93 to 97 %, nothing outside unmarked.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from support.sizing_studies import figures, study


def main() -> None:
    """Print the figures as JSON; exit code 1 where a bar is missed."""
    amount = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    result = figures([study(seed) for seed in range(amount)])
    print(json.dumps(asdict(result), indent=1))
    good = result.meets >= 0.95 and result.too_many <= 0.10 and 0.93 <= result.coverage <= 0.97 and not result.unmarked
    sys.exit(not good)


if __name__ == "__main__":
    main()
