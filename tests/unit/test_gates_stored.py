"""Gates on stored sessions: levels, noise pooled over a suite, machines in one file, margins by name."""

from __future__ import annotations

import math
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from support.gate_simulation import FINGERPRINT, KEYS, side
from support.suite_simulation import SIZE, count, in_one, judge, suite_with_baseline

from harness.compare.observations import Key, Side
from harness.errors import CheckFailedError, EnvironmentMismatchError, ExitCode, InputError, MeasurementError
from harness.gates import levels, stored
from harness.gates.baseline import Baseline, make_baseline
from harness.gates.baseline_file import read_baseline, read_baselines, update_baseline
from harness.gates.gate import BaselineSource, GateReport, gate
from harness.gates.levels import centres, level_since
from harness.gates.policy import Policy, read_policy
from harness.gates.stored import MOST_RUNS
from harness.measure.sessions import level_of, session_noise
from harness.measure.shares import parse_share
from harness.measure.stats import t_quantile

ONE = KEYS[:1]


def session(day: int, *, shift: float = 0.0, keys: tuple = ONE, cpu: str = "POWER10", sd: float = 0.004) -> Side:
    rng = np.random.default_rng(day)
    measured = side(f"session-{day}", {key: shift + rng.normal(0, sd, 6) for key in keys})
    return replace(measured, created=f"2026-08-{day:02d}", fingerprint={**FINGERPRINT, "cpu": cpu})


def baseline_of(*sessions: Side, accept: dict[int, str] | None = None) -> Baseline:
    baseline = None
    for at, measured in enumerate(sessions):
        baseline = make_baseline(measured, earlier=baseline, accept=(accept or {}).get(at))
    assert baseline is not None
    return baseline


def judged(baseline: Baseline, first: Side, second: Side | None = None, **policy: object) -> GateReport:
    again = None if second is None else lambda _: (baseline.side, second)
    return gate(baseline, (baseline.side, first), Policy(**policy), source=BaselineSource.STORED, measure_again=again)


UP = math.log(1.1)


def test_an_accepted_step_is_no_noise() -> None:
    baseline = baseline_of(
        *(session(day) for day in (1, 2, 3)), session(4, shift=UP), accept={3: "checks every row now"}
    )
    assert [entry.reason for entry in baseline.accepted] == ["checks every row now"]
    assert baseline.accepted[0].changes[0].effect == pytest.approx(0.1, abs=0.01)
    assert judged(baseline, session(10, shift=UP)).exit_code is ExitCode.GOOD
    twice = UP + math.log(2)
    report = judged(baseline, session(11, shift=twice), session(12, shift=twice))
    assert report.exit_code is ExitCode.REGRESSION
    for day in range(13, 19):
        baseline = make_baseline(session(day, shift=UP), earlier=baseline)
    slower = UP + math.log(1.138)
    report = judged(baseline, session(20, shift=slower), session(21, shift=slower))
    assert report.exit_code is ExitCode.REGRESSION
    assert "margin 3.0 %" in report.results[0].why


@pytest.mark.parametrize("shift", [UP, -UP])
def test_a_step_is_named_and_asked_for(shift: float) -> None:
    three = baseline_of(*(session(day) for day in (1, 2, 3)))
    with pytest.raises(CheckFailedError, match=r"workload-0 .*: [+\u2212]\d+\.\d %.*accept it: --accept") as raised:
        make_baseline(session(4, shift=shift), earlier=three)
    assert raised.value.exit_code is ExitCode.REGRESSION
    with pytest.raises(InputError, match="needs a reason"):
        make_baseline(session(4, shift=shift), earlier=three, accept=" ")
    assert make_baseline(session(4, shift=shift), earlier=three, accept="meant").level(ONE[0]).sessions == 1


def test_a_step_that_is_small_is_asked_for_once_it_stands_out() -> None:
    baseline = baseline_of(*(session(day) for day in (1, 2, 3, 4)))

    def creep(baseline: Baseline) -> None:
        for day in range(5, 17):
            baseline = make_baseline(session(day, shift=0.01 * (day - 4)), earlier=baseline)

    with pytest.raises(CheckFailedError):
        creep(baseline)


def test_there_must_be_something_to_accept_and_something_new() -> None:
    two = baseline_of(session(1), session(2))
    with pytest.raises(InputError, match="has left its level"):
        make_baseline(session(3), earlier=two, accept="nothing")
    with pytest.raises(InputError, match="no earlier session"):
        make_baseline(session(1), accept="nothing")
    with pytest.raises(InputError, match="already a session"):
        make_baseline(session(1), earlier=two)


def test_a_result_that_is_gone_is_asked_for() -> None:
    both = baseline_of(*(session(day, keys=KEYS[:2]) for day in (1, 2, 3)))
    with pytest.raises(CheckFailedError, match=r"workload-1 .*no longer measured"):
        make_baseline(session(4), earlier=both)
    assert make_baseline(session(4), earlier=both, accept="dropped").side.observations.keys() == {ONE[0]}


def test_a_level_that_one_lucky_session_made_faster_fails_nothing_yet() -> None:
    baseline = baseline_of(*(session(day) for day in (1, 2, 3)), session(4, shift=-UP), accept={3: "faster"})
    report = judged(baseline, session(10), session(11))
    assert report.exit_code is ExitCode.INCONCLUSIVE
    assert "new level rests on 1 of 3 sessions" in report.results[0].why
    assert judged(baseline, session(10, shift=UP), session(11, shift=UP)).exit_code is ExitCode.REGRESSION


def test_a_margin_that_was_named_is_never_widened() -> None:
    baseline = baseline_of(*(session(day, shift=0.06 * (day - 2)) for day in (1, 2, 3)))
    loud = judged(baseline, session(10), margin=0.05)
    assert "a margin of 5.0 % is not measurable here" in loud.results[0].why
    noisy = judged(baseline, session(10))
    assert "too noisy to gate on" in noisy.results[0].why
    assert noisy.results[0].time is not None
    assert noisy.results[0].time.comparison.margin <= 0.2
    far = math.log(8)  # beyond any noise: found all the same
    assert judged(baseline, session(10, shift=far), session(11, shift=far)).exit_code is ExitCode.REGRESSION


def test_machines_share_a_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    for day in (1, 2, 3):
        update_baseline(path, session(day))
    first = read_baseline(path)
    update_baseline(path, session(4, shift=UP, cpu="POWER11"))
    assert [len(baseline.sessions) for baseline in read_baselines(path)] == [3, 1]
    assert read_baseline(path, session(5).fingerprint) == first
    assert read_baseline(path, session(5, cpu="POWER11").fingerprint).side.name == "session-4"
    with pytest.raises(EnvironmentMismatchError, match="2 machines, none of this one"):
        read_baseline(path, session(5, cpu="POWER9").fingerprint)
    update_baseline(path, session(6))
    assert [len(baseline.sessions) for baseline in read_baselines(path)] == [1, 4]


def test_a_side_with_too_few_blocks_says_why_the_others_do_not_count() -> None:
    whole = session(1)
    observations = {
        key: replace(each, seconds=dict(list(each.seconds.items())[:5]), unusable={5: "fewer than 10 samples"})
        for key, each in whole.observations.items()
    }
    with pytest.raises(MeasurementError, match=r"5 of at least 6 blocks \(fewer than 10 samples\)"):
        make_baseline(replace(whole, observations=observations))


def test_updates_at_the_same_time_lose_no_session(tmp_path: Path) -> None:
    path = tmp_path / "new" / "b.json"
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda day: update_baseline(path, session(day)), range(1, 7)))
    assert len(read_baseline(path).sessions) == 6
    assert list(path.parent.iterdir()) == [path]


def test_an_unknown_processor_is_refused_before_there_is_a_baseline(tmp_path: Path) -> None:
    unknown = replace(session(1), fingerprint={"arch": "aarch64", "cpu": None})
    with pytest.raises(InputError, match="--machine NAME"):
        update_baseline(tmp_path / "b.json", unknown)
    assert not (tmp_path / "b.json").exists()
    named = replace(unknown, fingerprint={"arch": None, "cpu": "box"})  # as --machine NAME names a file of hyperfine
    assert len(update_baseline(tmp_path / "b.json", named).sessions) == 1


def test_the_remedy_for_a_file_of_another_version_works(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_text("{}")
    with pytest.raises(InputError, match="Move it away and write a new one"):
        update_baseline(path, session(1))
    path.rename(tmp_path / "old.json")
    assert len(update_baseline(path, session(1)).sessions) == 1


def test_margins_floors_and_differences_are_asked_by_name(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(
        'margin = "4%"\nallow-diff = ["kernel"]\n[benchmarks."workload-0"]\nmargin = "20%"\n'
        '[benchmarks."work*"]\nfloor = "500 us"\nallow-diff = ["libraries"]\n'
    )
    policy = read_policy(path, Policy())
    assert policy.asked(KEYS[0], 1e-3).share == pytest.approx(0.2)
    assert policy.asked(KEYS[1], 1e-3).share == pytest.approx(0.5)  # 500 us of 1 ms
    assert policy.asked(KEYS[1], 1.0).share == pytest.approx(0.04)
    assert policy.allowed_for(KEYS[0]) == {"kernel"}
    assert policy.allowed_for(KEYS[1]) == {"kernel", "libraries"}
    baseline = baseline_of(*(session(day, keys=KEYS[:2]) for day in (1, 2, 3)))
    slow = [session(day, shift=math.log(1.3), keys=KEYS[:2]) for day in (10, 11)]
    report = gate(
        baseline,
        (baseline.side, slow[0]),
        policy,
        source=BaselineSource.STORED,
        measure_again=lambda _: (baseline.side, slow[1]),
    )
    assert [result.verdict.value for result in report.results] == ["regressed", "passed"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('margin = "0.5"', "margin is '0.5'.*expected a share"),
        ("margin = 5", "margin is 5"),
        ('margin = "200%"', "margin is '200%'.*above 0 and at most 100 %"),
        ('margins = "5%"', "unknown key 'margins'"),
        ('[benchmarks.a]\nfloor = "50"', "benchmarks.a.floor is '50'.*expected a duration with a unit"),
        ("margin =", "not TOML"),
    ],
)
def test_a_wrong_policy_is_an_error_at_its_place(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=complaint):
        read_policy(path, Policy())


@pytest.mark.parametrize("text", ["tool = 3", "[tool]\nlparbench = 3", "[tool.other]"])
def test_a_project_without_a_policy_has_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    assert read_policy(None, Policy(), (tmp_path,)) == Policy()
    with pytest.raises(InputError, match=r"has no \[tool.lparbench.gate\]"):
        read_policy(tmp_path / "pyproject.toml", Policy())


def test_brackets_of_parameters_are_no_pattern(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text('[benchmarks."t.py::a[1*]"]\nmargin = "9%"\n')
    policy = read_policy(path, Policy())
    assert policy.asked(replace(KEYS[0], workload="t.py::a[1-x]"), 1.0).share == pytest.approx(0.09)
    assert policy.asked(replace(KEYS[0], workload="t.py::a1"), 1.0).share == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("text", "value"),
    [("5", 0.05), ("5%", 0.05), ("0.05", 0.05), ("5 %", 0.05), ("100", 1.0), ("1", 0.01)],
)
def test_a_share_is_read_as_it_is_meant(text: str, value: float) -> None:
    assert parse_share(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["0.5", "0.99", "0", "-5", "101", "300", "300%", "nan", "inf", "five"])
def test_what_is_no_share_or_two_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"share|can be read|more than the 100 %"):
        parse_share(text)
    assert parse_share("300%", most=10.0) == 3.0  # a demand may grow so far


def test_pooled_noise_is_that_of_the_simulation() -> None:
    rng = np.random.default_rng(1)
    levels = np.zeros((200, 6), dtype=np.int64)
    levels[:, 3:] = 1
    logs = rng.normal(0, 0.02, (200, 6)) + 0.1 * levels + rng.normal(0, 0.001, (1, 6))
    noise = session_noise(logs, levels)
    assert noise is not None
    assert noise.sd == pytest.approx(np.full(200, 0.02), rel=0.1)
    assert noise.quantiles(0.001) / noise.sd == pytest.approx(np.full(200, NormalDist().inv_cdf(0.999)), rel=0.1)
    assert session_noise(logs[:, :1], levels[:, :1]) is None


def test_noise_of_one_series_has_the_tails_of_t() -> None:
    rng = np.random.default_rng(3)
    logs = rng.normal(0, 0.02, (1, 7))
    noise = session_noise(logs, np.zeros((1, 7), dtype=np.int64))
    assert noise is not None
    for tail in (0.05, 0.005):
        expected = t_quantile(1 - 2 * tail, 6) * logs.std(ddof=1)
        assert noise.quantiles(tail)[0] == pytest.approx(expected, rel=0.15)


def test_noise_is_shrunk_towards_the_neighbours_as_far_as_they_are_alike() -> None:
    rng = np.random.default_rng(4)
    levels = np.zeros((40, 8), dtype=np.int64)
    true = np.where(np.arange(40) % 2, 0.01, 0.05)
    noise = session_noise(rng.normal(0, 1, (40, 8)) * true[:, None], levels)
    assert noise is not None
    assert noise.sd[1::2].max() < 0.025 < noise.sd[::2].min()
    alike = session_noise(rng.normal(0, 0.02, (40, 3)), levels[:, :3])
    assert alike is not None
    assert np.ptp(np.log(alike.sd)) < 0.6  # of three sessions alone: factors of ten


def test_a_session_far_off_counts_less_towards_its_level() -> None:
    assert level_of([0.0, 0.01, -0.01, 0.5], 0.01) == pytest.approx(0.005, abs=0.005)
    assert level_of([0.0, 0.01, 0.02], 0.02) == pytest.approx(0.01)
    assert level_of([0.0, 0.5], 0.01) == level_of([0.25], None) == 0.25


def test_runs_that_only_repeat_each_other_add_nothing() -> None:
    baseline = baseline_of(*(session(day, sd=0.004, shift=0.03 * (-1) ** day, keys=KEYS) for day in range(1, 7)))
    runs = iter([session(20, shift=0.16, keys=KEYS)] * 9)
    first = next(runs)
    report = gate(
        baseline,
        (baseline.side, first),
        Policy(),
        source=BaselineSource.STORED,
        measure_again=lambda _: (baseline.side, next(runs)),
    )
    days = iter([session(day, shift=0.16 + 0.03 * (-1) ** day, keys=KEYS) for day in range(20, 30)])
    several = gate(
        baseline,
        (baseline.side, next(days)),
        Policy(),
        source=BaselineSource.STORED,
        measure_again=lambda _: (baseline.side, next(days)),
    )
    width = [result.time.comparison.effect.high - result.time.comparison.effect.low for result in report.results]
    narrow = [result.time.comparison.effect.high - result.time.comparison.effect.low for result in several.results]
    assert all(wide > 1.2 * other for wide, other in zip(width, narrow, strict=True))


def test_all_looks_together_fail_no_more_than_is_stated() -> None:
    assert (MOST_RUNS - 2) * stored._ALARMS + stored._LAST_ALARMS <= 0.005


def test_only_what_is_open_is_measured_again_and_nothing_gets_lost() -> None:
    baseline = baseline_of(*(session(day, keys=KEYS) for day in (1, 2, 3, 4)))
    asked: list[set[Key]] = []

    def again(keys: Collection[Key], lost: Collection[Key] = ()) -> tuple[Side, Side]:
        asked.append(set(keys))
        further = session(20 + len(asked), shift=UP, keys=tuple(key for key in KEYS if key in keys and key not in lost))
        return baseline.side, further

    first = session(20, keys=KEYS)
    slow = session(19, shift=UP, keys=ONE)
    first = replace(first, observations={**first.observations, **slow.observations})
    pair = (baseline.side, first)
    report = gate(baseline, pair, Policy(), source=BaselineSource.STORED, measure_again=again)
    assert asked == [set(ONE)]
    assert [result.verdict.value for result in report.results] == ["regressed", "passed", "passed"]
    report = gate(
        baseline, pair, Policy(), source=BaselineSource.STORED, measure_again=lambda keys: again(keys, lost=ONE)
    )
    assert [result.verdict.value for result in report.results] == ["missing", "passed", "passed"]


def test_what_lies_where_accepted_code_did_has_not_regressed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result whose change a burst masked when others were accepted: its level holds sessions of the old code."""

    def exit_code() -> ExitCode:
        suite, baseline = suite_with_baseline("bursts", 10195, changes=2)
        return judge(suite, baseline).exit_code

    assert exit_code() is not ExitCode.REGRESSION
    monkeypatch.setattr(levels, "_MOVED", 1e-12)
    assert exit_code() is ExitCode.REGRESSION


def test_two_of_three_sessions_that_are_fast_by_chance_fail_no_unchanged_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def exit_code() -> ExitCode:
        suite, baseline = suite_with_baseline("bursts", 900064, changes=0)
        return judge(suite, baseline).exit_code

    assert exit_code() is not ExitCode.REGRESSION
    monkeypatch.setattr(levels, "_FAR", 1e-12)
    assert exit_code() is ExitCode.REGRESSION


def test_a_level_lies_where_most_or_the_others_of_its_sessions_do() -> None:
    places = centres(level_since([-0.08, -0.01, -0.08], 0.015, [], []), 0.015)
    assert places.probability.sum() == pytest.approx(1)
    assert places.logs[np.argmax(places.probability)] < -0.05
    near_the_third = places.probability[places.logs > -0.03].sum()
    assert 1e-3 < near_the_third < 0.1  # far above what an alarm may be wrong by
    alike = centres(level_since([0.0, 0.01, -0.01], 0.02, [], []), 0.02)
    assert alike.probability[np.argmin(abs(alike.logs))] > 0.9
    assert len(centres(level_since([0.0] * 6, 0.02, [], []), 0.02).logs) == 1


@pytest.mark.parametrize(
    ("logs", "own", "others", "sessions"),
    [
        ([0.0, 0.01, -0.01, 0.1, 0.11, 0.09], [3], [], 3),
        ([0.0, 0.01, -0.01, 0.1, 0.11, 0.09], [], [3], 3),  # with another's change, which nobody saw
        ([0.0, 0.01, -0.01, 0.01, 0.0, -0.01], [3], [], 6),  # accepted with others, and no more than noise
        ([0.0, 0.01, -0.01, math.nan, math.nan, 0.1], [], [3], 1),
        ([0.0, 0.1, 0.1, 0.2, 0.2, 0.2], [1, 3], [0], 3),
    ],
)
def test_the_level_is_what_sessions_and_acceptances_make_probable(
    logs: list[float], own: list[int], others: list[int], sessions: int
) -> None:
    level = level_since(logs, 0.01, own, others)
    assert level.sessions == sessions
    assert sum(stretch.probability for stretch in level.stretches) == pytest.approx(1)
    doubtful = level_since(logs, 0.2, own, others)
    assert max(stretch.probability for stretch in doubtful.stretches) < 0.99
    assert level_since(logs, None, [5], others).sessions == 1  # nothing is known of the noise


@pytest.mark.parametrize("regime", ["shared", "uneven", "bursts"])
def test_no_regime_of_noise_raises_alarms(regime: str) -> None:
    assert count(regime, 12, lambda _: 0.0, changes=0)["REGRESSION"] <= 1


@pytest.mark.parametrize("changes", [0, 1])
def test_an_unchanged_suite_of_forty_passes(changes: int) -> None:
    counts = count("even", 6, lambda _: 0.0, changes=changes)
    assert counts["REGRESSION"] == 0
    assert counts["GOOD"] >= 5


def test_ten_percent_in_one_of_forty_and_a_quarter_in_all_are_found() -> None:
    assert count("even", 10, lambda number: in_one(0.1, number), changes=0)["found"] >= 7
    counts = count("even", 3, lambda _: math.log(1.25), changes=0)
    assert counts["found"] == counts["slower"] == 3 * SIZE


@pytest.mark.parametrize("regime", ["even", "shared", "uneven", "bursts"])
def test_twice_as_slow_after_an_accepted_change_is_found(regime: str) -> None:
    assert count(regime, 2, lambda number: in_one(1.0, number), changes=1)["found"] == 2


def alone(baseline: Baseline, key: Key) -> Baseline:
    """What a file of one test holds of a suite's baseline."""
    sessions = tuple(replace(each, centres={key: each.centres[key]}) for each in baseline.sessions)
    changes = (
        replace(entry, changes=tuple(change for change in entry.changes if change.key == key))
        for entry in baseline.accepted
    )
    side = replace(baseline.side, observations={key: baseline.side.observations[key]})
    return Baseline(side, {key: baseline.floors[key]}, sessions, tuple(changes))


@pytest.mark.parametrize("changes", [0, 1])
def test_files_of_single_tests_know_the_noise_of_their_suite(changes: int) -> None:
    _, whole = suite_with_baseline("even", 3, changes=changes)
    files = [alone(whole, key) for key in whole.keys]
    for file, key in zip(files, whole.keys, strict=True):
        pooled = file.pooled(other for other in files if other is not file)
        assert pooled.keys == (key,)
        assert len(pooled.family) == SIZE
        assert pooled.sds[key] == pytest.approx(whole.sds[key])
        assert pooled.level(key).log == pytest.approx(whole.level(key).log)
        assert pooled.level(key).sessions == whole.level(key).sessions
    elsewhere = replace(files[1], sessions=tuple(replace(each, created="else") for each in files[1].sessions))
    assert files[0].pooled([elsewhere]).family == files[0].keys


def test_unchanged_suites_of_single_files_stay_green() -> None:
    for number in range(3):
        suite, whole = suite_with_baseline("even", number, changes=0)
        files = [alone(whole, key) for key in whole.keys]
        sides = [suite.session() for _ in range(MOST_RUNS)]
        for file in files:
            pooled = file.pooled(other for other in files if other is not file)
            (key,) = file.keys
            runs = iter([replace(side, observations={key: side.observations[key]}) for side in sides])
            report = gate(
                pooled,
                (pooled.side, next(runs)),
                Policy(),
                source=BaselineSource.STORED,
                measure_again=lambda _, pooled=pooled, runs=runs: (pooled.side, next(runs)),
            )
            assert report.exit_code is ExitCode.GOOD
