"""Damaged records and baselines through compare and gate: ``python tests/bench/mutated_records.py 10000``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.fooled import fooled, fooled_by_baselines


def main(files: int) -> int:
    """Print every file that raised, passed, or was called regressed without being it; 1 when there is one."""
    with tempfile.TemporaryDirectory() as scratch:
        complaints = fooled(range(files), Path(scratch)) + fooled_by_baselines(range(files), Path(scratch))
    print("\n".join(complaints))
    print(f"{len(complaints)} complaints in {files} damaged records and {files} damaged baselines")
    return int(bool(complaints))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))
