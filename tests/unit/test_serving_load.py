"""Open-loop load: sent on schedule, latency from the schedule, and a figure that is no good says why."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.queueing import lindley_latencies

from harness.errors import InputError
from harness.measure.clock import SystemClock
from harness.platform.facts import Facts
from harness.platform.second_clock import ClockWatch, Elapsed
from harness.record.load_model import LoadResult, LoadSpec
from harness.serving import load, trial
from harness.serving.arrival_trace import read_trace
from harness.serving.generator import FAILED, Sent, Target, generate
from harness.serving.load import Requests, find_rate, judge, run_load, schedule

SPEC = LoadSpec("http://a", 1000.0, 1.0, 4, "constant", 0, p99_bound_s=0.01)


@contextmanager
def server(handle: Callable[[socket.socket, bytes, int], bool]) -> Iterator[Target]:
    """Calls ``handle(connection, what came, how many connections before)`` until it returns False."""
    listener = socket.create_server(("127.0.0.1", 0))
    count = 0

    def serve(link: socket.socket, number: int) -> None:
        with link:
            while data := link.recv(1 << 16):
                if not handle(link, data, number):
                    return

    def accept() -> None:
        nonlocal count
        while True:
            try:
                link, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(link, count), daemon=True).start()
            count += 1

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield Target("127.0.0.1", listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def answer(link: socket.socket, body: bytes, status: int = 200, more: bytes = b"") -> bool:
    link.sendall(b"HTTP/1.1 %d X\r\n%bContent-Length: %d\r\n\r\n%b" % (status, more, len(body), body))
    return True


def run(target: Target, count: int = 20, patience_s: float = 30.0) -> Sent:
    times = (np.arange(count) * 1e6).astype(np.int64)
    return generate(target, [b"a", b"bb"], times, connections=3, patience_s=patience_s, clock=SystemClock())


def test_every_request_is_sent_once_and_its_answer_kept_by_payload() -> None:
    got: list[bytes] = []

    def echo(link: socket.socket, data: bytes, _: int) -> bool:
        got.append(data.rpartition(b"\r\n\r\n")[2])
        return answer(link, b"of " + got[-1])

    with server(echo) as target:
        sent = run(target)
    assert sorted(got) == [b"a"] * 10 + [b"bb"] * 10
    assert sent.bodies == ({b"of a": 10}, {b"of bb": 10})
    assert (sent.statuses == 200).all()
    assert len(sent.lags_ns) == 20
    assert (sent.latencies_ns > 0).all()


def test_answers_in_pieces_are_put_together() -> None:
    def slowly(link: socket.socket, _: bytes, __: int) -> bool:
        for part in (b"HTTP/1.1 200 OK\r\nconte", b"nt-length: 5\r\n\r\n12", b"345"):
            link.sendall(part)
            time.sleep(0.002)
        return True

    with server(slowly) as target:
        assert run(target, 6).bodies[0] == {b"12345": 3}


def test_lost_connections_and_refusals_count_as_failures() -> None:
    def moody(link: socket.socket, _: bytes, number: int) -> bool:
        if number == 1:
            return False  # closed without an answer
        return answer(link, b"no", 503) if number == 2 else answer(link, b"yes")

    with server(moody) as target:
        statuses = run(target).statuses.tolist()
    assert len(statuses) == 20
    assert set(statuses) == {200, 503, FAILED}
    assert statuses.count(FAILED) == 1


def test_a_connection_that_the_server_closes_is_replaced() -> None:
    def once(link: socket.socket, _: bytes, __: int) -> bool:
        answer(link, b"bye", more=b"Connection: close\r\n")
        return False

    with server(once) as target:
        assert (run(target).statuses == 200).all()


def test_a_server_that_never_answers_is_given_up() -> None:
    with server(lambda *_: True) as target:
        sent = run(target, 5, patience_s=0.2)
    assert (sent.statuses == FAILED).all()
    assert (sent.latencies_ns >= 0.2e9).all()


def test_requests_of_a_lane_go_in_order_over_one_connection_which_may_be_replaced() -> None:
    got: list[tuple[int, bytes]] = []

    def moody(link: socket.socket, data: bytes, number: int) -> bool:
        body = data.rpartition(b"\r\n\r\n")[2]
        got.append((number, body))
        time.sleep(0.001)
        return False if body == b"004" else answer(link, body)

    lanes = np.array([0, 1, 1, 5, 2, 1, 7, 1, 0, 2, 1, 1, 3, 0, 4] * 4)  # on three connections
    bodies = [b"%03d" % index for index in range(len(lanes))]
    times = (np.arange(len(lanes)) * 1e5).astype(np.int64)
    with server(moody) as target:
        sent = generate(
            target, bodies, times, connections=3, patience_s=30, clock=SystemClock(), lanes=lanes
        )  # fmt: skip
    assert sent.statuses.tolist() == [FAILED if index == 4 else 200 for index in range(len(lanes))]
    assert [list(answers) for answers in sent.bodies] == [[] if body == b"004" else [body] for body in bodies]
    for lane, connections in ((0, 1), (1, 1), (2, 2)):
        order = [body for _, body in got if lanes[int(body)] % 3 == lane]
        assert order == sorted(order)
        assert len({number for number, body in got if lanes[int(body)] % 3 == lane}) == connections
    with server(lambda *_: True) as target:  # it never answers: what waited is given up too
        sent = generate(
            target, bodies[:9], times[:9], connections=3, patience_s=0.1, clock=SystemClock(), lanes=lanes[:9]
        )  # fmt: skip
    assert (sent.statuses == FAILED).all()
    assert (sent.latencies_ns >= 0.09e9).all()


def test_a_stall_is_in_the_latency_of_all_that_were_due_meanwhile() -> None:
    stalled = threading.Event()

    def freeze(link: socket.socket, _: bytes, __: int) -> bool:
        if not stalled.is_set():
            stalled.set()
            time.sleep(0.3)
        return answer(link, b"")

    with server(freeze) as target:
        times = (np.arange(200) * 1e6).astype(np.int64)
        sent = generate(target, [b""], times, connections=1, patience_s=30, clock=SystemClock())
    # All were due within 200 ms, while the one connection stood still for 300.
    assert (sent.latencies_ns + times >= 0.3e9).all()


def made(latencies_ms: np.ndarray, statuses: np.ndarray | None = None, **change: object) -> tuple[Sent, np.ndarray]:
    count = len(latencies_ms)
    times = (np.arange(count) * 1e6).astype(np.int64)
    sent = Sent(
        (latencies_ms * 1e6).astype(np.int64), np.full(count, 1000), np.full(count, 200, np.int16) if statuses is None
        else statuses, ({b'{"score": 1.0}': count},), int(count * 1e6),
    )  # fmt: skip
    return Sent(**{**sent.__dict__, **change}), times  # type: ignore[arg-type]


def judged(sent: tuple[Sent, np.ndarray], expected: float | None = 1.0, shared: tuple[int, ...] = ()) -> LoadResult:
    scores = None if expected is None else np.array([expected], np.float32)
    return judge(sent[0], SPEC, sent[1], scores, shared)


def test_percentiles_bound_and_failures() -> None:
    quick = np.full(2000, 1.0)
    assert judged(made(quick)).met is True
    slow = quick.copy()
    slow[:60] = 50.0
    assert judged(made(slow)).met is False
    statuses = np.full(2000, 200, np.int16)
    statuses[:60] = 503
    refused = judged(made(quick, statuses))
    assert refused.met is False  # a refusal is no fast answer
    assert refused.latencies_s["p99_s"] is None
    assert refused.latencies_s["p50_s"] == pytest.approx(1e-3)
    assert refused.by_status == {"200": 1940, "503": 60}


def test_what_spoils_a_figure_is_said_and_leaves_no_verdict() -> None:
    quick = np.full(2000, 1.0)
    for sent, expected, shared, reason in (
        (made(quick, lags_ns=np.full(2000, 600_000)), 1.0, (), "the generator lagged"),
        (made(quick), 2.0, (), "2,000 answers are not the detector's own"),
        (made(quick, bodies=({b"x": 1990, b"y": 10},)), None, (), "10 answers are not"),
        (made(quick, bodies=({b'{"score": "x"}': 2000},)), 1.0, (), "2,000 answers are not"),
        (made(quick), 1.0, (3,), "generator and server share CPUs 3"),
        (made(quick[:100]), 1.0, (), "p99 needs"),
    ):
        result = judged(sent, expected, shared)
        assert any(each.startswith(reason) for each in result.reasons), result.reasons
        assert result.met is None


def test_schedules_have_the_rate_that_is_offered() -> None:
    assert np.diff(schedule(SPEC)).tolist() == [1_000_000] * 999
    poisson = schedule(LoadSpec("", 5000.0, 4.0, 1, "poisson", 3, None))
    assert len(poisson) == 20_000
    assert poisson[-1] == pytest.approx(4e9, rel=0.05)
    assert np.diff(poisson).std() == pytest.approx(np.diff(poisson).mean(), rel=0.05)


def test_recorded_arrivals_are_played_at_any_rate(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("time,status\n10.0,200\n10.1,200\n\n10.1,500\n# a pause\n12.0,200\n")
    trace = read_trace(path)
    assert trace.record.requests == 4
    assert trace.record.rate_per_s == pytest.approx(1.5)
    assert trace.record.peak_to_mean == pytest.approx(3 / 1.5)
    spec = replace(SPEC, rate=1.5, seconds=4.0, arrivals="trace")
    times = schedule(spec, trace) * 1e-9
    assert times == pytest.approx([2 / 3, 2 / 3 + 0.1, 2 / 3 + 0.1, 8 / 3, 10 / 3, 10 / 3 + 0.1])
    assert schedule(replace(spec, rate=150.0, seconds=0.04), trace) * 1e-9 == pytest.approx(times / 100, abs=1e-8)
    path.write_text("2024-08-01T09:00:00Z 200\n2024-08-01T11:00:02.500+02:00 200\n")
    assert read_trace(path).record.rate_per_s == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n0.5\n", "line 2: earlier than the line before"),
        ("1\nsoon\n", "line 2: 'soon' is no time"),
        ("1\nnan\n", "line 2: 'nan' is no time"),
        ("time\n", "has no two requests"),
        ("1\n1\n", "has no two requests"),
        ("\xff", "has no two requests"),
        ("0\n5e-324\n", "a request every 4.94e-324 s is no load"),
        ("0\n1e19\n", "a request every 1e+19 s is no load"),
        ("0\n1e300\n", "line 2: '1e300' is no time"),
    ],
)
def test_a_file_that_has_no_arrivals_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "trace.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_trace(path)
    assert message in error.value.message
    assert error.value.remedy


def test_the_known_answer_of_a_freeze() -> None:
    """1,000/s for 10 s, 0.2 ms of service, a standstill of 500 ms: what is due u ms into it takes 500 - 0.8 u."""
    spec = replace(SPEC, seconds=10.0, p99_bound_s=None)
    times, services = schedule(spec), np.full(10_000, 200_000)
    services[4000] += 500_000_000
    latencies = lindley_latencies(times, services)
    sent = Sent(latencies, np.zeros(10_000), np.full(10_000, 200, dtype=np.int16), ({},), int(times[-1]))
    result = judge(sent, spec, times, None, ())
    observed = {name: value and value * 1e3 for name, value in result.observed_s.items()}
    assert observed["p50_s"] == pytest.approx(0.2)
    assert observed["p95_s"] == pytest.approx(100.2, abs=1)
    assert observed["p99_s"] == pytest.approx(420.2, abs=1)
    assert observed["p99_9_s"] == pytest.approx(492.2, abs=1)
    for name, limit in result.latencies_s.items():
        assert limit is None or limit >= (result.observed_s[name] or 0)
    sent.statuses[:600] = 503
    assert judge(sent, spec, times, None, ()).observed_s["p95_s"] is None


def test_a_search_finds_where_the_bound_breaks() -> None:
    def trial(rate: float, _: int) -> LoadResult:
        quick = np.full(2000, 1.0 if rate <= 7000 else 50.0)
        result = judged(made(quick))
        return LoadResult(**{**result.__dict__, "offered_per_s": rate, "achieved_per_s": rate})

    result, search = find_rate(trial, lambda: 8000.0)
    assert result is not None
    assert result.met is True
    assert result.offered_per_s == pytest.approx(7000, rel=0.03)
    assert search.rate_per_s == pytest.approx(7000, rel=0.02)
    assert search.load == pytest.approx(7 / 8, rel=0.02)
    assert search.low_per_s is not None
    assert search.high_per_s is not None
    assert 0.95 * 7000 < search.low_per_s < 7000 < 1.01 * search.high_per_s < 1.05 * 7000
    assert set(search.closed_per_s) == {8000.0}
    assert (search.disturbed, search.undecided) == (0, False)
    nothing, _ = find_rate(lambda rate, _: judged(made(np.full(2000, 50.0))), lambda: 8000.0)
    assert nothing is None


def test_the_latency_of_the_last_request_of_a_short_trial_is_no_lag_of_the_server() -> None:
    def trial(rate: float, _: int) -> LoadResult:
        quick = judged(made(np.full(2000, 9.0 if rate <= 3000 else 50.0)))  # met, but the trial lasts 9 ms longer
        seconds = 0.1 + 0.009
        return replace(quick, offered_per_s=20_000.0, achieved_per_s=2000 / seconds)

    _, search = find_rate(trial, lambda: 4000.0)
    assert search.rate_per_s == pytest.approx(3000, rel=0.03)


class Stalling:
    """A server of a fixed service time on a machine that stops for a while now and then, on a clock of its own.

    Args:
        stalls_per_s: how often on average, each 30 to 120 ms.
        told: the kernel counts what the hypervisor took.
    """

    def __init__(self, seed: int, *, service_s: float = 1e-4, stalls_per_s: float = 0.15, told: bool = True) -> None:
        self.service_ns, self.stalls_per_s, self.told = round(service_s * 1e9), stalls_per_s, told
        self.random = np.random.default_rng(seed)
        self.trials = 0

    def __call__(self, rate: float, number: int) -> LoadResult:
        self.trials += 1
        spec = replace(SPEC, rate=rate, seconds=2.0, arrivals="poisson", seed=number, p99_bound_s=5e-3)
        times = schedule(spec)
        services = np.full(len(times), self.service_ns)
        stalls = self.random.poisson(self.stalls_per_s * spec.seconds)
        lengths = self.random.uniform(0.03, 0.12, stalls)
        services[self.random.integers(0, len(times), stalls)] += (lengths * 1e9).astype(np.int64)
        latencies = lindley_latencies(times, services)
        sent = Sent(
            latencies, np.full(len(times), 10_000), np.full(len(times), 200, dtype=np.int16), ({},),
            int(times[-1] + latencies[-1]),
        )  # fmt: skip
        return judge(sent, spec, times, None, (), stolen_s=float(lengths.sum()) if self.told else None)


@pytest.mark.parametrize(("told", "stalls_per_s"), [(True, 0.15), (False, 0.04)])
def test_a_search_on_a_machine_that_stalls_finds_the_servers_rate(told: bool, stalls_per_s: float) -> None:
    """A stall of 60 ms in 2 s delays 3 % of the requests beyond any bound, whatever the server.

    One in four trials has one that the kernel counts; one in twelve has one that nobody does, and is outvoted.
    """
    calm, _ = find_rate(Stalling(0, stalls_per_s=0.0), lambda: 9000.0)
    assert calm is not None
    rates = []
    for seed in range(3):
        result, search = find_rate(machine := Stalling(seed, stalls_per_s=stalls_per_s, told=told), lambda: 9000.0)
        assert result is not None
        assert machine.trials < 100
        assert (search.disturbed > 0) == told
        assert search.rate_per_s is not None
        rates.append(search.rate_per_s)
    assert max(rates) / min(rates) < 1.05, rates
    assert rates == pytest.approx([calm.offered_per_s] * 3, rel=0.08)


def test_a_search_on_a_machine_that_always_stalls_says_so_and_not_zero() -> None:
    result, search = find_rate(Stalling(1, stalls_per_s=20.0), lambda: 9000.0)
    assert (result, search.rate_per_s, search.undecided) == (None, None, True)
    assert search.disturbed > 0


def test_a_generator_that_cannot_offer_more_does_not_end_the_search() -> None:
    def trial(rate: float, _: int) -> LoadResult:
        lag = 10_000 if rate < 3000 else 5_000_000
        result = judged(made(np.full(2000, 1.0), lags_ns=np.full(2000, lag)))
        return replace(result, offered_per_s=rate, achieved_per_s=rate)

    result, search = find_rate(trial, lambda: 6000.0)
    assert result is not None
    assert search.rate_per_s == pytest.approx(3000, rel=0.03)
    assert not search.undecided


@pytest.mark.parametrize("factor", [10.0, 0.1])
def test_a_trial_under_a_changed_clock_is_invalid(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    spec = LoadSpec("http://a", 2000.0, 0.5, 3, "constant", 0, p99_bound_s=10.0)
    monkeypatch.setattr(load, "ClockWatch", lambda: Fooled(factor))
    with server(lambda link, _data, _number: answer(link, b"1")) as target:
        result = run_load(spec, target, Requests([b"a"]), SystemClock())
    assert result.met is None
    assert [reason for reason in result.reasons if reason.startswith("the clock that times says that")]


class Fooled(ClockWatch):
    """By a clock that goes faster by a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        object.__setattr__(self, "factor", factor)

    def elapsed(self) -> Elapsed | None:
        real = super().elapsed()
        assert real is not None
        return Elapsed(real.timing_s * self.factor, real.kernel_s)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("health", "cpus"),
    [(b'{"cpus": [1, [2], "3", null]}', {1}), (b'{"cpus": 5}', set()), (b"[" * 100_000, set()), (b"\xff\x00", set()),
     (b'{"cpus": "0-3", "clock_mismatch": "x"}', set())],
)  # fmt: skip
def test_what_another_server_says_of_itself_breaks_nothing(health: bytes, cpus: set[int]) -> None:
    with server(lambda link, _data, _number: answer(link, health)) as target:
        described = trial._server(trial._described(target))
        assert set(() if described is None else described.cpus) == cpus


def test_an_answer_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_ANSWER_BYTES", 1 << 16)

    def endless(link: socket.socket, _data: bytes, _number: int) -> bool:
        with contextlib.suppress(OSError):  # given up by the other side
            link.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * (1 << 18))
        return False

    with server(endless) as target, pytest.raises(InputError, match="does not end"):
        trial._described(target)


@pytest.mark.parametrize("url", ["http://[::1", "http://a:99999", "http://a:x", "ftp://a", "http://", ""])
def test_what_is_no_url_of_a_server_is_wrong_use(url: str) -> None:
    with pytest.raises(InputError, match="is not the URL of a server"):
        trial.Session.open(url, Path("bundle"), None, None, None, 0, Facts(sysroot="/"))
