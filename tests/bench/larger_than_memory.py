"""Train and score on more card transactions than the memory holds; prints the peak of resident memory against its bar.

python tests/bench/larger_than_memory.py ROWS [DIRECTORY] [--epochs 1] [--ranks N]

The transactions are synthetic, in TabFormer's format. The directory keeps them for another time; without one they are
made anew. The full figure is that of 24000000 rows, as many as the published file has; it takes hours on two cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.transactions import write_transactions

BAR_BYTES = 2 << 30
_WORKLOAD = "tabformer-lstm-streamed"


def main(rows: int, directory: Path, epochs: int, ranks: int) -> int:
    """Make the file, train for so many epochs, and score every row; 0 when no process took more than the bar."""
    file = directory / "tabformer" / "card_transaction.v1.csv"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_transactions(file, rows)
    models = directory / "models"
    trained = _peak(
        "one training",
        [
            "run", _WORKLOAD, "--data", str(directory), "--seeds", "1", "--epochs", str(epochs), "--blocks", "1",
            "--ranks", str(ranks),
            "--scenarios", "offline", "--backends", "eager", "--no-roofline", "--save", str(models),
            "--out", str(directory / "runs"),
        ],
        allowed=(0, 2),  # one block gives no valid rate
    )  # fmt: skip
    scored = _peak("scoring", ["score", str(models / _WORKLOAD), str(file), "-o", str(directory / "scores.csv")])
    worst = max(trained, scored)
    print(f"{rows:,} rows: {worst / 2**20:,.0f} MiB at most, {BAR_BYTES / 2**20:,.0f} MiB allowed")
    return int(worst > BAR_BYTES)


def _peak(what: str, arguments: Sequence[str], allowed: Sequence[int] = (0,)) -> int:
    """Largest resident memory of the command and of the processes that it started, in bytes."""
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "harness", *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds, code = time.monotonic() - started, os.waitstatus_to_exitcode(status)
    print(f"{what}: exit {code}, {usage.ru_maxrss / 1024:,.0f} MiB, {seconds:,.0f} s", flush=True)
    if code not in allowed:
        raise SystemExit(f"lparbench {' '.join(arguments)} ended with {code}")
    return usage.ru_maxrss * 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=int)
    parser.add_argument("directory", type=Path, nargs="?")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--ranks", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        sys.exit(main(given.rows, given.directory or Path(name), given.epochs, given.ranks))
