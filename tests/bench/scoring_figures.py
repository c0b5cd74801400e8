"""Every detector's scoring, native beside ONNX Runtime: in pairs, one thread each, CPU time, the median of the ratios.

    python tests/bench/scoring_figures.py [--pairs 30] [--only egbad,dagmm] [--batches 1,7,64,256,4096] [--json]

prints every figure with its bar and exits 1 if one is missed or if the two do not agree. The bars: 1.5 times as fast,
at a single row 3 times. With ``--threads N`` both have so many threads, times are of the clock, and the bar of the
transformer's single row is 4 times. ``card-stream`` is one transaction of a card's stream through the LSTM, in
microseconds. Detectors are of the published sizes, fitted on generated rows of as many features as their workload has;
how well they detect is no matter here.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from kernel_pairs import take_turns

from harness.detectors import registry
from harness.detectors.lstm import LSTM
from harness.detectors.opening import open_scorer
from harness.detectors.published import PUBLISHED, exported, rows_of
from harness.detectors.streaming import CardStream
from harness.scoring.agreement import agreement

BATCHES = (1, 7, 64, 256, 4096)
SLOW = (
    "anogan",
    "egbad-images",
    "ft-transformer",
    "bilstm",
    "cnn",
    "lstm",
    "fraud-ensemble",
)  # 4,096 rows take them seconds
SLOW_ROWS = 256
CARD_STREAM = "card-stream"
_REST_S = 0.1  # longer than ONNX Runtime's threads look for work after a call


@dataclass(frozen=True)
class Figure:
    """One detector at one batch size; times in microseconds, None where there is no native form."""

    detector: str
    batch: int
    native_us: float | None
    onnxruntime_us: float
    ratio: float | None
    bar: float
    agreement: str

    @property
    def met(self) -> bool:
        """Whether the bar holds and the scores agree."""
        return self.ratio is not None and self.ratio >= self.bar and "DISAGREE" not in self.agreement

    def line(self) -> str:
        """For people."""
        native = "no native form" if self.native_us is None else f"{self.native_us:11.1f} us"
        ratio = "" if self.ratio is None else f"{self.ratio:7.2f} >= {self.bar:g}"
        return (
            f"{'ok  ' if self.met else 'MISS'} {self.detector:24s} {self.batch:5d} {native:>14s} : "
            f"{self.onnxruntime_us:11.1f} us {ratio}  {self.agreement}"
        )


@dataclass(frozen=True)
class StreamFigure:
    """One transaction of a card's stream; times in microseconds, ``kernel_us`` without Python's part of the call."""

    native_us: float
    kernel_us: float
    torch_us: float
    bar_us: float
    agreement: str

    @property
    def met(self) -> bool:
        """Whether the bar holds for the whole call and the scores agree."""
        return self.native_us <= self.bar_us and "DISAGREE" not in self.agreement

    def line(self) -> str:
        """For people."""
        return (
            f"{'ok  ' if self.met else 'MISS'} {CARD_STREAM:24s} {1:5d} {self.native_us:11.1f} us <= {self.bar_us:g} "
            f"({self.kernel_us:.1f} us of it in the kernels) : torch {self.torch_us:.1f} us  {self.agreement}"
        )


def stream_figure(pairs: int) -> StreamFigure:
    """A transaction of one card, whose windows are all open."""
    published = PUBLISHED["lstm"]
    windows, labels = rows_of(published, 2000)
    detector = registry.resolve(published.detector, published.parameters).fit(windows, labels)
    assert isinstance(detector, LSTM)
    rows = np.ascontiguousarray(windows[:64].reshape(-1, published.features))
    streams = [CardStream(detector, backend) for backend in ("native", "eager")]
    scores = [stream.score(["card"] * len(rows), rows) for stream in streams]
    whole = ~np.isnan(scores[0])
    verdict = agreement(scores[1][whole], scores[0][whole]).sentence()
    found = take_turns(*(partial(stream.score, ["card"], rows[:1]) for stream in streams), pairs)
    inner = partial(streams[0]._windows.score, np.zeros(1, np.int64), rows[:1])
    kernel = take_turns(inner, inner, pairs)
    times = (1e6 * statistics.median(side) for side in (found.ours, kernel.ours, found.theirs))
    return StreamFigure(*times, 10.0, verdict)


def figures(name: str, batches: tuple[int, ...], pairs: int, threads: int = 1) -> Iterator[Figure]:
    """All batch sizes of one detector."""
    clock = time.process_time if threads == 1 else time.perf_counter
    rest_s = 0.0 if threads == 1 else _REST_S
    with tempfile.TemporaryDirectory() as folder:
        artifacts, X = exported(PUBLISHED[name], Path(folder))
        theirs = open_scorer(Path(folder), "onnxruntime", threads=threads)
        ours = open_scorer(Path(folder), "native", threads=threads) if "native" in artifacts.backends else None
        typical = theirs.score(np.ascontiguousarray(X[:SLOW_ROWS]))
        for batch in batches:
            if name in SLOW and batch > SLOW_ROWS:
                continue
            rows = np.ascontiguousarray(X[:batch])
            bar = 1.5 if batch > 1 else 4.0 if name == "ft-transformer" and threads > 1 else 3.0
            call = partial(theirs.score, rows)
            if ours is None:
                alone = take_turns(call, call, max(3, pairs // 10), clock=clock)
                yield Figure(name, batch, None, 1e6 * statistics.median(alone.theirs), None, bar, "")
                continue
            verdict = agreement(theirs.score(rows), ours.score(rows), typical=typical).sentence() if batch > 1 else ""
            found = take_turns(partial(ours.score, rows), call, pairs, clock=clock, rest_s=rest_s)
            times = (1e6 * statistics.median(side) for side in (found.ours, found.theirs))
            yield Figure(name, batch, *times, found.ratio, bar, verdict)


def main() -> int:
    """Print the table; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--only", default=",".join((*PUBLISHED, CARD_STREAM)))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", default=",".join(map(str, BATCHES)))
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    batches = tuple(int(batch) for batch in chosen.batches.split(","))
    made: list[Figure | StreamFigure] = []
    for name in chosen.only.split(","):
        of_name = figures(name, batches, chosen.pairs, chosen.threads)
        for figure in [stream_figure(chosen.pairs)] if name == CARD_STREAM else of_name:
            made.append(figure)
            if not chosen.json:
                print(figure.line(), flush=True)
    if chosen.json:
        print(json.dumps([{**asdict(figure), "met": figure.met} for figure in made], indent=2))
    return 0 if all(figure.met for figure in made) else 1


if __name__ == "__main__":
    sys.exit(main())
