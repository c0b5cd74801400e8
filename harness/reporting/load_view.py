"""What a load test says, in words, for terminal and page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.measure.percentiles import PERCENTILES, requests_needed
from harness.record.load_model import Limit, LoadRecord, ProcessUse, SearchRecord
from harness.reporting.console import safe
from harness.reporting.sections.machine import is_power
from harness.reporting.sections.status import BAD, GOOD, WARN, Status
from harness.reporting.text import and_list, number, percent, quantity, ranges
from harness.wording import count, plural

_LIMITS: Mapping[Limit, str] = {
    "nothing": "nothing: what was offered was answered",
    "generator": "the generator, which lagged behind its own schedule: the figure says nothing of the server",
    "front": "the server's front: HTTP, JSON and encoding took the CPU",
    "scorer": "the server's scorer: the model took the CPU",
    "unknown": "not known: no process of the server was busy all the time, or it does not say",
}


def status_of(record: LoadRecord) -> Status:
    """Whether the bound held, or why nothing can be said of it."""
    result = record.result
    if result.reasons:
        return Status("Invalid", BAD, "bad")
    if result.met is not None:
        return Status("Bound held", GOOD, "good") if result.met else Status("Bound not held", BAD, "bad")
    failed = result.by_status.get("200", 0) < result.requests
    return Status("Valid, with failures", WARN, "warn") if failed else Status("Valid", GOOD, "good")


def sentence_of(record: LoadRecord) -> str:
    """The outcome in one sentence."""
    result, bound, search = record.result, record.spec.p99_bound_s, record.search
    p99 = result.latencies_s.get("p99_s")
    tail = "p99 not known" if p99 is None else f"p99 at most {quantity(p99, 's')}"
    if search is not None and bound is not None:
        if search.rate_per_s is None:
            return f"No rate with p99 ≤ {quantity(bound, 's')} was found."
        return f"Highest rate with p99 ≤ {quantity(bound, 's')}: {_rate(search)}, {tail}."
    offered = f"{number(result.achieved_per_s)} of {number(result.offered_per_s)} req/s offered were answered"
    held_to = "" if bound is None else f", bound {quantity(bound, 's')}"
    return f"{offered}; {tail}{held_to}."


def marks_of(record: LoadRecord) -> tuple[str, ...]:
    """What a figure must not be printed without."""
    marks = []
    if is_power(record.facts) is False:
        marks.append("x86, not Power")
    if record.facts.emulation.emulated:
        marks.append("emulated")
    if record.rows == "synthetic":
        marks.append("synthetic rows")
    if not record.result.checked:
        marks.append("answers were not compared with a detector's")
    if record.server is None:
        marks.append("the server does not say what it is, nor on which CPUs it runs")
    return tuple(marks)


def limit_of(record: LoadRecord) -> str:
    """What limited the trial."""
    return _LIMITS[record.result.limited_by]


def process_line(use: ProcessUse) -> tuple[str, str, str, str]:
    """Name, CPUs, CPU time and how busy."""
    return use.name, count(use.cpus), quantity(use.cpu_s, "s"), percent(min(use.busy, 1.0), 2)


def latency_rows(record: LoadRecord) -> list[tuple[str, str, str, str]]:
    """Percentile, its upper confidence limit, as seen, and why the limit cannot be stated where it is a dash."""
    result = record.result
    sent = sum(result.by_status.values())

    def shown(value: float | None) -> str:
        return "–" if value is None else quantity(value, "s")

    def why(name: str) -> str:
        if result.latencies_s.get(name) is not None:
            return ""
        needed = requests_needed(PERCENTILES[name])
        return f"needs {count(needed)} requests" if sent < needed else "requests failed"

    return [
        (
            name.removesuffix("_s").replace("_", "."),
            shown(result.latencies_s.get(name)),
            shown(result.observed_s.get(name)),
            why(name),
        )
        for name in PERCENTILES
    ]


def failures_of(record: LoadRecord) -> str:
    """Answers that are none of status 200, by status; empty without any."""
    failed = {status: amount for status, amount in record.result.by_status.items() if status != "200"}
    return ", ".join(f"{count(n)} × {'no answer' if status == '0' else status}" for status, n in failed.items())


def _whole(rate: float) -> str:
    """A rate as a whole number, and a low one with its digits: half a request a second is none, nor one."""
    return f"{rate:,.0f}" if rate >= 100 else number(rate)


def lines(record: LoadRecord) -> Iterator[str]:
    """The outcome for a terminal or a pipe."""
    result, spec, search = record.result, record.spec, record.search
    yield (
        f"offered {_whole(result.offered_per_s)} req/s, answered {_whole(result.achieved_per_s)} req/s "
        f"({plural(result.requests, 'request')}, {safe(_sent(record))}, {plural(spec.connections, 'connection')})"
    )
    if played := trace_line(record):
        yield safe(played)
    rows = [f"{name} {limit}" + (f" ({why})" if why else "") for name, limit, _, why in latency_rows(record)]
    yield f"latency from the schedule: {', '.join(rows)}"
    lag = "sent nothing" if result.lag_p99_s is None else f"lag p99 {quantity(result.lag_p99_s, 's')}"
    yield f"generator on CPUs {ranges(record.generator_cpus)}: {lag}"
    if result.processes:
        busy = [f"{safe(name)} {share} busy" for name, _, _, share in map(process_line, result.processes)]
        yield f"server: {', '.join(busy)}"
    yield f"limited by {limit_of(record)}"
    if failures := failures_of(record):
        yield f"refused or failed: {failures}"
    if search is not None and search.rate_per_s is not None:
        yield search_line(record)
    for reason in result.reasons:
        yield f"INVALID: {safe(reason)}"
    if result.met is not None and spec.p99_bound_s is not None:
        yield f"p99 ≤ {spec.p99_bound_s * 1e3:g} ms: {'met' if result.met else 'NOT met'}"


def _sent(record: LoadRecord) -> str:
    """What was sent."""
    spec, scored = record.spec, record.result.scored
    if spec.cards is None or spec.skew is None:
        return f"{record.rows} rows"
    compared = "" if scored is None else f", {count(scored)} scores compared"
    return f"{record.rows} transactions of {plural(spec.cards, 'card')}, Zipf {spec.skew:g}{compared}"


def trace_line(record: LoadRecord) -> str:
    """The arrivals that were played; empty where they were drawn."""
    trace = record.trace
    if trace is None:
        return ""
    return (
        f"arrivals of {trace.path}: {plural(trace.requests, 'request')}, {number(trace.rate_per_s)} a second, "
        f"the busiest second {number(trace.peak_to_mean)} times the mean"
    )


def search_line(record: LoadRecord) -> str:
    """What a search found; empty without one."""
    search = record.search
    if search is None:
        return ""
    repeated = f"; {plural(search.disturbed, 'disturbed trial')} were repeated" if search.disturbed else ""
    if search.rate_per_s is None or search.load is None or search.load_low is None or search.load_high is None:
        return f"highest rate: none{repeated}"
    shares = f"{percent(search.load, 2)} ({percent(search.load_low, 2)} to {percent(search.load_high, 2)})"
    speeds = f"{number(min(search.closed_per_s))} to {number(max(search.closed_per_s))}"
    met = "three trials of four"
    if search.missed_anyway is not None:
        met = f"half of the trials ({percent(search.missed_anyway, 2)} left out that miss the bound at any rate)"
    return (
        f"highest rate: {_rate(search)}, met in {met}; {shares} of what a closed loop is answered next "
        f"to each trial, which was {speeds} req/s; {plural(len(search.tried), 'trial')}{repeated}"
    )


def _rate(search: SearchRecord) -> str:
    """The rate with its interval."""
    if search.rate_per_s is None or search.low_per_s is None or search.high_per_s is None:
        return "none"
    low, high = number(search.low_per_s), number(search.high_per_s)
    return f"{number(search.rate_per_s)} req/s ({low} to {high})"


def server_lines(record: LoadRecord) -> list[tuple[str, str]]:
    """What was loaded, and how, as label and value."""
    server, spec, result = record.server, record.spec, record.result
    known = {} if server is None else {
        "Model": server.model, "Backend": server.backend, "Server's CPUs": ranges(server.cpus), "Front": server.front,
        "HTTP parser": server.http_parser, "Event loop": server.event_loop, "JSON": server.json_parser,
    }  # fmt: skip
    lag = "nothing was sent" if result.lag_p99_s is None else quantity(result.lag_p99_s, "s")
    stolen = "" if result.stolen_s is None else quantity(result.stolen_s, "s")
    drawn = {"trace": trace_line(record), "poisson": f"Poisson, seed {spec.seed}", "constant": "constant"}
    shown = {
        "URL": spec.url,
        **known,
        "Requests": f"{count(result.requests)} over {plural(spec.connections, 'connection')}, {_sent(record)}",
        "Arrivals": drawn[spec.arrivals],
        "Generator's CPUs": ranges(record.generator_cpus),
        "Generator's lag, p99": lag,
        "Taken by the hypervisor": stolen,
        "Refused or failed": failures_of(record),
        "Answers that differ": count(result.different) if result.checked or result.different else "",
    }
    return [(label, value) for label, value in shown.items() if value]


def description_of(record: LoadRecord) -> str:
    """The trial in one sentence, for a chart's text alternative."""
    parts = [f"{name} {seen}" for name, _, seen, _ in latency_rows(record) if seen != "–"]
    return f"As seen: {and_list(parts)}." if parts else "No percentile can be stated."
