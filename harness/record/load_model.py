"""Dataclasses of one load test, as written to ``load.json`` (``results/schema/load-v1.json``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harness.platform.facts import Facts
from harness.record.fields import Count, Identifier, NotNegative, Positive, PositiveCount, Share, Timestamp
from harness.record.model import Tool

LOAD_SCHEMA_VERSION: Literal[1] = 1
Arrivals = Literal["poisson", "constant", "trace"]
Role = Literal["server", "front", "scorer"]  # server: one process does all
Limit = Literal["nothing", "generator", "front", "scorer", "unknown"]


@dataclass(frozen=True)
class LoadSpec:
    """One load test; ``rate`` is in requests per second.

    Attributes:
        cards: whose transactions are sent; None for rows.
        skew: exponent of Zipf's law, by which cards are busy.
    """

    url: str
    rate: Positive
    seconds: Positive
    connections: PositiveCount
    arrivals: Arrivals
    seed: Count
    p99_bound_s: Positive | None
    patience_s: NotNegative = 10.0
    cards: PositiveCount | None = None
    skew: NotNegative | None = None


@dataclass(frozen=True)
class TraceRecord:
    """What a record says of the arrivals that were played.

    Attributes:
        path: of the file.
        sha256: of its content.
        requests: in it.
        rate_per_s: on average.
        peak_to_mean: requests of its busiest second over those of a mean one; about 1 for an even load.
    """

    path: str
    sha256: str
    requests: Count
    rate_per_s: Positive
    peak_to_mean: Positive


@dataclass(frozen=True)
class LoadTimeline:
    """Requests per step of a trial, from its start: when they were due, and when their answers came.

    Attributes:
        step_s: length of a step.
        wall_s: length of the trial; its last step may be a part of one.
        answered: with status 200.
        failed: with another status, or given up.
    """

    step_s: Positive
    wall_s: NotNegative
    due: tuple[Count, ...]
    answered: tuple[Count, ...]
    failed: tuple[Count, ...]


@dataclass(frozen=True)
class LatencyCurve:
    """Share of all requests that were answered with status 200 within so many seconds of their schedule."""

    seconds: tuple[NotNegative, ...]
    shares: tuple[Share, ...]


@dataclass(frozen=True)
class ProcessUse:
    """What a process of the server did during the trial; one that restarted counts on.

    Attributes:
        cpus: that it may use.
        cpu_s: CPU time of all its threads.
        scoring_s: within calls of the model.
        busy: share of the trial that its event loop, or its scoring, took.
    """

    name: str
    role: Role
    cpus: Count
    cpu_s: NotNegative
    scoring_s: NotNegative
    busy: NotNegative


@dataclass(frozen=True)
class LoadResult:
    """Outcome of a load test.

    Attributes:
        offered_per_s: requests scheduled per second.
        achieved_per_s: answered with status 200 per second of the whole trial.
        requests: scheduled.
        by_status: answers by HTTP status; 0 without an answer.
        latencies_s: percentiles from the scheduled time, as upper confidence limits; refusals and errors count as
            longer than any; None where the requests are too few, or too many failed.
        observed_s: the same percentiles as they were seen, which is what other tools print; None where a request that
            failed is there.
        lag_p99_s: of the generator; None when nothing was sent.
        different: answers that are not the detector's own, or differ from each other.
        checked: answers were compared with the detector's own.
        reasons: why the figure is invalid; none when it is valid.
        disturbed: generator or machine were at fault, so that another trial may say more.
        stolen_s: time that the hypervisor took from the CPUs of generator and server; None where it does not say.
        met: whether the bound on the 99th percentile held; None without a bound, or when invalid.
        limited_by: what kept the rate from being higher, or the latency from being lower.
        processes: of the server; none where it does not say.
        scored: of transactions, how many answers had a score that was compared; the others said that the card's window
            is not full yet.
    """

    offered_per_s: NotNegative
    achieved_per_s: NotNegative
    requests: Count
    by_status: Mapping[str, Count]
    latencies_s: Mapping[str, NotNegative | None]
    observed_s: Mapping[str, NotNegative | None]
    lag_p99_s: NotNegative | None
    different: Count
    checked: bool
    reasons: tuple[str, ...]
    met: bool | None
    timeline: LoadTimeline
    curve: LatencyCurve
    disturbed: bool = False
    stolen_s: NotNegative | None = None
    limited_by: Limit = "unknown"
    processes: tuple[ProcessUse, ...] = ()
    scored: Count | None = None


@dataclass(frozen=True)
class SearchRecord:
    """A search for the highest rate that meets the bound.

    Attributes:
        rate_per_s: at the machine's middle speed during the search; None where no rate meets the bound, or none could
            be decided.
        low_per_s, high_per_s: ends of the interval in which nineteen of twenty repetitions find it, as far as the
            machine's speed changes as it did meanwhile.
        load: the rate relative to that of a closed loop at the same time, all connections busy: what the server answers
            at most.
        load_low, load_high: ends of its interval of 95 %, which the machine's speed is not in.
        closed_per_s: rates of the closed loop, before each trial and after the last.
        tried: every trial that said something, in order: its rate, its load, and whether it met the bound.
        disturbed: trials that said nothing of the server, and were repeated.
        undecided: so many were disturbed that the search was given up.
        missed_anyway: share of the trials that miss the bound at any load, because machine or server paused; half of
            the others meet it at the rate. None in records of before, whose rate three trials of four meet.
    """

    rate_per_s: NotNegative | None
    low_per_s: NotNegative | None
    high_per_s: NotNegative | None
    load: NotNegative | None
    load_low: NotNegative | None
    load_high: NotNegative | None
    closed_per_s: tuple[NotNegative, ...]
    tried: tuple[tuple[NotNegative, NotNegative, bool], ...]
    disturbed: Count
    undecided: bool
    missed_anyway: Share | None = None


@dataclass(frozen=True)
class LoadedServer:
    """What the server says of itself; None where it does not."""

    model: str | None
    backend: str | None
    cpus: tuple[Count, ...]
    front: str | None = None
    http_parser: str | None = None
    event_loop: str | None = None
    json_parser: str | None = None


@dataclass(frozen=True)
class LoadRecord:
    """One whole load test.

    Attributes:
        facts: of the generator's machine.
        server: None for another program than ours.
        rows: that were sent: ``synthetic``, or a file.
        trace: of the arrivals that were played.
    """

    schema_version: Literal[1]
    load_id: Identifier
    created: Timestamp
    tool: Tool
    facts: Facts
    spec: LoadSpec
    generator_cpus: tuple[Count, ...]
    server: LoadedServer | None
    rows: str
    result: LoadResult
    search: SearchRecord | None = None
    trace: TraceRecord | None = None
