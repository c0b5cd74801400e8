"""How many partitions serve a demand: the limit against samples and scipy, and what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from harness.cli.main import app
from harness.errors import ExitCode, InputError
from harness.fleet.capacity import lpars_needed, size_fleet, together
from harness.fleet.judge import fleet_of
from harness.platform.facts import Facts
from harness.record.size_model import SizeQuestion
from harness.record.store import fleet_text
from harness.reporting.fleet_size import size_text
from tests.support import fleets
from tests.support.fleets import facts

ASKED = SizeQuestion(rate=9_000.0, p99_s=0.01)


def written(directory: Path, capacities: dict[str, float], hosts: dict[str, Facts], scenario: str = "server") -> Path:
    values = np.outer([capacities[name] for name in hosts], [0.998, 1.0, 1.002])
    design = fleets.design(list(hosts), 3)
    looked = {name: fleets.looked(of) for name, of in hosts.items()}
    fleet = fleet_of(design, fleets.entries(design, {"nsl-kdd-mlp": values}, looked))
    tests = tuple(replace(test, scenario=scenario, batch_size=0) for test in fleet.tests)
    directory.mkdir()
    (directory / "fleet.json").write_text(fleet_text(replace(fleet, tests=tests)), encoding="utf-8")
    return directory


def of_two_kinds(directory: Path, scenario: str = "server") -> Path:
    """Four LPARs of about 1,000 requests per second, two of another kernel with 2,000, one alone with 9,000."""
    old, alone = (replace(facts().kernel, release=release) for release in ("5.14.0", "4.18.0"))
    hosts = {f"lpar{number:02d}": facts(number) for number in range(1, 5)}
    hosts |= {f"lpar{number:02d}": facts(number, kernel=old) for number in (5, 6)}
    hosts["lpar07"] = facts(7, kernel=alone)
    rates = dict(zip(hosts, (1000.0, 1010.0, 990.0, 940.0, 2000.0, 2002.0, 9000.0), strict=True))
    return written(directory, rates, hosts, scenario)


def test_so_many_partitions_serve_the_demand_as_often_as_was_asked() -> None:
    rng = np.random.default_rng(3)
    need, enough, counts = 9_500.0, 0, []
    for _ in range(2000):
        measured = rng.normal(1000, 80, 6)
        count = lpars_needed(need, measured.mean(), measured.std(ddof=1), 6, 0.95)
        assert count is not None
        counts.append(count)
        enough += rng.normal(1000, 80, count).sum() >= need
    assert enough / 2000 >= 0.935
    assert np.median(counts) <= 11, "one or two more than the mean would need"


def test_the_limit_is_that_of_a_prediction() -> None:
    for count in (1, 7, 40):
        half = stats.t.ppf(0.9, 4) * 50 * math.sqrt(1 / count + 1 / 5)
        assert together(count, 1000, 50, 5, 0.9) == pytest.approx(count * (1000 - half))
    for need in (1.0, 900.0, 5_000.0, 123_456.0):
        count = lpars_needed(need, 1000, 50, 5, 0.9)
        assert count is not None
        assert together(count, 1000, 50, 5, 0.9) >= need
        assert count == 1 or together(count - 1, 1000, 50, 5, 0.9) < need
    assert lpars_needed(5_000.0, 1000, 900, 2, 0.95) is None


def test_each_kind_gets_its_number_the_fewest_first(tmp_path: Path) -> None:
    few, many, alone = size_fleet(of_two_kinds(tmp_path / "fleet"), ASKED).kinds
    assert (few.measured, few.needed) == (2, 5)
    assert many.needed == 10
    assert many.low is not None
    assert many.low >= ASKED.rate > (many.low_of_one_less or math.inf)
    assert (many.slowest, many.evenly) == ("lpar04", 10)
    assert alone.needed is None
    assert str(alone.note).startswith("1 measured")


def test_the_command_says_how_many_and_with_spares(tmp_path: Path) -> None:
    directory = of_two_kinds(tmp_path / "fleet")
    command = ["fleet", "size", str(directory), "--rate", "9k/s", "--p99", "20ms"]
    shown = CliRunner().invoke(app, [*command, "--headroom", "10%", "--spare", "2"])
    assert shown.exit_code == ExitCode.GOOD, shown.output
    assert shown.stdout.startswith("nsl-kdd-mlp: 9,900 req/s (9,000 plus growth and headroom) at p99 ≤ 20 ms, 95")
    assert "with 2 spares" in shown.stdout
    assert "measured at p99 ≤ 10 ms, which is stricter" in shown.stdout
    assert "? " in shown.stdout
    document = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert [kind["needed"] for kind in document["kinds"]] == [5, 10, None]


def test_the_slowest_decides_where_each_gets_the_same_share(tmp_path: Path) -> None:
    hosts = {f"lpar{number:02d}": facts(number) for number in range(1, 14)}
    rates = dict.fromkeys(hosts, 1000.0) | {"lpar13": 600.0}
    (kind,) = size_fleet(written(tmp_path / "fleet", rates, hosts), ASKED).kinds
    assert kind.needed is not None
    assert kind.needed < 12
    assert (kind.slowest, kind.evenly) == ("lpar13", 15)
    assert "15 where each gets the same share, for lpar13 takes 600" in size_text(size_fleet(tmp_path / "fleet", ASKED))


def test_what_was_not_measured_is_refused(tmp_path: Path) -> None:
    directory = of_two_kinds(tmp_path / "fleet")
    with pytest.raises(InputError, match="hold p99 at 10 ms") as error:
        size_fleet(directory, replace(ASKED, p99_s=0.005))
    assert "fleet run HOSTS --scenarios server --p99 5ms" in str(error.value.remedy)
    with pytest.raises(InputError, match="no host has a result of the offline scenario"):
        size_fleet(directory, replace(ASKED, p99_s=None))
    with pytest.raises(InputError, match="no workload cnn"):
        size_fleet(directory, ASKED, "cnn")
    offline = of_two_kinds(tmp_path / "offline", "offline")
    assert size_fleet(offline, replace(ASKED, p99_s=None)).kinds[0].needed == 5
