"""Plan and journal of a sweep: a random order that can be repeated; what is noted survives, what is torn goes."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import records
from support.sweeps import plan_of

from harness.errors import InputError, LparbenchError
from harness.placement.smt import SmtMethod
from harness.sweeps.design import PLAN_FILE, read_plan, slots_of, write_plan
from harness.sweeps.journal import JOURNAL_FILE, open_journal, read_journal
from harness.sweeps.settings import Place, Setting

settings_lists = st.lists(
    st.builds(
        Setting,
        workload=st.sampled_from(["a", "b"]),
        backend=st.sampled_from(["eager", "native"]),
        dtype=st.just("float32"),
        batch=st.integers(1, 4096),
        place=st.builds(Place, st.sampled_from([None, 0, 8]), st.sampled_from([None, 1])),
        smt=st.sampled_from([1, 2, 4, 8]),
        threads_per_core=st.just(1),
        cores=st.integers(1, 4),
        instances=st.just(1),
    ),
    min_size=1,
    max_size=12,
    unique=True,
).map(tuple)


@given(chosen=settings_lists, blocks=st.integers(1, 8), seed=st.integers(0, 2**31))
def test_each_block_holds_each_setting_once_and_switches_smt_once_per_level(chosen, blocks: int, seed: int) -> None:
    slots = slots_of(chosen, blocks=blocks, seed=seed)
    assert slots == slots_of(chosen, blocks=blocks, seed=seed)
    assert len({slot.name for slot in slots}) == len(slots) == blocks * len(chosen)
    for block in range(blocks):
        own = [slot.cell for slot in slots if slot.block == block]
        assert sorted(own) == list(range(len(chosen)))
        levels = [chosen[cell].smt for cell in own]
        changes = sum(a != b for a, b in pairwise(levels))
        assert changes == len(set(levels)) - 1
    assert [slot.block for slot in slots] == sorted(slot.block for slot in slots)


def test_blocks_and_seeds_have_orders_of_their_own() -> None:
    chosen = tuple(Setting("w", "eager", "float32", n, Place(0), 1, 1, 1, 1) for n in range(1, 9))
    slots = slots_of(chosen, blocks=20, seed=1)
    orders = {tuple(slot.cell for slot in slots if slot.block == block) for block in range(20)}
    assert len(orders) == 20
    firsts = {next(slot.cell for slot in slots if slot.block == block) for block in range(20)}
    assert len(firsts) > 4  # no setting always goes first
    assert slots != slots_of(chosen, blocks=20, seed=2)


@settings(max_examples=25, deadline=None)
@given(chosen=settings_lists, method=st.sampled_from(list(SmtMethod)))
def test_a_plan_comes_back_from_its_file(tmp_path_factory: pytest.TempPathFactory, chosen, method: SmtMethod) -> None:
    directory = tmp_path_factory.mktemp("sweep")
    plan = plan_of(chosen, records.facts(), method=method, skipped={"why": 3})
    write_plan(plan, directory)
    assert read_plan(directory) == plan


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"format": 1', '"format": 2'),
        ('"slots"', '"slotz"'),
        ('"switched"', '"otherwise"'),
        ('"place": {', '"place": 3, "plaice": {'),
        ('"seed": 1,', ""),
        ("{", "", ),
    ],
)  # fmt: skip
def test_a_damaged_plan_is_told_by_its_name(tmp_path: Path, old: str, new: str) -> None:
    chosen = (Setting("w", "eager", "float32", 64, Place(0), 1, 1, 1, 1),)
    write_plan(plan_of(chosen, records.facts()), tmp_path)
    file = tmp_path / PLAN_FILE
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=r"plan\.json: not the plan of a sweep"):
        read_plan(tmp_path)


def test_a_plan_whose_slots_are_not_those_of_its_settings_is_refused(tmp_path: Path) -> None:
    chosen = (Setting("w", "eager", "float32", 64, Place(0), 1, 1, 1, 1),)
    write_plan(plan_of(chosen, records.facts(), blocks=2), tmp_path)
    file = tmp_path / PLAN_FILE
    whole = json.loads(file.read_text())
    for slots in ([[0, 0], [0, 0]], [[0, 1]], [[0, -1]]):
        file.write_text(json.dumps({**whole, "slots": slots}))
        with pytest.raises(InputError, match="slots do not fit"):
            read_plan(tmp_path)


def test_there_must_be_a_plan(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_plan(tmp_path)
    (tmp_path / PLAN_FILE).mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        read_plan(tmp_path)


def slot(name: str) -> dict:
    return {"kind": "slot", "slot": name, "block": 0, "cell": 0, "failure": None}


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


@pytest.mark.parametrize("line", ["nonsense", '{"slot": "0-0"}', "[1]", '{"kind": "slot", "slot": "0-0"}'])
def test_a_damaged_or_repeated_line_in_the_middle_is_told_by_its_number(tmp_path: Path, line: str) -> None:
    (tmp_path / JOURNAL_FILE).write_text(f"{json.dumps(slot('0-0'))}\n{line}\n{json.dumps(slot('0-1'))}\n")
    with pytest.raises(InputError, match=r"journal\.jsonl: line 2 is damaged"):
        read_journal(tmp_path)


def test_the_journal_knows_what_is_done_and_keeps_odd_names(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.note({"kind": "fit", "workload": "caf\udce9"})
        journal.note(slot("0-0"))
        assert journal.done() == {"0-0"}
        assert journal.of_kind("fit") == [{"kind": "fit", "workload": "caf\udce9"}]
        with pytest.raises(ValueError, match="JSON"):
            journal.note({"kind": "slot", "slot": "0-1", "rate": float("nan")})
    assert len(read_journal(tmp_path)) == 2


def test_one_process_at_a_time_works_on_a_sweep(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from harness.sweeps.journal import open_journal\n"
        "with open_journal(Path(sys.argv[1])): pass"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with open_journal(tmp_path):
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    assert "another lparbench is at work" in done.stderr
    with pytest.raises(InputError, match="no such file"):
        read_journal(tmp_path / "elsewhere")


def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with open_journal(tmp_path) as journal:
        journal.note(slot("0-0"))
        monkeypatch.setattr("os.fsync", refuse)
        with pytest.raises(LparbenchError, match="No space left"):
            journal.note(slot("0-1"))
        assert journal.done() == {"0-0"}
