"""The gate on simulated machines and by hand: what fails, what passes, and what does neither."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.gate_simulation import FINGERPRINT, KEYS, count_codes, side, simulated_gate, stored_baseline

from harness.compare.observations import Accuracy, AccuracyFigure, Problem, ProblemKind, Side
from harness.errors import EnvironmentMismatchError, ExitCode, InputError, MeasurementError
from harness.gates.baseline import Baseline, make_baseline
from harness.gates.baseline_file import baseline_text, read_baseline
from harness.gates.floors import Floor
from harness.gates.gate import BaselineSource, GateReport, GateVerdict, Pair, gate
from harness.gates.live import measure_enough
from harness.gates.policy import Policy
from harness.gates.selfcheck import self_check

CONCURRENT, STORED = BaselineSource.CONCURRENT, BaselineSource.STORED
STOLEN = (Problem(ProblemKind.SAMPLES, "steal"),)


def times(name: str, *, shift: float = 0.0, seed: int = 0, blocks: int = 12, sd: float = 0.005) -> Side:
    rng = np.random.default_rng(seed)
    return side(name, {key: shift + rng.normal(0, sd, blocks) for key in KEYS})


def with_accuracy(measured: Side, mean: float, *, sd: float | None = 0.004, n: int = 5) -> Side:
    figures = {"auc_roc": AccuracyFigure(mean, sd, n), "f1": AccuracyFigure(0.5, sd, n)}
    return replace(measured, accuracy={"workload-0": Accuracy("auc_roc", figures)})


def judge(pair: Pair, second: Pair | None = None, **policy: Any) -> GateReport:
    baseline = make_baseline(pair[0])
    return gate(
        baseline, pair, Policy(**policy), source=CONCURRENT, measure_again=None if second is None else lambda _: second
    )


@pytest.mark.parametrize("regime", ["quiet", "between processes", "drifting", "bursts"])
def test_unchanged_code_is_not_failed(regime: str) -> None:
    codes = count_codes(regime, 25)
    assert codes[ExitCode.REGRESSION] == 0
    assert codes[ExitCode.GOOD] > 0  # nor is everything inconclusive


@pytest.mark.parametrize(("regime", "least"), [("quiet", 19), ("drifting", 19), ("bursts", 16)])
def test_ten_percent_are_found_and_never_passed(regime: str, least: int) -> None:
    codes = count_codes(regime, 20, effect=0.10, first_seed=10_000)
    assert codes[ExitCode.REGRESSION] >= least
    assert codes[ExitCode.GOOD] == 0


def test_a_regression_needs_a_second_run_that_agrees() -> None:
    slow = (times("a"), times("b", shift=0.1, seed=1))
    fine = (times("c", seed=2), times("d", seed=3))
    assert judge(slow).exit_code is ExitCode.INCONCLUSIVE
    assert judge(slow, fine).exit_code is ExitCode.INCONCLUSIVE
    assert judge(slow, slow).exit_code is ExitCode.REGRESSION
    assert judge(fine).exit_code is ExitCode.GOOD


def test_the_second_run_is_made_only_when_there_is_something_to_confirm() -> None:
    made = []
    fine = (times("a"), times("b", seed=1))
    report = gate(
        make_baseline(fine[0]), fine, Policy(), source=CONCURRENT, measure_again=lambda _: made.append(1) or fine
    )
    assert report.exit_code is ExitCode.GOOD
    assert not made


def test_a_second_run_on_another_machine_confirms_nothing() -> None:
    slow = (times("a"), times("b", shift=0.1, seed=1))
    moved = tuple(replace(one, fingerprint={**FINGERPRINT, "cpu": "POWER9"}) for one in slow)
    with pytest.raises(EnvironmentMismatchError):
        judge(slow, (moved[0], moved[1]))


@pytest.mark.parametrize(("name", "value"), [("cpu", "POWER9"), ("arch", "x86_64"), ("cpu", None), ("smt", 4)])
def test_another_environment_is_neither_pass_nor_regression(name: str, value: Any) -> None:
    known = {**FINGERPRINT, "smt": 8}
    a, b = replace(times("a"), fingerprint=known), times("b", seed=1)
    with pytest.raises(EnvironmentMismatchError) as raised:
        judge((a, replace(b, fingerprint={**known, name: value})))
    assert raised.value.exit_code is ExitCode.ENVIRONMENT_MISMATCH


def test_the_difference_that_is_asked_about_may_be_allowed() -> None:
    a, b = times("a"), times("b", seed=1)
    old = replace(a, fingerprint={**FINGERPRINT, "libraries.torch": "2.6", "libraries.numpy": "2.0"})
    new = replace(b, fingerprint={**FINGERPRINT, "libraries.torch": "2.9", "libraries.numpy": "2.0"})
    with pytest.raises(EnvironmentMismatchError, match=r"libraries\.torch: 2\.6 and 2\.9"):
        judge((old, new))
    assert judge((old, new), allowed=["libraries.torch"]).exit_code is ExitCode.GOOD
    assert judge((old, new), allowed=["libraries"]).exit_code is ExitCode.GOOD
    with pytest.raises(InputError, match="--allow-diff: unknown fact 'lib'"):
        judge((old, new), allowed=["lib"])


def test_a_missing_workload_never_passes() -> None:
    a, b = times("a"), times("b", seed=1)
    less = replace(b, observations={key: b.observations[key] for key in KEYS[:2]})
    report = judge((a, less))
    assert [result.verdict for result in report.results] == [
        GateVerdict.PASSED,
        GateVerdict.PASSED,
        GateVerdict.MISSING,
    ]
    assert report.exit_code is ExitCode.INCONCLUSIVE


def test_a_new_workload_is_listed_and_not_gated() -> None:
    a, b = times("a"), times("b", seed=1)
    baseline = make_baseline(replace(a, observations={key: a.observations[key] for key in KEYS[:2]}))
    report = gate(baseline, (a, b), Policy(), source=CONCURRENT, measure_again=None)
    assert report.ungated == (KEYS[2],)
    assert report.exit_code is ExitCode.GOOD


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_unequal_blocks_are_inconclusive(shift: float) -> None:
    slow = (times("a"), times("b", shift=shift, seed=1, blocks=11))
    report = judge(slow, slow)
    assert report.exit_code is ExitCode.INCONCLUSIVE
    assert "same blocks (12 and 11)" in report.results[0].why


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_an_invalid_side_is_inconclusive(shift: float) -> None:
    a, b = times("a"), times("b", shift=shift, seed=1)
    bad = replace(b, observations={k: replace(o, problems=STOLEN) for k, o in b.observations.items()})
    assert judge((a, bad), (a, bad)).exit_code is ExitCode.INCONCLUSIVE


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_times_without_spread_are_inconclusive(shift: float) -> None:
    a = times("a")
    flat = side("b", {key: np.full(12, shift) for key in KEYS})
    assert judge((a, flat), (a, flat)).exit_code is ExitCode.INCONCLUSIVE


def test_a_margin_below_the_noise_is_not_measurable_here() -> None:
    noisy = (times("a", sd=0.05), times("b", shift=0.5, seed=1, sd=0.05))
    same = (noisy[0], times("b", seed=1, sd=0.05))
    report = judge(same, same, margin=0.01)
    assert report.exit_code is ExitCode.INCONCLUSIVE
    assert "not measurable here: the noise floor is" in report.results[0].why
    assert judge(noisy, margin=0.01).exit_code is ExitCode.INCONCLUSIVE  # not confirmed
    assert judge(noisy, noisy, margin=0.01).exit_code is ExitCode.REGRESSION  # beyond the noise as well
    assert judge(noisy, noisy).exit_code is ExitCode.REGRESSION  # at the default margin it is


def test_a_machine_too_noisy_for_anything_passes_nothing() -> None:
    noisy = (times("a", sd=0.8), times("b", seed=1, sd=0.8))
    report = judge(noisy)
    assert report.exit_code is ExitCode.INCONCLUSIVE
    assert "too noisy" in report.results[0].why


@pytest.mark.parametrize(
    ("mean", "sd", "n", "verdict"),
    [
        (0.95, 0.004, 5, GateVerdict.PASSED),
        (0.945, 0.004, 5, GateVerdict.PASSED),  # within the margin
        (0.99, 0.004, 5, GateVerdict.PASSED),
        (0.90, 0.004, 5, GateVerdict.REGRESSED),
        (0.92, 0.04, 5, GateVerdict.INCONCLUSIVE),  # the seeds vary more than that
        (0.90, None, 1, GateVerdict.INCONCLUSIVE),
        (0.95, 0.004, 4, GateVerdict.INCONCLUSIVE),  # not the same seeds
    ],
)
def test_accuracy_is_gated_too(mean: float, sd: float | None, n: int, verdict: GateVerdict) -> None:
    pair = (with_accuracy(times("a"), 0.95), with_accuracy(times("b", seed=1), mean, sd=sd, n=n))
    report = judge(pair, pair)
    assert report.results[-1].subject == "workload-0 auc_roc"
    assert report.results[-1].verdict is verdict
    if verdict is GateVerdict.REGRESSED:
        assert judge(pair).exit_code is ExitCode.INCONCLUSIVE  # not confirmed
        assert judge(pair, (pair[0], with_accuracy(pair[1], 0.95))).exit_code is ExitCode.INCONCLUSIVE


def test_missing_accuracy_never_passes() -> None:
    a, b = with_accuracy(times("a"), 0.95), times("b", seed=1)
    assert judge((a, b)).exit_code is ExitCode.INCONCLUSIVE
    headless = replace(a, accuracy={"workload-0": Accuracy(None, {})})
    assert judge((headless, b)).exit_code is ExitCode.INCONCLUSIVE


def test_a_baseline_survives_its_file(tmp_path: Path) -> None:
    first = make_baseline(with_accuracy(times("first"), 0.95))
    later = replace(with_accuracy(times("later", seed=5), 0.95), created="2026-08-02T12:00:00Z")
    baseline = make_baseline(later, earlier=first)
    path = tmp_path / "baseline.json"
    path.write_text(baseline_text(baseline), encoding="utf-8")
    assert read_baseline(path) == baseline
    assert [session.created for session in baseline.sessions] == ["2026-08-01T12:00:00Z", "2026-08-02T12:00:00Z"]
    assert baseline_text(read_baseline(path)) == baseline_text(baseline)


def test_sessions_of_another_environment_are_forgotten() -> None:
    first = make_baseline(replace(times("first"), fingerprint={**FINGERPRINT, "kernel": "6.1"}))
    assert len(make_baseline(times("later"), earlier=first).sessions) == 1


@pytest.mark.parametrize(("blocks", "problems"), [(5, ()), (12, STOLEN)])
def test_what_is_not_valid_becomes_no_baseline(blocks: int, problems: tuple[Problem, ...]) -> None:
    one = times("a", blocks=blocks)
    one = replace(one, observations={k: replace(o, problems=problems) for k, o in one.observations.items()})
    with pytest.raises(MeasurementError, match="nothing may be judged against"):
        make_baseline(one)
    many = [replace(key, batch_size=size) for key in one.observations for size in range(1, 40)]
    seen = next(iter(one.observations.values()))
    with pytest.raises(MeasurementError) as refused:
        make_baseline(replace(one, observations={key: replace(seen, key=key) for key in many}))
    assert len(refused.value.message) < 400, "each reason once, with two results"
    assert f"and {len(many) - 2} more: " in refused.value.message
    with pytest.raises(MeasurementError, match="holds no results"):
        make_baseline(replace(one, observations={}))


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"baseline_version": 3', '"baseline_version": 2', r"baseline_version is 2 \(int\); expected one of 3"),
        ('"name": "a"', '"name": 3', r"name is 3 \(int\); expected a text"),
        ('"0": 0.00', '"0": -0.00', r"results\[0\].seconds.0 is -0.00\S+ \(float\); expected a number from 1e-12"),
        ('"0": 0.00', '"0": NaN, "99": 0.00', "NaN is not a finite number"),
        ('"0": 0.00', '"x": 0.00', r"seconds.x: expected a whole number as the key"),
        ('"0": 0.00', '"-1": 0.00', r"results\[0\].seconds is a table; expected block numbers from 0"),
        ('"batch_size": 64', '"batch_size": true', r"batch_size is True \(bool\); expected a whole number"),
        ('"batch_size": 64', '"batch_size": -64', r"batch_size is -64 \(int\); expected a whole number from 0"),
        ('"workload-1"', '"workload-0"', "the same key twice"),
        ('"results": [', '"results": [], "rest": [', "unknown key 'rest'"),
        ('"effect"', '"affect"', "unknown key 'affect'"),
        ('"n": 5', '"n": 0', "expected at least 1"),
        ("{", "", "not a baseline"),
    ],
)
def test_a_broken_baseline_is_an_input_error_that_names_the_place(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    text = baseline_text(make_baseline(with_accuracy(times("a"), 0.9)))
    assert old in text
    path = tmp_path / "baseline.json"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=complaint):
        read_baseline(path)


def test_a_baseline_without_results_is_an_input_error(tmp_path: Path) -> None:
    document = json.loads(baseline_text(make_baseline(times("a"))))
    path = tmp_path / "baseline.json"
    document["machines"][0]["results"] = []
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(InputError, match="results is a list; expected at least one result"):
        read_baseline(path)


def test_a_missing_or_binary_baseline_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a directory, and a baseline is a file") as error:
        read_baseline(tmp_path)
    assert "--update --candidate RUN" in str(error.value.remedy)
    with pytest.raises(InputError, match="no such baseline"):
        read_baseline(tmp_path / "none.json")
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a baseline"):
        read_baseline(binary)


def test_stored_times_of_a_shared_machine_need_three_sessions() -> None:
    one = make_baseline(times("a"))
    slow = times("b", shift=0.3, seed=1)
    pair = (one.side, slow)
    report = gate(one, pair, Policy(), source=STORED, measure_again=lambda _: pair)
    assert report.exit_code is ExitCode.INCONCLUSIVE
    assert "three sessions" in report.results[0].why.replace("3", "three")


def test_a_dedicated_machine_may_use_stored_times_with_a_wider_margin() -> None:
    dedicated = replace(times("a"), fingerprint={**FINGERPRINT, "lpar_dedicated": True})
    baseline = make_baseline(dedicated)
    report = gate(
        baseline,
        (baseline.side, replace(times("b", seed=1), fingerprint=dedicated.fingerprint)),
        Policy(),
        source=STORED,
        measure_again=None,
    )
    assert report.exit_code is ExitCode.GOOD
    judged = report.results[0].time
    assert judged is not None
    assert judged.comparison.margin == pytest.approx(1.03 * (1 + baseline.floors[judged.key].effect) - 1)


def test_days_that_differ_are_no_regression() -> None:
    rng = np.random.default_rng(17)
    alarms = 0
    for _ in range(50):
        baseline, candidate = stored_baseline(rng, sessions=5, day_sd=0.03)
        pair = (baseline.side, candidate)
        alarms += gate(baseline, pair, Policy(), source=STORED, measure_again=lambda _, p=pair: p).exit_code == 1
    assert alarms == 0


def test_measuring_stops_at_precision_or_at_the_limit() -> None:
    asked: list[int] = []

    def add(count: int, sd: float) -> Pair:
        asked.append(count)
        blocks = sum(asked)
        return times("a", blocks=blocks, sd=sd), times("b", blocks=blocks, seed=1, sd=sd)

    margins = dict.fromkeys(KEYS, 0.03)
    measure_enough(lambda count: add(count, 0.002), margins)
    assert asked == [6]
    asked.clear()
    measure_enough(lambda count: add(count, 0.5), margins, max_blocks=11)
    assert asked == [6, 2, 2, 1]
    asked.clear()
    measure_enough(lambda count: add(count, 0.5), margins, out_of_time=lambda: len(asked) == 2)
    assert asked == [6, 2]


def test_measuring_ends_where_more_blocks_would_not_help() -> None:
    broken = times("b", seed=1)
    broken = replace(broken, observations={k: replace(o, problems=STOLEN) for k, o in broken.observations.items()})
    calls = []
    measure_enough(lambda count: calls.append(count) or (times("a"), broken), dict.fromkeys(KEYS, 0.03))
    assert calls == [6]


def test_the_self_check_sees_this_machines_noise() -> None:
    quiet = self_check(times("a", blocks=24, sd=0.01), seed=3)
    noisy = self_check(times("a", blocks=24, sd=0.2), seed=3)
    assert [one.key for one in quiet] == list(KEYS)
    assert all(one.pairs == 12 and one.floor < 0.02 and one.alarm_share <= 0.02 for one in quiet)
    assert all(one.floor > 0.05 for one in noisy)
    with pytest.raises(MeasurementError, match="12 blocks"):
        self_check(times("a", blocks=10), seed=3)


def test_a_floor_is_kept_with_the_blocks_it_holds_for() -> None:
    baseline = simulated_gate("quiet", 3)
    assert baseline.baseline == "baseline"
    floors = make_baseline(times("a", blocks=24, sd=0.02)).floors
    assert all(isinstance(one, Floor) and one.blocks == 24 and 0.002 < one.effect < 0.02 for one in floors.values())
    assert isinstance(make_baseline(times("a")), Baseline)
