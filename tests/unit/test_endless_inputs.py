"""Files that are pipes which nobody writes to, or devices without an end: refused at once, whatever reads them."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness import __version__
from harness.compare.inputs import load_side
from harness.errors import InputError
from harness.fleet.inventory import load_inventory
from harness.fleet.push import Wheel
from harness.parsing import read_content, read_toml
from harness.record.archive import is_archive, opened
from harness.record.store import load_run
from harness.serving.arrival_trace import read_trace
from harness.serving.card_log import _records
from harness.serving.listening import read_token
from harness.sizing.table import read_table
from harness.workload.naming import classes_of_file

_PATIENCE_S = 20
_ZERO = os.makedev(1, 5)


def _archive(path: Path) -> None:
    assert not is_archive(path)
    with opened(str(path)):
        pass


READERS: dict[str, Callable[[Path], object]] = {
    "inventory": load_inventory,
    "arrivals": read_trace,
    "table": read_table,
    "token": read_token,
    "archive": _archive,
    "side": load_side,
    "record": load_run,
    "wheel": Wheel.read,
    "policy": read_toml,
    "log of cards": lambda path: list(_records(path, last=True)),
}


@contextmanager
def at_once() -> Iterator[None]:
    """What does not return is ended."""

    def late(*_: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(_PATIENCE_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_has_no_end_is_refused(reader: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"lparbench-{__version__}-py3-none-any.whl"
    if kind == "pipe":
        os.mkfifo(path)
    elif os.geteuid() == 0:
        try:
            os.mknod(path, stat.S_IFCHR | 0o600, _ZERO)
            path.open("rb").close()
        except OSError:
            pytest.skip("no devices can be made here")
    else:
        pytest.skip("root makes devices")
    with at_once(), pytest.raises(InputError):
        READERS[reader](path)


def test_a_pipe_that_somebody_writes_to_is_read_to_its_end() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"lpar01\n")
    os.close(writer)
    assert read_content(Path(f"/dev/fd/{reader}"), 100) == b"lpar01\n"
    with pytest.raises(InputError, match="larger than 0 MiB"):
        read_content(Path(__file__), 100)
    os.close(reader)


def test_a_pipe_with_the_name_of_a_module_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("mine.py")
    with at_once():
        assert classes_of_file("mine") == ()
