"""What a file says is bounded in size, depth and number before anything works with it, and so are the pages."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.records import facts, placement, run

from harness.decode import LONGEST_TEXT
from harness.errors import InputError
from harness.parsing import read_json, read_toml
from harness.record.codec import DIGEST, digest_of, to_json
from harness.record.model import Validity, Verdict
from harness.record.store import load_run
from harness.reporting.html import MAX_BYTES, render
from harness.workload.files import find_workload

_FILE = "title = 't'\ndetector = 'd'\ndataset = 's'\n"
_LONG = Validity(Verdict.INVALID, ("x" * 1900,) * 20)


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def _metric(value: Any) -> Callable[[Any], None]:
    return lambda doc: doc["results"][0]["metrics"]["train_seconds"].update(value=value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_metric(10**400), "18 digits"),
        (_metric(1e308), "expected maximum 1e+100"),
        (lambda doc: doc.update(created="9999-99-99T00:00:00Z"), "created"),
        (lambda doc: doc.update(created="0000-01-01T00:00:00Z"), "created"),
        (lambda doc: doc.update(created="2026-02-30T00:00:00Z"), "there is no time '2026-02-30"),
        (lambda doc: doc.update(created="2026-01-01T00:00:60Z"), "created"),
        (lambda doc: doc.update(created=doc["created"] + "\n"), "created"),
        (lambda doc: doc.update(run_id="x\n"), "run_id"),
        (lambda doc: doc["results"][0]["by_batch"].update({"1" * 5000: {}}), "by_batch"),
        (lambda doc: doc["results"][0].update(workload="w" * (LONGEST_TEXT + 1)), "131,072 characters at most"),
        (lambda doc: doc["findings"][0]["evidence"][0].update(value=_nested(20)), "findings[0].evidence[0].value"),
        (lambda doc: doc["findings"][0]["evidence"][0].update(value=_nested(500)), "nested more than 64 deep"),
    ],
)
def test_a_value_beyond_its_bound_is_named(tmp_path: Path, change: Callable[[Any], None], words: str) -> None:
    document = to_json(run())
    change(document)
    document[DIGEST] = digest_of(document)
    path = tmp_path / "run.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"run\.json") as refused:
        load_run(path)
    assert words in refused.value.message
    assert len(refused.value.message) < 500


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("x = " + "[" * 100_000, "nested more than 64 deep"),
        ("x = " + "[" * 100 + "]" * 100, "nested more than 64 deep"),
        (".".join("x" * 200) + " = 1", "nested more than 64 deep"),
        ("x = " + "1" * 5000, "not TOML"),
        ("x = '" + "y" * (1 << 20) + "'", "larger than 1 MiB"),
        (
            "title = 't'\ndetector = 'd'\ndataset = 's'\nname = '" + "y" * (LONGEST_TEXT + 1) + "'",
            "name is a text of 131,073 characters",
        ),
    ],
)
def test_a_workload_file_is_bounded(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(content)
    with pytest.raises(InputError, match=r"own\.toml") as refused:
        find_workload(str(path))
    assert words in refused.value.message


@pytest.mark.parametrize("value", ["nan", "[nan, 1.0]", "[inf]", "1e999", "-inf"])
def test_a_number_in_a_workload_file_is_finite(tmp_path: Path, value: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(f"{_FILE}name = 'n'\n[hyperparameters]\nalpha = {value}\n")
    with pytest.raises(InputError, match=r"own\.toml.*alpha"):
        find_workload(str(path))


def test_a_file_without_end_is_not_read_for_ever() -> None:
    with pytest.raises(InputError, match="larger than"):
        read_toml(Path("/dev/zero"))


def test_a_deep_but_sound_document_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(_nested(64)))
    assert read_json(path) == _nested(64)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: replace(record, facts=facts(nodes=16, cores_per_node=250)),
        lambda record: replace(record, results=tuple(replace(r, workload="w" * 100_000) for r in record.results)),
        lambda record: replace(
            record,
            results=tuple(replace(r, placement=placement(cpus=tuple(range(0, 40_000, 2)))) for r in record.results),
        ),
        lambda record: replace(
            record,
            results=tuple(
                replace(record.results[0], workload=f"w{at}", accuracy=None, validity=_LONG) for at in range(60)
            ),
        ),
    ],
    ids=["cores", "names", "cpus", "results"],
)
def test_a_page_is_below_a_megabyte_whatever_the_record_holds(change: Callable[[Any], Any]) -> None:
    page = render(change(replace(run(), results=run().results[:2])))
    assert len(page) <= MAX_BYTES
    assert page.endswith(b"</html>\n") or page.rstrip().endswith(b"</html>")
