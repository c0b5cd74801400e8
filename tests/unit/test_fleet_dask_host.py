"""The end of a fleet on a Dask worker, without Dask: what it starts ends with its lease, its answer is bounded."""

from __future__ import annotations

import asyncio
import pickle
import sys
import time

import pytest

from harness.fleet import dask_host
from harness.fleet.dask_host import TOO_MUCH, begin, collect, end

ECHO = "import sys; sys.stdout.write(sys.stdin.readline()); sys.stderr.write('a word')"
UNTIL_CLOSED = "import sys; sys.stdin.read(); open(sys.argv[1], 'w').close()"


def start(code: str, *words: str, lease_s: float = 30.0) -> str:
    word = begin(b"a request\n", (sys.executable, "-c", code, *words), lease_s)
    assert word is not None
    return word


def test_what_a_program_prints_is_handed_over_once() -> None:
    word = start(ECHO)
    assert asyncio.run(collect(word)) == (0, b"a request\n", b"a word")
    with pytest.raises(KeyError):
        asyncio.run(collect(word))


@pytest.mark.parametrize("wanted", [True, False])
def test_a_program_that_nobody_asks_for_ends_as_when_its_channel_closes(wanted, tmp_path) -> None:
    ended = tmp_path / "ended"
    word = start(UNTIL_CLOSED, str(ended), lease_s=0.1 if wanted else 30.0)
    if not wanted:
        end(word)
    deadline = time.monotonic() + 20
    while not ended.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    end(word)


def test_an_endless_answer_is_cut(monkeypatch) -> None:
    monkeypatch.setattr(dask_host, "LARGEST", 1 << 20)
    code, answer, _ = asyncio.run(collect(start("while True: print('x' * 9999)"))) or (0, b"", b"")
    assert (code, answer) == (TOO_MUCH, b"")


def test_an_environment_is_that_of_a_session() -> None:
    given = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "LPARBENCH_X": "1",
        "OMP_NUM_THREADS": "1",
        "DASK_X": "1",
        "PYTHONPATH": "/",
    }
    assert set(dask_host.clean(given)) == {"PATH", "LC_ALL", "LPARBENCH_X"}


class Timer:
    """A timer of Dask's, which may run."""

    def __init__(self) -> None:
        self.runs = True

    def start(self) -> None:
        self.runs = True

    def stop(self) -> None:
        self.runs = False


class Server:
    """A nanny, and a worker that reaches it."""

    nanny = "tls://here:1"

    def __init__(self) -> None:
        self.periodic_callbacks = {name: Timer() for name in ("tick", "monitor", "heartbeat")}

    def rpc(self, address: str) -> Server:
        return self

    async def run(self, *, function: bytes, args: bytes) -> dict[str, object]:
        pickle.loads(function)(*pickle.loads(args), dask_worker=self)
        return {"status": "OK", "result": None}


class Deaf(Server):
    async def run(self, *, function: bytes, args: bytes) -> dict[str, object]:
        raise OSError("closed")


def test_the_timers_of_a_nanny_rest_for_a_while_and_no_longer(monkeypatch) -> None:
    """It ticks fifty times a second on the CPUs of its host; nobody has to be alive to wake it."""
    server, cores = Server(), {0}
    monkeypatch.setattr(dask_host, "_REST_S", 0.2)
    monkeypatch.setattr(dask_host, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(dask_host, "_cores_of", lambda request: cores)
    monkeypatch.setattr(dask_host, "_keep_threads_on", lambda cpus: None)

    def running() -> list[str]:
        return [name for name, timer in server.periodic_callbacks.items() if timer.runs]

    async def measured() -> None:
        word = start(UNTIL_CLOSED, "/nowhere/x")
        for _ in range(2):  # a second call while they rest loses none of them
            assert await collect(word, server) is None
            assert running() == ["heartbeat"]
        end(word)
        deadline = time.monotonic() + 20
        while len(running()) < 3:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)

    asyncio.run(measured())


def test_what_of_dask_runs_on_is_named(monkeypatch) -> None:
    pytest.importorskip("dask")
    assert "timers of the nanny" not in asyncio.run(dask_host.who(Server()))[2]
    assert "timers of the nanny" in asyncio.run(dask_host.who(Deaf()))[2]
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0})
    assert "the heartbeat, on the only core" in asyncio.run(dask_host.who())[2]
