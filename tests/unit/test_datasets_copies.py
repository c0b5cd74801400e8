"""Copies as people have them: packed, in archives and sub-folders, with other line ends and encodings, misnamed."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import importlib
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.datasets import packed, registry
from harness.datasets.base import load
from harness.datasets.catalogue import specs
from harness.datasets.inventory import take_in
from harness.datasets.store import content, digest
from harness.errors import InputError
from harness.record.spec import RunSpec
from harness.runs.design import workloads_of

_TEXT = b"a,b\n1,2\n3,4\n"
_NORMAL = "0,tcp,http,SF," + ",".join(["0"] * 37) + ",normal,20\n"
_ATTACK = "0,udp,private,S0," + ",".join(["1.00"] * 37) + ",neptune,21\n"
_ROWS = ((_NORMAL + _ATTACK) * 10).encode()


def _zipped(content: bytes, *names: str) -> bytes:
    import io

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LPARBENCH_DATA", raising=False)


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        pytest.param("t.csv.gz", gzip.compress, id="gz"),
        pytest.param("t.csv.xz", lzma.compress, id="xz"),
        pytest.param("t.csv.bz2", bz2.compress, id="bz2"),
        pytest.param("t.csv.zip", lambda text: _zipped(text, "folder/t.csv"), id="zip"),
        pytest.param("t.csv.zip", lambda text: _zipped(text, "readme", "T.csv", "__MACOSX/._t.csv"), id="zip-of-two"),
        pytest.param("t.csv", gzip.compress, id="gz-without-suffix"),
        pytest.param("t.csv", lambda text: text.replace(b"\n", b"\r\n"), id="crlf"),
        pytest.param("t.csv", lambda text: text.decode().encode("utf-16"), id="utf-16"),
        pytest.param("t.csv", lambda text: b"\xfe\xff" + text.decode().encode("utf-16-be"), id="utf-16-be"),
        pytest.param("t.csv.gz", lambda text: gzip.compress(text.replace(b"\n", b"\r\n")), id="crlf-gz"),
    ],
)
def test_a_copy_has_the_content_and_the_digest_of_the_original(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes]
) -> None:
    text = _TEXT * 20_000  # several blocks, and line ends at their borders
    (tmp_path / name).write_bytes(pack(text))
    assert content(tmp_path / name) == (text, hashlib.sha256(text).hexdigest())


def test_carriage_returns_that_are_no_line_ends_stay(tmp_path: Path) -> None:
    for text in (b"a\rb\n", b"a\r\r\nb\r", b"\r"):
        (tmp_path / "t").write_bytes(text)
        assert content(tmp_path / "t")[0] == text.replace(b"\r\n", b"\n")
    binary = b"\0\1\r\n\2"
    (tmp_path / "t").write_bytes(binary)
    assert digest(tmp_path / "t") == hashlib.sha256(binary).hexdigest()


def test_archives_that_do_not_say_which_file_is_meant_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv.zip").write_bytes(_zipped(_TEXT, "a.csv", "b.csv"))
    with pytest.raises(InputError, match=r"t\.csv\.zip holds 2 files, one expected: a\.csv, b\.csv"):
        content(tmp_path / "t.csv.zip")
    assert content(tmp_path / "t.csv.zip" / "b.csv")[0] == _TEXT
    with pytest.raises(InputError, match=r"holds no c\.csv"):
        content(tmp_path / "t.csv.zip" / "c.csv")
    (tmp_path / "t.csv.zip").write_bytes(_zipped(_TEXT, "a.csv")[:40])
    with pytest.raises(InputError, match=r"t\.csv\.zip is damaged"):
        content(tmp_path / "t.csv.zip")


def test_zstandard_names_the_package_where_there_is_no_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = b"\x28\xb5\x2f\xfd\x04\x58\x61\x00\x00" + _TEXT + b"\0\0\0\0"
    (tmp_path / "t.csv.zst").write_bytes(frame)

    def without(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(packed, "import_module", without)
    with pytest.raises(InputError, match=r"t\.csv\.zst is Zstandard-compressed.*pip install zstandard"):
        content(tmp_path / "t.csv.zst")


def test_zstandard_is_read_where_there_is_a_decoder(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    with pyarrow.CompressedOutputStream(str(tmp_path / "t.csv.zst"), "zstd") as stream:
        stream.write(_TEXT)
    assert content(tmp_path / "t.csv.zst") == (_TEXT, hashlib.sha256(_TEXT).hexdigest())
    assert importlib.import_module("harness.datasets.packed").plain_name(Path("t.csv.zst")) == "t.csv"


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("{}", id="the-folder-itself"),
        pytest.param("NSL_KDD-master/{}", id="a-folder-of-the-mirror"),
        pytest.param("sets/intrusion/nsl/{}", id="three-folders-down"),
    ],
)
@pytest.mark.parametrize("names", [("KDDTrain+.txt", "KDDTest+.txt"), ("kddtrain+.TXT", "KDDTEST+.txt")])
def test_files_are_found_below_the_folder_that_is_given(tmp_path: Path, place: str, names: tuple[str, str]) -> None:
    for name in names:
        path = tmp_path / "given" / place.format(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_ROWS)
    data = load("nsl-kdd", directory=tmp_path / "given", synthetic="never")
    assert (data.origin, data.rows["test"]) == ("real", 20)


def test_a_zip_archive_counts_as_a_folder(tmp_path: Path) -> None:
    (tmp_path / "NSL-KDD.zip").write_bytes(_zipped(_ROWS, "NSL/KDDTrain+.txt", "NSL/KDDTest+.txt", "NSL/index.html"))
    assert load("nsl-kdd", directory=tmp_path, synthetic="never").rows["test"] == 20


def test_any_table_is_only_taken_in_the_folder_of_its_data_set(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_bytes(b"a,Label\n1,benign\n")
    assert registry.find("mawiflow", [tmp_path]) is None
    own = tmp_path / "MAWI-Flow"
    own.mkdir()
    (own / "2011.csv").write_bytes(b"a,Label\n1,benign\n")
    local = registry.find("mawiflow", [tmp_path])
    assert local is not None
    assert [entry.path for entry in local.files] == [own / "2011.csv"]


def test_import_takes_a_copy_with_other_line_ends_for_the_published_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    published = registry.spec("nsl-kdd")
    file = replace(published.files[0], sha256=hashlib.sha256(_ROWS).hexdigest())
    variant = replace(published.variants[0], files=(file,))
    monkeypatch.setattr(registry, "spec", lambda _name: replace(published, variants=(variant,)))
    (tmp_path / "copy.txt").write_bytes(_ROWS.replace(b"\n", b"\r\n"))
    check = take_in("nsl-kdd", tmp_path / "copy.txt", tmp_path / "cache")
    assert (check.status, check.path.name) == ("verified", file.name)


@pytest.mark.parametrize(
    ("asked", "stand_ins"),
    [
        ({}, "when-missing"),
        ({"data_dir": "/data"}, "never"),
        ({"dataset": "odds:thyroid"}, "never"),
        ({"data_dir": "/data", "dataset": "odds:thyroid", "synthetic": True}, "when-missing"),
        ({"dataset": "odds:thyroid", "synthetic": True}, "always"),
        ({"synthetic": True}, "always"),
    ],
)
def test_what_is_asked_for_is_never_replaced_in_silence(asked: dict[str, Any], stand_ins: str) -> None:
    assert RunSpec(("nsl-kdd-pca",), **asked).stand_ins == stand_ins


def test_the_error_says_what_was_looked_for_and_what_is_there(tmp_path: Path) -> None:
    own = tmp_path / "data" / "adbench"
    own.mkdir(parents=True)
    for name in ("16_http.npz", "20news_0.npz"):
        (own / name).write_bytes(b"")
    for asked, meant in (("adbench:htttp", "adbench:http"), ("adbench:20news", "adbench:20news_0")):
        with pytest.raises(InputError, match=r"not found in .*16_http\.npz, 20news_0\.npz") as raised:
            workloads_of(RunSpec(("nsl-kdd-pca",), dataset=asked, data_dir=str(tmp_path)))
        assert f"Did you mean {meant}?" in (raised.value.remedy or "")
    assert registry.find("adbench:0", [tmp_path / "data"]) is None
    family = next(entry for entry in specs() if entry.name == "adbench")
    assert registry.members(family, [tmp_path / "data"]) == ("adbench:20news_0", "adbench:http")


def test_a_file_with_nearly_the_right_name_is_named(tmp_path: Path) -> None:
    (tmp_path / "KDDTran+.txt").write_bytes(_ROWS)
    (tmp_path / "KDDTest+.txt").write_bytes(_ROWS)
    with pytest.raises(InputError, match=r"KDDTrain\+\.txt, KDDTest\+\.txt not found in") as raised:
        registry.require("nsl-kdd", tmp_path)
    assert "KDDTran+.txt" in (raised.value.remedy or "")


def test_a_workbook_in_place_of_a_published_file_is_named(tmp_path: Path) -> None:
    for name in ("KDDTrain+.xlsx", "KDDTest+.txt"):
        (tmp_path / name).write_bytes(_ROWS)
    with pytest.raises(InputError, match="not found in") as raised:
        registry.require("nsl-kdd", tmp_path)
    assert "KDDTrain+.xlsx is a workbook, which is not read" in (raised.value.remedy or "")


def test_a_table_of_ones_own_that_is_not_there_is_guessed_at(tmp_path: Path) -> None:
    (tmp_path / "flows.csv").write_bytes(_TEXT)
    with pytest.raises(InputError, match="is not there") as raised:
        registry.find(f"csv:{tmp_path}/flow.csv", [])
    assert "flows.csv" in (raised.value.remedy or "")
    with pytest.raises(InputError, match="workbook"):
        registry.find(f"csv:{tmp_path}/flows.xlsx", [])
    with pytest.raises(InputError) as raised:
        registry.spec("flows.csv")
    assert "csv:flows.csv" in (raised.value.remedy or "")


def test_the_title_names_the_data_in_use(tmp_path: Path) -> None:
    path = tmp_path / "card.csv"
    path.write_bytes(_TEXT)
    spec = RunSpec(("cicids2017-unseen-knn", "nsl-kdd-mlp"), dataset=f"csv:{path}", label="Class")
    titles = [workload.title for workload in workloads_of(spec)]
    assert all(title.endswith(" on card") for title in titles)
    assert not any("CICIDS" in title or "NSL" in title for title in titles)
