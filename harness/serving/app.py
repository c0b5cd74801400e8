"""Routes to handlers, the same for every front; what they answer does not depend on who carries the bytes."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Mapping
from functools import lru_cache
from time import monotonic
from typing import Any, Protocol

import numpy as np

from harness.decode import encode
from harness.platform import purr
from harness.platform.second_clock import ClockWatch
from harness.platform.sysroot import SysRoot
from harness.serving.admission import Admission, Intake, refusal
from harness.serving.card_keeper import CardStep
from harness.serving.documents import Documents
from harness.serving.drift import DriftState
from harness.serving.exchange import Done, HttpError, Reply, Request, RowRoute, Scoring, Takes, to_json
from harness.serving.fraud import Fraud
from harness.serving.history import STEP_S, History
from harness.serving.http1 import Head
from harness.serving.loop import say
from harness.serving.metrics import Metrics, openmetrics
from harness.serving.model import ServedModel
from harness.serving.open_inference import OpenInference
from harness.serving.quota import Quota, client_of
from harness.serving.scorer import Scorer

_TEXT = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_LIVE = Reply(200, to_json({"live": True}))
_READY = Reply(200, to_json({"ready": True}))
_NOT_READY = Reply(503, to_json({"ready": False}))
Handler = Callable[[Request], "Reply | Scoring | CardStep"]


class Others(Protocol):
    """The other processes of a server, of which one scores."""

    def total(self, own: Metrics) -> Metrics:
        """What all have counted, this one ``own``."""

    def drift(self) -> DriftState:
        """As the scorers see it."""

    def ready(self) -> bool:
        """Whether every scorer answers."""


class App:
    """The handlers of one model, and what they share."""

    physical_cores: float | None = None  # that the partition consumed in the last step; None off PowerVM
    _purr: purr.Clock | None = None

    def __init__(
        self,
        model: ServedModel,
        *,
        apis: tuple[str, ...],
        admission: Admission,
        drift_window: int,
        token: str | None,
        fraud: Fraud | None = None,
        others: Others | None = None,
        own: str = "server",
    ) -> None:
        self.model, self.admission, self.others = model, admission, others
        self.intake = Intake(admission.another())
        self.metrics = Metrics(own, model.score_bounds)
        self.scorer = None if others is not None else Scorer(model, admission, self.metrics, drift_window)
        self.cpus: tuple[int, ...] | None = None  # of all processes
        self.taker: Takes | None = None  # of requests, where it is not a `Batch` of this process
        self.draining = False
        self.carried: dict[str, str] = {}  # by which front, parser, loop and JSON library
        self.quota: Quota | None = None
        self._began = monotonic()
        self._clocks = ClockWatch()
        self.clock_mismatch: str | None = None  # of the clock by which latencies and deadlines are kept
        self.needs_token = token is not None
        self._token = (token or "").encode()
        self.fraud = fraud
        self.history = History(self.total())
        documents, protocol = Documents(model), OpenInference(model)
        self._documents = documents
        path, versioned = model.path, f"{model.path}/versions/{model.version}"
        self._open: dict[tuple[str, str], Handler] = {
            ("GET", "/v2/health/live"): lambda _: _LIVE,
            ("GET", "/v2/health/ready"): lambda _: self._ready(),
            ("GET", f"{path}/ready"): lambda _: self._ready(),
            ("GET", f"{versioned}/ready"): lambda _: self._ready(),
            ("GET", "/health"): lambda _: Reply(200, to_json(self.describe())),
        }
        routes: dict[tuple[str, str], Handler] = {
            ("GET", "/"): lambda _: self._page(),
            ("GET", "/metrics"): lambda _: self._metrics(),
            ("GET", "/drift"): lambda _: Reply(200, to_json(encode(self.drift_state()))),
        }
        if "documents" in apis and fraud is not None:
            routes |= {("POST", "/predict"): fraud.predict, ("POST", "/predict_stream"): fraud.predict_stream}
        elif "documents" in apis:
            routes["POST", "/predict"] = documents.predict
        if "v2" in apis:
            routes |= {
                ("GET", "/v2"): lambda _: protocol.server(),
                ("GET", path): lambda _: protocol.metadata(),
                ("GET", versioned): lambda _: protocol.metadata(),
                ("POST", f"{path}/infer"): protocol.infer,
                ("POST", f"{versioned}/infer"): protocol.infer,
            }
        self._routes = routes
        self._methods: dict[str, set[str]] = {}
        for method, route in (*self._open, *routes):
            self._methods.setdefault(route, set()).add(method)

    @property
    def settle(self) -> Callable[[], None] | None:
        """Of `harness.serving.batch.Handlers`."""
        return None if self.fraud is None else self.fraud.settle

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Every route as METHOD PATH."""
        return tuple(f"{method} {path}" for method, path in (*self._open, *self._routes))

    def is_open(self, method: str, path: str) -> bool:
        """Whether a route takes no token."""
        return (method, path) in self._open

    def handle(self, request: Request) -> Reply | Scoring:
        """A reply, or rows that are to be scored first; those are counted among the waiting ones.

        Raises:
            HttpError: the request is refused.
        """
        outcome = self.asked(request)
        if isinstance(outcome, CardStep):
            assert self.fraud is not None
            return self.fraud.keeper.take(outcome)
        if isinstance(outcome, Scoring) and not outcome.admitted:
            self.admission.admit(len(outcome.rows))
        return outcome

    def asked(self, request: Request) -> Reply | Scoring | CardStep:
        """As `handle`, but a card's transaction is not taken into its window, and no row among the waiting ones.

        Raises:
            HttpError: the request is refused.
        """
        key = ("GET" if request.method == "HEAD" else request.method, request.path.rstrip("/") or "/")
        handler = self._open.get(key)
        if handler is not None:
            return handler(request)
        self.require_token(request.headers)
        handler = self._routes.get(key)
        if handler is None:
            raise self._no_route(key[1])
        outcome = handler(request)
        if isinstance(outcome, Scoring) and not len(outcome.rows):
            return outcome.finish(np.empty(0, dtype=np.float32))
        return outcome

    def require_token(self, headers: Mapping[str, str]) -> None:
        """Check what a request brings for reading what is not open to all.

        Raises:
            HttpError: 401 without the token.
        """
        if not self._admits(headers):
            raise HttpError(401, "a bearer token is needed", (("WWW-Authenticate", "Bearer"),))

    def _admits(self, headers: Mapping[str, str]) -> bool:
        """Whether the token is there that is needed; the name of the scheme has no case (RFC 9110, 11.1)."""
        if not self.needs_token:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.lstrip(" ").encode("latin-1"), self._token)

    def row_route(self, head: Head) -> RowRoute | None:
        """What answers requests with this head that are a row each; None where `handle` has to look at each."""
        handler = self._routes.get((head.method, head.path))
        plain = handler == self._documents.predict and self.quota is None and self._admits(head.headers)
        return self._documents.row_route if plain else None

    def score(self, batch: list[Scoring]) -> list[Reply]:
        """Replies of what `handle` gave."""
        assert self.scorer is not None
        return self.scorer.score(batch)

    def count(self, path: str | None, status: int, answers: int = 1, *, reason: str = "") -> None:
        """Count answers, by their route where they have one; ``reason`` as of `Reply`."""
        self.metrics.requests[path if path in self._methods and path else "other", status] += answers
        # Readiness that says no is an answer, and a defect of the server refuses nothing.
        if status >= 400 and status != 500 and ("GET", path or "") not in self._open:
            self.metrics.rejected[reason or _REASONS.get(status, "invalid")] += answers

    def _no_route(self, path: str) -> HttpError:
        methods = self._methods.get(path)
        if methods is None:
            return HttpError(404, f"no such path; there are: {', '.join(sorted(self._methods))}")
        allowed = ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))
        return HttpError(405, f"{path} takes {allowed}", (("Allow", allowed),))

    def describe(self) -> dict[str, Any]:
        """What is served, as ``GET /health`` has it."""
        described = self._documents.describe()
        if self.cpus is not None:
            described["cpus"] = list(self.cpus)
        cards = {} if self.fraud is None else self.fraud.describe(self.total().cards)
        return described | self.carried | cards | {"clock_mismatch": self.clock_mismatch}

    async def tick(self) -> None:
        """Note for the page what happens, for ever."""
        while True:
            await asyncio.sleep(STEP_S)
            self.sample()

    def sample(self) -> None:
        """Close a step of the page's history."""
        mismatch, self._clocks = self._clocks.disagreement(), ClockWatch()
        if mismatch is not None and self.clock_mismatch is None:
            say(f"latencies and deadlines are wrong: {mismatch}.")
        self.clock_mismatch = self.clock_mismatch or mismatch
        self.metrics.clock_mismatch = self.clock_mismatch is not None
        before, self._purr = self._purr, purr.read(SysRoot("/"))
        consumed = purr.consumption(before, self._purr)
        self.physical_cores = None if consumed is None else consumed.physical_cores
        self.history.sample(self.total(), monotonic() - self._began, self.drift_state().worst)

    def refused(self, method: str, peer: object) -> Reply | None:
        """The answer at once to a client that sends more than it may, or than is answered in time; None for no such.

        A request that `is_work` and is not refused is in hand (`intake`). Reading what the server says of itself is
        free: whoever looks whether it is alive must not take it for dead because it is busy.
        """
        if not is_work(method):
            return None
        if self.quota is not None and (wait := self.quota.wait(client_of(peer))):
            return HttpError(429, "too many requests of this client", (("Retry-After", str(wait)),)).reply()
        return _late(self.intake.reason, wait) if (wait := self.intake.admit()) else None

    def answering(self, done: Done) -> Done:
        """What takes the reply to a request in hand."""

        def answered(reply: Reply) -> None:
            done(reply)
            self.intake.answer()

        return answered

    def _page(self) -> Reply:
        from harness.serving.page import View, page  # with jinja2, for people only

        detector = self.model.bundle.manifest.provenance.detector
        most = None if self.fraud is None else self.fraud.states.most
        levels, drift = self.model.level_names, self.drift_state()
        return page(
            View(
                self.describe(), detector, self.draining, self.history, self.total(), levels, drift, self.endpoints,
                most,
            )
        )  # fmt: skip

    def _ready(self) -> Reply:
        gone = self.others is not None and not self.others.ready()
        return _NOT_READY if self.draining or gone else _READY

    def _metrics(self) -> Reply:
        bundle = self.model.bundle.manifest.provenance
        info = {"model": self.model.name, "detector": bundle.detector, "backend": self.model.backend}
        return Reply(200, openmetrics(self.total(), info, self.drift_state(), self.physical_cores), _TEXT)

    def drift_state(self) -> DriftState:
        """What ``GET /drift`` says."""
        if self.scorer is not None:
            return self.scorer.drift.state()
        assert self.others is not None
        return self.others.drift()

    def total(self) -> Metrics:
        """What all processes of the server have counted."""
        if self.scorer is not None:
            self.scorer.drift.catch_up()
        if self.fraud is not None and self.scorer is not None:
            self.metrics.cards = len(self.fraud.states)
            self.metrics.streams = self.fraud.states.counts
        return self.metrics if self.others is None else self.others.total(self.metrics)


_REASONS = {401: "auth", 413: "size", 414: "size", 429: "quota", 431: "size"}


def is_work(method: str) -> bool:
    """Whether requests of a method are bounded."""
    return method == "POST"


@lru_cache(maxsize=64)
def _late(reason: str, seconds: int) -> Reply:
    return refusal(reason, seconds).reply()
