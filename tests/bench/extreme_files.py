"""Files with extreme values and damaged bytes through what reads them: ``python tests/bench/extreme_files.py 10000``.

The number is of all files together; every kind gets its part. A second number is the first seed, words are the kinds to
try. Prints each complaint and the counts; 1 when there is one.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[up]) for up in (1, 2)]

from support.extreme_forms import FORMS  # noqa: E402 - the path comes first
from support.extremes import KINDS, Tally  # noqa: E402

ALL = {**KINDS, **FORMS}


def main(files: int, first: int, kinds: list[str]) -> int:
    """Print what was taken, refused, and neither."""
    complaints = 0
    for name in kinds or ALL:
        tally = Tally()
        with tempfile.TemporaryDirectory() as scratch:
            ALL[name](range(first, first + files // len(kinds or ALL)), Path(scratch), tally)
        print("\n".join(tally.complaints), end="\n" if tally.complaints else "")
        print(f"{name}: {tally.taken} taken, {tally.refused} refused, {len(tally.complaints)} complaints", flush=True)
        complaints += len(tally.complaints)
    return int(bool(complaints))


if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(main(int(given[0]) if given else 10_000, int(given[1]) if len(given) > 1 else 0, given[2:]))
