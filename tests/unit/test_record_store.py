"""Records on disk: nothing is lost, nothing broken is accepted, nothing half-written is left."""

from __future__ import annotations

import json
import os
import time
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.records import inference, run, series

from harness.content import content_dir
from harness.errors import InputError, LparbenchError
from harness.record import model, store
from harness.record.codec import DIGEST, NotJsonError, check_digest, dumps, from_json, loads, to_json
from harness.record.store import load_run, write_run


def _document() -> dict[str, Any]:
    return to_json(run())


def _first(document: Any) -> Any:
    return document["results"][0]


def _series(document: Any) -> Any:
    return _first(document)["blocks"][2]["series"][0]


def _saved(tmp_path: Path, document: Any) -> Path:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    directory = write_run(run(), tmp_path, {"report.html": b"<p>"})
    assert directory == tmp_path / run().run_id
    assert sorted(p.name for p in directory.iterdir()) == ["report.html", "run.json"]
    assert load_run(directory) == load_run(directory / "run.json") == run()


def test_the_same_record_gives_the_same_bytes_whatever_the_order_of_its_keys() -> None:
    turned = replace(run(), software=dict(reversed(run().software.items())))
    assert store.record_text(turned) == store.record_text(run())
    assert dumps(loads(store.record_text(run()))) == store.record_text(run())


def test_every_field_of_the_model_is_in_the_schema() -> None:
    definitions = json.loads((content_dir("results") / "schema" / "run-v1.json").read_text())["$defs"]
    models = [value for value in vars(model).values() if is_dataclass(value)]
    assert len(models) == 12
    for cls in models:
        assert {f.name for f in fields(cls)} == set(definitions[cls.__name__]["properties"]) - {DIGEST}, cls.__name__


def test_a_record_of_before_a_field_was_added_is_read(tmp_path: Path) -> None:
    document = _document()
    for block in document["results"][0]["blocks"]:
        del block["details"], block["failure"]
    assert load_run(_saved(tmp_path, document)) == run()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d.pop("results"), "key 'results' is missing"),
        (lambda d: d.update(schema_version=2), "schema_version: expected 1, found 2"),
        (lambda d: d.update(schema_version=True), "schema_version: expected 1, found True"),
        (lambda d: d.update(run_id="../../etc"), "run_id: expected text like"),
        (lambda d: d.update(extra=1), "unknown key 'extra'"),
        (lambda d: _first(d)["validity"].update(verdict="fine"), "results[0].validity.verdict: expected one of"),
        (lambda d: _first(d)["metrics"]["train_seconds"].update(value="12"), "seconds.value: expected number or null"),
        (lambda d: d["results"][1]["metrics"]["rows_per_s"].update(ci_low=None), "an interval has two ends"),
        (lambda d: d["results"][1]["metrics"]["rows_per_s"].update(ci_low=9e9), "is above ci_high"),
        (lambda d: _series(d)["durations_ns"].__setitem__(7, -1), "durations_ns[7]: expected minimum 0"),
        (lambda d: _series(d)["durations_ns"].__setitem__(7, 1.5), "durations_ns[7]: expected integer"),
        (lambda d: _series(d)["durations_ns"].__setitem__(7, True), "durations_ns[7]: expected integer"),
        (lambda d: _series(d)["flags"].pop(), "flags: expected 200, one per sample, found 199"),
        (lambda d: _series(d).update(warmup=201), "warmup: 201 of 200 samples"),
        (lambda d: _first(d)["placement"].update(cpus=["0"]), "placement.cpus[0]: expected integer, found '0'"),
        (lambda d: _first(d).update(published={"metric": "f1"}), "published: key 'value' is missing"),
        (lambda d: d["findings"][0].pop("title"), "findings[0]: key 'title' is missing"),
    ],
)
def test_what_the_schema_forbids_is_named(tmp_path: Path, change: Any, told: str) -> None:
    document = _document()
    change(document)
    with pytest.raises(InputError) as refused:
        load_run(_saved(tmp_path, document))
    assert told in refused.value.message
    assert str(tmp_path) in refused.value.message
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "line 1 column 1"),
        (b'{"schema_version": 1,', "line 1 column"),
        (b"\x7fELF\xff\x00", "is not UTF-8"),
        (b'{"schema_version": NaN}', "NaN is not a finite number"),
        (b'{"schema_version": 1e999}', "1e999 is too large"),
        (b'{"schema_version": 1, "schema_version": 1}', "'schema_version' appears twice"),
        (b"[" * 200_000, "nested too deeply"),
        (b"1" * 5000, "not a run record"),
        (b"[]", "expected a JSON object, found an array"),
        (b"null", "expected a JSON object, found null"),
    ],
)
def test_a_broken_file_gives_one_clear_error(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"run\.json") as refused:
        load_run(path)
    assert told in refused.value.message


def test_a_missing_file_and_a_directory_without_a_record_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(InputError, match="no such file"):
            load_run(path)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_record_cut_or_overwritten_anywhere_is_refused_or_whole(data: st.DataObject, tmp_path_factory: Any) -> None:
    small = store.record_text(run(inference(blocks=()))).encode()
    at = data.draw(st.integers(0, len(small) - 1))
    junk = data.draw(st.binary(max_size=4))
    path = tmp_path_factory.mktemp("cut") / "run.json"
    path.write_bytes(data.draw(st.sampled_from([small[:at], small[:at] + junk + small[at + len(junk) :]])))
    try:
        record = load_run(path)
    except InputError:
        return
    assert from_json(to_json(record)) == record


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_refused_and_nothing_is_left(tmp_path: Path, number: float) -> None:
    record = run(software={"deep": [{"er": number}]})
    with pytest.raises(LparbenchError, match=r"software\.deep\[0\]\.er"):
        write_run(record, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_is_not_utf_8_survives(tmp_path: Path) -> None:
    name = os.fsdecode(b"/data/caf\xe9")
    record = run(tool={**run().tool, "argv": ["lparbench", "run", "--data", name]})
    assert load_run(write_run(record, tmp_path)).tool["argv"][-1] == name


def test_a_run_is_never_written_over(tmp_path: Path) -> None:
    write_run(run(), tmp_path)
    with pytest.raises(LparbenchError, match="is there already"):
        write_run(replace(run(), findings=()), tmp_path)
    assert load_run(tmp_path / run().run_id) == run()


@pytest.mark.parametrize("step", ["_write_synced", "_sync_directory"])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, step, full)
    with pytest.raises(LparbenchError, match="No space left on device"):
        write_run(run(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    store.write_file(path, b"old")
    store.write_file(path, b"new")
    assert path.read_bytes() == b"new"

    def cut(target: Path, content: bytes) -> None:
        target.write_bytes(content[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "_write_synced", cut)
    with pytest.raises(LparbenchError):
        store.write_file(path, b"newer")
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_million_samples_are_written_and_read(tmp_path: Path) -> None:
    long = series(1, samples=1000)
    long = replace(long, durations_ns=long.durations_ns * 1000, flags=long.flags * 1000)
    base = inference()
    record = run(replace(base, blocks=(replace(base.blocks[0], series=(long,)),)))
    began = time.monotonic()
    assert load_run(write_run(record, tmp_path)) == record
    assert time.monotonic() - began < 60  # a few seconds; a check that walks the samples one by one takes minutes


def test_a_record_that_says_something_else_than_was_written_is_refused(tmp_path: Path) -> None:
    """One digit of one figure, as a flipped bit leaves it: the schema has nothing against it."""
    text = store.record_text(run())
    value = loads(text)["results"][0]["accuracy"]["metrics"]
    name = next(iter(value))
    damaged = text.replace(repr(value[name]["value"]), "0.5111", 1)
    assert damaged != text
    path = tmp_path / "run.json"
    path.write_text(damaged)
    with pytest.raises(InputError, match="does not match its digest"):
        store.load_run(path)
    path.write_text(json.dumps(json.loads(text)))  # another layout is the same record
    assert store.load_run(path) == store.load_run(path)


@pytest.mark.parametrize("text", ['{"digest": "x", "a": NaN}', '{"digest": "x"}', '{"digest": null}', "[]", "{}"])
def test_a_digest_is_checked_wherever_there_is_one(text: str) -> None:
    document = json.loads(text)
    if "digest" in text:
        with pytest.raises(NotJsonError, match="digest"):
            check_digest(document)
    else:
        check_digest(document)
