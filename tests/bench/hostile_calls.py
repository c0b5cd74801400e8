"""100,000 calls of the native module with arguments that do not fit: none may crash, hang or raise SystemError.

    python tests/bench/hostile_calls.py [CALLS [SEED]]

Every batch is a process of its own; the calls of a batch that died are named by their seed, and can be made again with
``hostile_calls.py 1 SEED``.
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import struct
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

from support.hostile_calls import REFUSALS, Hostile  # noqa: E402 - the path comes first

BATCH = 250
_PATIENCE_S = 20.0  # of processor time of one call: what asks for more is refused
_STUCK_S = 600.0  # without an end, also where others have the processors
_ALARM_S = 0.2  # a signal ends what is asked to take long
_CELLS = 4  # calls that were begun, answered and refused, and defects


class _AlarmError(Exception):
    pass


def _alarm(*_: object) -> None:
    raise _AlarmError


def one_call(seed: str) -> tuple[str, str]:
    """The function, and "done", "refused", or the defect."""
    try:
        return _called(seed)
    except _AlarmError:  # it came when the call was over
        return "?", "refused"


def _called(seed: str) -> tuple[str, str]:
    rng = random.Random(seed)
    name, call = Hostile(rng, share=rng.choice((0.0, 0.05, 0.1, 0.3))).call()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signal.setitimer(signal.ITIMER_REAL, _ALARM_S)
        try:
            call()
        except (*REFUSALS, _AlarmError):
            return name, "refused"
        except BaseException as error:  # noqa: BLE001 - whatever else it raises is a defect
            return name, f"{type(error).__name__}: {error}"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    return name, "done"


def batch(seed: int, first: int, count: int) -> Counter[str]:
    """What became of the calls, in processes of their own: one more after each that died."""
    counts: Counter[str] = Counter()
    at = first
    while at < first + count:
        shared = mmap.mmap(-1, 8 * _CELLS)
        child = os.fork()
        if not child:
            _in_child(shared, seed, at, first + count)
        status = _ended(child, shared)
        begun, done, refused, defects = struct.unpack(f"{_CELLS}q", shared[:])
        counts += Counter({"calls": begun, "done": done, "refused": refused, "defects": defects})
        if status:
            counts["crashes"] += 1
            print(f"seed {seed}/{at + begun - 1}: {signal.Signals(-status).name if status < 0 else status}", flush=True)
        at += begun
    return counts


def _in_child(shared: mmap.mmap, seed: int, first: int, end: int) -> None:
    counts = [0] * _CELLS
    signal.signal(signal.SIGALRM, _alarm)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    for at in range(first, end):
        counts[0] += 1
        shared[:] = struct.pack(f"{_CELLS}q", *counts)
        name, outcome = one_call(f"{seed}/{at}")
        counts[{"done": 1, "refused": 2}.get(outcome, 3)] += 1
        if outcome not in ("done", "refused"):
            print(f"seed {seed}/{at}: {name}: {outcome}", flush=True)
        shared[:] = struct.pack(f"{_CELLS}q", *counts)
    os._exit(0)


def _ended(child: int, shared: mmap.mmap) -> int:
    """Exit status, negative for a signal; a call that does not return is killed."""
    seen, most_s, deadline = b"", 0.0, 0.0
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        used_s = _used_s(child)
        if shared[:] != seen:
            seen, most_s, deadline = shared[:], used_s + _PATIENCE_S, time.monotonic() + _STUCK_S
        elif used_s > most_s or time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        time.sleep(0.002)


def _used_s(child: int) -> float:
    """Processor time of a process; 0 of one that has just ended."""
    try:
        fields = Path(f"/proc/{child}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(calls: int = 100_000, seed: str = "1") -> None:
    """Make so many calls and print the counts; exit status 1 where one crashed or was no refusal."""
    whole, _, index = seed.partition("/")
    counts: Counter[str] = Counter()
    first = int(index or 0)
    for at in range(first, first + calls, BATCH):
        counts += batch(int(whole), at, min(BATCH, first + calls - at))
    print(", ".join(f"{counts[key]:,} {key}" for key in ("calls", "done", "refused", "crashes", "defects")))
    sys.exit(1 if counts["crashes"] or counts["defects"] else 0)


if __name__ == "__main__":
    main(*(kind(text) for kind, text in zip((int, str), sys.argv[1:], strict=False)))
