"""From rates to a verdict: who is named and with what reason, in words, on the page, within its bounds."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.advice.finding import Finding, Severity
from harness.errors import EnvironmentMismatchError, ExitCode
from harness.fleet import host
from harness.fleet.judge import fleet_of, require_alike
from harness.fleet.protocol import Looked
from harness.fleet.session import LookedEntry, MeasuredEntry
from harness.record.fleet_model import Fleet, HostState, Standing
from harness.record.store import fleet_text, load_fleet
from harness.reporting.fleet_html import render_fleet
from harness.reporting.fleet_terminal import fleet_text as terminal_text
from harness.reporting.fleet_terminal import looked_text
from harness.reporting.fleet_view import anonymous, exit_code_of, view_of
from harness.reporting.page import MAX_BYTES
from tests.support import fleets
from tests.support.fleets import facts

OFF_NODE = Finding(
    id="memory-off-node", severity=Severity.HIGH, title="Its memory is on node 1 while its CPUs are on node 0",
    evidence=(), why="why", fix=(), effect="up to half", source="x", loss=0.5,
)  # fmt: skip


def rates(rng: np.random.Generator, hosts: int, waves: int = 6, noise: float = 0.004) -> np.ndarray:
    return np.exp(math.log(1000) + rng.normal(0, noise, (hosts, waves)) + rng.normal(0, 0.02, waves))


def hosts_of(count: int, frames: int = 3, **odd: Looked) -> dict[str, Looked]:
    even = {f"lpar{n:02d}": fleets.looked(facts(n, f"{n % frames:x}" * 16)) for n in range(1, count + 1)}
    return even | odd


def judged(values: dict[str, np.ndarray], hosts: dict[str, Looked]) -> Fleet:
    design = fleets.design(list(hosts), next(iter(values.values())).shape[1])
    return fleet_of(design, fleets.entries(design, values, hosts))


def sentence(fleet: Fleet) -> str:
    return " ".join(view_of(fleet).sentences).replace("\N{NO-BREAK SPACE}", " ")


def test_the_slow_host_is_named_with_its_reason() -> None:
    hosts = hosts_of(16, lpar07=fleets.looked(facts(7, "1" * 16), [OFF_NODE]))
    values = rates(np.random.default_rng(2), 16)
    values[6] *= 0.89
    fleet = judged({"nsl-kdd-mlp": values}, hosts)
    pattern = (
        r"16 LPARs on 3 frames: 15 within 0\.[2-6] %; lpar07 is (11\.[0-4]|10\.\d) % slower \[10\.\d, 11\.\d\]: "
        r"its memory is on node 1 while its CPUs are on node 0\."
    )
    assert re.fullmatch(pattern, sentence(fleet)), sentence(fleet)
    assert exit_code_of(fleet) is ExitCode.REGRESSION
    standings = {each.host: each.standing for each in fleet.tests[0].hosts}
    assert standings.pop("lpar07") is Standing.SLOW
    assert set(standings.values()) == {Standing.EQUAL}
    text = terminal_text(fleet, view_of(fleet), 80)
    assert "lpar07" in text
    assert all(len(line) <= 80 for line in text.splitlines()[4:6])


def test_twenty_slow_hosts_of_twenty_and_no_alarm_of_fifty() -> None:
    rng = np.random.default_rng(8)
    for _ in range(20):
        values = rates(rng, 8)
        values[3] *= 0.9
        fleet = judged({"nsl-kdd-mlp": values}, hosts_of(8))
        assert [each.host for each in fleet.tests[0].hosts if each.standing is Standing.SLOW] == ["lpar04"]
    for _ in range(50):
        fleet = judged({"nsl-kdd-mlp": rates(rng, 8)}, hosts_of(8))
        assert {each.standing for each in fleet.tests[0].hosts} == {Standing.EQUAL}
        assert exit_code_of(fleet) is ExitCode.GOOD


def test_a_fact_that_only_the_slow_host_has_stands_in_the_report() -> None:
    base = facts(3, "0" * 16)
    odd = replace(base, energy=replace(base.energy, governor="powersave"))
    even = {
        name: replace(each, facts=replace(each.facts, energy=replace(each.facts.energy, governor="performance")))
        for name, each in hosts_of(6).items()
    }
    values = rates(np.random.default_rng(4), 6)
    values[2] *= 0.8
    fleet = judged({"nsl-kdd-mlp": values}, even | {"lpar03": fleets.looked(odd)})
    assert [(each.name, each.own, each.peers) for each in fleet.hosts[2].differences] == [
        ("energy.governor", "powersave", "performance")
    ]
    assert "energy.governor is powersave, of its peers performance" in sentence(fleet)
    assert all(not host.differences for host in fleet.hosts if host.name != "lpar03")


def test_a_fast_and_an_unsteady_host_are_named_too() -> None:
    rng = np.random.default_rng(6)
    values = rates(rng, 8, waves=8)
    values[0] *= 1.1
    values[5] *= np.exp(rng.normal(0, 0.2, 8))
    standings = {each.host: each.standing for each in judged({"nsl-kdd-mlp": values}, hosts_of(8)).tests[0].hosts}
    assert (standings["lpar01"], standings["lpar06"]) == (Standing.FAST, Standing.UNSTEADY)


def test_hosts_are_compared_with_those_like_them_alone() -> None:
    old = facts(5, "1" * 16)
    old = replace(old, kernel=replace(old.kernel, release="5.14"))
    hosts = hosts_of(5) | {"lpar05": fleets.looked(old)}
    values = rates(np.random.default_rng(1), 5)
    values[4] *= 0.5
    fleet = judged({"nsl-kdd-mlp": values}, hosts)
    assert [host.state for host in fleet.hosts] == [HostState.DONE] * 4 + [HostState.DIFFERENT]
    assert fleet.hosts[4].reason == "no other host is like it: kernel"
    assert [population.hosts for population in fleet.populations] == [4, 1]
    assert {each.standing for each in fleet.tests[0].hosts} == {Standing.EQUAL}
    assert exit_code_of(fleet) is ExitCode.INCONCLUSIVE


def test_of_two_hosts_it_is_said_that_either_may_be_out_of_line() -> None:
    values = rates(np.random.default_rng(3), 2)
    values[1] *= 0.8
    assert "Of two hosts it cannot be decided which is out of line." in sentence(
        judged({"nsl-kdd-mlp": values}, hosts_of(2))
    )


def test_one_wave_or_one_host_is_not_judged() -> None:
    for hosts, waves in ((1, 6), (8, 1)):
        fleet = judged({"nsl-kdd-mlp": rates(np.random.default_rng(3), hosts, waves)}, hosts_of(hosts))
        assert fleet.tests[0].detectable is None
        assert {each.standing for each in fleet.tests[0].hosts} == {Standing.UNDECIDED}
        assert "none could be compared" in sentence(fleet)
        more = "8 LPARs not decided: measure more waves."
        alone = "Of 1 LPAR no other of its kind was measured, which no number of waves decides: "
        assert (more in sentence(fleet), alone in sentence(fleet)) == (hosts > 1, hosts == 1)


@pytest.mark.parametrize("answered", [4, 2, 1, 0])
def test_every_host_that_was_asked_for_is_there(answered: int) -> None:
    """Also where a single host answers, which differs from nobody."""
    hosts = hosts_of(answered)
    design = fleets.design([*hosts, "gone"], 6)
    measured = {"nsl-kdd-mlp": rates(np.random.default_rng(3), answered)}
    entries = fleets.entries(replace(design, hosts=design.hosts[:answered]), measured, hosts)
    lost = LookedEntry("gone", None, None, HostState.UNREACHABLE, "Connection refused")
    fleet = fleet_of(design, [lost, *entries])
    assert [host.state for host in fleet.hosts] == [HostState.DONE] * answered + [HostState.UNREACHABLE]
    assert fleet.hosts[answered].reason == "Connection refused"
    assert f"{answered} of {answered + 1} done; 1 unreachable." in sentence(fleet)
    assert exit_code_of(fleet) is ExitCode.INCONCLUSIVE
    assert "Connection refused" in render_fleet(fleet).decode()
    assert "gone" in terminal_text(fleet, view_of(fleet), 80)


@pytest.fixture(scope="module")
def large() -> tuple[Fleet, bytes]:
    """80 hosts, six waves, two workloads, one host in twenty slow; tests/bench/fleet_figures.py has 200 and five."""
    rng = np.random.default_rng(11)
    names = [f"lpar{n:03d}" for n in range(1, 81)]
    hosts = {name: fleets.looked(facts(n, f"{n % 25:02x}" * 8), [OFF_NODE] * 6) for n, name in enumerate(names, 1)}
    values = {f"workload-{w}": rates(rng, 80) for w in range(2)}
    for each in values.values():
        each[::20] *= 0.9
    fleet = judged(values, hosts)
    return fleet, render_fleet(fleet)


def test_a_page_of_many_hosts_is_within_its_bound_and_the_same_again(large: tuple[Fleet, bytes]) -> None:
    fleet, page = large
    assert len(page) < MAX_BYTES
    assert {each.host for test in fleet.tests for each in test.hosts if each.standing is Standing.SLOW} == {
        f"lpar{n:03d}" for n in range(1, 81, 20)
    }
    assert page == render_fleet(fleet)


def test_the_record_is_read_as_it_was_written(large: tuple[Fleet, bytes], tmp_path: Path) -> None:
    (tmp_path / "fleet.json").write_text(fleet_text(large[0]), encoding="utf-8")
    assert load_fleet(tmp_path) == large[0]


def test_what_a_host_says_is_escaped_on_the_page() -> None:
    script = "<script>alert(1)</script>"
    evil = replace(OFF_NODE, title=f"{script}\x1b[2J")
    base = facts(3, "0" * 16)
    odd = replace(base, energy=replace(base.energy, governor=script))
    values = rates(np.random.default_rng(4), 6)
    values[2] *= 0.8
    even = {
        name: replace(each, facts=replace(each.facts, energy=replace(each.facts.energy, governor="performance")))
        for name, each in hosts_of(6).items()
    }
    fleet = judged({"nsl-kdd-mlp": values}, even | {"lpar03": fleets.looked(odd, [evil])})
    page = render_fleet(fleet).decode()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "\x1b" not in terminal_text(fleet, view_of(fleet), 80)


def test_an_anonymous_report_names_nothing() -> None:
    hosts = hosts_of(4, lpar02=fleets.looked(facts(2, "9" * 16), [replace(OFF_NODE, title="lpar02 is off its node")]))
    values = rates(np.random.default_rng(4), 4)
    values[1] *= 0.8
    whole = judged({"nsl-kdd-mlp": values}, hosts)
    reasons = ("1 of its waves cannot be used: as lpar01 says", "ssh: lpar02.example: no route", None, None)
    hidden = anonymous(
        replace(whole, hosts=tuple(replace(host, reason=why) for host, why in zip(whole.hosts, reasons, strict=True)))
    )
    assert [host.reason for host in hidden.hosts] == ["1 of its waves cannot be used", "done", None, None]
    for text in (fleet_text(hidden), render_fleet(hidden).decode()):
        assert not re.search(r"lpar\d|hosts\.ini|9105-22A [0-9a-f]{6}", text)
    assert "host002 is 20" in sentence(hidden)


def test_hosts_whose_calls_fault_their_memory_again_are_named_with_it() -> None:
    """A time that is of two kinds has a reason that no fact of the host shows."""
    hosts = hosts_of(3)
    design = fleets.design(list(hosts), 2)
    entries = fleets.entries(design, {"nsl-kdd-mlp": np.full((3, 2), 2000.0)}, hosts)
    faults = {("lpar01", 1): 0.1, ("lpar01", 2): 0.0, ("lpar02", 1): 112.0, ("lpar02", 2): 0.2, ("lpar03", 1): 112.0}

    def counted(entry: MeasuredEntry, count: float | None) -> MeasuredEntry:
        return replace(entry, timed=tuple(replace(each, page_faults=count) for each in entry.timed))

    def notes(counts: Mapping[tuple[str, int], float]) -> list[str]:
        journal = [
            counted(entry, counts.get((entry.host, entry.wave))) if isinstance(entry, MeasuredEntry) else entry
            for entry in entries
        ]
        return [note for note in fleet_of(design, journal).notes if "faulted" in note]

    assert notes(faults) == [
        "nsl-kdd-mlp offline native: in waves (1 of 2 of lpar02, 1 of 1 of lpar03) each call faulted its pages again, "
        "because memory that it frees goes back to the kernel; in the others it stays."
    ]
    assert notes({}) == []
    assert notes(dict.fromkeys(faults, 4968.0)) == [], "what all do in all waves distinguishes none"


def test_a_check_says_where_another_fleet_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "user_cache", lambda: tmp_path)
    assert not host.is_measuring()
    with host._alone():
        assert host.is_measuring()
    assert not host.is_measuring()
    alone = fleets.looked(facts(1))
    looks = [LookedEntry("lpar1", alone, 0.0), LookedEntry("lpar2", replace(alone, measuring=True), 0.0)]
    first, second = looked_text(looks, {"lpar1": "a", "lpar2": "b"}, 120).splitlines()[1:]
    assert "another fleet measures there now" in second
    assert "another fleet" not in first


def test_a_check_shows_the_room_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LPARBENCH_SCRATCH", str(tmp_path))
    free = host._disk_free()
    assert free is not None
    assert free == pytest.approx(shutil.disk_usage(tmp_path).free, abs=1 << 30)
    monkeypatch.setenv("LPARBENCH_SCRATCH", str(tmp_path / "missing"))
    assert host._disk_free() is None
    alone = fleets.looked(facts(1))
    sizes = {"lpar1": 80 << 30, "lpar2": 100 << 20, "lpar3": None}
    looks = [LookedEntry(name, replace(alone, disk_free_bytes=size), 0.0) for name, size in sizes.items()]
    lines = looked_text(looks, dict.fromkeys(sizes, "a"), 120).splitlines()[1:]
    assert [bool(re.search(r"80\sGiB", lines[0])), bool(re.search(r"100\sMiB", lines[1]))] == [True, True]
    assert ["little room" in line for line in lines] == [False, True, False]


def test_hosts_that_are_to_be_alike_and_are_not_are_an_error_of_its_own() -> None:
    alike = {f"lpar{at}": fleets.looked(facts(at)) for at in (1, 2)}
    require_alike(alike)
    require_alike({})
    other = fleets.looked(facts(3, kernel=replace(facts(3).kernel, release="9.9-other")))
    with pytest.raises(EnvironmentMismatchError, match=r"lpar1, lpar2; .*kernel 9\.9-other: lpar3.*differ in kernel"):
        require_alike({**alike, "lpar3": other})
