"""Two runs of one fleet: how often a change is named, what the update changed, and what cannot be compared."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_ind
from typer.testing import CliRunner

from harness.cli.main import app
from harness.decode import encode
from harness.errors import EnvironmentMismatchError, ExitCode
from harness.fleet.compare import ALL, compare_fleets
from harness.fleet.judge import fleet_of
from harness.measure.hosts import changes
from harness.platform.facts import Facts
from harness.record.codec import DIGEST, digest_of
from harness.record.fleet_model import Standing
from harness.record.store import fleet_text
from harness.reporting.fleet_change import change_text, exit_code_of
from harness.reporting.fleet_change_html import render_change
from tests.support import fleets
from tests.support.fleets import facts


def rates(rng: np.random.Generator, hosts: int, waves: int = 6, noise: float = 0.004) -> np.ndarray:
    return np.exp(math.log(1000) + rng.normal(0, noise, (hosts, waves)) + rng.normal(0, 0.002, waves))


def written(directory: Path, values: np.ndarray, hosts: dict[str, Facts], **changes: object) -> Path:
    looked = {name: fleets.looked(of) for name, of in hosts.items()}
    design = fleets.design(list(hosts), values.shape[1], **changes)
    fleet = fleet_of(design, fleets.entries(design, {"nsl-kdd-mlp": values}, looked))
    directory.mkdir()
    (directory / "fleet.json").write_text(fleet_text(fleet), encoding="utf-8")
    for name, of in hosts.items():
        record = directory / "hosts" / name / "wave-1"
        record.mkdir(parents=True)
        (record / "run.json").write_text(json.dumps({"facts": encode(of)}), encoding="utf-8")
    return directory


def hosts_of(count: int, **changes: object) -> dict[str, Facts]:
    return {f"lpar{number:02d}": facts(number, **changes) for number in range(1, count + 1)}


def updated(of: Facts, kernel: str) -> Facts:
    return replace(of, kernel=replace(of.kernel, release=kernel))


def test_a_change_is_that_of_welch_and_all_together_that_of_the_waves() -> None:
    rng = np.random.default_rng(4)
    before, after = rates(rng, 3), 0.95 * rates(rng, 3, 8)
    *single, together = changes(before, after)
    pairs = [(np.log(a), np.log(b)) for a, b in zip(before, after, strict=True)]
    pairs.append((np.log(before).mean(axis=0), np.log(after).mean(axis=0)))
    for effect, (a, b) in zip([*single, together], pairs, strict=True):
        limits = ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
        assert (effect.low, effect.high) == pytest.approx((limits.low, limits.high))
        assert effect.p_slow == pytest.approx(
            ttest_ind(b, a - math.log1p(0.03), equal_var=False, alternative="less").pvalue
        )


def test_missing_waves_and_hosts_leave_the_rest() -> None:
    rng = np.random.default_rng(5)
    before, after = rates(rng, 3), rates(rng, 3)
    before[0, 2] = np.nan
    after[1, 1:] = np.nan  # one is left: nothing can be said
    after[:, 5] = np.nan
    first, second, third, together = changes(before, after)
    assert second is None
    assert first is not None
    assert third is not None
    assert together.waves == 5
    assert abs(together.effect) < 0.01
    assert changes(before, np.full((3, 6), np.nan)) == (None,) * 4


def test_no_alarm_where_nothing_changed_and_a_slow_host_is_named() -> None:
    rng = np.random.default_rng(6)
    alarms = named = 0
    for _ in range(100):
        before, after = rates(rng, 8, noise=0.02), rates(rng, 8, noise=0.02)
        alarms += any(effect.p_slow < 0.05 / 8 or effect.p_fast < 0.05 / 8 for effect in changes(before, after))
        after[3] *= 0.88
        named += changes(before, after)[3].p_slow < 0.05 / 8
    assert alarms == 0
    assert named >= 95


def test_the_slower_host_and_the_facts_that_changed_are_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    hosts = hosts_of(8)
    before = written(tmp_path / "a", rates(rng, 8), hosts)
    slower = rates(rng, 8)
    slower[6] *= 0.89
    after = written(tmp_path / "b", slower, {name: updated(of, "6.12.1-power") for name, of in hosts.items()})
    changed = compare_fleets(before, after, 0.03)
    (result,) = changed.results
    assert [each.host for each in result.hosts if each.standing is Standing.SLOW] == ["lpar07"]
    assert {each.standing for each in result.hosts if each.host != "lpar07"} == {Standing.EQUAL}
    assert (result.together.host, result.together.standing) == (ALL, Standing.EQUAL)
    assert changed.facts is not None
    assert [(fact.name, fact.after, len(fact.hosts)) for fact in changed.facts] == [
        ("kernel.release", "6.12.1-power", 8)
    ]
    assert exit_code_of(changed) == ExitCode.REGRESSION
    shown = CliRunner().invoke(app, ["fleet", "compare", str(before), str(after)])
    assert shown.exit_code == 1
    text = shown.output.replace("\N{NO-BREAK SPACE}", " ")
    assert "8 LPARs together" in text
    assert re.search(r"lpar07 is 1[01](\.\d)? % slower \[", text), text
    assert "Changed on 8 LPARs: kernel.release: " in text
    assert "→ 6.12.1-power (kernel release: scheduler, mitigations)" in text
    page = tmp_path / "page.html"
    assert CliRunner().invoke(app, ["fleet", "compare", str(before), str(after), "--html", str(page)]).exit_code == 1
    content = page.read_text(encoding="utf-8")
    assert re.search(r'<th scope="row">lpar07</th><td><span class="tag bad', content)
    assert '<td class="long">6.12.1-power</td>' in content
    evil = replace(changed, missing={"<script>": "gone"}, facts=None)
    assert b"<script" not in render_change(evil)
    assert b"&lt;script&gt;: gone" in render_change(evil)
    same = compare_fleets(before, before, 0.03)
    assert same.facts == ()
    assert exit_code_of(same) == ExitCode.GOOD
    assert "No fact changed." in change_text(same, 80)


def test_what_cannot_be_compared_is_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    hosts = hosts_of(4)
    before = written(tmp_path / "a", rates(rng, 4), hosts)
    others = {**hosts, "lpar02": facts(9), "lpar05": facts(5)}
    del others["lpar04"]
    after = written(tmp_path / "b", rates(rng, 4), others)
    changed = compare_fleets(before, after, 0.03)
    assert changed.missing == {
        "lpar02": "another partition or machine has its name now",
        "lpar04": "not in the fleet after",
        "lpar05": "not in the fleet before",
    }
    assert [each.host for each in changed.results[0].hosts] == ["lpar01", "lpar03"]
    assert exit_code_of(changed) == ExitCode.INCONCLUSIVE
    assert "Not compared: lpar04: not in the fleet after" in change_text(changed, 80)
    other = replace(fleets.SPEC, cores=2)
    with pytest.raises(EnvironmentMismatchError, match=r"The fleets did other work: cores 1 and 2\."):
        compare_fleets(before, written(tmp_path / "c", rates(rng, 4), hosts, spec=other), 0.03)
    with pytest.raises(EnvironmentMismatchError, match="have no host in common"):
        compare_fleets(before, written(tmp_path / "d", rates(rng, 1), {"x": facts(1)}), 0.03)


def test_records_outside_the_directory_are_not_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    before = written(tmp_path / "a", rates(rng, 2), hosts_of(2))
    after = written(tmp_path / "b", rates(rng, 2), hosts_of(2))
    file = after / "fleet.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    assert document["hosts"][0]["records"][0]["path"] == "hosts/lpar01/wave-1"
    text = file.read_text(encoding="utf-8").replace("hosts/lpar0", "../a/hosts/lpar0")
    document = json.loads(text)
    document[DIGEST] = digest_of({key: value for key, value in document.items() if key != DIGEST})
    file.write_text(json.dumps(document), encoding="utf-8")
    assert compare_fleets(before, after, 0.03).facts is None
