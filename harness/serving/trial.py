"""A session of load tests against one server: its rows, its placement, and what to say of the outcome."""

from __future__ import annotations

import http.client
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError
from harness.measure.clock import SystemClock
from harness.parsing import parse_json
from harness.serving.arrival_trace import Trace
from harness.serving.generator import Target
from harness.serving.load import LoadRecord, LoadResult, LoadSpec, SearchRecord, find_rate, run_load
from harness.serving.model import ServedModel
from harness.serving.payloads import made_rows, payloads, rows_of_file

_WARM_UP_S = 1.0
_ANSWER_S, _ANSWER_BYTES = 10.0, 1 << 20  # of what a server says of itself
_START_RATE = 200.0  # at which a search takes the server to be at ease


@dataclass(frozen=True)
class Session:
    """A server, and what is sent to it."""

    target: Target
    bodies: list[bytes]
    expected: NDArray[np.float32]
    rows: str
    server: dict[str, Any] | None
    cpus: tuple[int, ...]
    trace: Trace | None = None

    @classmethod
    def open(
        cls, url: str, bundle: Path, rows: Path | None, token_file: Path | None, cpus: tuple[int, ...] | None, seed: int
    ) -> Session:
        """Look at the server, choose CPUs that it does not use, and make the requests.

        Raises:
            InputError: the URL, the bundle or the rows are no good, or nobody answers.
        """
        try:
            address = urlsplit(url if "://" in url else f"http://{url}")
            port, usable = address.port or 80, address.scheme == "http" and bool(address.hostname)
        except ValueError:
            usable = False
        if not usable or address.hostname is None:
            raise InputError(
                f"{url!r} is not the URL of a server.", remedy="Expected one such as http://127.0.0.1:8000"
            )
        headers: tuple[tuple[str, str], ...] = ()
        if token_file is not None:
            headers = (("Authorization", f"Bearer {token_file.read_text(encoding='utf-8').strip()}"),)
        target = Target(address.hostname, port, (address.path.rstrip("/") or "") + "/predict", headers)
        server = _described(target)
        allowed = os.sched_getaffinity(0)
        theirs = _cpus(server)
        chosen = cpus or tuple(sorted(allowed - theirs)[-1:]) or tuple(sorted(allowed))[-1:]
        os.sched_setaffinity(0, chosen)
        model = ServedModel.open(bundle, None, 1)
        raw = made_rows(model, seed) if rows is None else rows_of_file(model, rows)
        bodies, expected = payloads(model, raw)
        return cls(target, bodies, expected, "synthetic" if rows is None else str(rows), server, chosen)

    def offer(self, spec: LoadSpec) -> LoadRecord:
        """One load test after a warm-up."""
        self._trial(replace(spec, seconds=min(_WARM_UP_S, spec.seconds), rate=min(spec.rate, _START_RATE)))
        return self._record(spec, self._trial(spec))

    def search(self, spec: LoadSpec) -> LoadRecord:
        """The highest rate that meets the bound.

        Raises:
            InputError: no rate does.
        """

        def trial(rate: float, number: int) -> LoadResult:
            return self._trial(replace(spec, rate=rate, seed=spec.seed + number))

        self._trial(replace(spec, seconds=min(_WARM_UP_S, spec.seconds), rate=_START_RATE))
        result, search = find_rate(trial, _START_RATE, 20 * _START_RATE)
        if search.undecided:
            why = f"{search.disturbed} trials were disturbed by generator or machine; no rate could be decided"
            at_ease = self._trial(replace(spec, rate=_START_RATE))
            at_ease = replace(at_ease, reasons=(*at_ease.reasons, why), met=None)
            return self._record(replace(spec, rate=_START_RATE), at_ease, search)
        if result is None or search.low_per_s is None:
            return self._record(replace(spec, rate=_START_RATE), self._trial(replace(spec, rate=_START_RATE)), search)
        return self._record(replace(spec, rate=search.low_per_s), result, search)

    def _record(self, spec: LoadSpec, result: LoadResult, search: SearchRecord | None = None) -> LoadRecord:
        """The record; a server that finds its clock wrong has refused and batched by wrong times."""
        mismatch = (_described(self.target) or {}).get("clock_mismatch") if self.server else None
        if mismatch is not None:
            result = replace(result, reasons=(*result.reasons, f"the server's clock is wrong: {mismatch}"), met=None)
        return LoadRecord(
            spec, self.cpus, self.server, self.rows, result, search, None if self.trace is None else self.trace.record
        )

    def _trial(self, spec: LoadSpec) -> LoadResult:
        theirs = _cpus(self.server)
        shared, watched = sorted(set(self.cpus) & theirs), sorted(set(self.cpus) | theirs)
        try:
            return run_load(spec, self.target, self.bodies, self.expected, SystemClock(), shared_cpus=shared,
                            watched_cpus=watched, trace=self.trace)  # fmt: skip
        except OSError as error:
            where = f"{self.target.host}:{self.target.port}"
            raise InputError(f"{where} does not answer: {error}.", remedy="Start it: lparbench serve BUNDLE") from None

    def describe(self, record: LoadRecord) -> str:
        """The outcome in words."""
        result = record.result
        parts = [
            f"offered {result.offered_per_s:,.0f} req/s, answered {result.achieved_per_s:,.0f} req/s "
            f"({result.requests:,} requests, {self.rows} rows, {record.spec.connections} connections)"
        ]
        shown = [
            f"{name.removesuffix('_s').replace('_', '.')} " + ("–" if value is None else f"{value * 1e3:.3g} ms")
            for name, value in result.latencies_s.items()
        ]
        if self.trace is not None:
            played = self.trace.record
            parts.append(
                f"arrivals of {played.path}: {played.requests:,} requests, {played.rate_per_s:,.4g} a second, "
                f"the busiest second {played.peak_to_mean:.3g} times the mean"
            )
        parts.append(f"latency from the schedule: {', '.join(shown)}")
        parts.append(f"generator on CPUs {', '.join(map(str, self.cpus))}: lag p99 {result.lag_p99_s * 1e6:.0f} µs")
        failed = {status: count for status, count in result.by_status.items() if status != "200"}
        if failed:
            listed = ", ".join(
                f"{count:,} × {'no answer' if status == '0' else status}" for status, count in failed.items()
            )
            parts.append(f"refused or failed: {listed}")
        search = record.search
        if search is not None and search.low_per_s is not None:
            high = "" if search.high_per_s is None else f", missed at {search.high_per_s:,.0f}"
            repeated = f"; {search.disturbed} disturbed trials were repeated" if search.disturbed else ""
            parts.append(f"highest rate: {search.low_per_s:,.0f} req/s, confirmed three times{high}{repeated}")
        for reason in result.reasons:
            parts.append(f"INVALID: {reason}")
        if result.met is not None and record.spec.p99_bound_s is not None:
            parts.append(f"p99 ≤ {record.spec.p99_bound_s * 1e3:g} ms: {'met' if result.met else 'NOT met'}")
        return "\n".join(parts)


def _cpus(server: dict[str, Any] | None) -> set[int]:
    """CPUs that a server says it runs on, which may be another program than ours."""
    listed = (server or {}).get("cpus")
    return {cpu for cpu in listed if isinstance(cpu, int)} if isinstance(listed, list) else set()


def _described(target: Target) -> dict[str, Any] | None:
    """What the server says of itself; None where it is not ours.

    Raises:
        InputError: nobody answers, or without an end.
    """
    where = f"{target.host}:{target.port}"
    connection = http.client.HTTPConnection(target.host, target.port, timeout=_ANSWER_S)
    try:
        connection.request("GET", "/health")
        text = _answer(connection.getresponse(), where)
        answer = parse_json(text.decode("utf-8"), where)
    except (ValueError, InputError):  # another server's, which is loaded all the same
        return None
    except (OSError, http.client.HTTPException) as error:
        raise InputError(f"{where} does not answer: {error}.", remedy="Start it: lparbench serve BUNDLE") from None
    finally:
        connection.close()
    return answer if isinstance(answer, dict) else None


def _answer(response: http.client.HTTPResponse, where: str) -> bytes:
    """What a server sends within the time and the size that an answer has.

    Raises:
        TimeoutError: it goes on.
    """
    ends, text = time.monotonic() + _ANSWER_S, b""
    while part := response.read1(_ANSWER_BYTES):
        text += part
        if len(text) > _ANSWER_BYTES or time.monotonic() > ends:
            raise TimeoutError(f"its answer to GET /health does not end ({where})")
    return text
