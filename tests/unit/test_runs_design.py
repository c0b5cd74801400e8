"""Design and journal of a run or sweep: both come back from their files; what is noted survives, what is torn goes."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import records
from support.sweeps import PLACEMENT, design_of, fit_outcome, result_of, setting

from harness.errors import InputError, LparbenchError
from harness.placement.smt import SmtMethod
from harness.record.journal import JOURNAL_FILE
from harness.record.spec import RunSpec
from harness.runs.design import DESIGN_FILE, design_to_resume, read_design, workloads_of, write_design
from harness.runs.engine import measured
from harness.runs.journal import FitEntry, Measurement, open_journal, read_journal
from harness.runs.run import _clear_abandoned, resume
from harness.runs.schedule import Slot
from harness.workers.outcomes import JobResult

configuration_lists = st.lists(
    st.builds(
        setting,
        workload=st.sampled_from(["a", "b"]),
        backend=st.sampled_from(["eager", "native"]),
        batch_sizes=st.tuples(st.integers(1, 4096)),
        node=st.sampled_from([None, 0, 8]),
        memory_node=st.sampled_from([None, 1]),
        smt=st.sampled_from([1, 2, 4, 8]),
        cores=st.integers(1, 4),
    ),
    min_size=1,
    max_size=12,
    unique=True,
).map(tuple)


@settings(max_examples=25, deadline=None)
@given(chosen=configuration_lists, method=st.sampled_from(list(SmtMethod)))
def test_a_design_comes_back_from_its_file(tmp_path_factory: pytest.TempPathFactory, chosen, method: SmtMethod) -> None:
    directory = tmp_path_factory.mktemp("sweep")
    design = design_of(chosen, records.facts(), method=method, skipped={"why": 3})
    write_design(design, directory)
    assert read_design(directory) == design


def test_a_sweep_has_each_configuration_once_per_block() -> None:
    design = design_of(tuple(setting(cores=n) for n in range(1, 5)), records.facts(), blocks=3)
    slots = list(design.slots())
    assert len({slot.name for slot in slots}) == len(slots) == 12
    assert [slot.block for slot in slots] == sorted(slot.block for slot in slots)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"format": 2', '"format": 1'),
        ('"configurations"', '"configurationz"'),
        ('"switched"', '"otherwise"'),
        ('"threads_per_core": 8', '"threads_per_core": "8"'),
        ('"identity": "20260801T120000Z-sweep-3f2a1b",', ""),
        ("{", ""),
    ],
)
def test_a_damaged_design_is_refused_by_its_name(tmp_path: Path, old: str, new: str) -> None:
    write_design(design_of((setting(),), records.facts()), tmp_path)
    file = tmp_path / DESIGN_FILE
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=r"design\.json"):
        read_design(tmp_path)


def test_there_must_be_a_design(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_design(tmp_path)
    (tmp_path / DESIGN_FILE).mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        read_design(tmp_path)


def test_a_typo_in_a_workload_is_an_error_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        'name = "mine"\ntitle = "Mine"\ndetector = "mlp"\ndataset = "nsl-kdd"\n[hyperparameters]\nhiden = [3]\n'
    )
    with pytest.raises(InputError, match=r"mine\.toml: .*hiden"):
        workloads_of(RunSpec((str(file),)))
    with pytest.raises(InputError, match="named twice"):
        workloads_of(RunSpec(("nsl-kdd-mlp", "nsl-kdd-mlp")))
    with pytest.raises(InputError, match="label: options of the file that --dataset"):
        workloads_of(RunSpec(("nsl-kdd-mlp",), label="x"))


def slot(name: str) -> Measurement:
    block, _, index = name.partition("-")
    entry = measured(Slot(int(block), 0, int(index), ("offline",), 7), (), JobResult((), "hung", 1, 2.0))
    return replace(entry, at="2026-11-29T05:14:04Z")  # two made in different seconds are equal


@given(cut=st.integers(0, 200))
def test_a_torn_last_line_is_cut_off_and_nothing_else(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    directory = tmp_path_factory.mktemp("sweep")
    entries = [slot(f"0-{n}") for n in range(3)]
    with open_journal(directory) as journal:
        for entry in entries:
            journal.note(entry)
    file = directory / JOURNAL_FILE
    whole = file.read_bytes()
    cut = min(cut, len(whole))
    file.write_bytes(whole[:cut])
    kept = whole[:cut].count(b"\n")
    assert read_journal(directory) == entries[:kept]
    with open_journal(directory) as journal:
        assert journal.entries == entries[:kept]
        journal.note(slot("1-0"))
    assert read_journal(directory) == [*entries[:kept], slot("1-0")]


def journal_of(directory: Path, *names: str) -> list[str]:
    """The lines of a journal of these slots."""
    with open_journal(directory) as journal:
        for name in names:
            journal.note(slot(name))
    return (directory / JOURNAL_FILE).read_text().splitlines()


def test_a_journal_that_is_no_file_is_neither_waited_for_nor_called_a_defect(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / JOURNAL_FILE)
    for reading in (lambda: open_journal(tmp_path).__enter__(), lambda: read_journal(tmp_path)):
        with pytest.raises(InputError, match="it is no file"):
            reading()


@pytest.mark.parametrize("middle", ["nonsense", '{"entry": {"slot": "0-0"}}', "[1]", "", "the first again"])
def test_a_damaged_or_repeated_line_in_the_middle_is_named_by_its_number(tmp_path: Path, middle: str) -> None:
    first, last = journal_of(tmp_path, "0-0", "0-1")
    middle = first if middle == "the first again" else middle
    (tmp_path / JOURNAL_FILE).write_text(f"{first}\n{middle}\n{last}\n")
    with pytest.raises(InputError, match=r"journal\.jsonl: line 2 is damaged"):
        read_journal(tmp_path)


EDITS = {
    "a figure": lambda lines: [lines[0], lines[1].replace('"wall_s": 2.0', '"wall_s": 20.0'), lines[2]],
    "a line gone": lambda lines: [lines[0], lines[2]],
    "lines in another order": lambda lines: [lines[0], lines[2], lines[1]],
    "a line without its link": lambda lines: [lines[0], lines[1].partition(', "link"')[0] + "}", lines[2]],
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_journal_that_was_edited_is_refused(tmp_path: Path, edit: str) -> None:
    lines = journal_of(tmp_path, "0-0", "0-1", "0-2")
    edited = EDITS[edit](lines)
    assert edited != lines
    (tmp_path / JOURNAL_FILE).write_text("".join(f"{line}\n" for line in edited))
    with pytest.raises(InputError, match=r"journal\.jsonl: line 2 is damaged"):
        read_journal(tmp_path)
    with pytest.raises(InputError, match=r"line 2 is damaged"), open_journal(tmp_path):
        pass


def test_a_design_that_was_edited_is_refused_with_its_journal(tmp_path: Path) -> None:
    write_design(design_of((setting(),), records.facts()), tmp_path)
    journal_of(tmp_path, "0-0")
    assert len(read_journal(tmp_path)) == 1
    file = tmp_path / DESIGN_FILE
    file.write_text(file.read_text().replace('"threads_per_core": 8', '"threads_per_core": 4', 1))
    read_design(tmp_path)
    with pytest.raises(InputError, match=r"line 1 is damaged: it, a line before it, or design\.json"):
        read_journal(tmp_path)


def test_names_and_fits_of_a_design_lead_nowhere_else(tmp_path: Path) -> None:
    name = setting().workload
    write_design(design_of((setting(),), records.facts()), tmp_path)
    file = tmp_path / DESIGN_FILE
    whole = file.read_text()
    for old, new in (('"20260801T120000Z-sweep-3f2a1b"', '"../../x"'), (f'"name": "{name}"', '"name": "../x"'),
                     (f'"workload": "{name}"', '"workload": "../../x"')):  # fmt: skip
        assert old in whole
        file.write_text(whole.replace(old, new, 1))
        with pytest.raises(InputError, match=r"design\.json"):
            read_design(tmp_path)
    file.write_text(whole)
    fit = tmp_path / "fits" / "nsl-kdd-mlp-clean"
    fit.mkdir(parents=True)
    (fit / "detector.json").write_text('{"detector": "os:system", "parameters": {"command": "touch ran"}}')
    with pytest.raises(InputError, match=r"detector 'os:system' is none of design\.json"):
        design_to_resume(tmp_path)


def test_the_journal_knows_what_is_done_and_keeps_odd_names_and_whole_outcomes(tmp_path: Path) -> None:
    fit = FitEntry("caf\udce9", "clean", result_of(fit_outcome(), PLACEMENT))
    with open_journal(tmp_path) as journal:
        journal.note(fit)
        journal.note(slot("0-0"))
        assert journal.done() == {"0-0"}
        assert journal.of(FitEntry) == [fit]
        with pytest.raises(ValueError, match="finite"):
            journal.note(replace(slot("0-1"), result=JobResult((), "hung", 1, float("nan"))))
    assert read_journal(tmp_path) == [fit, slot("0-0")]


def test_one_process_at_a_time_works_in_a_directory(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from harness.runs.journal import open_journal\n"
        "with open_journal(Path(sys.argv[1])): pass"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with open_journal(tmp_path):
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    assert "another lparbench is at work" in done.stderr
    with pytest.raises(InputError, match="no such file"):
        read_journal(tmp_path / "elsewhere")


def test_a_full_disk_is_reported_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with open_journal(tmp_path) as journal:
        journal.note(slot("0-0"))
        monkeypatch.setattr("os.fsync", refuse)
        with pytest.raises(LparbenchError, match="No space left"):
            journal.note(slot("0-1"))
        assert journal.done() == {"0-0"}


def test_what_others_have_next_to_runs_and_in_them_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a folder is called: what a killed run left goes, and nothing else."""
    for name in ("draft", "empty", "killed"):
        (tmp_path / f"{name}.unfinished").mkdir()
    write_design(design_of((), records.facts()), tmp_path / "killed.unfinished")
    for name in ("draft", "killed"):
        (tmp_path / f"{name}.unfinished" / "notes.txt").write_text("mine")
    for folder in tmp_path.iterdir():
        os.utime(folder, (0, 0))
    assert _clear_abandoned(tmp_path)
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert left == [f"{name}.unfinished{file}" for name in ("draft", "killed") for file in ("", "/notes.txt")]
    for folder in (Path(), Path(".."), Path("/")):
        monkeypatch.chdir(tmp_path / "draft.unfinished")
        with pytest.raises(InputError, match=r"design\.json: no such file"):
            resume(folder)
