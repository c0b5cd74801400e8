"""A server as users start it: placed, answering, measured, drained, and refused where it must be."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.bundles import saved
from support.signals import heeded
from typer.testing import CliRunner

from harness.cli.main import app
from harness.errors import ExitCode, InputError
from harness.record.store import load_load_test
from harness.reporting.load_html import render_load
from harness.serving.card_snapshot import divide, model_digest
from harness.serving.relay import owner

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
FEATURES: list[Any] = [0.0, "tcp", "http", "SF", *[1.0] * 37]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("serve") / "bundle", "autoencoder").directory


@contextmanager
def serving(bundle: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A server and what it says of itself."""
    command = [sys.executable, "-m", "harness", "serve", str(bundle), "--port", "0", *options]
    process = subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heeded
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate(timeout=120)
        yield process, json.loads(line)
    finally:
        process.kill()
        process.communicate(timeout=120)


def ended(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness", *map(str, arguments)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=240, check=False)


def connect(url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(*url.removeprefix("http://").split(":"), timeout=120)


def test_it_checks_itself(bundle: Path) -> None:
    done = ended("serve", bundle, "--check", "--port", "0")
    passed = "lparbench: check passed: a request of each kind was answered as it should be.\n"
    assert (done.returncode, done.stderr) == (0, passed)
    described = json.loads(done.stdout)
    assert described["cpus"]
    assert "POST /predict" in described["endpoints"]


def test_both_fronts_give_the_same_bytes_and_refuse_the_same(bundle: Path) -> None:
    def answers(front: str) -> list[tuple[int, bytes]]:
        asked: list[tuple[str, str, bytes | None]] = [
            ("POST", "/predict", json.dumps({"features": FEATURES}).encode()),
            ("POST", "/predict", json.dumps({"features": FEATURES[1:]}).encode()),
            ("POST", "/predict", b'{"features": NaN}'),
            ("POST", "/predict", b'{"a": "\\ud800", "b": 1e999, "c": ' + b"9" * 30 + b"}"),
            ("POST", "/predict", b"\xff"),
            ("GET", "/predict", None),
            ("GET", "/nothing", None),
            ("PUT", "/predict", b"{}"),
            ("GET", "/v2", None),
            ("GET", "/v2/health/ready", None),
            ("GET", "/v2/models/nsl-kdd-autoencoder", None),
            ("POST", "/v2/models/nsl-kdd-autoencoder/infer", b'{"inputs": []}'),
            ("POST", "/predict", b"x" * (1 << 20) + b"x"),
        ]
        got = []
        with serving(bundle, "--front", front) as (process, described):
            assert described["front"] == front
            for method, path, body in asked:
                connection = connect(described["url"])
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # answered before all was sent
                    connection.request(method, path, body)
                answer = connection.getresponse()
                got.append((answer.status, answer.read()))
                connection.close()
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=120) == 0
        return got

    lean, asgi = answers("lean"), answers("asgi")
    assert [status for status, _ in lean] == [200, 400, 400, 400, 400, 405, 404, 501, 200, 200, 200, 400, 413]
    assert lean == asgi


def test_every_answer_under_load_is_the_detectors_own(bundle: Path, tmp_path: Path) -> None:
    with serving(bundle) as (process, described):
        assert os.sched_getaffinity(process.pid) == set(described["cpus"])
        record, page = tmp_path / "load.json", tmp_path / "load.html"
        options = ("--bundle", bundle, "--rate", "200/s", "--seconds", "2s", "--connections", "8", "--out", record)
        options += ("--html", page)
        done = ended("load", described["url"], *options)
        assert done.returncode in (ExitCode.GOOD, ExitCode.INCONCLUSIVE), done.stderr  # its lag depends on the machine
        stored = load_load_test(record)
        assert stored.server is not None
        assert (stored.server.front, stored.server.cpus) == ("lean", tuple(described["cpus"]))
        (use,) = stored.result.processes
        assert use.name == "server"
        assert 0 < use.scoring_s < use.cpu_s + 0.02
        assert page.read_bytes() == render_load(stored)
        result = json.loads(record.read_text())["result"]
        assert result["by_status"] == {"200": 400}
        assert (result["checked"], result["different"]) == (True, 0)
        assert result["latencies_s"]["p50_s"] > 0


def test_answers_of_another_model_are_not_taken_for_the_detectors(bundle: Path, tmp_path: Path) -> None:
    other = saved(tmp_path / "other", "autoencoder", {"epochs": 2, "random_state": 7}).directory
    record = tmp_path / "load.json"
    with serving(bundle) as (_, described):
        for offered in (("--rate", "100/s"), ("--find-rate", "--p99", "5ms")):
            options = ("--bundle", other, *offered, "--seconds", "1s", "--out", record)
            done = ended("load", described["url"], *options)
            assert done.returncode == ExitCode.INCONCLUSIVE, done.stderr
            assert "answers are not the detector's own" in done.stdout
            assert load_load_test(record).search is None  # there is nothing to search for


@pytest.mark.parametrize(("front", "fronts"), [("lean", "1"), ("lean", "2"), ("asgi", "1")])
def test_nothing_that_was_accepted_is_lost_when_it_is_drained(bundle: Path, front: str, fronts: str) -> None:
    with serving(bundle, "--front", front, "--fronts", fronts, "--deadline", "100s") as (process, described):
        lost: list[str] = []
        answered = [0] * 4
        body = json.dumps({"features": FEATURES})

        def client(number: int) -> None:
            while True:
                try:
                    connection = connect(described["url"])
                    connection.connect()
                except OSError:
                    return  # it listens no more
                while True:
                    try:
                        connection.request("POST", "/predict", body)
                        answer = connection.getresponse()
                        text = answer.read()
                    except (OSError, http.client.HTTPException) as error:
                        lost.append(repr(error))
                        return
                    if answer.status != 200 or b"anomaly" not in text:
                        lost.append(f"{answer.status} {text!r}")
                    answered[number] += 1
                    if answer.getheader("Connection") == "close":
                        connection.close()
                        break

        threads = [threading.Thread(target=client, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        while sum(answered) < 2000 and any(thread.is_alive() for thread in threads):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(timeout=120)
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr
        assert "draining" in stderr
    assert lost == []
    assert sum(answered) >= 2000


def test_a_second_signal_ends_it_and_counts_what_was_lost(bundle: Path) -> None:
    with serving(bundle, "--drain", "10m") as (process, described):
        connection = connect(described["url"])
        connection.connect()
        connection.sock.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")  # and no body
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        assert "draining" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 0  # nothing whole had come
        connection.close()


def test_bytes_that_are_no_request_get_an_answer_and_the_server_lives(bundle: Path) -> None:
    wrong = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nnot json!"
    with serving(bundle) as (_, described):
        host, port = described["url"].removeprefix("http://").split(":")
        for data in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", wrong):
            with socket.create_connection((host, int(port)), timeout=120) as link:
                link.sendall(data)
                assert link.recv(4096).startswith(b"HTTP/1.1 400 ")
        connection = connect(described["url"])
        connection.request("POST", "/predict", json.dumps({"features": FEATURES}))
        assert connection.getresponse().status == 200
        connection.close()


def test_what_cannot_be_served_is_refused_in_one_line(bundle: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = ended("serve", bundle, "--port", str(taken.getsockname()[1]))
    assert done.returncode == ExitCode.USAGE
    assert "cannot be listened on: Address already in use" in done.stderr
    assert "Traceback" not in done.stderr
    done = ended("serve", tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert "is no model bundle" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("serve", "nothing-here"), "Unknown workload"),
        (("serve", "x", "--host", "0.0.0.0"), "is open to others"),
        (("serve", "x", "--api", "v3"), "--api is 'v3'"),
        (("serve", "x", "--front", "thin"), "--front is 'thin'"),
        (("serve", "x", "--tls-cert", "c"), "go together"),
        (("serve", "x", "--tls-cert", "c", "--tls-key", "k"), "c: No such file or directory"),
        (("serve", "x", "--token-file", "t"), "t: no such file"),
        (("serve", "x", "--state", "none/cards"), "/none/cards cannot be written"),
        (("serve", "x", "--fsync"), "--fsync is of the log of cards"),
        (("serve", "x", "--node", "0", "--node", "0"), "--nodes 0 is given twice"),
        (("serve", "x", "--deadline", "soon"), "is not a duration"),
        (("serve", "x", "--key-ttl", "soon"), "--key-ttl 'soon' is not a duration"),
        (("serve", "x", "--quota", "fast"), "--quota 'fast' is not a rate"),
        (("serve", "x", "--thresholds", "high"), "--thresholds: 'high' is no level"),
        (("load", "http://127.0.0.1:1", "--bundle", "x"), "Give either --rate or --find-rate"),
        (("load", "http://127.0.0.1:1", "--bundle", "x", "--find-rate"), "--find-rate needs --p99"),
        (("load", "http://127.0.0.1:1", "--bundle", "x", "--rate", "fast"), "--rate 'fast' is not a rate"),
        (("load", "http://127.0.0.1:1", "--bundle", "x", "--rate", "5", "--arrivals", "x"), "--arrivals is 'x'"),
        (("load", "ftp://a", "--bundle", "x", "--rate", "5"), "is not the URL of a server"),
        (("load", "http://127.0.0.1:1", "--bundle", "x", "--rate", "5"), "127.0.0.1:1 does not answer"),
    ],
)
def test_a_wrong_option_is_named(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError) as error:
        CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert message in error.value.message
    assert error.value.remedy


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parameters = {"epochs": 1, "hidden": (8, 4), "n_estimators": 5}
    return saved(
        tmp_path_factory.mktemp("cards") / "bundle", "fraud-ensemble", parameters, "tabformer", stride=5, rows=6000
    ).directory


def _post(url: str, document: Any) -> tuple[int, Any]:
    connection = connect(url)
    connection.request("POST", "/predict_stream", json.dumps(document), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text)


def _transactions() -> list[dict[str, Any]]:
    return [
        {
            "User": "U2", "Card": "C9", "Merchant Name": f"Shop {2000 + i}", "Merchant City": f"City {i % 4}",
            "Use Chip": "Yes" if i % 2 == 0 else "No", "Errors?": "None", "Year": 2024, "Month": 8, "Day": 1 + i,
            "Time": f"{(9 + i) % 24:02d}:{(7 * i) % 60:02d}", "Amount": str(15 + i * 2.0),
        }
        for i in range(9)
    ]  # fmt: skip


def _answered(url: str, document: Any) -> Any:
    """The answer of a server of which a process is being replaced."""
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            status, answer = _post(url, document)
            if status == 200:
                return answer
            assert status == 503, answer
        time.sleep(0.05)


def test_processes_that_are_killed_are_replaced_and_what_was_lost_is_said(cards: Path, tmp_path: Path) -> None:
    state, rows = tmp_path / "cards.state", [row | {"TransactionID": i} for i, row in enumerate(_transactions())]
    options = ("--state", str(state), "--deadline", "100s")
    with serving(cards, "--fronts", "2", "--fsync", *options) as (process, described):
        url, pids = described["url"], {each["name"]: each["pid"] for each in described["processes"]}
        assert list(pids) == ["scorer-0", "front-0", "front-1"]
        before = [_post(url, {"record": row})[1] for row in rows[:8]]
        assert [answer["status"] for answer in before] == ["buffering"] * 6 + ["ok"] * 2
        os.kill(pids["front-0"], signal.SIGKILL)
        assert [_answered(url, {"record": rows[7]}) for _ in range(4)] == [before[7]] * 4  # whichever front
        os.kill(pids["scorer-0"], signal.SIGKILL)
        assert _answered(url, {"record": rows[7]}) == before[7]  # sent again, it is answered as before
        assert _answered(url, {"record": rows[8]})["status"] == "ok"
        connection = connect(url)
        connection.request("GET", "/metrics")
        assert b'lparbench_stream_evictions_total{reason="lost"} 0\n' in connection.getresponse().read()
        connection.close()
        last = _answered(url, {"record": rows[8]})
        process.kill()  # the whole server: its processes end with it
        _, stderr = process.communicate(timeout=120)
    assert "front-0 ended by signal 9; the server starts it again." in stderr
    assert "scorer-0 ended by signal 9; the server starts it again." in stderr
    assert "the log of a process that was killed: 1 card taken over." in stderr
    with serving(cards, *options) as (process, described):
        assert [_answered(described["url"], {"record": row}) for row in rows[7:]] == [before[7], last]
        process.send_signal(signal.SIGTERM)
        _, again = process.communicate(timeout=120)
        assert process.returncode == 0, again
    assert "the log of a process that was killed: 1 card taken over." in again
    assert "1 card kept in" in again
    assert "Traceback" not in stderr + again
    assert divide(state, [tmp_path / "part"], model_digest(cards), owner) == 1


def test_the_documents_clients_work_unchanged(bundle: Path, cards: Path) -> None:
    requests = pytest.importorskip("requests")
    line = (
        "0,tcp,private,REJ,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,117,10,0.00,0.00,1.00,1.00,0.09,0.06,0.00,255,10,0.04,"
        "0.05,0.00,0.00,0.00,0.00,1.00,1.00,neptune,21"
    )
    features = [text if index in (1, 2, 3) else float(text) for index, text in enumerate(line.split(",")[:-2])]
    with serving(bundle) as (_, described):
        response = requests.post(f"{described['url']}/predict", json={"features": features}, timeout=120)
        assert response.status_code == 200
        assert set(response.json()) == {"reconstruction_error", "anomaly"}
    with serving(cards, "--front", "asgi") as (_, described):
        health = requests.get(f"{described['url']}/health", timeout=120).json()
        assert (health["status"], health["sequence_length"]) == ("ok", 7)
        assert health["weights"] == {"lstm": 0.5, "xgb": 0.5}
        assert health["expected_columns"]["group_keys"] == ["User", "Card"]
        answers = []
        for row in _transactions():
            payload = {"record": row, "group_keys": ["User", "Card"], "threshold": 0.472982}
            payload["return_components"] = True
            response = requests.post(f"{described['url']}/predict_stream", json=payload, timeout=30)
            response.raise_for_status()
            answers.append(response.json())
        assert [answer["status"] for answer in answers] == ["buffering"] * 6 + ["ok"] * 3
        assert answers[0] == {"status": "buffering", "group": {"User": "U2", "Card": "C9"}, "have": 1, "need": 6}
        assert set(answers[8]) == {"status", "group", "p_ensemble", "label", "p_lstm", "p_xgb"}


def test_cards_are_kept_from_a_drain_to_the_next_start(cards: Path, tmp_path: Path) -> None:
    state, rows = tmp_path / "cards.state", [row | {"TransactionID": i} for i, row in enumerate(_transactions())]
    with serving(cards, "--state", str(state)) as (process, described):
        before = [_post(described["url"], {"record": row}) for row in rows[:8]]
        process.send_signal(signal.SIGHUP)  # as of a terminal that is closed
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr
        assert "1 card kept in" in stderr
    with serving(cards, "--state", str(state)) as (process, described):
        assert _post(described["url"], {"record": rows[7]}) == before[7]
        status, answer = _post(described["url"], {"record": rows[8]})
        assert (status, answer["status"]) == (200, "ok")
        process.kill()
    with serving(cards, "--state", str(state)) as (process, described):
        assert _post(described["url"], {"record": rows[8]}) == (200, answer)  # it was taken before the kill
        state.mkdir()
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=120)
        assert (process.returncode, "cannot be written: Is a directory" in stderr) == (ExitCode.USAGE, True), stderr
