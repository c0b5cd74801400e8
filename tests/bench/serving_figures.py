"""Figures of `lparbench serve` and `load` on this machine: ``python tests/bench/serving_figures.py [FIGURE...]``.

Server on the first allowed CPU, generator on the last. Nothing else may run. Prints every figure with its bar, what is
absent for one that cannot be had, and exits 1 on a miss. h2load, wrk and Flask are test tools only.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from kernel_pairs import take_turns

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.bundles import saved
from support.cards import samples, stream
from support.drift import FEATURES, monitor, served, windows_over

from harness.measure.clock import SystemClock
from harness.record.load_model import LoadResult, LoadSpec
from harness.serving.card_scores import CardScores
from harness.serving.exchange import Advance
from harness.serving.fraud_parts import Parts
from harness.serving.generator import Target, generate
from harness.serving.load import Requests, find_rate, run_load, schedule
from harness.serving.model import ServedModel
from harness.serving.payloads import made_rows, payloads

ROOT = Path(__file__).resolve().parents[2]
CPUS = sorted(os.sched_getaffinity(0))
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
BLOCKS, SECONDS, CONNECTIONS = 3, 4, 16
_SLOW_PER_S = 40.0
_DOCUMENT = "the document's Flask server"
missed: list[str] = []


def figure(what: str, value: float, bar: float, unit: str, *, least: bool = False) -> None:
    """Print one figure; ``least``: the bar is the smallest good value."""
    wrong = value < bar if least else value > bar
    if wrong:
        missed.append(what)
    print(
        f"{what:<62}{value:>11,.4g} {unit:<8}{'>=' if least else '<='} {bar:,g}{'  MISSED' if wrong else ''}",
        flush=True,
    )


class Bench:
    """A bundle, its requests, and servers of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.bundle = saved(directory / "bundle", "autoencoder").directory
        os.sched_setaffinity(0, CPUS[-1:])
        self.bodies, self.expected = payloads(model := ServedModel.open(self.bundle, None, 1), made_rows(model, 0))
        self.body = directory / "body.json"
        self.body.write_bytes(self.bodies[0])
        self.bare = directory / "bare"  # modules that make the libraries of these names look absent
        self.bare.mkdir()
        for name in ("uvloop", "orjson", "httptools"):
            (self.bare / f"{name}.py").write_text("raise ImportError('left out for this figure')\n")

    @contextmanager
    def server(
        self, *options: str, bare: bool = False, bundle: Path | None = None
    ) -> Iterator[tuple[subprocess.Popen[str], Target]]:
        """A server on the first CPU."""
        path = os.pathsep.join([str(ROOT), *([str(self.bare)] if bare else [])])
        command = [sys.executable, "-m", "harness", "serve", str(bundle or self.bundle), "--port", "0", *options]
        with _started(command, {**os.environ, "PYTHONPATH": path}) as process:
            assert process.stdout is not None
            described = json.loads(process.stdout.readline())
            yield process, Target("127.0.0.1", int(described["url"].rpartition(":")[2]))

    def offer(self, target: Target, rate: float, seconds: float, **changes: Any) -> LoadResult:
        """One open-loop load."""
        spec = replace(LoadSpec("", rate, seconds, CONNECTIONS, "poisson", 1, 5e-3), **changes)
        return run_load(
            spec, target, Requests(self.bodies, self.expected), SystemClock(), watched_cpus=(CPUS[0], CPUS[-1])
        )


@contextmanager
def _started(command: Sequence[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, CPUS[:1] if "harness" not in command else CPUS),
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def resident(pid: int) -> int:
    """Bytes of a process in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def h2load(
    bench: Bench, target: Target, seconds: int = SECONDS, *, path: str = "predict", body: Path | None = None
) -> tuple[int, float]:
    """Requests answered and their rate, closed loop."""
    text = subprocess.run(
        [
            "h2load",
            "--h1",
            "-c",
            str(CONNECTIONS),
            "-t",
            "1",
            "-D",
            str(seconds),
            "-d",
            str(body or bench.body),
            "-H",
            "content-type: application/json",
            f"http://{target.host}:{target.port}/{path}",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    succeeded, rate = re.search(r"(\d+) succeeded", text), re.search(r"([\d.]+) req/s", text)
    assert succeeded, text
    assert rate, text
    return int(succeeded[1]), float(rate[1])


def offered(bench: Bench, target: Target, seconds: int = SECONDS) -> tuple[int, float]:
    """As `h2load`, by few requests on a schedule: that tool hangs on a server that closes its connections."""
    result = bench.offer(target, _SLOW_PER_S, seconds)
    return result.by_status.get("200", 0), result.achieved_per_s


def cost(bench: Bench) -> None:
    """Server CPU per request, in interleaved blocks of closed load; of the document's server under little load."""
    absent = [name for name in ("uvloop", "orjson") if find_spec(name) is None]
    if absent:
        print(f"absent, so that a figure is missing or of the standard library: {', '.join(absent)} (pip install)")
    document = _document_server(bench)
    kinds: dict[str, Any] = {
        "lean, uvloop and orjson": bench.server,
        "lean, standard library": partial(bench.server, bare=True),
        "FastAPI on uvicorn": partial(bench.server, "--front", "asgi"),
    }
    if document is not None:
        kinds[_DOCUMENT] = partial(_flask, document)
    taken: dict[str, list[float]] = {name: [] for name in kinds}
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(BLOCKS):
        for name, start in kinds.items():
            load = offered if name == _DOCUMENT else h2load
            with start() as (process, target):
                load(bench, target, 1)
                before = cpu_s(process.pid)
                count, rate = load(bench, target)
                taken[name].append((cpu_s(process.pid) - before) / count * 1e6)
                rates[name].append(rate)
    medians = {name: float(np.median(values)) for name, values in taken.items()}
    lean = medians["lean, uvloop and orjson"]
    figure("server CPU per request, lean, uvloop and orjson", lean, 20, "us")
    figure("server CPU per request, lean, standard library", medians["lean, standard library"], 40, "us")
    figure("FastAPI on uvicorn against lean, CPU", medians["FastAPI on uvicorn"] / lean, 4, "times", least=True)
    if document is None:
        print("the document's own server: Flask is absent (pip install flask)")
    else:
        figure(
            "the document's Flask server against lean, CPU",
            medians[_DOCUMENT] / lean,
            10,
            "times",
            least=True,
        )
    figure(
        "sustained, 16 connections, h2load",
        float(np.median(rates["lean, uvloop and orjson"])),
        20_000,
        "req/s",
        least=True,
    )
    for name, values in taken.items():
        print(
            f"  {name}: "
            + ", ".join(f"{value:.0f} us" for value in values)
            + "; "
            + ", ".join(f"{rate:,.0f} req/s" for rate in rates[name])
        )


def agreement(bench: Bench) -> None:
    """Our rate against h2load's and wrk's on the same server: medians of ratios to ours next to them, in turns."""
    with bench.server() as (_, target):
        others: dict[str, Callable[[], float]] = {"h2load": lambda: h2load(bench, target)[1]}
        if shutil.which("wrk"):
            others["wrk"] = partial(wrk, bench, target)
        ratios: dict[str, list[float]] = {name: [] for name in others}
        for _ in range(BLOCKS):
            for name, rate in others.items():
                theirs = rate()
                # Closed loop needs no schedule: more is offered than can be answered, and what was answered counts.
                ours = bench.offer(target, 1.5 * theirs, SECONDS, patience_s=0.0).achieved_per_s
                ratios[name].append(ours / theirs)
        for name, values in ratios.items():
            off = abs(float(np.median(values)) - 1) * 100
            figure(f"our sustained rate against {name}'s, difference", off, 10, "%")
            print("  ours in turn: " + ", ".join(f"{value:.3f}" for value in values))


def wrk(bench: Bench, target: Target) -> float:
    """Requests per second."""
    script = bench.directory / "post.lua"
    post = f'wrk.method="POST"; wrk.body=[[{bench.body.read_text()}]]'
    script.write_text(f'{post}; wrk.headers["Content-Type"]="application/json"')
    url = f"http://{target.host}:{target.port}/predict"
    text = subprocess.run(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", str(script), url],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    assert rate, text
    return float(rate[1])


NULL_SERVER = """
import asyncio, sys
class P(asyncio.Protocol):
    def connection_made(self, t): self.t = t; self.b = b""
    def data_received(self, d):
        self.b += d
        while (e := self.b.find(b"\\r\\n\\r\\n")) >= 0:
            n = e + 4 + int(self.b[:e].lower().split(b"content-length: ")[1].split(b"\\r\\n")[0])
            if len(self.b) < n: break
            self.b = self.b[n:]
            self.t.write(b'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n{}')
async def main():
    s = await asyncio.get_running_loop().create_server(P, "127.0.0.1", 0)
    print(s.sockets[0].getsockname()[1], flush=True)
    await s.serve_forever()
try:
    import uvloop; uvloop.run(main())
except ImportError:
    asyncio.run(main())
"""


def generator(bench: Bench) -> None:
    """The generator against a server that does nothing."""
    with _started([sys.executable, "-c", NULL_SERVER], dict(os.environ)) as process:
        assert process.stdout is not None
        target = Target("127.0.0.1", int(process.stdout.readline()))
        for rate in (10_000, 20_000, 30_000):
            spec = LoadSpec("", rate, SECONDS, 64, "constant", 1, None)
            result = run_load(spec, target, Requests(bench.bodies), SystemClock())
            figure(f"generator, {rate:,} req/s offered to a null server: lag p99", result.lag_p99_s * 1e6, 200, "us")
            figure(
                f"generator, {rate:,} req/s offered: answered", result.achieved_per_s, 0.99 * rate, "req/s", least=True
            )


# What waits is answered so many seconds (its argument) after the answer before it, whatever reading and sending take of
# that; what comes to an idle server so many after it came. uvloop would send the answers of a whole turn of its loop
# together.
SPINNING_SERVER = """
import collections, select, socket, sys, time
listener = socket.create_server(("127.0.0.1", 0), backlog=128)
print(listener.getsockname()[1], flush=True)
poll, clients, waiting, answered, pace = select.epoll(), {}, collections.deque(), 0.0, float(sys.argv[1])
poll.register(listener.fileno(), select.EPOLLIN)
while True:
    for number, _ in poll.poll(0 if waiting else -1):
        if number == listener.fileno():
            client = listener.accept()[0]
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            clients[client.fileno()] = client, bytearray()
            poll.register(client.fileno(), select.EPOLLIN)
            continue
        client, text = clients[number]
        data = client.recv(65536)
        if not data:
            poll.unregister(number)
            del clients[number]
            client.close()
            continue
        text += data
        while (end := text.find(b"\\r\\n\\r\\n") + 4) >= 4:
            length = int(text[:end].lower().split(b"content-length: ")[1].split(b"\\r\\n")[0])
            if len(text) < end + length:
                break
            del text[: end + length]
            waiting.append((client, time.perf_counter()))
    if waiting and time.perf_counter() >= max(answered, waiting[0][1]) + pace:
        client, came = waiting.popleft()
        answered = max(answered, came) + pace
        try:
            client.send(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n{}")
        except OSError:
            pass
"""


def freeze(bench: Bench) -> None:
    """A server of 0.2 ms a request is stopped for half a second: what tools that coordinate with it hide.

    What is due u ms after the stop is answered after 500 - u ms of standstill and u requests of 0.2 ms before it: 500 -
    0.8 u. So of 10,000 requests 500 take more than 100 ms and 100 more than 420 ms. The percentiles are those seen; the
    limits that `load` judges by are higher.
    """
    with _started([sys.executable, "-c", SPINNING_SERVER, "2e-4"], dict(os.environ)) as process:
        assert process.stdout is not None
        target = Target("127.0.0.1", int(process.stdout.readline()))
        with _stopped_for_half_a_second(process.pid):
            result = run_load(
                LoadSpec("", 1000, 10, 64, "constant", 1, None), target, Requests(bench.bodies), SystemClock()
            )
        p99, p95 = result.observed_s["p99_s"] or 0, result.observed_s["p95_s"] or 0
        print(f"  p99 {p99 * 1e3:.1f} ms, p95 {p95 * 1e3:.1f} ms; generator lag p99 {result.lag_p99_s or 0:.2g} s")
        figure("freeze of 500 ms: p99 against 420 ms", abs(p99 / 0.420 - 1) * 100, 5, "%")
        figure("freeze of 500 ms: p95 against 100 ms", abs(p95 / 0.100 - 1) * 100, 10, "%")
    if (autocannon := shutil.which("autocannon")) is None:
        print("  autocannon is absent: npm install autocannon, and its node_modules/.bin on PATH")
        return
    # autocannon sends a second's requests one after the other and then waits for the next second. A server of 0.9 ms
    # leaves it no wait, so that the stop meets requests that are 1 ms apart, as its correction takes them to be.
    with _started([sys.executable, "-c", SPINNING_SERVER, "9e-4"], dict(os.environ)) as process:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}/"
        options = [
            "-n",
            "-j",
            "-c",
            "1",
            "-R",
            "1000",
            "-d",
            "10",
            "-m",
            "POST",
            "-H",
            "content-type=application/json",
            "-i",
        ]
        with _stopped_for_half_a_second(process.pid):
            command = [autocannon, *options, str(bench.body), url]
            text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        report = json.loads(text)
        theirs = report["latency"]["p99"] / 1e3
        sent = report["requests"]["total"]
        print(f"  autocannon, {sent:,} requests, corrected for what it did not send: p99 {theirs * 1e3:.0f} ms")
        figure("freeze of 500 ms: p99 against autocannon's", abs(p99 / theirs - 1) * 100, 10, "%")


@contextmanager
def _stopped_for_half_a_second(pid: int) -> Iterator[None]:
    """Five seconds from now a process stands still; waits for that at the end."""

    def stop() -> None:
        os.sched_setaffinity(0, CPUS[:1])  # which the server leaves meanwhile; the generator needs its own
        time.sleep(5)
        began = time.perf_counter()
        os.kill(pid, signal.SIGSTOP)
        while time.perf_counter() < began + 0.5:  # a sleep would end late
            pass
        os.kill(pid, signal.SIGCONT)

    stopping = multiprocessing.get_context("fork").Process(target=stop)  # not the generator's thread
    stopping.start()
    yield
    stopping.join()


def search(bench: Bench) -> None:
    """The rate search, three times: relative to the closed loop next to each trial, and whether intervals hold it."""
    with bench.server() as (_, target):
        bench.offer(target, 500, 1)
        found = []
        for number in range(3):
            _, record = find_rate(
                lambda rate, trial, n=number: bench.offer(target, rate, 2, seed=100 * n + trial),  # type: ignore[misc]
                lambda: bench.offer(target, 1e9, 25_000 / 1e9, arrivals="constant", p99_bound_s=None).achieved_per_s,
            )
            found.append(record)
            print(
                f"  {record.rate_per_s or 0:,.0f} req/s [{record.low_per_s or 0:,.0f}, {record.high_per_s or 0:,.0f}], "
                f"{record.load or 0:.3f} [{record.load_low or 0:.3f}, {record.load_high or 0:.3f}] of a closed loop of "
                f"{min(record.closed_per_s):,.0f} to {max(record.closed_per_s):,.0f}; {len(record.tried)} trials, "
                f"{record.disturbed} disturbed"
            )
        loads, rates = ([getattr(each, name) or 0.0 for each in found] for name in ("load", "rate_per_s"))
        spread = (max(loads) / max(min(loads), 1e-9) - 1) * 100
        figure("rate search, spread of three, of the closed loop next to it", spread, 5, "%")
        print(f"  spread of the rates themselves: {(max(rates) / max(min(rates), 1e-9) - 1) * 100:.1f} %")
        inside = sum((each.low_per_s or 0) <= rate <= (each.high_per_s or 0) for each in found for rate in rates)
        figure("rate search, rates inside the interval of each of the three", inside, 9, "of 9", least=True)


def overload(bench: Bench) -> None:
    """Twice the capacity for ten seconds, where the server is slower than the generator: by its detector, or its front.

    The transformer's scores take most of a request on the lean front; the autoencoder's take next to nothing, and
    FastAPI most.
    """
    heavy = saved(bench.directory / "heavy", "ft-transformer", {"epochs": 0, "pretraining_epochs": 0}).directory
    bodies, _ = payloads(model := ServedModel.open(heavy, None, 1), made_rows(model, 0))
    body = bench.directory / "heavy.json"
    body.write_bytes(bodies[0])
    _overload(bench, "lean, a transformer", heavy, bodies, body, ("--front", "lean", "--deadline", "50ms"))
    _overload(
        bench, "asgi, an autoencoder", bench.bundle, bench.bodies, bench.body, ("--front", "asgi", "--deadline", "20ms")
    )


def _overload(
    bench: Bench, name: str, bundle: Path, bodies: Sequence[bytes], body: Path, options: Sequence[str]
) -> None:
    with bench.server(*options, bundle=bundle) as (process, target):
        _, capacity = h2load(bench, target, body=body)
        before = resident(process.pid)
        spec = LoadSpec("", 2 * capacity, 10, 256, "poisson", 1, None)
        sent = generate(
            target, bodies, schedule(spec), connections=spec.connections, patience_s=spec.patience_s,
            clock=SystemClock(),
        )  # fmt: skip
        after = resident(process.pid)
        refused = sent.latencies_ns[sent.statuses == 503]
        goodput = (sent.statuses == 200).sum() / (sent.wall_ns * 1e-9)
        figure(f"twice the capacity, {name}: goodput", goodput / capacity * 100, 90, "%", least=True)
        figure(f"twice the capacity, {name}: refused, p99", float(np.percentile(refused, 99)) * 1e-6, 5, "ms")
        figure(f"twice the capacity, {name}: growth of memory", (after / before - 1) * 100, 5, "%")
        answers = dict(zip(*(each.tolist() for each in np.unique(sent.statuses, return_counts=True)), strict=True))
        print(f"  capacity {capacity:,.0f} req/s; answers by status {answers}")


def drain(bench: Bench) -> None:
    """SIGTERM under load: what was accepted is answered."""
    with bench.server() as (process, target):
        sent = answered = lost = 0

        def client() -> None:
            nonlocal sent, answered, lost
            connection = http.client.HTTPConnection(target.host, target.port, timeout=20)
            while True:
                try:
                    connection.request("POST", "/predict", bench.bodies[0], {"Content-Type": "application/json"})
                except OSError:
                    return  # refused before it was accepted
                sent += 1
                try:
                    response = connection.getresponse()
                    response.read()
                except (OSError, http.client.HTTPException):
                    lost += 1
                    return
                answered += 1
                if response.getheader("connection") == "close":
                    return

        threads = [threading.Thread(target=client) for _ in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        while answered < 10_000:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        process.wait()
        figure(f"drain under load, {sent:,} requests accepted: lost", lost, 0, "")


def hostile(bench: Bench) -> None:
    """100,000 mutated requests: no 500, no traceback, memory flat, still answering."""
    import socket

    rng = np.random.default_rng(1)
    good = [Target("127.0.0.1", 1).request(body) for body in bench.bodies[:50]]
    good += [
        b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /v2/models/x/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
    ]
    for front in ("lean", "asgi"):
        with bench.server("--front", front) as (process, target):
            wrong, before, sent = 0, 0, 0
            while sent < 100_000 // 2:
                with contextlib.closing(socket.create_connection((target.host, target.port), timeout=5)) as client:
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    for _ in range(4):
                        data = bytearray(good[rng.integers(len(good))])
                        for _ in range(rng.integers(1, 4)):
                            where = int(rng.integers(len(data)))
                            match rng.integers(4):
                                case 0:
                                    data[where] = int(rng.integers(256))
                                case 1:
                                    del data[where : where + int(rng.integers(1, 9))]
                                case 2:
                                    data[where:where] = rng.bytes(3)
                                case _:
                                    data[where:where] = data[: int(rng.integers(1, 40))]
                            if not data:
                                break
                        sent += 1
                        try:
                            client.sendall(data)
                            client.settimeout(0.002)
                            answer = client.recv(65536)
                        except TimeoutError:
                            continue
                        except OSError:
                            break
                        wrong += b" 500 " in answer[:20] or b"Traceback" in answer
                        if not answer:
                            break
                if not before and sent > 10_000:
                    before = resident(process.pid)
            figure(f"hostile bytes, {sent:,} to the {front} front: status 500", wrong, 0, "")
            figure(
                f"hostile bytes, {front}: growth of memory after the first 10,000",
                (resident(process.pid) / before - 1) * 100,
                5,
                "%",
            )
            result = bench.offer(target, 200, 2)
            figure(
                f"hostile bytes, {front}: answered afterwards",
                result.by_status.get("200", 0),
                result.requests,
                "",
                least=True,
            )


def durability(bench: Bench) -> None:
    """What a log of the cards costs, and what it costs to wait for the disk that holds the temporary directory."""
    kept = saved(bench.directory / "cards", "lstm", {"epochs": 1, "hidden": (12, 6)}, "tabformer", stride=5, rows=6000)
    body = bench.directory / "transaction.json"
    body.write_text(json.dumps(stream(samples()[0])))
    kinds = {"no log": [], "log": ["--state"], "log, --fsync": ["--state", "--fsync"]}
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    for block in range(BLOCKS):
        for name, options in kinds.items():
            state = str(bench.directory / f"cards-{block}-{len(options)}")
            given = [part for option in options for part in ([option, state] if option == "--state" else [option])]
            with bench.server(*given, "--deadline", "1s", bundle=kept.directory) as (_, target):
                h2load(bench, target, 1, path="predict_stream", body=body)
                rates[name].append(h2load(bench, target, path="predict_stream", body=body)[1])
    for name, values in rates.items():
        print(f"  transactions, 16 connections, {name}: " + ", ".join(f"{rate:,.0f}/s" for rate in values))
    medians = {name: float(np.median(values)) for name, values in rates.items()}
    for name in ("log", "log, --fsync"):
        print(f"{f'transactions with {name}, of those without a log':<62}{medians[name] / medians['no log']:>11.0%}")


def steps(bench: Bench) -> None:
    """A transaction scored by what its card has open, against its window scored whole: CPU time of both, in pairs."""
    for detector, parameters in (("lstm", {"epochs": 1}), ("fraud-ensemble", {"epochs": 1, "n_estimators": 600})):
        kept = saved(bench.directory / f"steps-{detector}", detector, parameters, "tabformer", stride=5, rows=20000)
        model = ServedModel.open(kept.directory, None, 1)
        parts = Parts(model)
        if (by := parts.advances(64)) is None:
            print(f"  {detector}: the native kernels are not built, windows are scored whole")
            continue
        shape = model.shape(64)
        windows = np.random.default_rng(1).normal(size=shape).astype(np.float32)
        print(f"  {detector}, windows of {shape[1]} x {shape[2]}: {parts.open_bytes:,} bytes open per card")
        for batch in (1, 16, 64):
            found = take_turns(_stepped(by, windows[:batch]), partial(parts.score, windows[:batch]), 40)
            ours, theirs = (1e6 * float(np.median(side)) / batch for side in (found.ours, found.theirs))
            print(f"    {batch} at once: {ours:.1f} us a transaction by a step, {theirs:.1f} us by its window")
            if batch == 1:
                figure(f"{detector}, one transaction: a step against a window", theirs / ours, 1.2, "times", least=True)


def _stepped(by: CardScores, windows: np.ndarray) -> Callable[[], object]:
    """Takes the next transaction of as many cards as there are windows."""
    rows, numbers = np.ascontiguousarray(windows[:, -1]), count(windows.shape[1])

    def step() -> object:
        number = next(numbers)
        return by.score(rows, [Advance(card, number, each[:-1], by) for card, each in enumerate(windows)])

    return step


def drift(_: Bench) -> None:
    """Windows of which any statistic is over: of undrifted streams, each of five references; and of drifted ones."""
    references = 5
    for window in (100, 500, 2000):
        over = alarms = 0
        for seed in range(references):
            rng = np.random.default_rng(seed)
            watch = monitor(window, rng)
            over += windows_over(watch, rng, 1000)
            alarms += watch.alarms
        share = 100 / (1000 * references)
        figure(f"undrifted windows of {window:,} rows, any statistic over", over * share, 1, "%")
        figure(f"undrifted windows of {window:,} rows, alarms", alarms * share, 1, "%")
    seen, times = 0, 200
    for seed in range(times):
        rng = np.random.default_rng(1000 + seed)
        if not seed % 20:
            watch = monitor(2000, rng)
        part = served(rng, 4000)
        part.rows[:, seed % FEATURES] += 0.5  # of 1; of the features that are mostly zeros the deviation is less
        watch.add(*part)
        seen += f"f{seed % FEATURES}" in watch.alarming
    figure("0.5 sd in one of 41 features, seen within two windows of 2,000", 100 * seen / times, 100, "%", least=True)


FLASK = """
import json, sys
sys.path.insert(0, {root!r})
import numpy as np, pandas as pd
from flask import Flask, request, jsonify
from pathlib import Path
from harness.scoring.bundle import open_bundle
from harness.detectors.opening import open_scorer
bundle = open_bundle(Path({bundle!r}))
encoder, scorer = bundle.encoder, open_scorer(bundle.directory, "eager", threads=1)
app = Flask("document")
@app.post("/predict")
def predict():
    try:
        frame = pd.DataFrame([request.get_json()["features"]], columns=encoder.columns)
        score = float(scorer.score(encoder.transform({{n: frame[n].tolist() for n in encoder.columns}}))[0])
        return jsonify({{"reconstruction_error": score, "anomaly": score > bundle.manifest.decision.value}})
    except Exception as error:
        return jsonify({{"error": str(error)}}), 500
import logging; logging.getLogger("werkzeug").disabled = True
from werkzeug.serving import make_server
server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""


def _document_server(bench: Bench) -> Path | None:
    """A server of the intrusion document's design: Flask, a data frame per request, the framework's own server."""
    try:
        import flask  # noqa: F401
    except ImportError:
        return None
    path = bench.directory / "document.py"
    path.write_text(textwrap.dedent(FLASK).format(root=str(ROOT), bundle=str(bench.bundle)))
    return path


@contextmanager
def _flask(script: Path) -> Iterator[tuple[subprocess.Popen[str], Target]]:
    with _started([sys.executable, str(script)], {**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        assert process.stdout is not None
        yield process, Target("127.0.0.1", int(process.stdout.readline()))


FIGURES = {f.__name__: f for f in (
    cost, agreement, generator, freeze, search, overload, drain, hostile, durability, steps, drift,
)}  # fmt: skip


def main(names: Sequence[str]) -> int:
    """Print the figures asked for, or all; 1 when one missed its bar."""
    if len(CPUS) < 2:
        print("two CPUs are needed: one for the server, one for the generator")
        return 1
    if not shutil.which("h2load"):
        print("h2load is absent (Debian's nghttp2-client): no figure of a closed load")
        return 1
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(Path(directory))
        for name in names or FIGURES:
            FIGURES[name](bench)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
