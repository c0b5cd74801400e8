"""Known answers through lparbench, pyperf, pytest-benchmark and torch's Timer: ``python tests/bench/other_tools.py 8``.

Every estimate is made in a fresh process on the same CPU, the tools taking turns in random order within each round.
Bias is of the median over rounds against the truth, spread the relative standard deviation over rounds. Each tool gives
its own headline figure: pyperf the mean, the others the median.
"""

from __future__ import annotations

import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

TRUTHS_NS = {"spin 0.1 ms": 100_000, "spin 1 ms": 1_000_000, "spin 10 ms": 10_000_000, "sleep 50 ms": 50_000_000}
SECONDS = 1.0
PYPERF_NAME = "LPARBENCH_KNOWN_ANSWER"  # pyperf starts this script again by itself; this tells it what to time


def known(name: str) -> Callable[[], None]:
    """A function whose duration is known, and never less."""
    duration = TRUTHS_NS[name]
    if name.startswith("sleep"):
        return lambda: time.sleep(duration * 1e-9)

    def spin() -> None:
        deadline = time.perf_counter_ns() + duration
        while time.perf_counter_ns() < deadline:
            pass

    return spin


def by_lparbench(name: str) -> float:
    """Median of the undisturbed samples after warm-up."""
    from harness.measure.causes import Watch
    from harness.measure.clock import SystemClock, clock_cost_ns
    from harness.platform.counters import ThreadCounters
    from harness.scenarios.series import Bench, batch_series

    clock = SystemClock()
    series = batch_series(
        "call", known(name), None, Bench(clock, clock_cost_ns(clock), ThreadCounters(), Watch(), SECONDS)
    )
    return series.estimate_s or series.estimate_all_s or math.nan


def by_torch(name: str) -> float:
    """Median of blocked_autorange."""
    from torch.utils.benchmark import Timer

    return float(Timer("call()", globals={"call": known(name)}).blocked_autorange(min_run_time=SECONDS).median)


def by_pyperf(name: str) -> float:
    """Mean of one worker process's values, as many as pyperf takes by default in all of its processes."""
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "out.json"
        command = [sys.executable, __file__, "--processes=1", "-q", "-o", str(output)]
        command.append(f"--inherit-environ={PYPERF_NAME},PYTHONPATH")
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**environment(), PYPERF_NAME: name})
        import pyperf

        return float(pyperf.Benchmark.load(str(output)).mean())


def by_pytest_benchmark(name: str) -> float:
    """Median of the rounds of one benchmark."""
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "out.json"
        test = Path(scratch) / "test_known.py"
        test.write_text(f"from other_tools import known\ndef test_it(benchmark): benchmark(known({name!r}))\n")
        command = [
            sys.executable,
            "-m",
            "pytest",
            str(test),
            f"--benchmark-json={output}",
            "-q",
            "-p",
            "no:cacheprovider",
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=scratch, env=environment())
        return float(json.loads(output.read_text())["benchmarks"][0]["stats"]["median"])


TOOLS: dict[str, Callable[[str], float]] = {
    "lparbench": by_lparbench,
    "pyperf": by_pyperf,
    "pytest-benchmark": by_pytest_benchmark,
    "torch Timer": by_torch,
}


def environment() -> dict[str, str]:
    """The module path of this process, for its children."""
    here = str(Path(__file__).resolve().parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([here, *sys.path]), "OMP_NUM_THREADS": "1"}


def estimate(tool: str, name: str) -> float:
    """One estimate in a fresh process."""
    command = [sys.executable, __file__, "--estimate", tool, name]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment())
    return float(done.stdout.split()[-1])


def main(rounds: int) -> None:
    """Print bias and spread of every tool for every known answer."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # children inherit it
    found: dict[tuple[str, str], list[float]] = {(tool, name): [] for tool in TOOLS for name in TRUTHS_NS}
    for _ in range(rounds):
        for tool, name in random.sample(list(found), len(found)):
            found[tool, name].append(estimate(tool, name))
    print(f"{rounds} rounds, load {os.getloadavg()[0]:.1f}; bias and spread in %")
    print(f"{'':<18}" + "".join(f"{name:>22}" for name in TRUTHS_NS))
    for tool in TOOLS:
        cells = []
        for name, truth in TRUTHS_NS.items():
            values = found[tool, name]
            bias = statistics.median(values) / (truth * 1e-9) - 1
            spread = statistics.stdev(values) / statistics.fmean(values) if len(values) > 1 else math.nan
            cells.append(f"{100 * bias:>+12.2f} ± {100 * spread:<7.2f}")
        print(f"{tool:<18}" + "".join(cells))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--estimate"]:
        print(TOOLS[sys.argv[2]](sys.argv[3]))
    elif PYPERF_NAME in os.environ:
        import pyperf

        pyperf.Runner().bench_func(os.environ[PYPERF_NAME], known(os.environ[PYPERF_NAME]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 8)
