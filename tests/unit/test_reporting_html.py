"""The page: the same bytes for the same record, self-contained, small, honest first, and never run by its content."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support.records import (
    dataset,
    evaluation,
    facts,
    findings,
    inference,
    placement,
    processes,
    roofline,
    run,
    series,
    spec,
    training,
    workload_results,
)

from harness.advice.finding import Evidence, Finding, NotChecked, Severity
from harness.platform.facts import CpuFacts, EmulationFacts, Facts, LoadedSoftware, Package
from harness.record.accuracy import ClassRecall, Epochs, FailedBaseline, ScoredBaselines, SeedMean, TrainingLimits
from harness.record.model import Checks, MemoryPolicy, Metric, Run, Tool, Validity, Verdict
from harness.record.store import load_run, write_run
from harness.reporting import html
from harness.reporting.html import MAX_BYTES, render
from harness.reporting.sections.detail import details
from harness.reporting.sections.machine import machine_line
from harness.reporting.sections.results import workload_groups

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)> {{ 7*7 }} $\\frac$ \x00 \u202e'
INVALID = Validity(Verdict.INVALID, ("CPU 12 was sampled and is not among the CPUs asked for. Check the cpuset.",))
EMULATED = replace(facts(), emulation=EmulationFacts(emulated=True, emulator="qemu-user"))
REFUSED = Validity(
    Verdict.TIMINGS_REFUSED, ("Times are refused under emulation (qemu-user); scores and counts stand.",)
)
FAILED = Validity(Verdict.FAILED, ("block 0: killed by signal 9 (SIGKILL)",))


class _Page(HTMLParser):
    """Elements, links and visible text of a page."""

    VOID = frozenset({"meta", "link", "br", "wbr", "img", "path", "rect", "use"})

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.headings: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page.decode("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "data", "action", "srcset")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.words.append(data)
        if "h2" in self.open:
            self.headings.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words).replace("\u00a0", " "))


@pytest.fixture(scope="module")
def page() -> bytes:
    return render(run())


def test_the_same_record_gives_the_same_bytes_in_another_process(tmp_path: Path, page: bytes) -> None:
    stored = write_run(run(), tmp_path)
    assert render(load_run(stored)) == page
    code = (
        "import sys, hashlib, pathlib; from harness.record.store import load_run;"
        "from harness.reporting.html import render;"
        "print(hashlib.sha256(render(load_run(pathlib.Path(sys.argv[1])))).hexdigest())"
    )
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "77",
        "TZ": "Asia/Tokyo",
        "LC_ALL": "C",
        "MPLCONFIGDIR": str(tmp_path),
    }
    other = subprocess.run(
        [sys.executable, "-c", code, str(stored)], env=environment, capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == hashlib.sha256(page).hexdigest()


def test_a_page_needs_no_script_and_no_network(page: bytes) -> None:
    found = _Page(page)
    assert not {"script", "img", "iframe", "object", "embed", "form", "base"} & set(found.tags)
    assert all(link.startswith("#") or link == "data:," for link in found.links)
    assert b"@import" not in page
    assert not re.search(rb"url\((?!#)", page)
    assert b"default-src 'none'" in page
    assert len(page) < 500_000


def test_elements_nest_and_ids_are_unique(page: bytes) -> None:
    found = _Page(page)
    assert found.open == []
    assert len(found.ids) == len(set(found.ids))
    assert {link[1:] for link in found.links if link.startswith("#")} <= set(found.ids)


def test_sections_come_in_the_order_a_reader_asks(page: bytes) -> None:
    assert _Page(page).headings == [
        "What this machine gives",
        "What to change",
        "Where it ran",
        "Can it be trusted",
        "Each workload",
        "How it was measured",
    ]


def test_every_figure_of_the_record_that_is_promised_is_in_the_tables(page: bytes) -> None:
    text = _Page(page).text
    for shown in (
        "4.68 M rows/s",
        "[4.58, 4.77]",
        "4.82 M rows/s",
        "[4.72, 4.92]",
        "rows/s undisturbed",
        "12.3 s",
        "31.0 %",
        "0.884 ± 0.004 (5 seeds)",
        "published 0.87",
        "isolation forest 0.810",
        "trained on 20,000 of 100,778 training rows, scored on 20,000 of 22,544 test rows, one seed",
        "No gradient boosting: It learns from labels.",
        "recall 0.7 on validation labels",
        "34,232",
        "[0.951, 0.972]",
        "Intervals: 95 % stratified bootstrap.",
        "14.5 µs per call",
        "16,551 in training, 629 in test, 652 test rows that training holds too",
        "p99.9 needs 6636 requests, 2400 were made",
        "8,627 (88.8 %)",
        "85th percentile of the training scores",
        "chhwres -r mem",
        "memory is bound to this node",
        "180 ns",
        "not measured: it takes a run against itself",
        "OMP_PLACES={0},{1},{8},{9}",
        "lparbench run --suite quick",
        "a" * 64,
        "openblas",
        "affinity-score",
    ):
        assert shown in text, shown


@pytest.mark.parametrize(
    ("record", "begins"),
    [
        (
            run(),
            "✔ Valid Autoencoder, NSL-KDD on 2 cores × 2 threads of node 0: 4.68 M rows/s ±2.0 % "
            "(4.82 M rows/s undisturbed) and 2.16 µs",
        ),
        (run(inference(dataset=dataset(origin="synthetic"))), "✔ Valid ▲ Synthetic data."),
        (run(inference(validity=INVALID)), "✖ Invalid No result may be used: CPU 12"),
        (run(inference(validity=FAILED, metrics={}, processes=())), "✖ Failed No result may be used: block 0"),
        (run(inference(validity=INVALID), training()), "▲ Valid in part Autoencoder, NSL-KDD on 2 cores"),
        (run(inference(processes=processes(1, (0, 1)))), "✔ Valid ▲ One process per result, so no interval."),
        (run(inference(dataset=replace(dataset(), protocol="as-published"))), "✔ Valid ▲ As-published protocol."),
        (
            run(inference(), facts=replace(facts(), cpu=CpuFacts(architecture="x86_64", model_name="EPYC"))),
            "✔ Valid ▲ On x86-64 instead of Power.",
        ),
        (
            run(
                inference(validity=REFUSED),
                facts=EMULATED,
            ),
            "▲ Timings refused ▲ Emulated by qemu-user.",
        ),
    ],
)
def test_what_limits_a_run_is_said_first(record: Run, begins: str) -> None:
    uncharted = (replace(result, accuracy=None, by_batch={}) for result in record.results)
    heading = re.search(
        r'<p class="tags">(.*?)</h1>', render(replace(record, results=tuple(uncharted))).decode(), re.DOTALL
    )
    assert heading is not None
    said = (
        re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", heading[1])).replace("\u00a0", " ").replace("&nbsp;", " ").strip()
    )
    assert said.startswith(begins)
    badge = begins.split(" ")[1]
    assert badge == "Valid" or said.lower().count(badge.lower()) == 1, "the verdict is said once"


def test_a_missed_accuracy_floor_is_said_first_and_in_the_table() -> None:
    page = render(run(inference(accuracy=replace(evaluation(), floor=0.9, passed=False), by_batch={})))
    text = _Page(page).text
    assert "▲ Accuracy below its floor." in text
    assert "✖ below the floor of 0.9" in text


def test_a_reason_that_all_results_share_is_said_once_and_results_are_in_order() -> None:
    few = "2 of at least 6 blocks. Run with --blocks 6 or more."
    own = "1 of 2 series did not settle."
    results = [
        replace(result, validity=Validity(Verdict.INVALID, (few,)), accuracy=None) for result in workload_results()
    ]
    results[3] = replace(results[3], validity=Validity(Verdict.INVALID, (few, own)))
    (group,) = workload_groups(run(*reversed(results)))
    assert group.reasons == (few,)
    assert [row.reasons for row in group.rows if row.reasons] == [(own,)]
    assert [(row.scenario, row.variant) for row in group.rows] == [
        ("Training", "eager"),
        ("Offline", "eager"),
        ("Offline", "onnxruntime"),
        ("Single stream", "eager"),
        ("Single stream", "onnxruntime"),
    ]


def test_times_of_an_emulated_run_are_not_on_the_page() -> None:
    record = run(*(replace(result, validity=REFUSED) for result in workload_results()), facts=EMULATED)
    page = render(replace(record, findings=()))
    text = _Page(page).text.partition("How it was measured")[0]
    for refused in (
        "rows/s ±",
        "4.68 M",
        "4.82 M",
        "2.10 µs",
        "12.3 s",
        "Rate over batch size",
        "Inference time, single",
    ):
        assert refused not in text, refused
    assert "refused" in text
    assert "0.884" in text


def test_a_failed_worker_is_named_with_its_cause() -> None:
    dead = tuple(replace(process, series=(), failure="killed by signal 9 (SIGKILL)") for process in processes(6, (0,)))
    text = _Page(render(run(inference(validity=FAILED, metrics={}, by_batch={}, processes=dead), training()))).text
    assert "killed by signal 9 (SIGKILL)" in text
    assert "0 of 6" in text
    assert "298 k rows/s" in text


def test_hostile_text_is_shown_and_never_run() -> None:
    layout = replace(facts(), cpu=CpuFacts(architecture=HOSTILE, generation_hw=HOSTILE, isa={HOSTILE: True}))
    finding = Finding(
        HOSTILE, Severity.HIGH, HOSTILE, (Evidence(HOSTILE, {HOSTILE: [HOSTILE]}, HOSTILE),), HOSTILE, (HOSTILE,),
        HOSTILE, HOSTILE, 0.5,
    )  # fmt: skip
    accuracy = evaluation()
    assert isinstance(accuracy.baseline_detectors, ScoredBaselines)
    baselines = replace(
        accuracy.baseline_detectors,
        detectors=(
            replace(accuracy.baseline_detectors.detectors[0], name=HOSTILE),
            FailedBaseline(HOSTILE, HOSTILE, HOSTILE),
        ),
    )
    accuracy = replace(
        accuracy,
        per_class_recall={**accuracy.per_class_recall, HOSTILE: ClassRecall(3, 0.5)},
        baseline_detectors=baselines,
        threshold_rule=HOSTILE,
        metrics={**accuracy.metrics, HOSTILE: SeedMean(0.5, None, 1)},
        notes=(HOSTILE,),
    )
    policy = MemoryPolicy("default", reason=HOSTILE)
    result = inference(
        HOSTILE,
        backend=HOSTILE,
        title=HOSTILE,
        detector=HOSTILE,
        dtype=HOSTILE,
        accuracy=accuracy,
        dataset=replace(dataset(), name=HOSTILE, notes=(HOSTILE,), sha256={HOSTILE: "0" * 64}),
        placement=replace(placement(), env={HOSTILE: HOSTILE}, memory_policy=policy, mismatches=(HOSTILE,)),
        validity=Validity(Verdict.INVALID, (HOSTILE,)),
    )
    record = run(
        result,
        facts=layout,
        findings=(finding,),
        software=LoadedSoftware(packages=(Package(HOSTILE, HOSTILE, HOSTILE),), environment={HOSTILE: HOSTILE}),
        spec=spec(suite=HOSTILE, workloads=(HOSTILE,)),
        tool=Tool(HOSTILE, HOSTILE, (HOSTILE,)),
        checks=Checks((HOSTILE,), (NotChecked(HOSTILE, (HOSTILE,)),), (HOSTILE,)),
    )
    page = render(record)
    found = _Page(page)
    assert "<script>alert(1)</script>" in found.text
    assert "{{ 7*7 }}" in found.text
    assert not {"script", "img"} & set(found.tags)
    assert all(link.startswith("#") or link == "data:," for link in found.links)
    assert found.open == []


@pytest.mark.parametrize(
    ("trained", "limit", "shown"),
    [
        (11, None, "11 of 30"),  # ended early
        (40, None, "40"),  # with ten of another stage
        (12, 2, "2 of 30, 12 with its other stages"),
        (2, 2, "2 of 30"),
    ],
)
def test_epochs_of_other_stages_are_not_counted_as_scheduled(trained: int, limit: int | None, shown: str) -> None:
    result = inference()
    assert result.accuracy is not None
    accuracy = replace(
        result.accuracy, epochs=Epochs(trained, 30), limits=TrainingLimits(limit, None), parameters={"hidden": "(8,)"}
    )
    listed = dict(details("d", [replace(result, accuracy=accuracy)]).dataset)
    assert (listed["Epochs"], listed["Parameters"]) == (shown, "hidden (8,)")


def test_a_record_of_a_million_samples_makes_a_small_page() -> None:
    long = series(1, samples=1000)
    long = replace(long, durations_ns=long.durations_ns * 1000, flags=long.flags * 1000)
    one = inference(scenario="single_stream")
    record = run(replace(one, processes=(replace(one.processes[0], series=(long,)),)))
    page = render(record)
    assert len(page) < MAX_BYTES
    assert "raw samples" in _Page(page).text
    assert "999,960" in _Page(page).text


def test_a_machine_of_1920_cpus_is_drawn_whole() -> None:
    wide = facts(nodes=16, cores_per_node=15, smt=8, online_smt=4)
    page = render(run(*workload_results(), facts=wide))
    assert len(page) < MAX_BYTES
    assert page.count(b'<svg class="core') == 240 + 3  # the legend has three
    assert _Page(page).text.count("15 cores, 256 GiB") == 16


def test_a_page_that_would_be_too_large_says_what_it_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "MAX_BYTES", 160_000)
    page = render(run(*(inference(f"workload-{index}", processes=processes(1, (0,))) for index in range(4))))
    assert len(page) < 160_000
    text = _Page(page).text
    assert all(f"workload-{index}" in text for index in range(4))
    left_out = re.search(r"(\d) more workloads are left out here", text)
    assert left_out is not None
    assert page.count(b'<h3 id="w') == 4 - int(left_out[1])


def test_an_empty_run_has_a_page() -> None:
    text = _Page(
        render(
            replace(
                run(),
                results=(),
                findings=(),
                facts=Facts("/"),
                software=LoadedSoftware(),
                checks=Checks(),
                tool=Tool("a", "1"),
            )
        )
    ).text
    assert "No result" in text
    assert "Nothing was measured" in text


def test_no_finding_says_what_was_checked() -> None:
    text = _Page(render(run(inference(), findings=()))).text
    assert "Nothing: 4 rules were checked and none has a finding." in text
    assert "smt-level" in text


def test_a_finding_without_a_cost_is_not_counted_as_one() -> None:
    note = replace(findings()[0], severity=Severity.INFO, title="An older kernel", evidence=())
    text = _Page(render(run(inference(), findings=(note,)))).text
    assert "No finding costs performance." in text
    assert "○ Note" in text


def test_figures_that_cannot_be_drawn_are_left_out() -> None:
    """Lists of unequal lengths, edges out of order, single points: the types allow them, a chart does not."""
    whole = evaluation()
    odd = replace(
        whole,
        roc=replace(whole.roc, false_positive_rate=(0.0,), true_positive_rate=(1.0,)),
        precision_recall=replace(whole.precision_recall, recall=(), precision=()),
        histogram=replace(whole.histogram, edges=tuple(reversed(whole.histogram.edges))),
        per_class_recall={"dos": ClassRecall(1, 0.5)},
        loss_curve=(1.0,),
        validation_curve={"auc_pr": (None, 0.9)},
        baseline_detectors=None,
    )
    bare = inference(processes=(), metrics={}, by_batch={}, accuracy=odd)
    assert details("w", [bare]).panels == ()
    assert _Page(render(run(bare, facts=Facts("/"), checks=Checks()))).open == []
    assert machine_line(Facts("/")) == ""


def test_the_roofline_is_there_when_the_record_has_one_and_is_no_emulated_one() -> None:
    record = run(inference(accuracy=None, by_batch={}, processes=()), roofline=roofline())
    found = _Page(render(record))
    assert found.headings[-2] == "Roofline and kernels"
    for shown in ("840 GFLOP/s", "92.4 %", "MMA, xvf32gerpp", "190 GB/s", "85.0 %", "3.4 times what VSX can do"):
        assert shown in found.text, shown
    emulated = replace(record, facts=EMULATED)
    assert "Roofline and kernels" not in _Page(render(emulated)).headings


def test_a_percentile_that_cannot_be_given_says_why() -> None:
    result = inference(scenario="single_stream")
    few = Metric(None, "s", None, None, 240, "p99 needs 662 requests, 240 were made")
    text = _Page(render(run(replace(result, metrics={**result.metrics, "p99_s": few})))).text
    assert text.count("p99 needs 662 requests, 240 were made") == 3  # in both tables and in the record
