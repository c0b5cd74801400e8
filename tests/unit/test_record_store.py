"""Records on disk: nothing is lost, nothing broken is accepted, nothing half-written is left."""

from __future__ import annotations

import errno
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.records import evaluation, inference, run, series
from support.sweeps import power_sweep

from harness.content import content_dir
from harness.errors import InputError, LparbenchError
from harness.parsing import parse_json
from harness.record import files, store
from harness.record.codec import DIGEST, DigestError, check_digest, digest_of, dumps, normal, to_json
from harness.record.schema import KINDS, Kind, schema_file, schema_of
from harness.record.store import load_run, load_sweep, write_directory, write_run


def _document() -> dict[str, Any]:
    return to_json(run())


def _first(document: Any) -> Any:
    return document["results"][0]


def _series(document: Any) -> Any:
    return _first(document)["processes"][2]["series"][0]


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
    metrics = dict(reversed(inference().metrics.items()))
    turned = run(inference(metrics=metrics))
    assert store.record_text(turned) == store.record_text(run(inference()))
    text = store.record_text(run())
    assert dumps(parse_json(text, "run")) == text


@pytest.mark.parametrize("kind", KINDS)
def test_the_committed_schema_is_what_the_types_generate(kind: Kind) -> None:
    path = content_dir("results") / "schema" / schema_file(kind)
    assert path.read_text(encoding="utf-8") == dumps(schema_of(kind)), "python -m harness.record.schema writes it"


def test_a_schema_leaves_nothing_open() -> None:
    """Every object is closed or a map of one type; the value of a fact that a finding rests on is bounded in depth."""

    def open_parts(node: Any, path: str) -> list[str]:
        if isinstance(node, list):
            return [part for index, item in enumerate(node) for part in open_parts(item, f"{path}[{index}]")]
        if not isinstance(node, dict):
            return []
        own = [path] if node == {} or (node.get("type") == "object" and "additionalProperties" not in node) else []
        return own + [part for key, item in node.items() for part in open_parts(item, f"{path}.{key}")]

    assert open_parts(schema_of("run"), "") == []
    assert open_parts(schema_of("sweep"), "") == []


def test_a_record_of_before_a_field_was_added_is_read(tmp_path: Path) -> None:
    document = _document()
    for process in document["results"][0]["processes"]:
        del process["served"], process["failure"]
    assert load_run(_saved(tmp_path, document)) == run()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d.pop("results"), "key 'results' is missing"),
        (lambda d: d.update(schema_version=3), "schema_version: expected 2, found 3"),
        (lambda d: d.update(schema_version=True), "schema_version: expected 2, found True"),
        (lambda d: d.update(schema_version=1), "schema_version is 1, which no release of lparbench wrote"),
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
        (
            lambda d: d["facts"]["topology"]["cores"][1].update(cpus=[0.5]),
            "topology.cores[1].cpus[0]: expected integer",
        ),
        (
            lambda d: _first(d)["accuracy"]["confusion"].pop("true_positive"),
            "confusion: key 'true_positive' is missing",
        ),
        (lambda d: d["tool"].update(argv="x"), "tool.argv: expected array"),
        (lambda d: d["spec"].update(protocol="dirty"), "spec.protocol: expected one of clean, as-published"),
        (
            lambda d: _first(d)["accuracy"]["baseline_detectors"].update(kind="other"),
            "baseline_detectors: kind: expected",
        ),
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
        (b'{"schema_version": 2, "schema_version": 2}', "'schema_version' appears twice"),
        (b"[" * 200_000, "nested more than 64 deep"),
        (b"1" * 5000, "not JSON"),
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
    with pytest.raises(InputError, match=r"none\.json: no such file or directory"):
        load_run(tmp_path / "none.json")
    with pytest.raises(InputError, match="no record of a run in this directory") as empty:
        load_run(tmp_path)
    assert empty.value.remedy == "Give the directory of a run, or the record in it (run.json)."
    path = write_run(run(), tmp_path)
    with pytest.raises(InputError, match="no record of a sizing, sweep or run in this directory") as above:
        store.require_record(tmp_path, ("size.json", "sweep.json", "run.json"))
    assert above.value.remedy == f"Name one of those in it, such as {path}."


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_record_cut_or_overwritten_anywhere_is_refused_or_whole(data: st.DataObject, tmp_path_factory: Any) -> None:
    small = store.record_text(run(inference(processes=()))).encode()
    at = data.draw(st.integers(0, len(small) - 1))
    junk = data.draw(st.binary(max_size=4))
    path = tmp_path_factory.mktemp("cut") / "run.json"
    path.write_bytes(data.draw(st.sampled_from([small[:at], small[:at] + junk + small[at + len(junk) :]])))
    try:
        record = load_run(path)
    except InputError:
        return
    assert normal(record) == record


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_refused_and_nothing_is_left(tmp_path: Path, number: float) -> None:
    record = run(inference(accuracy=replace(evaluation(), loss_curve=(1.0, number))))
    with pytest.raises(LparbenchError, match=r"results\[0\]\.accuracy\.loss_curve\[1\]"):
        write_run(record, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_is_not_utf_8_survives(tmp_path: Path) -> None:
    name = os.fsdecode(b"/data/caf\xe9")
    record = run(tool=replace(run().tool, argv=("lparbench", "run", "--data", name)))
    assert load_run(write_run(record, tmp_path)).tool.argv[-1] == name


def test_a_run_is_never_written_over(tmp_path: Path) -> None:
    write_run(run(), tmp_path)
    with pytest.raises(LparbenchError, match="is there already"):
        write_run(replace(run(), findings=()), tmp_path)
    assert load_run(tmp_path / run().run_id) == run()


@pytest.mark.parametrize("step", ["write_synced", "sync_directory"])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, step, full)
    with pytest.raises(LparbenchError, match="No space left on device"):
        write_run(run(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    files.write_file(pipe, b"page")
    assert os.read(reader, 100) == b"page"
    os.close(reader)
    assert pipe.is_fifo()
    assert [each.name for each in tmp_path.iterdir()] == ["pipe"]


def test_a_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    files.write_file(path, b"old")
    files.write_file(path, b"new")
    assert path.read_bytes() == b"new"

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LparbenchError):
        files.write_file(path, b"newer")
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_million_samples_are_written_and_read(tmp_path: Path) -> None:
    long = series(1, samples=1000)
    long = replace(long, durations_ns=long.durations_ns * 1000, flags=long.flags * 1000)
    base = inference()
    record = run(replace(base, processes=(replace(base.processes[0], series=(long,)),)))
    began = time.monotonic()
    assert load_run(write_run(record, tmp_path)) == record
    assert time.monotonic() - began < 60  # a few seconds; a check that walks the samples one by one takes minutes


def test_a_record_that_says_something_else_than_was_written_is_refused(tmp_path: Path) -> None:
    """One digit of one figure, as a flipped bit leaves it: the schema has nothing against it."""
    text = store.record_text(run())
    value = parse_json(text, "run")["results"][0]["accuracy"]["metrics"]
    name = next(iter(value))
    damaged = text.replace(repr(value[name]["mean"]), "0.5111", 1)
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
        with pytest.raises(DigestError, match="digest"):
            check_digest(document)
    else:
        check_digest(document)


def test_a_directory_that_finds_no_room_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("harness.record.store.write_synced", full)
    with pytest.raises(LparbenchError, match=r"No space left on device.*Nothing was left behind"):
        write_directory(tmp_path / "a" / "b", {"run.json": b"{}"})
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_of_an_earlier_version_is_read_in_todays_words(tmp_path: Path) -> None:
    """``undecided`` stood for two things, of which the interval and the validity tell."""
    sweep = power_sweep()
    document = store.to_json(sweep)
    (first, second, *_), effects = document["best"][0]["rivals"], document["effects"]
    first["standing"] = second["standing"] = effects[0]["standing"] = "undecided"
    second["ci_low"] = second["ci_high"] = None
    effects[0]["ci_low"], effects[0]["ci_high"] = 0.9, 1.2
    document["cells"][effects[0]["to"]]["validity"] = {"verdict": "invalid", "reasons": ["moved"]}
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps({**document, DIGEST: digest_of(document)}))
    read = load_sweep(path)
    assert [rival.standing for rival in read.best[0].rivals[:2]] == ["not_distinguishable", "not_judged"]
    assert read.effects[0].standing == "not_judged"
    path.write_text(json.dumps({**document, "created": "2026-01-01T00:00:00Z", DIGEST: digest_of(document)}))
    with pytest.raises(InputError, match="digest"):
        load_sweep(path)
