"""How often rules name a host of a fleet without cause, and how often they find one that is 10 % slow.

``python tests/bench/fleet_figures.py [FLEETS]``: six waves, 3 % noise, 2 % effect of a wave, hosts 0.5 % apart; the
rules of other tools as well as ours. 1,500 fleets of 4, 8 and 32 take about a minute. A script, and a small part of it
is in ``tests/unit/test_measure_hosts.py``.

``python tests/bench/fleet_figures.py page``: the report of 200 hosts, six waves, five workloads; its time, memory and
size, and whether it is the same again.

``python tests/bench/fleet_figures.py coordinator [WAVES] [SECONDS]``: eight hosts, each an sshd on a port of loopback,
whose blocks sleep so long; the time in which no host process is there against 2 s + 0.3 s per host and wave, and the
CPU time of coordinator and ssh clients while all hosts measure against 2 % of a core.

Whether blocks of a fleet are alike those of a local run is shown by ``tests/bench/fleet_alike.py``.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from harness.measure.hosts import ALPHA, compare_hosts
from harness.measure.stats import holm

Array = NDArray[np.float64]
Rule = Callable[[Array], NDArray[np.bool_]]
# False alarms in fleets of 4, 8, 32 hosts, and a host 10 % slow found, as published for these rules and this noise.
PUBLISHED = {
    "5 % below the trimmed mean, one run": ((0.106, 0.270, 0.810), (0.87, 0.93, 0.96)),
    "5 % below the trimmed mean, six runs": ((0.001, 0.0, 0.001), (0.99, 1.0, 1.0)),
    "mean - 3 sd of hosts": ((0.0, 0.0, 0.017), (0.0, 0.0, 1.0)),
    "pooled": ((0.0, 0.0, 0.0), (0.988, 0.999, 0.999)),
}


def fleet(
    rng: np.random.Generator, hosts: int, *, waves: int = 6, slow: int = 0, share: float = 0.1, noise: float = 0.03
) -> Array:
    """Rates of a fleet, shape (hosts, waves); the first ``slow`` hosts are slower by ``share``."""
    logs = rng.normal(0, noise, (hosts, waves)) + rng.normal(0, 0.02, waves) + rng.normal(0, 0.005, (hosts, 1))
    logs[:slow] += math.log1p(-share)
    return np.asarray(np.exp(logs))


def pooled(rates: Array) -> NDArray[np.bool_]:
    """Which hosts the product names slow."""
    return np.array(holm([1.0 if host is None else host.p_slow for host in compare_hosts(rates).hosts])) < ALPHA


def below_trimmed(rates: Array) -> NDArray[np.bool_]:
    """Hosts 5 % below the mean of those that are not, which is taken anew until none is dropped."""
    means = rates.mean(axis=1)
    kept = np.ones(len(means), dtype=bool)
    while True:
        slow = means < 0.95 * means[kept].mean()
        if (slow == ~kept).all() or slow.all():
            return np.asarray(slow)
        kept &= ~slow


def three_deviations(rates: Array) -> NDArray[np.bool_]:
    means = rates.mean(axis=1)
    return np.asarray(means < means.mean() - 3 * means.std(ddof=1))


RULES: dict[str, Rule] = {
    "5 % below the trimmed mean, one run": lambda rates: below_trimmed(rates[:, :1]),
    "5 % below the trimmed mean, six runs": below_trimmed,
    "mean - 3 sd of hosts": three_deviations,
    "pooled": pooled,
}


def figures(rule: Rule, hosts: int, fleets: int, seed: int) -> tuple[float, float]:
    """Share of fleets with a false alarm, and share in which the slow host is named."""
    rng = np.random.default_rng(seed)
    alarms = sum(bool(rule(fleet(rng, hosts)).any()) for _ in range(fleets))
    named = sum(bool(rule(fleet(rng, hosts, slow=1))[0]) for _ in range(fleets))
    return alarms / fleets, named / fleets


def main(fleets: int) -> int:
    """Print the table; 1 when a figure is more than two points from the published one."""
    worst = 0.0
    for name, rule in RULES.items():
        cells = []
        for at, hosts in enumerate((4, 8, 32)):
            alarms, named = figures(rule, hosts, fleets, seed=hosts)
            worst = max(worst, abs(alarms - PUBLISHED[name][0][at]), abs(named - PUBLISHED[name][1][at]))
            cells.append(f"{alarms:.3f} / {named:.3f}")
        print(f"{name:40}" + "   ".join(cells), flush=True)
    print(f"furthest from the published table: {100 * worst:.1f} points")
    return int(worst > 0.02)


def page() -> int:
    """Print what a large report costs; 1 when it is over 10 s, 500 MB or 1 MB."""
    import resource
    import time

    from harness.fleet.judge import fleet_of
    from harness.record.store import fleet_text
    from harness.reporting.fleet_html import render_fleet
    from tests.support import fleets

    rng = np.random.default_rng(1)
    names = [f"lpar{at:03d}" for at in range(1, 201)]
    hosts = {name: fleets.looked(fleets.facts(at, f"{at % 25:02x}" * 8)) for at, name in enumerate(names)}
    values = {f"workload-{at}": fleet(rng, 200, slow=3, noise=0.005) for at in range(5)}
    design = fleets.design(names, 6)
    entries = fleets.entries(design, values, hosts)
    started = time.perf_counter()
    record = fleet_of(design, entries)
    text, html = fleet_text(record), render_fleet(record)
    seconds = time.perf_counter() - started
    same = render_fleet(fleet_of(design, entries)) == html
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{seconds:.1f} s, {memory:.0f} MiB, page {len(html):,} bytes, record {len(text):,}, same bytes again: {same}"
    )
    return int(seconds > 10 or memory > 500 or len(html) >= 1_000_000 or not same)


def coordinator(waves: int, seconds: float) -> int:
    """Print what the coordinator costs; 1 when it is over its bars."""
    import json
    import os
    import shlex
    import subprocess
    import tempfile
    import time

    from tests.support import sshd

    hosts = 8
    with tempfile.TemporaryDirectory() as name:
        folder, log = Path(name), Path(name) / "log"
        common = {"LPARBENCH_TEST_TELL": str(log), "LPARBENCH_TEST_SECONDS": str(seconds)}
        environments = [
            {**common, "LPARBENCH_TEST_HOST": f"{at} timed", "XDG_CACHE_HOME": f"{folder}/{at}"}
            for at in range(1, hosts + 1)
        ]
        with sshd.servers(folder, environments) as servers:
            host = [sys.executable, str(Path(sshd.__file__).with_name("fleet_host.py"))]
            words = [
                "fleet", "run", str(servers.inventory(folder)), "nsl-kdd-mlp", "--ssh-config", str(servers.config),
                "--command", shlex.join(host), "--waves", str(waves), "--out", str(folder / "out"),
            ]  # fmt: skip
            began, samples = time.clock_gettime(time.CLOCK_BOOTTIME), []
            with subprocess.Popen([sys.executable, "-m", "harness", *words], env=os.environ) as process:
                while process.poll() is None:
                    samples.append((time.clock_gettime(time.CLOCK_BOOTTIME), _cpu_of(psutil.Process(process.pid))))
                    time.sleep(0.1)
            wall = time.clock_gettime(time.CLOCK_BOOTTIME) - began
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    blocks = [lines[at : at + hosts] for at in range(0, len(lines), hosts)]
    measured = sum(max(line[2] for line in of) - min(line[0] for line in of) for of in blocks)
    waves_alone = blocks[1:]  # the first is the look at all hosts
    shares = [_share(samples, max(line[1] for line in of), min(line[2] for line in of)) for of in waves_alone]
    overhead, bar, share = wall - measured, 2 + 0.3 * hosts * waves, max(shares)
    print(
        f"{hosts} hosts, {waves} waves of {seconds:g} s: {wall:.1f} s, {overhead:.1f} s without a host (bar {bar:.1f})"
    )
    print(f"CPU of coordinator and ssh clients while all hosts measure: {share:.2%} of a core (bar 2 %)")
    return int(len(lines) != hosts * (waves + 1) or overhead > bar or share > 0.02)


def _cpu_of(process: psutil.Process) -> float:
    """CPU seconds of a process and the processes that it started."""
    total = 0.0
    for each in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            times = each.cpu_times()
            total += times.user + times.system
    return total


def _share(samples: list[tuple[float, float]], begin: float, end: float) -> float:
    """CPU time per time within a window."""
    inside = [sample for sample in samples if begin <= sample[0] <= end]
    return (inside[-1][1] - inside[0][1]) / (inside[-1][0] - inside[0][0])


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    if sys.argv[1:] == ["page"]:
        sys.exit(page())
    if sys.argv[1:2] == ["coordinator"]:
        given = [*sys.argv[2:], *("3", "10")[len(sys.argv) - 2 :]]
        sys.exit(coordinator(int(given[0]), float(given[1])))
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1500))
