"""Comparison of records: estimates from raw samples, verdicts, environments, and nothing fooled by damage."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.fooled import fooled, fooled_by_baselines
from support.gate_simulation import FINGERPRINT, KEYS, side
from support.mutations import small_run
from support.records import evaluation, inference, run, seed_means, training

from harness.compare.compare import compare, compare_metric
from harness.compare.environment import differences
from harness.compare.facts import facts_of
from harness.compare.history import history
from harness.compare.observations import AccuracyFigure, Key, Problem, ProblemKind, Side, side_of
from harness.errors import EnvironmentMismatchError, InputError
from harness.measure.verdicts import CompareVerdict
from harness.placement.model import ALLOCATOR
from harness.record.model import Run, Validity, Verdict


def records(*slowdowns: float) -> list[Side]:
    return [side_of(small_run(f"run-{i}", seed=i, slowdown=ratio)) for i, ratio in enumerate(slowdowns)]


def test_the_estimate_is_made_from_raw_samples_and_not_taken_from_the_record() -> None:
    record = small_run("a", seed=1)
    result = record.results[0]
    lying = tuple(
        replace(process, series=tuple(replace(one, estimate_s=1e-9) for one in process.series))
        for process in result.processes
    )
    found = side_of(replace(record, results=(replace(result, processes=lying),)))
    (one,) = found.observations.values()
    assert one.seconds[0] == pytest.approx(np.median(result.processes[0].series[0].durations_ns) * 1e-9)
    assert not one.problems


def test_warm_up_flags_and_inner_calls_count() -> None:
    record = small_run("a", seed=1)
    result = record.results[0]
    series = replace(
        result.processes[0].series[0],
        inner=4,
        durations_ns=(9_000,) * 5 + (400,) * 10 + (800,) * 9,
        flags=(0,) * 15 + (1,) * 9,
        warmup=5,
    )
    processes = tuple(replace(process, series=(series,)) for process in result.processes)
    (one,) = side_of(replace(record, results=(replace(result, processes=processes),))).observations.values()
    assert one.seconds == dict.fromkeys(range(12), pytest.approx(100e-9))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"validity": Validity(Verdict.INVALID, ("steal 9 %",))}, "invalid: steal 9 %"),
        ({"processes": ()}, "no process left any samples"),
    ],
)
def test_what_may_not_be_judged_says_why(change: dict[str, Any], problem: str) -> None:
    record = small_run("a", seed=1)
    (one,) = side_of(replace(record, results=(replace(record.results[0], **change),))).observations.values()
    assert problem in "; ".join(map(str, one.problems))


def test_a_run_that_may_not_be_judged_is_called_by_its_name() -> None:
    record = small_run("a", seed=1)
    bad = replace(record.results[0], validity=Validity(Verdict.INVALID, ("steal 9 %",)))
    report = compare(
        [side_of(record).named("smt2"), side_of(replace(record, results=(bad,), run_id="b")).named("smt8")]
    )
    assert [problem.partition(": ")[0] for each in report.times for problem in each.problems] == ["smt8"]


def test_a_block_without_a_time_takes_its_partner_with_it() -> None:
    a, b = small_run("a", seed=1), small_run("b", seed=2, slowdown=1.2)

    def disturb(record: Run, *blocks: int) -> Run:
        result = record.results[0]
        changed = tuple(
            replace(one, series=(replace(one.series[0], flags=(1,) * 24),)) if one.block in blocks else one
            for one in result.processes
        )
        return replace(record, results=(replace(result, processes=changed),))

    (one,) = compare([side_of(disturb(a, 3)), side_of(disturb(b, 3, 7))]).times
    assert one.comparison.effect is not None
    assert one.comparison.effect.blocks == 10
    assert one.comparison.verdict is CompareVerdict.REGRESSED
    (one,) = compare([side_of(disturb(a, 0, 1, 2)), side_of(disturb(b, 3, 4))]).times
    assert one.comparison.verdict is CompareVerdict.INCONCLUSIVE
    assert "5 of 12 blocks give no pair" in (one.comparison.note or "")


def test_a_record_that_contradicts_its_own_verdict_is_not_believed() -> None:
    record = small_run("a", seed=1)
    result = record.results[0]
    stolen = tuple(replace(process, steal_share=0.3) for process in result.processes)
    (one,) = side_of(replace(record, results=(replace(result, processes=stolen),))).observations.values()
    assert "the hypervisor took" in str(one.problems[0])
    elsewhere = replace(result, placement=replace(result.placement, verified=False))
    (one,) = side_of(replace(record, results=(elsewhere,))).observations.values()
    assert "placement" in str(one.problems[0])


def test_keys_tell_batches_backends_and_training_apart() -> None:
    record = run(inference("w"), inference("w", backend="onnxruntime"), training("w"))
    keys = side_of(record).observations.keys()
    assert {str(key) for key in keys} == {
        "w offline eager float32 batch 8192",
        "w offline onnxruntime float32 batch 8192",
        "w train eager float32",
    }


def test_results_that_differ_only_in_where_they_ran_are_told_apart_by_layout() -> None:
    one = inference("w")
    wide = replace(one, placement=replace(one.placement, threads=8, cpus=tuple(range(8))))
    keys = side_of(run(one, wide)).observations.keys()
    assert {key.layout for key in keys} == {
        "4 threads, 2 per core, node 0, smt 8",
        "8 threads, 2 per core, node 0, smt 8",
    }
    (double,) = side_of(run(one, one)).observations.values()
    assert list(map(str, double.problems)) == ["the run holds this result more than once"]


def test_several_runs_are_compared_with_the_first() -> None:
    report = compare(records(1.0, 1.2, 0.8, 1.0))
    by_side = {one.side: one.comparison.verdict for one in report.times if one.key.workload == "mlp"}
    assert by_side == {
        "run-1": CompareVerdict.REGRESSED,
        "run-2": CompareVerdict.IMPROVED,
        "run-3": CompareVerdict.EQUIVALENT,
    }
    slower = next(one for one in report.times if one.side == "run-1")
    assert slower.comparison.effect is not None
    assert slower.comparison.effect.ratio == pytest.approx(1.2, rel=0.03)
    assert slower.a is not None
    assert slower.b is not None
    assert slower.b.centre / slower.a.centre == pytest.approx(slower.comparison.effect.ratio, rel=1e-9)


def test_a_run_against_itself_is_no_measurement() -> None:
    (one,) = records(1.0)
    report = compare([one, one])
    assert {verdict for verdict in report.verdicts if verdict is not CompareVerdict.EQUIVALENT} == {
        CompareVerdict.INCONCLUSIVE
    }
    assert all("identical" in (one.comparison.note or "") for one in report.times)
    assert [side.name for side in report.sides] == ["run-0", "run-0 (2)"]


def test_what_a_run_lacks_is_listed() -> None:
    a, b = records(1.0, 1.0)
    less = replace(b, observations=dict(list(b.observations.items())[:1]))
    report = compare([a, less])
    assert [key.workload for key in report.missing["run-1"]] == ["autoencoder"]
    assert report.missing["run-0"] == ()
    with pytest.raises(InputError, match="no result in common"):
        compare([replace(a, observations=dict(list(a.observations.items())[1:])), less])
    with pytest.raises(InputError, match="run-1 holds no results"):
        compare([a, replace(b, observations={})])
    with pytest.raises(InputError, match="needs two"):
        compare([a])


def changed(record: Run, **fingerprint: Any) -> Side:
    """A side whose fingerprint differs, also in facts that this version does not know."""
    side = side_of(record)
    return replace(side, fingerprint={**side.fingerprint, **facts_of(fingerprint)})


def test_differences_come_in_the_order_of_likely_effect() -> None:
    record = small_run("a", seed=1)
    result = record.results[0]
    moved = replace(result, placement=replace(result.placement, nodes=(1,), smt=4))
    b = changed(
        replace(record, results=(moved, *record.results[1:])),
        cpu="POWER9",
        kernel="6.1",
        libraries={"torch": "2.6"},
    )
    b = replace(b, fingerprint={**b.fingerprint, "libraries.something_new": 1, "known_to_one": 1})
    found = differences(side_of(record), b)
    assert [one.name for one in found] == [
        "cpu",
        "smt",
        "nodes",
        "libraries.torch",
        "libraries.something_new",
        "kernel",
    ]
    assert (found[0].a, found[0].b, found[0].keys) == (record.fingerprint.cpu, "POWER9", ())
    assert [key.workload for key in found[2].keys] == ["mlp"]
    assert (found[5].a, found[4].a) == ("6.12.0", None)


def test_a_record_from_before_the_allocator_was_set_differs_in_it() -> None:
    record = small_run("a", seed=1)
    placed = [replace(each.placement, env={**each.placement.env, **ALLOCATOR}) for each in record.results]
    results = tuple(replace(each, placement=place) for each, place in zip(record.results, placed, strict=True))
    (found,) = differences(side_of(record), side_of(replace(record, results=results)))
    assert (found.name, found.a) == ("allocator", "as the C library has it")


@pytest.mark.parametrize(("name", "value"), [("arch", "x86_64"), ("emulated", True)])
def test_meaningless_comparisons_are_refused_unless_allowed(name: str, value: Any) -> None:
    record = small_run("a", seed=1)
    a, b = side_of(record), changed(small_run("b", seed=2), **{name: value})
    with pytest.raises(EnvironmentMismatchError, match=name) as raised:
        compare([a, b])
    assert f"--allow-diff {name}" in str(raised.value)
    assert compare([a, b], allowed=[name]).times


def test_a_difference_that_is_none_is_not_allowed_in_silence() -> None:
    a, b = side_of(small_run("a", seed=1)), changed(small_run("b", seed=2), arch="x86_64")
    with pytest.raises(InputError, match="--allow-diff: unknown fact 'kernl'") as error:
        compare([a, b], allowed=["arch", "kernl"])
    assert "Did you mean 'kernel'?" in str(error.value.remedy)
    assert compare([a, b], allowed=["arch", "libraries", "libraries.numpy", "smt.online"]).times


def test_other_data_is_other_work() -> None:
    a = small_run("a", seed=1)
    b = small_run("b", seed=2)
    synthetic = tuple(replace(one, dataset=replace(one.dataset, origin="synthetic")) for one in b.results)
    with pytest.raises(EnvironmentMismatchError, match=r"data\.origin: real and synthetic"):
        compare([side_of(a), side_of(replace(b, results=synthetic))])


def test_another_machine_may_be_compared_because_that_is_the_question() -> None:
    a, b = small_run("a", seed=1), small_run("b", seed=2)
    report = compare([side_of(a), changed(b, cpu="POWER11")])
    assert [one.name for one in report.differences["b"]] == ["cpu"]
    assert CompareVerdict.EQUIVALENT in report.verdicts


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        (AccuracyFigure(0.9, 0.004, 5), AccuracyFigure(0.9, 0.004, 5), CompareVerdict.EQUIVALENT),
        (AccuracyFigure(0.9, 0.001, 5), AccuracyFigure(0.901, 0.001, 5), CompareVerdict.EQUIVALENT),
        (AccuracyFigure(0.9, 0.004, 5), AccuracyFigure(0.85, 0.004, 5), CompareVerdict.REGRESSED),
        (AccuracyFigure(0.9, 0.004, 5), AccuracyFigure(0.95, 0.004, 5), CompareVerdict.IMPROVED),
        (AccuracyFigure(0.9, 0.05, 5), AccuracyFigure(0.88, 0.05, 5), CompareVerdict.INCONCLUSIVE),
        (AccuracyFigure(0.9, None, 1), AccuracyFigure(0.5, None, 1), CompareVerdict.INCONCLUSIVE),
        (AccuracyFigure(0.9, 0.0, 5), AccuracyFigure(0.85, 0.0, 5), CompareVerdict.REGRESSED),
        (AccuracyFigure(0.9, 1e-200, 5), AccuracyFigure(0.899, 1e-200, 5), CompareVerdict.EQUIVALENT),
    ],
)
def test_accuracy_verdicts(a: AccuracyFigure, b: AccuracyFigure, verdict: CompareVerdict) -> None:
    assert compare_metric("w", "auc_roc", "b", a, b, 0.01).verdict is verdict


def test_the_accuracy_interval_is_welchs() -> None:
    from scipy.stats import ttest_ind

    a, b = np.array([0.90, 0.91, 0.89, 0.92, 0.90]), np.array([0.88, 0.90, 0.85, 0.89])
    figures = [AccuracyFigure(one.mean(), one.std(ddof=1), len(one)) for one in (a, b)]
    found = compare_metric("w", "f1", "b", *figures, 0.01)
    expected = ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_metrics_that_looked_at_the_labels_are_left_out() -> None:
    record = small_run("a", seed=1)
    metrics = seed_means({"auc_roc": 0.9, "best_f1": 0.99, "recall": 1e300}, sd=0.01)
    accuracy = replace(evaluation(), headline="auc_roc", oracle=("best_f1",), metrics=metrics)
    found = side_of(replace(record, results=(replace(record.results[0], accuracy=accuracy),)))
    assert found.accuracy["mlp"].headline == "auc_roc"
    assert found.accuracy["mlp"].metrics == {"auc_roc": AccuracyFigure(0.9, 0.01, 5)}


def test_damaged_records_fool_nobody(tmp_path: Path) -> None:
    assert fooled(range(84), tmp_path) == []


def test_damaged_baselines_fool_nobody(tmp_path: Path) -> None:
    assert fooled_by_baselines(range(500), tmp_path) == []


def runs_over_time(levels: list[float], *, sd: float, seed: int = 0) -> list[Side]:
    rng = np.random.default_rng(seed)
    return [
        replace(
            side(f"run-{i:03d}", {key: math.log(level) + rng.normal(0, sd) + rng.normal(0, sd, 6) for key in KEYS[:1]}),
            created=f"2026-{i // 28 + 1:02d}-{i % 28 + 1:02d}T00:00:00Z",
        )
        for i, level in enumerate(levels)
    ]


def test_steps_are_found_where_they_are() -> None:
    runs = runs_over_time([1.0] * 20 + [1.1] * 15 + [0.95] * 15, sd=0.01)
    torch = ["2.8"] * 20 + ["2.9"] * 30
    runs = [replace(r, fingerprint={**FINGERPRINT, "libraries.torch": v}) for r, v in zip(runs, torch, strict=True)]
    (found,) = history(runs[::-1])
    assert [step.at for step in found.steps] == [20, 35]
    assert found.steps[0].ratio == pytest.approx(1.1, rel=0.02)
    assert found.steps[1].ratio == pytest.approx(0.95 / 1.1, rel=0.02)
    assert [one.name for one in found.steps[0].differences] == ["libraries.torch"]
    assert found.steps[1].differences == ()
    assert found.points[0].run == "run-000"


def test_noise_alone_has_no_steps() -> None:
    found = [history(runs_over_time([1.0] * 40, sd=0.03, seed=seed))[0].steps for seed in range(60)]
    assert sum(bool(steps) for steps in found) <= 1


def test_a_step_smaller_than_the_margin_is_left_out() -> None:
    runs = runs_over_time([1.0] * 25 + [1.02] * 25, sd=0.001)
    assert history(runs)[0].steps == ()
    assert len(history(runs, margin=0.01)[0].steps) == 1


def test_too_few_or_invalid_runs_have_no_history() -> None:
    runs = runs_over_time([1.0] * 5, sd=0.01)
    (found,) = history(runs)
    assert found.note == "5 of the 6 valid runs that distinguish a step from noise"
    bad = [
        replace(
            one,
            observations={
                k: replace(o, problems=(Problem(ProblemKind.SAMPLES, "x"),)) for k, o in one.observations.items()
            },
        )
        for one in runs
    ]
    assert history(bad)[0].points == ()
    assert history([]) == ()


def test_keys_are_ordered_and_readable() -> None:
    assert str(Key("w", "train", "eager", "float32", 0)) == "w train eager float32"
    assert sorted([Key("b", "s", "e", "f", 1), Key("a", "s", "e", "f", 2)])[0].workload == "a"


def test_a_process_without_a_sample_after_its_warm_up_has_no_undisturbed_share():
    """Half of the processes never settle: their shares count as none, not as unknown."""
    whole = small_run("a", seed=1)
    results = []
    for result in whole.results:
        processes = [
            replace(process, series=tuple(replace(series, warmup=len(series.flags)) for series in process.series))
            if index < 7
            else process
            for index, process in enumerate(result.processes)
        ]
        results.append(replace(result, processes=tuple(processes)))
    for observation in side_of(replace(whole, results=tuple(results))).observations.values():
        texts = [problem.text for problem in observation.problems]
        assert any(text.startswith("41 % of the samples are undisturbed, at least 50 % are needed") for text in texts)
