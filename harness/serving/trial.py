"""A session of load tests against one server: its rows, its placement, and the record of the outcome."""

from __future__ import annotations

import http.client
import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from harness import __version__
from harness.errors import InputError
from harness.measure.clock import SystemClock
from harness.measure.percentiles import requests_needed
from harness.parsing import parse_json
from harness.platform.facts import Facts
from harness.record.identity import begun
from harness.record.load_model import LoadedServer, LoadRecord, LoadResult, LoadSpec, SearchRecord
from harness.record.model import Tool
from harness.serving.arrival_trace import Trace
from harness.serving.bottleneck import limited_by, process_times, uses
from harness.serving.card_load import CardLoad, room_for
from harness.serving.generator import Target
from harness.serving.listening import read_token
from harness.serving.load import Requests, allowed_lag_s, find_rate, requests_of, run_load
from harness.serving.metrics import ProcessTime
from harness.serving.model import ServedModel
from harness.serving.payloads import made_rows, payloads, rows_of_file
from harness.wording import plural

_WARM_UP_S = 1.0
_ANSWER_S, _ANSWER_BYTES = 10.0, 1 << 20  # of what a server says of itself
_LONGEST = 200  # characters of what a server says of itself
_PUBLISHED_S = 0.3
_START_RATE = 200.0  # at which the server is taken to be at ease
_TRIAL_BOUNDS = 10  # a trial of a search lasts this many times the bound, so that a queue has time to build up
_AT_ONCE = 1e9  # per second: a request is due whenever a connection is free
_CLOSED_S, _CLOSED_LEAST, _CLOSED_MOST = 0.4, 200, 100_000  # of a closed loop: its time, its requests


@dataclass(frozen=True)
class Cards:
    """Transactions of so many cards, of which the busy ones are by Zipf's law with the exponent ``skew``."""

    number: int
    skew: float


@dataclass(frozen=True)
class Session:
    """A server, and what is sent to it."""

    target: Target
    requests: Requests
    rows: str
    server: LoadedServer | None
    cpus: tuple[int, ...]
    facts: Facts
    trace: Trace | None = None
    argv: tuple[str, ...] = ()
    cards: CardLoad | None = None

    @classmethod
    def open(
        cls,
        url: str,
        bundle: Path,
        rows: Path | Cards | None,
        token_file: Path | None,
        cpus: tuple[int, ...] | None,
        seed: int,
        facts: Facts,
    ) -> Session:
        """Look at the server, choose CPUs that it does not use, and make the requests.

        Args:
            url: of the server.
            bundle: that it serves.
            rows: a file of them, or transactions of cards; None for made rows.
            token_file: with a bearer token.
            cpus: of the generator.
            seed: of what is made.
            facts: of this machine.

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
            headers = (("Authorization", f"Bearer {read_token(token_file)}"),)
        target = Target(address.hostname, port, (address.path.rstrip("/") or "") + "/predict", headers)
        described = _described(target)
        server = _server(described)
        allowed = os.sched_getaffinity(0)
        theirs = set() if server is None else set(server.cpus)
        chosen = cpus or tuple(sorted(allowed - theirs)[-1:]) or tuple(sorted(allowed))[-1:]
        os.sched_setaffinity(0, chosen)
        model = ServedModel.open(bundle, None, 1)
        if isinstance(rows, Cards):
            room_for(described, rows.number)
            cards = CardLoad(model, rows.number, rows.skew, seed, f"load-{uuid.uuid4().hex[:8]}-")
            target = replace(target, path=f"{target.path}_stream")
            return cls(target, Requests(()), "synthetic", server, chosen, facts, cards=cards)
        raw = made_rows(model, seed) if rows is None else rows_of_file(model, rows)
        requests = Requests(*payloads(model, raw))
        return cls(target, requests, "synthetic" if rows is None else str(rows), server, chosen, facts)

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
            seconds = max(spec.seconds, _TRIAL_BOUNDS * (spec.p99_bound_s or 0.0), requests_needed(99) / rate)
            return self._trial(replace(spec, rate=rate, seconds=seconds, seed=spec.seed + number))

        first = replace(spec, seconds=min(_WARM_UP_S, spec.seconds), rate=_START_RATE)
        warm_up = self._trial(first)
        if warm_up.different:  # at no rate would the answers be the detector's
            return self._record(first, warm_up)
        result, search = find_rate(trial, ClosedLoop(self, spec))
        if search.undecided:
            why = f"generator or machine disturbed {plural(search.disturbed, 'trial')}; no rate could be decided"
            at_ease = self._trial(replace(spec, rate=_START_RATE))
            at_ease = replace(at_ease, reasons=(*at_ease.reasons, why), met=None)
            return self._record(replace(spec, rate=_START_RATE), at_ease, search)
        if result is None:
            return self._record(replace(spec, rate=_START_RATE), self._trial(replace(spec, rate=_START_RATE)), search)
        return self._record(replace(spec, rate=result.offered_per_s), result, search)

    def _record(self, spec: LoadSpec, result: LoadResult, search: SearchRecord | None = None) -> LoadRecord:
        """The record; a server that finds its clock wrong has refused and batched by wrong times."""
        reasons = list(result.reasons)
        mismatch = (_described(self.target) or {}).get("clock_mismatch") if self.server else None
        if mismatch is not None:
            reasons.append(f"the server's clock is wrong: {str(mismatch)[:_LONGEST]}")
        if (emulator := self.facts.emulation.refuses) is not None:
            reasons.append(f"this machine is emulated ({emulator}): times mean nothing")
        if len(reasons) > len(result.reasons):
            result = replace(result, reasons=tuple(reasons), met=None)
        identity, created = begun("load-")
        return LoadRecord(
            schema_version=1,
            load_id=identity,
            created=created,
            tool=Tool("lparbench", __version__, self.argv),
            facts=self.facts,
            spec=spec,
            generator_cpus=self.cpus,
            server=self.server,
            rows=self.rows,
            result=result,
            search=search,
            trace=None if self.trace is None else self.trace.record,
        )

    def _trial(self, spec: LoadSpec) -> LoadResult:
        before = self._processes()
        result = self.sent(spec, self.trace)
        processes = uses(before, self._processes(), result.timeline.wall_s)
        lagged = result.lag_p99_s is None or result.lag_p99_s > allowed_lag_s(spec.p99_bound_s)
        return replace(result, processes=processes, limited_by=limited_by(result, lagged, processes))

    def sent(self, spec: LoadSpec, trace: Trace | None = None) -> LoadResult:
        """What came of a load, without what the server's processes did.

        Raises:
            InputError: nobody answers.
        """
        theirs = set() if self.server is None else set(self.server.cpus)
        shared, watched = sorted(set(self.cpus) & theirs), sorted(set(self.cpus) | theirs)
        cards, requests, compared = self.cards, self.requests, 0
        if cards is not None:
            bodies, lanes = cards.draw(requests_of(spec))
            requests, compared = Requests(bodies, cards.different, lanes), cards.scored
        try:
            result = run_load(spec, self.target, requests, SystemClock(), shared_cpus=shared, watched_cpus=watched,
                              trace=trace)  # fmt: skip
        except OSError as error:
            where = f"{self.target.host}:{self.target.port}"
            raise _no_answer(where, error) from None
        return result if cards is None else replace(result, scored=cards.scored - compared)

    def _processes(self) -> dict[str, ProcessTime]:
        """What the server's processes have taken so far; nothing where it does not say."""
        if self.server is None:
            return {}
        path, headers = (
            self.target.path.removesuffix("_stream").removesuffix("/predict") + "/metrics",
            dict(self.target.headers),
        )
        try:
            times = process_times(_got(self.target, path, headers).decode("utf-8", "replace"))
            if len(times) > 1:  # what one says of another is a moment old
                time.sleep(_PUBLISHED_S)
                times = process_times(_got(self.target, path, headers).decode("utf-8", "replace"))
        except (OSError, http.client.HTTPException):
            return {}
        return times


class ClosedLoop:
    """The rate at which a server answers when all connections are busy: how fast it and the generator are now."""

    def __init__(self, session: Session, spec: LoadSpec) -> None:
        self._session = session
        self._spec = replace(spec, rate=_AT_ONCE, arrivals="constant", p99_bound_s=None)
        self._requests = _CLOSED_LEAST
        self()  # to know how many requests a measurement takes

    def __call__(self) -> float:
        """Requests answered with status 200, per second."""
        result = self._session.sent(replace(self._spec, seconds=self._requests / _AT_ONCE))
        wanted = round(result.achieved_per_s * _CLOSED_S)
        self._requests = min(max(wanted, _CLOSED_LEAST), _CLOSED_MOST)
        return result.achieved_per_s


def _server(described: dict[str, Any] | None) -> LoadedServer | None:
    """What a server says of itself, which may be another program than ours; None where it says nothing."""
    if described is None:
        return None

    def text(key: str) -> str | None:
        value = described.get(key)
        return value[:_LONGEST] if isinstance(value, str) else None

    listed = described.get("cpus")
    cpus = [cpu for cpu in listed if type(cpu) is int and 0 <= cpu < 1 << 20] if isinstance(listed, list) else []
    return LoadedServer(
        text("model"), text("backend"), tuple(sorted(set(cpus))), text("front"), text("http_parser"),
        text("event_loop"), text("json_parser"),
    )  # fmt: skip


def _described(target: Target) -> dict[str, Any] | None:
    """What the server says of itself; None where it is not ours.

    Raises:
        InputError: nobody answers, or without an end.
    """
    where = f"{target.host}:{target.port}"
    try:
        answer = parse_json(_got(target, "/health").decode("utf-8"), where)
    except (ValueError, InputError):  # another server's, which is loaded all the same
        return None
    except (OSError, http.client.HTTPException) as error:
        raise _no_answer(where, error) from None
    return answer if isinstance(answer, dict) else None


def _got(target: Target, path: str, headers: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """What a server answers to GET, within the time and the size that an answer has.

    Raises:
        OSError: nobody answers, or without an end.
        HTTPException: it is no HTTP.
    """
    connection = http.client.HTTPConnection(target.host, target.port, timeout=_ANSWER_S)
    try:
        connection.request("GET", path, headers=dict(headers))
        response = connection.getresponse()
        ends, text = time.monotonic() + _ANSWER_S, b""
        while part := response.read1(_ANSWER_BYTES):
            text += part
            if len(text) > _ANSWER_BYTES or time.monotonic() > ends:
                raise TimeoutError(f"its answer to GET {path} does not end ({target.host}:{target.port})")
        return text
    finally:
        connection.close()


def _no_answer(where: str, error: Exception) -> InputError:
    why = getattr(error, "strerror", None) or error  # the system's words without the number of the error
    return InputError(f"{where} does not answer: {why}.", remedy="Start it: lparbench serve BUNDLE")
