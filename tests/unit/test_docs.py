"""The pages of docs/ are true: commands exist, examples run, links lead somewhere, references are the code's."""

from __future__ import annotations

import lzma
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from harness.cli.main import app
from harness.datasets.catalogue import specs
from harness.datasets.packed import SUFFIXES
from harness.errors import InputError
from harness.record.store import record_text
from harness.workload.files import load_workload

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
PROGRAM: Any = get_command(app)
# What only reads, and takes no file of the reader's.
READS = (["list"], ["list", "nsl-kdd-mlp"], ["probe"], ["smt", "show"], ["data", "list"])


def blocks(page: Path, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def examples() -> Iterator[tuple[str, str]]:
    """Every command line of every page, in running text and in blocks."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = re.findall(r"(?<!`)`(lparbench [^`\n]*)`", text)
        lines += re.findall(r"^(?:\$ |- run: |\s*- )?(lparbench [^\n]*)$", text, flags=re.M)
        yield from ((page.name, line) for line in lines)


def words_of(line: str) -> list[str]:
    """The words after ``lparbench``, without comments, pipes, redirections, ellipses and placeholders for commands."""
    return [word for word in shlex.split(re.split(r"\s[#>|;]\s?", line)[0])[1:] if word not in ("…", "...")]


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    command: Any = PROGRAM
    while hasattr(command, "commands") and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize(("page", "line"), sorted(set(examples())))
def test_every_command_line_is_one(page: str, line: str) -> None:
    words = words_of(line)
    if not words or words[0].isupper():
        return
    command, rest = command_of(words)
    if hasattr(command, "commands"):  # of a group, or of the program itself: --version
        assert not rest or rest[0].startswith("-"), f"{page}: no such command"
    if rest and rest[-1].startswith("--"):  # the page speaks of the option
        assert rest.pop() in [name for each in command.params for name in (*each.opts, *each.secondary_opts)]
    command.make_parser(command.context_class(command, info_name=command.name)).parse_args(rest)


@pytest.mark.parametrize("words", READS, ids=" ".join)
def test_what_only_reads_runs(words: list[str]) -> None:
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, bool(done.output)) == (0, True)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "console")], ids=lambda page: page.name)
def test_an_example_prints_what_the_page_shows(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for table in blocks(page, "csv"):
        Path("scaling.csv").write_text(table, encoding="utf-8")
    for block in blocks(page, "console"):
        first, _, shown = block.partition("\n")
        done = CliRunner().invoke(app, words_of(first.removeprefix("$ ")))
        printed = [line.rstrip() for line in done.output.splitlines()]
        for line in shown.splitlines():
            assert line.rstrip() in printed


def test_the_workload_of_the_page_is_one(tmp_path: Path) -> None:
    (text,) = blocks(ROOT / "docs/start-detector.md", "toml")
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    assert load_workload(str(tmp_path / "mine.toml")).name == "flows-forest"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does: a link or an anchor that leads nowhere is an error."""
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(target)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    return target


def test_the_site_needs_nothing_from_elsewhere(site: Path) -> None:
    for page in site.glob("*.html"):
        fetched = re.findall(
            r"<(?:script|link|img)[^>]*(?:src|href)=\"(https?:[^\"]*)", page.read_text(encoding="utf-8")
        )
        assert fetched == [], page.name


def test_the_references_hold_every_command_and_every_file(site: Path) -> None:
    commands, keys = ((site / name).read_text(encoding="utf-8") for name in ("commands.html", "keys.html"))
    for name in PROGRAM.commands:
        assert f"lparbench {name}" in commands
    records = ("run.json", "sweep.json", "size.json", "load.json", "fleet.json")
    for heading in ("Workload files", "Suite files", *records, "isolation-forest"):
        assert heading in keys
    assert "<td></td>\n<td></td>\n<td></td>" not in keys


def test_every_form_and_folder_of_published_data_is_named() -> None:
    text = (ROOT / "docs/own-data.md").read_text(encoding="utf-8")
    for entry in specs():
        assert [folder for folder in entry.folders if f"`{folder}`" not in text] == []
        first = [variant.files[0].name.replace("{}", "NAME") for variant in entry.variants if variant.files]
        assert [name for name in first if "*" not in name and name not in text] == []
    for ending in SUFFIXES:
        assert f"`{ending}`" in text


def test_the_man_page_is_the_programs() -> None:
    text = subprocess.run(
        [sys.executable, "-c", "import reference; print(reference.man_page(), end='')"],
        cwd=ROOT / "docs", capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    assert (ROOT / "docs/lparbench.1").read_text(encoding="utf-8") == text, "run: python docs/reference.py"


def test_the_page_of_published_figures_is_of_runs_at_full_length_on_real_files() -> None:
    results = runpy.run_path(str(ROOT / "docs/results.py"))
    runs = results["records"]()
    assert runs
    for run in runs:
        assert (run.spec.epochs, run.spec.rows, run.spec.both_protocols) == (None, None, True)
        assert {result.dataset.origin for result in run.results} == {"real"}
        assert not re.search(r"(?<![\w.])/(home|root|tmp|work)/", record_text(run)), "run it in a clone below /opt"
    written = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    assert written == results["page"](runs), "run: python docs/results.py"


def test_the_page_of_published_figures_explains_them_as_the_workloads_do_today() -> None:
    results = runpy.run_path(str(ROOT / "docs/results.py"))
    run = next(run for run in results["records"]() if run.spec.workloads == ("tabformer-xgboost",))
    (first, *_), fitted = run.results, "The trees were grown by hand."
    assert first.accuracy is not None
    assert first.published is not None
    altered = replace(
        first,
        accuracy=replace(first.accuracy, notes=("Five seeds gave 0.5.", fitted)),
        published=replace(first.published, difference="Six gave 0.6."),
    )
    text = results["page"]([replace(run, results=(altered,))])
    assert [sentence in text for sentence in ("Five seeds", "Six gave", fitted)] == [False, False, True]
    assert "windows of seven are cut from the table" in text
    assert "One run there on the first million rows" in text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nsl-kdd-mlp", lzma.compress(bytes(1 << 27)), "cut short, or more than 64 MiB"),
        ("nsl-kdd-mlp", lzma.compress(b"{}")[:-5], "cut short"),
        ("nsl-kdd-mlp", b"no record", "no record: "),
        ("nsl-kdd-mlp", lzma.compress(b"\xff"), "no record: "),
        ("nsl-kdd-mlp", lzma.compress(b"{}"), "not a run record with a digest"),
        ("strange", lzma.compress(b"{}"), "unknown workload 'strange'"),
    ],
)
def test_a_published_record_that_is_damaged_is_named(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.json.xz").write_bytes(content)
    with pytest.raises(InputError, match=message):
        runpy.run_path(str(ROOT / "docs/results.py"))["records"](tmp_path)
