"""Every broken file gives one clear error that names the file, the line, and what was expected there."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.datasets import csvfile
from harness.datasets.base import load
from harness.datasets.encoded import EncodedDataset
from harness.errors import InputError

_NORMAL = "0,tcp,http,SF," + ",".join(["0"] * 37) + ",normal,20"
_ATTACK = "0,udp,private,S0," + ",".join(["1.00"] * 37) + ",neptune,21"
_LINES = [_NORMAL, _ATTACK] * 20


def _text(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _replaced(line: int, content: str) -> bytes:
    return _text([*_LINES[: line - 1], content, *_LINES[line:]])


def _load(directory: Path, train: bytes, name: str = "KDDTrain+.txt") -> EncodedDataset:
    folder = directory / "nsl-kdd"
    folder.mkdir()
    (folder / name).write_bytes(train)
    (folder / "KDDTest+.txt").write_bytes(_text(_LINES))
    return load("nsl-kdd", directory=directory, synthetic="never")


def test_a_right_schema_with_another_digest_loads_and_says_so(tmp_path: Path) -> None:
    data = _load(tmp_path, _text(_LINES))
    assert data.verified is False
    assert data.origin == "real"
    assert any("not the published files" in note for note in data.notes)
    assert data.rows == {"train": 32, "validation": 8, "test": 40}


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_truncated_compressed_file(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    suffix = ".gz" if pack is gzip.compress else ".xz"
    packed = pack(_text(_LINES * 100))
    with pytest.raises(InputError, match=rf"KDDTrain\+\.txt\{suffix} is (truncated|damaged)"):
        _load(tmp_path, packed[: len(packed) // 2], f"KDDTrain+.txt{suffix}")


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_damaged_compressed_file(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    suffix = ".gz" if pack is gzip.compress else ".xz"
    packed = bytearray(pack(_text(_LINES * 100)))
    packed[len(packed) // 2] ^= 0xFF
    with pytest.raises(InputError, match=r"is (damaged|truncated)"):
        _load(tmp_path, bytes(packed), f"KDDTrain+.txt{suffix}")


@pytest.mark.parametrize(
    ("content", "name", "told"),
    [
        pytest.param(b"", "KDDTrain+.txt", r"KDDTrain\+\.txt is empty", id="empty"),
        pytest.param(b"", "KDDTrain+.txt.xz", r"is empty", id="empty-compressed"),
        pytest.param(gzip.compress(b""), "KDDTrain+.txt.gz", r"is empty", id="compressed-nothing"),
        pytest.param(_text(_LINES), "KDDTrain+.txt.xz", r"is not xz-compressed", id="not-compressed"),
        pytest.param(b"\x7fELF\0\0\0" * 100, "KDDTrain+.txt", r"is binary", id="binary"),
        pytest.param(b"caf\xe9," + _text(_LINES)[5:], "KDDTrain+.txt", r"line 1: utf-8 text expected", id="encoding"),
        pytest.param(
            _replaced(7, _NORMAL.rsplit(",", 1)[0]), "KDDTrain+.txt", r"line 7: 43 .* 42 found", id="short-line"
        ),
        pytest.param(_replaced(9, _NORMAL + ",1"), "KDDTrain+.txt", r"line 9: 43 .* 44 found", id="long-line"),
        pytest.param(_replaced(1, _NORMAL + ",1"), "KDDTrain+.txt", r"line 1: 43 .* 44 found", id="long-first-line"),
        pytest.param(_text(_LINES)[:-60], "KDDTrain+.txt", r"line 40: 43 .* found", id="truncated-plain"),
        pytest.param(
            _replaced(5, _NORMAL.replace("0,tcp", "zero,tcp")), "KDDTrain+.txt",
            r"line 5: column 'duration' takes a number, not 'zero'", id="no-number",
        ),
        pytest.param(
            _replaced(5, _NORMAL.replace("0,tcp", ",tcp")), "KDDTrain+.txt",
            r"line 5: column 'duration' takes a number, not ''", id="missing-number",
        ),
        pytest.param(
            _text([line.rsplit(",", 1)[0] + "." for line in _LINES]), "KDDTrain+.txt",
            r"line 1: 43 .* 42 found", id="kdd-cup-99-instead",
        ),
        pytest.param(
            _replaced(3, _NORMAL.replace("normal", "no-such-attack")), "KDDTrain+.txt",
            r"'no-such-attack', which is no attack type", id="unknown-label",
        ),
        pytest.param(
            b"<!DOCTYPE html>\n<html><body>Not found</body></html>\n", "KDDTrain+.txt",
            r"line 1: 43 .* 1 found: '<!DOCTYPE html>'", id="error-page",
        ),
    ],
)  # fmt: skip
def test_broken_content(tmp_path: Path, content: bytes, name: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as raised:
        _load(tmp_path, content, name)
    assert "KDDTrain+" in str(raised.value)


def test_an_unreadable_file(tmp_path: Path) -> None:
    folder = tmp_path / "nsl-kdd"
    folder.mkdir()
    (folder / "KDDTrain+.txt").symlink_to("/proc/self/mem")
    (folder / "KDDTest+.txt").write_bytes(_text(_LINES))
    with pytest.raises(InputError, match="cannot be read"):
        load("nsl-kdd", directory=tmp_path, synthetic="never")


def test_the_line_number_is_right_beyond_the_first_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csvfile, "_BLOCK_BYTES", 500)
    with pytest.raises(InputError, match=r"line 33: column 'duration'"):
        _load(tmp_path, _replaced(33, _NORMAL.replace("0,tcp", "x,tcp")))


def test_headers_lose_byte_order_mark_and_blanks_and_repeats_are_numbered(tmp_path: Path) -> None:
    path = tmp_path / "h.csv"
    path.write_bytes(b"\xef\xbb\xbfid, Fwd Header Length, Fwd Header Length,Label\r\n1,2,3,x\r\n")
    names = ("id", "Fwd Header Length", "Fwd Header Length.1", "Label")
    assert csvfile.header(path) == names
    assert csvfile.header(path, text="latin-1") == names
    with pytest.raises(InputError, match=r"line 1: 1 of 2 expected columns missing: 'dur'"):
        csvfile.require_columns(path, names, ("id", "dur"))
