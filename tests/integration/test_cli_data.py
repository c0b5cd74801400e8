"""``lparbench data`` as a user meets it."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import tarfile
from pathlib import Path
from typing import Any

import pytest
import typer
from support.publisher import publisher
from typer.testing import CliRunner

from harness.cli.data import data_app
from harness.datasets import registry
from harness.datasets.base import load
from harness.datasets.catalogue import DataFile, DatasetSpec, Download, Variant, specs
from harness.errors import CheckFailedError, ExitCode, InputError

_ZEROS = ",".join(["0"] * 37)
TRAIN = f"0,tcp,http,SF,{_ZEROS},normal,20\n0,tcp,http,S0,{_ZEROS},neptune,20\n".encode() * 10
TEST = f"0,udp,http,SF,{_ZEROS},neptune,20\n0,udp,http,SF,{_ZEROS},normal,20\n".encode() * 10


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LPARBENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def _pin(monkeypatch: pytest.MonkeyPatch, files: tuple[DataFile, ...]) -> None:
    """Let ``nsl-kdd`` consist of ``files``."""
    spec = DatasetSpec("nsl-kdd", "made up", "nsl_kdd:RECIPE", (Variant("text", files),), "https://publisher", None)
    monkeypatch.setattr(registry, "specs", lambda: (spec,))
    monkeypatch.setattr("harness.datasets.inventory.specs", lambda: (spec,))


def _file(name: str, content: bytes, **download: Any) -> DataFile:
    sha256 = hashlib.sha256(content).hexdigest()
    return DataFile(name, sha256, download=Download(f"https://publisher/{name}", sha256, len(content), **download))


def _run(*arguments: str) -> Any:
    """Run a command; returns its JSON where it prints some, else its output."""
    result = CliRunner().invoke(data_app, list(arguments))
    if isinstance(result.exception, (InputError, CheckFailedError)):
        raise result.exception
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout) if "--json" in arguments else result.stdout


def test_list_names_every_data_set_and_where_it_is(tmp_path: Path) -> None:
    document = _run("list", "--json")
    assert {entry["name"].split(":")[0] for entry in document["datasets"]} == {
        spec.name for spec in specs() if spec.variants
    }
    by_name = {entry["name"]: entry for entry in document["datasets"]}
    assert by_name["digits"]["here"] is True
    assert by_name["nsl-kdd"]["here"] is False
    assert by_name["nsl-kdd"]["downloadable"] is True
    assert by_name["unsw-nb15"]["downloadable"] is False
    (tmp_path / "data" / "odds").mkdir(parents=True)
    (tmp_path / "data" / "odds" / "thyroid.mat").write_bytes(b"x")
    (tmp_path / "data" / "adbench").mkdir()
    (tmp_path / "data" / "adbench" / "16_http.npz").write_bytes(b"x")
    names = {entry["name"] for entry in _run("list", "--json")["datasets"] if entry["here"]}
    assert names == {"digits", "odds:thyroid", "adbench:http"}
    text = _run("list")
    assert "odds:thyroid" in text
    assert "by hand" in text


def test_list_of_one_shows_its_options_and_what_the_source_document_used() -> None:
    document = _run("list", "nsl-kdd", "--json")
    assert document["options"]["encoding"]["default"] == "onehot-log-minmax"
    assert document["options"]["encoding"]["as_published"] == "ordinal-standard"
    assert document["expected_files"] == ["KDDTrain+.txt", "KDDTest+.txt"]
    text = _run("list", "nsl-kdd")
    assert "unb.ca" in text
    assert "refit" in text
    with pytest.raises(InputError, match="Did you mean 'nsl-kdd'"):
        _run("list", "nsl-kd")


def test_every_pinned_file_says_what_is_needed_to_check_it() -> None:
    for spec in specs():
        for file in spec.files:
            for digest in (file.sha256, *file.genuine, file.download.sha256 if file.download else None):
                assert digest is None or (len(digest) == 64 and int(digest, 16) >= 0)
            if file.download:
                assert file.download.url.startswith("https://")
                assert file.download.size > 0


def test_get_downloads_what_is_missing_and_the_loader_finds_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _pin(monkeypatch, (_file("KDDTrain+.txt", TRAIN), _file("KDDTest+.txt", TRAIN)))
    with publisher(TRAIN) as server:
        mirror = f"http://127.0.0.1:{server.port}"
        document = _run("get", "nsl-kdd", "--mirror", mirror, "--json")
        assert [entry["downloaded"] for entry in document["files"]] == [True, True]
        (tmp_path / "cache" / "lparbench" / "data" / "nsl-kdd" / "KDDTest+.txt").unlink()
        document = _run("get", "nsl-kdd", "--mirror", mirror, "--json")
        assert [entry["downloaded"] for entry in document["files"]] == [False, True]
        assert "already here" in _run("get", "nsl-kdd", "--mirror", mirror)
    assert [check["status"] for check in _run("verify", "nsl-kdd", "--json")["nsl-kdd"]] == ["verified", "verified"]
    assert load("nsl-kdd", synthetic="never").verified is True


def test_get_refuses_another_content(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _pin(monkeypatch, (_file("KDDTrain+.txt", TRAIN), _file("KDDTest+.txt", TRAIN)))
    with publisher(TRAIN[:-1] + b"!") as server, pytest.raises(CheckFailedError, match="sha256") as raised:
        _run("get", "nsl-kdd", "--mirror", f"http://127.0.0.1:{server.port}", "--into", str(tmp_path / "here"))
    assert raised.value.exit_code == ExitCode.REGRESSION
    assert not (tmp_path / "here" / "nsl-kdd").exists()


def test_get_says_where_a_set_is_to_be_had_that_has_no_address() -> None:
    with pytest.raises(InputError, match=r"research\.unsw\.edu\.au"):
        _run("get", "unsw-nb15")
    with pytest.raises(InputError, match="comes with a library"):
        _run("get", "digits")
    with pytest.raises(InputError, match="Unknown data set 'x'"):
        _run("get", "x")


def test_import_knows_a_file_by_its_content_under_any_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _pin(monkeypatch, (_file("KDDTrain+.txt", TRAIN), _file("KDDTest+.txt", TEST)))
    (tmp_path / "a.txt.xz").write_bytes(lzma.compress(TRAIN))
    (tmp_path / "b").write_bytes(TEST)
    document = _run("import", "nsl-kdd", "a.txt.xz", "b", "--json")
    assert [Path(entry["path"]).name for entry in document["files"]] == ["KDDTrain+.txt.xz", "KDDTest+.txt"]
    assert [entry["status"] for entry in document["files"]] == ["verified", "verified"]
    assert load("nsl-kdd", synthetic="never").verified is True


def test_import_refuses_a_known_name_with_other_content_and_strangers(tmp_path: Path) -> None:
    (tmp_path / "KDDTrain+.txt").write_bytes(TRAIN)
    with pytest.raises(CheckFailedError, match=r"KDDTrain\+\.txt is not the published file of nsl-kdd"):
        _run("import", "nsl-kdd", "KDDTrain+.txt")
    (tmp_path / "other.txt").write_bytes(TRAIN)
    with pytest.raises(InputError, match=r"other\.txt is no file of nsl-kdd") as error:
        _run("import", "nsl-kdd", "other.txt")
    assert str(error.value.remedy).count(" KDDTest+.txt") == 1
    with pytest.raises(InputError, match=r"nowhere\.txt cannot be read"):
        _run("import", "nsl-kdd", "nowhere.txt")
    with pytest.raises(InputError, match="read where it lies"):
        _run("import", "csv:x.csv", "other.txt")
    assert not (tmp_path / "cache").exists()


def test_import_takes_files_without_a_known_digest_as_unverified(tmp_path: Path) -> None:
    (tmp_path / "16_http.npz").write_bytes(b"content")
    assert "unverified" in _run("import", "adbench:http", "16_http.npz")
    assert (tmp_path / "cache" / "lparbench" / "data" / "adbench" / "16_http.npz").read_bytes() == b"content"
    assert [check["status"] for check in _run("verify", "--json")["adbench:http"]] == ["unverified"]


def test_import_unpacks_a_published_archive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo("KDDTrain+.txt")
        entry.size = len(TRAIN)
        archive.addfile(entry, io.BytesIO(TRAIN))
    _pin(monkeypatch, (_file("KDDTrain+.txt", buffer.getvalue(), member="KDDTrain+.txt"),))
    (tmp_path / "whole.tgz").write_bytes(buffer.getvalue())
    document = _run("import", "nsl-kdd", "whole.tgz", "--into", "here", "--json")
    assert document["files"][0]["status"] == "verified"
    assert (tmp_path / "here" / "nsl-kdd" / "KDDTrain+.txt").read_bytes() == TRAIN


def test_verify_tells_a_changed_and_an_unreadable_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "data" / "nsl-kdd"
    folder.mkdir(parents=True)
    (folder / "KDDTrain+.txt").write_bytes(TRAIN)
    (folder / "KDDTest+.txt.xz").write_bytes(lzma.compress(TEST)[:-20])
    result = CliRunner().invoke(data_app, ["verify"])
    assert isinstance(result.exception, CheckFailedError)
    assert "2 files are not as published" in str(result.exception)
    assert "nsl-kdd: different" in result.stdout
    assert "nsl-kdd: unreadable" in result.stdout
    assert "truncated" in result.stdout


def test_verify_of_what_is_not_here() -> None:
    with pytest.raises(InputError, match="kddcup99 is not here"):
        _run("verify", "kddcup99")
    assert "No data set is here" in _run("verify")
    assert "comes with a library" in _run("verify", "digits")


def test_every_command_takes_json_and_has_an_example() -> None:
    group = typer.main.get_command(data_app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        assert "Example: `lparbench data" in (command.help or ""), name
        assert any("--json" in parameter.opts for parameter in command.params), name
