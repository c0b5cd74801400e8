"""The end of a fleet on a Dask worker, without Dask: what it starts ends with its lease, its answer is bounded."""

from __future__ import annotations

import asyncio
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
