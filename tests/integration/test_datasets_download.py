"""Downloads against a real server on 127.0.0.1: cut, changed, wrong, full disk, interrupted."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest
from support.publisher import Publisher, publisher

from harness.datasets import download, watched
from harness.datasets.catalogue import DataFile, Download
from harness.datasets.download import fetch
from harness.errors import CheckFailedError, InputError, LparbenchError

CONTENT = os.urandom(300_000)


def _quiet(_done: int, _total: int) -> None:
    return None


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_PAUSE_S", 0.0)


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_file_arrives_whole_with_progress(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    with publisher(CONTENT) as server:
        path = fetch(server.file(), tmp_path / "set", progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert _left(tmp_path / "set") == ["file.bin"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_cut_connection_is_resumed_where_it_broke(tmp_path: Path) -> None:
    with publisher(CONTENT) as server:
        server.cut_after = 100_000
        path = fetch(server.file(), tmp_path / "set", progress=_quiet)
        assert path.read_bytes() == CONTENT
        assert [headers.get("Range") for headers in server.asked] == [None, "bytes=100000-"]


def test_a_part_of_an_earlier_process_is_continued(tmp_path: Path) -> None:
    with publisher(CONTENT) as server:
        folder = tmp_path / "set"
        _leave_part(server, folder, 120_000)
        before = len(server.asked)
        assert fetch(server.file(), folder, progress=_quiet).read_bytes() == CONTENT
        assert server.asked[before]["Range"] == "bytes=120000-"
        assert _left(folder) == ["file.bin"]


def test_a_file_that_changed_meanwhile_is_fetched_afresh(tmp_path: Path) -> None:
    with publisher(CONTENT) as server:
        folder = tmp_path / "set"
        _leave_part(server, folder, 120_000)
        server.content = CONTENT[::-1]
        assert fetch(server.file(), folder, progress=_quiet).read_bytes() == CONTENT[::-1]


def test_a_server_without_ranges_sends_all_again(tmp_path: Path) -> None:
    with publisher(CONTENT) as server:
        server.ranges = False
        server.cut_after = 100_000
        assert fetch(server.file(), tmp_path / "set", progress=_quiet).read_bytes() == CONTENT
        assert len(server.asked) == 2


def test_a_wrong_digest_is_refused_and_removed(tmp_path: Path) -> None:
    with publisher(CONTENT) as server:
        pinned = server.file(pinned=CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
        with pytest.raises(CheckFailedError, match="sha256"):
            fetch(pinned, tmp_path / "set", progress=_quiet)
    assert _left(tmp_path / "set") == []


def test_another_size_is_refused_before_it_is_downloaded(tmp_path: Path) -> None:
    with publisher(CONTENT) as server, pytest.raises(CheckFailedError, match=r"300,000 bytes, 1,000 expected"):
        fetch(server.file(pinned=CONTENT[:1000]), tmp_path / "set", progress=_quiet)


def test_a_missing_file_is_told_with_what_the_server_said(tmp_path: Path) -> None:
    with publisher(CONTENT) as server:
        server.status = 404
        with pytest.raises(InputError, match="404"):
            fetch(server.file(), tmp_path / "set", progress=_quiet)
        assert len(server.asked) == 1, "what is not there is not asked for again"


def test_no_server_is_one_clear_error(tmp_path: Path) -> None:
    with publisher(CONTENT) as server:
        gone = server.file()
    with pytest.raises(InputError, match="refused") as raised:
        fetch(gone, tmp_path / "set", progress=_quiet)
    assert "data import" in str(raised.value)


def test_https_never_falls_back_to_http(tmp_path: Path) -> None:
    handler = watched.SafeRedirects()
    with pytest.raises(OSError, match="not https"):
        handler.redirect_request(None, None, 302, "Found", {}, "http://elsewhere/file.bin")


def test_a_mirror_takes_the_publishers_place(tmp_path: Path) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    file = DataFile("a+b.txt", digest, download=Download("https://publisher/x/a%2Bb.txt", digest, len(CONTENT)))
    with publisher(CONTENT) as server:
        path = fetch(file, tmp_path / "set", progress=_quiet, mirror=f"http://127.0.0.1:{server.port}/")
    assert path.name == "a+b.txt"
    with pytest.raises(InputError, match="http"):
        fetch(file, tmp_path / "set", progress=_quiet, mirror="ftp://somewhere")


def test_an_archive_is_unpacked_and_removed(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        entry = tarfile.TarInfo("cards/card.csv")
        entry.size = 5
        archive.addfile(entry, io.BytesIO(b"a,b\n1"))
    with publisher(packed.getvalue()) as server:
        path = fetch(server.file(name="cards.tgz", member="cards/card.csv"), tmp_path / "set", progress=_quiet)
        assert path.read_bytes() == b"a,b\n1"
        assert _left(tmp_path / "set") == ["card.csv"]
        with pytest.raises(CheckFailedError, match="does not hold"):
            fetch(server.file(name="cards.tgz", member="other.csv"), tmp_path / "other", progress=_quiet)


def test_two_downloads_of_one_file_do_not_mix(tmp_path: Path) -> None:
    with publisher(CONTENT) as server:
        folder = tmp_path / "set"

        def second(done: int, _total: int) -> None:
            if done == len(CONTENT):
                with pytest.raises(InputError, match="another process"):
                    fetch(server.file(), folder, progress=_quiet)

        assert fetch(server.file(), folder, progress=second).read_bytes() == CONTENT


_LIMITED = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
from harness.datasets.catalogue import DataFile, Download
from harness.datasets.download import fetch
from harness.errors import LparbenchError
file = DataFile("file.bin", sys.argv[4], download=Download(sys.argv[1], sys.argv[4], int(sys.argv[5])))
try:
    print(fetch(file, Path(sys.argv[2]), progress=lambda done, total: None))
except LparbenchError as error:
    print(error.exit_code.name, error)
"""


def _fetch_in_a_process(server: Publisher, folder: Path, limit: int) -> subprocess.CompletedProcess[str]:
    pinned = server.file().download
    assert pinned is not None
    arguments = [server.url(), str(folder), str(limit), pinned.sha256, str(pinned.size)]
    return subprocess.run(
        [sys.executable, "-c", _LIMITED, *arguments], capture_output=True, text=True, timeout=480, check=False
    )


def test_a_full_disk_is_one_error_and_what_fitted_is_kept(tmp_path: Path) -> None:
    # A limit on the size of files stands for a full disk: the kernel answers EFBIG in the same place as ENOSPC.
    with publisher(CONTENT) as server:
        outcome = _fetch_in_a_process(server, tmp_path / "set", 150_000)
        assert outcome.stdout.startswith("TOOL_FAILED No room for"), outcome.stderr
        assert "150,000 bytes that fitted are kept" in outcome.stdout
        before = len(server.asked)
        assert fetch(server.file(), tmp_path / "set", progress=_quiet).read_bytes() == CONTENT
        assert server.asked[before]["Range"] == "bytes=150000-"


def _tmpfs(directory: Path, size: str) -> bool:
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)], capture_output=True, check=False
    )
    return mounted.returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_really_full_file_system(tmp_path: Path) -> None:
    small = tmp_path / "small"
    if not _tmpfs(small, "128k"):
        pytest.skip("mounting is not permitted here")
    try:
        with publisher(CONTENT) as server, pytest.raises(LparbenchError, match="No room for") as raised:
            fetch(server.file(), small / "set", progress=_quiet)
        assert "are kept" in str(raised.value)
        source = tmp_path / "mine.bin"
        source.write_bytes(CONTENT)
        with pytest.raises(LparbenchError, match="Nothing was left behind"):
            download.put(source, small / "other" / "mine.bin")
        assert _left(small / "other") == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def _leave_part(server: Publisher, folder: Path, size: int) -> None:
    """What a process leaves that was interrupted by Ctrl-C after ``size`` bytes."""
    pinned = server.file().download
    assert pinned is not None
    server.hold = threading.Event()
    server.cut_after = size
    server.sent.clear()
    arguments = [server.url(), str(folder), str(1 << 40), pinned.sha256, str(pinned.size)]
    process = subprocess.Popen([sys.executable, "-c", _LIMITED, *arguments], stderr=subprocess.PIPE)
    try:
        assert server.sent.wait(30)
        part = folder / "file.bin.part"
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not (part.exists() and part.stat().st_size == size):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, trace = process.communicate(timeout=480)
    finally:
        process.kill()
    server.hold.set()
    server.hold = None
    assert b"KeyboardInterrupt" in trace
    assert part.stat().st_size == size
