"""Damaged and hostile data files and servers: one clear error that names the file, within bounds of time and memory."""

from __future__ import annotations

import io
import lzma
import os
import random
import signal
import socket
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from scipy.io import savemat
from support.publisher import publisher

from harness.advice.expression import ExpressionError, parse
from harness.advice.logic import Unknown
from harness.advice.rules import scope
from harness.advice.steps import MAX_STEPS
from harness.datasets import download, store
from harness.datasets.base import load
from harness.datasets.catalogue import DataFile, Download
from harness.datasets.parquet import frames
from harness.errors import CheckFailedError, InputError, LparbenchError
from harness.placement.plan import plan
from harness.platform.facts import Facts, Topology
from harness.platform.nodes import Node
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot
from harness.workers.process import PARSING_FILE, worker_process

h5py = pytest.importorskip("h5py")

X = np.arange(200, dtype=np.float64).reshape(50, 4)
Y = (np.arange(50) % 5 == 0).astype(np.int64)


def _matlab(**options: object) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, {"X": X, "y": Y}, **options)
    return buffer.getvalue()


def _numpy() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, X=X, y=Y)
    return buffer.getvalue()


def _hdf5(fill: Callable[[h5py.File], None]) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        fill(file)
    return buffer.getvalue()


def _arrays(file: h5py.File) -> None:
    file["X"], file["y"] = X.T, Y[None, :]


def _thyroid(folder: Path, content: bytes) -> object:
    (folder / "odds").mkdir(exist_ok=True)
    (folder / "odds" / "thyroid.mat").write_bytes(content)
    return load("odds:thyroid", directory=folder, synthetic="never")


def _adbench(folder: Path, content: bytes) -> object:
    (folder / "adbench").mkdir(exist_ok=True)
    (folder / "adbench" / "38_thyroid.npz").write_bytes(content)
    return load("adbench:thyroid", directory=folder, synthetic="never")


FORMS = {
    "npz": (_numpy, _adbench),
    "mat": (_matlab, _thyroid),
    "mat-compressed": (lambda: _matlab(do_compression=True), _thyroid),
    "hdf5": (lambda: _hdf5(_arrays), _thyroid),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_damaged_array_file_is_read_or_named(tmp_path: Path, form: str) -> None:
    """Each in a process of its own in turn would take minutes: a crash of a parser ends the fork only."""
    whole, read = FORMS[form]
    content = whole()
    read(tmp_path, content)  # it is sound
    unclear: list[str] = []
    for seed in range(25):
        rng = random.Random(f"{form} {seed}")
        damaged = bytearray(content)
        for _ in range(rng.randrange(1, 6)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        status = _forked(lambda damaged=bytes(damaged): read(tmp_path, damaged))
        if status not in (0, 4) and status >= 0:
            unclear.append(f"seed {seed}: status {status}")
    assert unclear == []


def _forked(work: Callable[[], object]) -> int:
    """0 when the work is done, 4 for an error that names a file, 9 for any other; negative for a signal."""
    child = os.fork()
    if child == 0:
        code = 9
        try:
            signal.alarm(60)
            work()
            code = 0
        except InputError as error:
            code = 4 if any(name in error.message for name in ("thyroid", "d.parquet")) else 8
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("kind", ["external storage", "external link", "virtual"])
def test_hdf5_that_refers_to_another_file_is_refused(tmp_path: Path, kind: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(os.urandom(X.nbytes))
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["X"] = X.T

    def fill(file: h5py.File) -> None:
        file["y"] = Y[None, :]
        if kind == "external storage":
            file.create_dataset("X", (4, 50), "f8", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])
        elif kind == "external link":
            file["X"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "X")
        else:
            layout = h5py.VirtualLayout((4, 50), "f8")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "X", (4, 50))
            file.create_virtual_dataset("X", layout)

    with pytest.raises(InputError, match="X is stored in another file"):
        _thyroid(tmp_path, _hdf5(fill))


def test_bombs_are_refused_by_their_ratio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SMALL_CONTENT", 1 << 20)
    zeros = bytes(8 << 20)
    with pytest.raises(InputError, match=f"more than {store.RATIO} times"):
        store.digest(_written(tmp_path / "a.csv.xz", lzma.compress(zeros)))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("b.csv", zeros)
    with pytest.raises(InputError, match=f"more than {store.RATIO} times"):
        store.digest(_written(tmp_path / "b.zip", archive.getvalue()))
    npz = io.BytesIO()
    np.savez_compressed(npz, X=np.zeros((1 << 18, 4)), y=Y)
    with pytest.raises(InputError, match=f"38_thyroid.*more than {store.RATIO} times"):
        _adbench(tmp_path, npz.getvalue())
    mat = io.BytesIO()
    savemat(mat, {"X": np.zeros((1 << 18, 4)), "y": Y}, do_compression=True)
    with pytest.raises(InputError, match=f"thyroid.mat.*more than {store.RATIO} times"):
        _thyroid(tmp_path, mat.getvalue())

    def fill(file: h5py.File) -> None:
        file.create_dataset("X", (4, 1 << 18), "f8", chunks=(4, 1 << 16), compression="gzip")
        file["y"] = Y[None, :]

    with pytest.raises(InputError, match=f"thyroid.mat.*more than {store.RATIO} times"):
        _thyroid(tmp_path, _hdf5(fill))


def test_a_table_that_compresses_well_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SMALL_CONTENT", 1 << 10)
    rng = random.Random(1)
    text = "".join(f"{rng.choice('ab')},0,0,0,0,0,0,0,0,{rng.randrange(9)}\n" for _ in range(20_000)).encode()
    packed = lzma.compress(text)
    assert len(text) > 10 * len(packed)
    assert store.content(_written(tmp_path / "a.csv.xz", packed))[0] == text


def test_a_parquet_file_with_a_column_twice_or_bytes_is_read_and_a_damaged_one_named(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    a, label = pa.array([1.0, 2.0]), pa.array(["x", "y"])
    parquet.write_table(pa.table([a, a, label, pa.array([b"\xff", b"b"])], names=["a", "a", "label", "raw"]), path)
    (frame,) = frames(path, lambda _: True)
    assert list(frame.columns) == ["a", "a.1", "label", "raw"]
    content = bytearray(path.read_bytes())
    for at in range(4, len(content) - 8, 29):
        damaged = bytearray(content)
        damaged[at] ^= 0xFF
        path.write_bytes(damaged)
        status = _forked(lambda: list(frames(path, lambda _: True)))
        assert status in (0, 4) or status < 0


def test_a_worker_that_a_parser_crashes_names_the_file(tmp_path: Path) -> None:
    program = f"""import os, signal
from pathlib import Path
from harness.datasets.store import PARSING_NOTE, parsing
PARSING_NOTE.set(Path({str(tmp_path / PARSING_FILE)!r}))
with parsing(Path("/data/thyroid.mat"), "MATLAB file"):
    os.kill(os.getpid(), signal.SIGSEGV)
"""
    facts = probe(SysRoot())
    placement = plan(facts.topology, cores=1, threads_per_core=1, limits=facts.limits)
    with worker_process([sys.executable, "-c", program], tmp_path, placement) as worker:
        status = worker.wait(60)
        crash = worker.crashed_parsing(status)
    assert crash is not None
    assert crash.message == "/data/thyroid.mat is no readable MATLAB file: the library that reads it crashed (SIGSEGV)."


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@contextmanager
def server(talk: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A server that says the same to whoever connects, until the block ends."""
    listening = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.recv(4096)
                    talk(connection, over)
                except OSError:
                    continue

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/set/file.bin"
    finally:
        over.set()
        listening.close()


def _repeat(text: bytes, pause: float) -> Callable[[socket.socket, threading.Event], None]:
    def talk(connection: socket.socket, over: threading.Event) -> None:
        while not over.wait(pause):
            connection.sendall(text)

    return talk


def _then(head: bytes, text: bytes) -> Callable[[socket.socket, threading.Event], None]:
    def talk(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(head)
        _repeat(text, 0.05)(connection, over)

    return talk


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"


@pytest.mark.parametrize(
    "talk",
    [_repeat(b"HTTP/1.1 100 Continue\r\n\r\n", 0.001), _repeat(b"H", 0.05), _then(HEAD, b"x"), _then(b"", b"")],
    ids=["100 for ever", "a head by drops", "a body by drops", "silence"],
)
def test_a_server_that_holds_the_connection_is_given_up(
    talk: Callable[[socket.socket, threading.Event], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_TIMEOUT_S", 0.3)
    monkeypatch.setattr(download, "_PAUSE_S", 0.0)
    with server(talk) as url, pytest.raises(InputError, match="cannot be downloaded"):
        download.fetch(_file(url), tmp_path / "set", progress=lambda *_: None)


def test_a_length_of_thousands_of_digits_is_another_file(tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: " + b"1" * 5000 + b"\r\n\r\n"
    with server(_then(head, b"x")) as url, pytest.raises((CheckFailedError, InputError), match=r"file\.bin"):
        download.fetch(_file(url), tmp_path / "set", progress=lambda *_: None)


def test_a_whole_download_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_PATIENCE_S", -1e9)
    with publisher(b"x" * 100_000) as publisher_:
        publisher_.cut_after = 70_000
        with pytest.raises(LparbenchError, match="not complete after"):
            download.fetch(publisher_.file(), tmp_path / "set", progress=lambda *_: None)


def _file(url: str) -> DataFile:
    return DataFile("file.bin", sha256="0" * 64, download=Download(url, "0" * 64, 1_000_000, None))


def test_a_rule_is_bounded_in_depth_and_in_work() -> None:
    with pytest.raises(ExpressionError, match="operations in one another"):
        parse("-" * 900 + "1", scope())
    nodes = tuple(Node(at, (), 0, 0, None) for at in range(200))
    facts = Facts("/", topology=Topology(nodes=nodes, sources={"nodes": "sysfs"}))
    names = {name: getattr(facts, name) for name in scope() if hasattr(facts, name)}
    loops = " ".join(f"for {name} in topology.nodes" for name in "abcd")
    result = parse(f"len([1 {loops}])", scope()).evaluate(names)
    assert isinstance(result, Unknown)
    assert f"within {MAX_STEPS:,} steps" in str(result)
    assert parse("len([1 for a in topology.nodes for b in topology.nodes])", scope()).evaluate(names) == 40_000
