"""What an output option names is written into and never destroyed, by every command that has one."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from support.bundles import saved
from support.commands import exit_code
from support.records import run

from harness.compare.compare import compare
from harness.compare.observations import side_of
from harness.errors import ExitCode, InputError, LparbenchError
from harness.record import files, store
from harness.record.journal import JOURNAL_FILE
from harness.record.store import RECORD_NAME, write_run
from harness.reporting import comparison_html
from harness.reporting import stored as stored_pages
from harness.reporting.comparison_html import render_comparison
from harness.runs.design import DESIGN_FILE
from harness.scoring.bundle import open_bundle
from harness.sizing.session import REQUEST_FILE

Command = Callable[[Path], tuple[object, ...]]
START = {
    "report": b"<!doctype html>",
    "export": b"run_id,",
    "compare": b"<!doctype html>",
    "score": b"score,label,level",
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(run(), tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module", autouse=True)
def _pages_rendered_once() -> Iterator[None]:
    """The same record gives the same page, which takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_pages, "page_of", cache(stored_pages.page_of))
        page = render_comparison(compare([side_of(run())] * 2))
        patch.setattr(comparison_html, "render_comparison", lambda _: page)
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("models") / "pca", "pca", {}).directory


@pytest.fixture(params=START)
def command(request: pytest.FixtureRequest, stored: Path, model: Path, tmp_path: Path) -> tuple[str, Command]:
    """A command with an output, given the path of that."""
    rows = tmp_path / "rows.csv"
    if request.param == "score":
        rows.write_text(",".join(["0"] * len(open_bundle(model).manifest.features)) + "\n")
    commands: dict[str, Command] = {
        "report": lambda path: ("report", stored, "-o", path),
        "export": lambda path: ("export", stored, "-o", path),
        "compare": lambda path: ("compare", stored, stored, "--html", path),
        "score": lambda path: ("score", model, rows, "--encoded", "-o", path),
    }
    return request.param, commands[request.param]


def test_a_link_is_followed_and_its_target_keeps_its_mode(command: tuple[str, Command], tmp_path: Path) -> None:
    name, arguments = command
    target, link, chain = tmp_path / "target", tmp_path / "link", tmp_path / "chain"
    target.write_bytes(b"old")
    target.chmod(0o600)
    link.symlink_to(target.name)
    chain.symlink_to(link)
    assert exit_code(*arguments(chain)) in (ExitCode.GOOD, ExitCode.INCONCLUSIVE)
    assert chain.is_symlink()
    assert link.is_symlink()
    assert target.read_bytes().startswith(START[name])
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_pipe_gets_the_content(command: tuple[str, Command], tmp_path: Path) -> None:
    name, arguments = command
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with (tmp_path / "copy").open("wb") as copy, subprocess.Popen(["cat", pipe], stdout=copy) as reader:
        code = exit_code(*arguments(pipe))
        reader.wait(60)
    content = (tmp_path / "copy").read_bytes()
    assert code in (ExitCode.GOOD, ExitCode.INCONCLUSIVE)
    assert content.startswith(START[name])
    assert pipe.is_fifo()


def test_a_dash_is_standard_output_and_holds_nothing_else(
    command: tuple[str, Command],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    name, arguments = command
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert exit_code(*arguments(Path("-"))) in (ExitCode.GOOD, ExitCode.INCONCLUSIVE)
    content = capsysbinary.readouterr().out
    assert content.startswith(START[name])
    assert content.rstrip().endswith(b"</html>" if START[name].startswith(b"<") else content.split(b"\n")[-2])
    assert sorted(tmp_path.iterdir()) == before


def test_what_cannot_be_written_is_one_line_and_leaves_nothing(
    command: tuple[str, Command], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, arguments = command
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.rglob("*"))
    for path in (
        tmp_path / "file" / "x",
        tmp_path / ("n" * 256),
        tmp_path / "new" / ("n" * 256),
        tmp_path,
        tmp_path / "loop",
    ):
        assert exit_code(*arguments(path)) == ExitCode.USAGE
        stderr = capsys.readouterr().err
        assert "cannot be written" in stderr
        assert len(stderr.splitlines()) == 2
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "file").read_bytes() == b"old"


def test_what_was_read_is_not_overwritten(stored: Path, model: Path, tmp_path: Path) -> None:
    record = stored / RECORD_NAME
    content = record.read_bytes()
    link = tmp_path / "link"
    link.symlink_to(record)
    rows = tmp_path / "rows.csv"
    rows.write_text("1\n")
    for path in (record, link):
        assert exit_code("report", stored, "-o", path) == ExitCode.USAGE
        assert exit_code("export", record, "-o", path) == ExitCode.USAGE
        assert exit_code("compare", stored, stored, "--html", path) == ExitCode.USAGE
        assert exit_code("history", stored.parent, "--html", path) == ExitCode.USAGE
    weights = model / "SHA256SUMS"
    sums = weights.read_bytes()
    for path in (rows, weights):
        assert exit_code("score", model, rows, "--encoded", "-o", path) == ExitCode.USAGE
    assert weights.read_bytes() == sums
    assert record.read_bytes() == content
    assert rows.read_text() == "1\n"


@pytest.mark.parametrize("name", [*store.KINDS, JOURNAL_FILE, DESIGN_FILE, REQUEST_FILE])
def test_no_record_of_a_directory_that_was_read_is_overwritten(name: str, tmp_path: Path) -> None:
    kept = tmp_path / "directory" / name
    kept.parent.mkdir()
    kept.write_bytes(b"kept")
    for source in (kept.parent, tmp_path, kept, tmp_path / "directory" / f"{name}#record"):
        with pytest.raises(InputError, match="would be lost"):
            files.write_output(kept, b"page", inputs=[source])
    assert kept.read_bytes() == b"kept"
    for free in (kept.parent / "report.html", tmp_path / name):  # a page, and what is elsewhere
        files.write_output(free, b"page", inputs=[kept.parent])
        assert free.read_bytes() == b"page"


def test_json_and_a_page_do_not_share_standard_output(stored: Path) -> None:
    assert exit_code("report", stored, "-o", "-", "--json") == ExitCode.USAGE
    assert exit_code("compare", stored, stored, "--html", "-", "--json") == ExitCode.USAGE


def test_a_name_of_standard_output_appends_where_the_shell_appends(stored: Path, tmp_path: Path) -> None:
    """/dev/stdout is a link to a link to the log; it is written through, and both stay."""
    log, link = tmp_path / "log", tmp_path / "stdout"
    log.write_bytes(b"before\n")
    link.symlink_to("/proc/self/fd/1")
    with log.open("ab") as sink:
        command = [sys.executable, "-m", "harness", "export", str(stored), "-o", str(link)]
        subprocess.run(command, stdout=sink, check=True, timeout=60)
    assert log.read_bytes().startswith(b"before\nrun_id,")
    assert str(link.readlink()) == "/proc/self/fd/1"


def test_another_name_of_a_file_keeps_to_it(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"old content")
    os.link(first, second)
    files.write_file(second, b"new")
    assert first.read_bytes() == b"new"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices and gives files away")
def test_devices_stay_and_owners_too(command: tuple[str, Command], tmp_path: Path) -> None:
    _, arguments = command
    null, full, given = tmp_path / "null", tmp_path / "full", tmp_path / "given"
    os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))  # nodes of the test's own, never the machine's
    os.mknod(full, 0o666 | stat.S_IFCHR, os.makedev(1, 7))
    given.write_bytes(b"old")
    os.chown(given, 12345, 23456)
    assert exit_code(*arguments(null)) in (ExitCode.GOOD, ExitCode.INCONCLUSIVE)
    assert exit_code(*arguments(full)) == ExitCode.TOOL_FAILED
    assert exit_code(*arguments(given)) in (ExitCode.GOOD, ExitCode.INCONCLUSIVE)
    assert all(stat.S_ISCHR(node.stat().st_mode) for node in (null, full))
    assert (given.stat().st_uid, given.stat().st_gid) == (12345, 23456)


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, LparbenchError), (errno.EROFS, InputError)])
def test_clean_up_that_fails_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[LparbenchError]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    path = tmp_path / "new" / "page.html"
    monkeypatch.setattr(os, "fsync", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(LparbenchError, match=os.strerror(number)) as refused:
        files.write_file(path, b"page")
    assert type(refused.value) is kind
    assert str(path) in refused.value.message


def test_a_failure_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_bytes(b"old")

    def score() -> None:
        with files.whole_output(path) as sink:
            sink.write(b"half")
            raise InputError("row 3 is broken")

    with pytest.raises(InputError, match="row 3"):
        score()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_could_not_be_written_later_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.html"
    page.write_bytes(b"old")
    before = sorted(tmp_path.rglob("*"))
    files.check_output(tmp_path / "new" / "folder" / "page.html")
    files.check_output(page)
    for path in (tmp_path, page / "x", tmp_path / "new" / ("n" * 256)):
        with pytest.raises(InputError, match="cannot be written"):
            files.check_output(path)
    with pytest.raises(InputError, match="was read"):
        files.check_output(page, inputs=[page])

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(LparbenchError, match="No space left") as refused:
        files.check_output(tmp_path / "new" / "page.html")
    assert refused.value.exit_code is ExitCode.TOOL_FAILED
    assert sorted(tmp_path.rglob("*")) == before
    assert page.read_bytes() == b"old"
