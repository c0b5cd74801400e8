"""Counters and histograms of a server, written as OpenMetrics text; base units, buckets two per octave."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import process_time

from harness.serving.drift import DriftState

_LOWEST_S, _HIGHEST_S = 1e-5, 10.0


def _buckets() -> tuple[float, ...]:
    steps = [_LOWEST_S]
    while steps[-1] < _HIGHEST_S:
        steps.append(_LOWEST_S * 2 ** (len(steps) / 2))
    return tuple(float(f"{step:.3g}") for step in steps)


SECONDS = _buckets()
EVICTIONS = ("capacity", "ttl", "lost")  # lost: the scorer that held them died
ROWS = tuple(float(2**power) for power in range(13))


class Histogram:
    """Counts per bucket, each with its upper bound included."""

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def add_all(self, values: Sequence[float]) -> None:
        """Count at least one value; those that came together are mostly in one bucket."""
        lowest = bisect_left(self.bounds, min(values))
        if bisect_left(self.bounds, max(values), lowest) == lowest:
            self.counts[lowest] += len(values)
        else:
            for value in values:
                self.counts[bisect_left(self.bounds, value)] += 1
        self.total += sum(values)

    @property
    def count(self) -> int:
        """Values counted."""
        return sum(self.counts)


@dataclass
class StreamCounts:
    """What a server of cards counts."""

    evicted: Counter[str] = field(default_factory=Counter)  # cards, by reason
    duplicates: int = 0
    out_of_order: int = 0
    unseen: int = 0
    forgotten: int = 0

    def numbers(self) -> tuple[int, ...]:
        """All but the evictions."""
        return self.duplicates, self.out_of_order, self.unseen, self.forgotten

    def add(self, numbers: tuple[int, ...]) -> None:
        """Count as many more of each of `numbers`."""
        both = zip(self.numbers(), numbers, strict=True)
        self.duplicates, self.out_of_order, self.unseen, self.forgotten = map(sum, both)


@dataclass(frozen=True)
class ProcessTime:
    """What a process of a server has taken so far, those whose place it took included.

    Attributes:
        cpus: that it may use.
        cpu_s: CPU time of all its threads.
        scoring_s: within calls of the model.
    """

    cpus: int
    cpu_s: float
    scoring_s: float
    answered: int | None = None  # requests; None of a process that answers none


@dataclass(frozen=True)
class Counts:
    """What a process of a server has counted so far, for the others: their sum is what the server says of itself."""

    requests: tuple[tuple[str, int, int], ...]  # endpoint, status, how often
    rejected: Mapping[str, int]
    decisions: Mapping[str, int]
    histograms: tuple[tuple[tuple[int, ...], float], ...]  # counts and total, in the order of `Metrics.histograms`
    connections: int
    in_flight: int
    clock_mismatch: bool
    cards: int
    evicted: Mapping[str, int] | None  # with the next: None where there are no cards
    streams: tuple[int, ...] = ()  # duplicates, out of order, unseen, forgotten
    processes: Mapping[str, ProcessTime] = field(default_factory=dict)  # by name


class Metrics:
    """What a server counts.

    Args:
        own: name of this process; None where it is none of a server.
        score_bounds: of the histogram of scores; none for none.
        answers: this process answers requests.
    """

    def __init__(self, own: str | None = None, score_bounds: tuple[float, ...] = (), *, answers: bool = True) -> None:
        self.own, self._answers = own, answers
        self._others: dict[str, ProcessTime] = {}
        self.requests: Counter[tuple[str, int]] = Counter()  # by endpoint and status
        self.rejected: Counter[str] = Counter()  # by reason
        self.decisions: Counter[str] = Counter()  # rows, by level
        self.request_s = Histogram()
        self.queue_s = Histogram()
        self.score_s = Histogram()
        self.batch_rows = Histogram(ROWS)
        self.scores = Histogram(score_bounds) if score_bounds else None
        self.connections = 0
        self.in_flight = 0
        self.clock_mismatch = False
        self.cards = 0
        self.streams: StreamCounts | None = None  # of a server of cards

    @property
    def histograms(self) -> tuple[Histogram, ...]:
        """All of them."""
        always = self.request_s, self.queue_s, self.score_s, self.batch_rows
        return always if self.scores is None else (*always, self.scores)

    @property
    def processes(self) -> Mapping[str, ProcessTime]:
        """The processes of the server, as far as they are known."""
        if self.own is None:
            return self._others
        before = self._others.get(self.own, ProcessTime(0, 0.0, 0.0))  # of those whose place this one took
        cpu_s = round(before.cpu_s + process_time(), 2)  # at rest the same from one look to the next
        answered = sum(self.requests.values()) if self._answers else None
        cpus = len(os.sched_getaffinity(0))
        return {**self._others, self.own: ProcessTime(cpus, cpu_s, self.score_s.total, answered)}

    def counts(self) -> Counts:
        """All of it, at rest."""
        streams = self.streams
        return Counts(
            requests=tuple((path, code, count) for (path, code), count in self.requests.items()),
            rejected=dict(self.rejected),
            decisions=dict(self.decisions),
            histograms=tuple((tuple(each.counts), each.total) for each in self.histograms),
            connections=self.connections,
            in_flight=self.in_flight,
            clock_mismatch=self.clock_mismatch,
            cards=self.cards,
            evicted=None if streams is None else dict(streams.evicted),
            streams=() if streams is None else streams.numbers(),
            processes=self.processes,
        )

    def add(self, counts: Counts) -> None:
        """Count what another process counted, too."""
        for path, code, count in counts.requests:
            self.requests[path, code] += count
        self.rejected.update(counts.rejected)
        self.decisions.update(counts.decisions)
        for histogram, (numbers, total) in zip(self.histograms, counts.histograms, strict=True):
            histogram.counts = [own + other for own, other in zip(histogram.counts, numbers, strict=True)]
            histogram.total += total
        self.connections += counts.connections
        self.in_flight += counts.in_flight
        self.clock_mismatch |= counts.clock_mismatch
        self.cards += counts.cards
        self._others.update(counts.processes)
        if counts.evicted is not None:
            self.streams = self.streams or StreamCounts()
            self.streams.evicted.update(counts.evicted)
            self.streams.add(counts.streams)


def openmetrics(metrics: Metrics, info: Mapping[str, str], drift: DriftState, physical_cores: float | None) -> bytes:
    """The text that a scraper reads.

    Args:
        metrics: of the server.
        info: labels of the model.
        drift: as ``GET /drift`` has it.
        physical_cores: that the partition consumed of late; None off PowerVM.
    """
    lines: list[str] = []
    _family(lines, "model", "info", "The model that is served.", [("_info", info, 1)])
    _family(
        lines, "requests", "counter", "Requests answered.",
        [("_total", {"endpoint": path, "code": str(code)}, n) for (path, code), n in sorted(metrics.requests.items())],
    )  # fmt: skip
    rejected = [("_total", {"reason": reason}, n) for reason, n in sorted(metrics.rejected.items())]
    _family(lines, "rejected", "counter", "Requests refused, by reason.", rejected)
    decisions = [("_total", {"level": level}, n) for level, n in sorted(metrics.decisions.items())]
    _family(lines, "decisions", "counter", "Rows scored, by level.", decisions)
    for name, histogram, what in (
        ("request_seconds", metrics.request_s, "From the last byte of a request to its answer."),
        ("queue_seconds", metrics.queue_s, "Until a call of the scorer, of the row that waited longest for it."),
        ("score_seconds", metrics.score_s, "Of a call of the scorer."),
        ("batch_rows", metrics.batch_rows, "Rows of a call of the scorer."),
    ):
        _family(lines, name, "histogram", what, _histogram(histogram), unit="seconds" if "seconds" in name else "")
    if metrics.scores is not None:
        _family(lines, "scores", "histogram", "Scores of rows.", _histogram(metrics.scores))
    _of_processes(lines, metrics, physical_cores)
    _family(lines, "connections", "gauge", "Connections open.", [("", {}, metrics.connections)])
    _family(lines, "inflight", "gauge", "Requests being answered.", [("", {}, metrics.in_flight)])
    wrong: list[Sample] = [("", {}, int(metrics.clock_mismatch))]
    _family(lines, "clock_mismatch", "gauge", "1 once the clock that times has disagreed with the kernel's.", wrong)
    _drift(lines, drift)
    if (streams := metrics.streams) is not None:
        _family(lines, "stream_keys", "gauge", "Cards whose transactions are kept.", [("", {}, metrics.cards)])
        evicted = [("_total", {"reason": reason}, streams.evicted[reason]) for reason in EVICTIONS]
        _family(lines, "stream_evictions", "counter", "Cards forgotten, by reason.", evicted)
        for name, value, what in (
            ("stream_duplicates", streams.duplicates, "Transactions that were sent again."),
            ("stream_out_of_order", streams.out_of_order, "Transactions older than one of their card before."),
            ("stream_unseen", streams.unseen, "Categories of transactions that training did not hold."),
            ("stream_forgotten", streams.forgotten, "Merchants, cities and codes dropped from a card's history."),
        ):
            _family(lines, name, "counter", what, [("_total", {}, value)])
    lines.append("# EOF\n")
    return "\n".join(lines).encode()


Sample = tuple[str, Mapping[str, str], float]


def _family(lines: list[str], name: str, kind: str, what: str, samples: Iterable[Sample], unit: str = "") -> None:
    full = f"lparbench_{name}"
    lines += [f"# TYPE {full} {kind}", *([f"# UNIT {full} {unit}"] if unit else []), f"# HELP {full} {what}"]
    for suffix, labels, value in samples:
        shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{full}{suffix}{{{shown}}} {value:.9g}" if shown else f"{full}{suffix} {value:.9g}")


def _drift(lines: list[str], drift: DriftState) -> None:
    labelled = [({"feature": each.name, "statistic": each.statistic}, each) for each in drift.samples()]
    for name, attribute, what in (
        (
            "drift",
            "value",
            "Statistics of the last window: psi by feature, ks of the scores, shares flagged and missing.",
        ),
        ("drift_of_bound", "of_bound", "The same over their bounds, which depend on the window: above 1 is drift."),
    ):
        _family(lines, name, "gauge", what, [("", labels, getattr(each, attribute)) for labels, each in labelled])
    _family(lines, "drift_windows", "counter", "Windows judged.", [("_total", {}, drift.windows)])
    _family(lines, "drift_alarms", "counter", "Windows that drifted.", [("_total", {}, drift.alarms)])


def _of_processes(lines: list[str], metrics: Metrics, physical_cores: float | None) -> None:
    for name, kind, what in (
        ("cpu_seconds", "counter", "CPU time of a process of the server."),
        ("scoring_seconds", "counter", "Time of a process within calls of the model."),
        ("cpus", "gauge", "CPUs that a process may use."),
    ):
        key, suffix = (f"{name[:-8]}_s", "_total") if kind == "counter" else (name, "")
        times: list[Sample] = [
            (suffix, {"process": own}, getattr(each, key)) for own, each in sorted(metrics.processes.items())
        ]
        _family(lines, f"process_{name}", kind, what, times, unit="seconds" if kind == "counter" else "")
    answered = {own: each.answered for own, each in sorted(metrics.processes.items()) if each.answered is not None}
    total = max(1, sum(answered.values()))
    shares: list[Sample] = [("", {"worker": own}, count / total) for own, count in answered.items()]
    _family(lines, "worker_share", "gauge", "Of all answers, those of a process.", shares)
    cores: list[Sample] = [] if physical_cores is None else [("", {}, physical_cores)]
    _family(lines, "physical_cores", "gauge", "That the partition consumed of late, by its PURR.", cores)


def _histogram(histogram: Histogram) -> list[Sample]:
    samples: list[Sample] = []
    cumulated = 0
    for bound, count in zip((*histogram.bounds, None), histogram.counts, strict=True):
        cumulated += count
        samples.append(("_bucket", {"le": "+Inf" if bound is None else f"{bound:.9g}"}, cumulated))
    if histogram.bounds[0] < 0:  # whose sum could fall
        return samples
    return [*samples, ("_count", {}, cumulated), ("_sum", {}, histogram.total)]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
