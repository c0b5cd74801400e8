"""Whether a host of a fleet measures what a local run does, over ssh and over Dask: within 3 %, by 95 % intervals.

    python tests/bench/fleet_alike.py [MINUTES [CLOCK]]

measures both at the same time, a local block on one CPU and a host's block on another, so that what the machine gives
and takes meets both alike; the next pair has the CPUs swapped, so that what one CPU is slower by cancels as well. The
order of CPUs and ways is shuffled. 15 minutes unless said; 1 unless both intervals are within 3 %. With CLOCK, such as
1.04, the clock of the hosts runs so many times as fast: a difference that is known, and has to be shown.

    python tests/bench/fleet_alike.py simulated [STUDIES]

counts on a simulated machine, whose capacity drifts by some 20 %, how often the interval of this design, and of blocks
one after the other, holds a difference of 0 and of 5 %, how wide it is, and how often it is wholly within 3 % or above.

Source of the design: Bulej et al., "Duet benchmarking", ICPE 2020, arXiv:2001.05811.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import psutil

from harness.decode import decode, encode
from harness.errors import InputError
from harness.fleet.inventory import Host
from harness.fleet.transport import Transport
from harness.fleet.waves import ask, timed_of
from harness.measure.faulting import noteworthy
from harness.measure.stats import PairedEffect, paired_effect
from harness.parsing import parse_json
from harness.platform.probe import read_topology
from harness.platform.sysroot import SysRoot
from harness.record.spec import RunSpec
from harness.record.store import parse_run, record_text
from harness.reporting.progress import Silence
from harness.runs.run import run_once
from harness.workers.executor import ProcessExecutor

ROOT = Path(__file__).resolve().parents[2]
WAYS = ("ssh", "dask")
MARGIN = 0.03
SPEC = RunSpec(("nsl-kdd-mlp",), synthetic=True, rows=5000, epochs=2, seeds=1, blocks=1, backends=("eager",),
               scenarios=("offline",), series_seconds=1.0, roofline="none")  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """Seconds of a local block and of a host's, measured at the same time.

    Attributes:
        apart_s: by how much later the host's ended.
    """

    here: float
    there: float
    apart_s: float = 0.0


@dataclass(frozen=True)
class Couple:
    """Two pairs: in ``straight`` the local block was on the first CPU, in ``swapped`` on the second."""

    straight: Pair
    swapped: Pair


def difference(couples: Sequence[Couple]) -> PairedEffect:
    """By what the hosts' times differ from local ones; a couple, in which CPUs cancel, is one observation."""
    return paired_effect([(_ratio(couple.straight) + _ratio(couple.swapped)) / 2 for couple in couples])


def _ratio(pair: Pair) -> float:
    return math.log(pair.there / pair.here)


def within(effect: PairedEffect) -> bool:
    """Whether the 95 % interval shows that both are alike."""
    return -math.log1p(MARGIN) < effect.low <= effect.high < math.log1p(MARGIN)


def text(effect: PairedEffect) -> str:
    low, high = math.expm1(effect.low), math.expm1(effect.high)
    return f"{effect.ratio - 1:+.1%} [{low:+.1%}, {high:+.1%}]"


@dataclass(frozen=True)
class Side:
    """A host by CPU number, and the processes that stand still while another CPU or way is measured."""

    transport: Transport
    host: Host
    idle: tuple[int, ...] = ()


def measured(minutes: float, clock: float | None) -> dict[str, list[Couple]]:
    """Couples of every way, as many as there is time for."""
    cpus = two_cpus()
    couples: dict[str, list[Couple]] = {way: [] for way in WAYS}
    lags = dict.fromkeys(WAYS, 0.0)
    shuffled = random.Random(1)
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        sides = _sides(Path(name), cpus, clock, stack)
        first = True  # not counted: files come into memory, and by how much later a host begins gets known
        ends = time.monotonic() + 60 * minutes
        longest = 0.0
        while time.monotonic() + longest < ends:
            began = time.monotonic()
            for way in shuffled.sample(WAYS, len(WAYS)):
                pairs: dict[int, Pair] = {}
                for local in shuffled.sample(range(2), 2):
                    pairs[local] = asyncio.run(_pair(sides, way, cpus, local, lags[way], Path(name)))
                    lags[way] += pairs[local].apart_s
                if not first and all(map(_whole, pairs.values())):
                    couples[way].append(Couple(pairs[0], pairs[1]))
                    _show(way, couples[way])
                elif not first:
                    print(f"  {way}: left out: too few samples of a block are undisturbed", flush=True)
            longest, first = max(longest, time.monotonic() - began), False
    return couples


def two_cpus() -> tuple[int, int]:
    """Of two cores, where there are two; else of one.

    Raises:
        InputError: there is one CPU.
    """
    allowed = os.sched_getaffinity(0)
    cores = [[cpu for cpu in core.cpus if cpu in allowed] for core in read_topology(SysRoot()).cores]
    cpus = [of[0] for of in cores if of] + sorted(allowed)
    chosen = list(dict.fromkeys(cpus))[:2]
    if len(chosen) < 2:
        raise InputError("both sides are measured at the same time, which takes two CPUs.")
    return chosen[0], chosen[1]


def _sides(
    folder: Path, cpus: Sequence[int], clock: float | None, stack: contextlib.ExitStack
) -> dict[str, tuple[Side, ...]]:
    """Of every way two hosts, each bound to one of the CPUs."""
    from harness.fleet.dask_transport import DaskTransport, workers_of
    from harness.fleet.transport import SshTransport
    from tests.support import dask_cluster, sshd

    names = [f"lpar{cpu}" for cpu in cpus]
    caches = {name: {"XDG_CACHE_HOME": f"{folder}/{name}"} for name in names}
    command = [sys.executable, "-m", "harness"]
    if clock is not None:
        path = os.pathsep.join((str(ROOT / "tests/support/fast_clock"), str(ROOT)))
        command = ["env", f"PYTHONPATH={path}", f"LPARBENCH_TEST_CLOCK={clock}", *command]
    servers = stack.enter_context(sshd.servers(folder, [caches[name] for name in names]))
    cluster = stack.enter_context(dask_cluster.cluster(folder, caches))
    os.environ.update(cluster.environment)
    inventory, addresses, _ = asyncio.run(workers_of(cluster.scheduler))
    workers = {host.name: host for host in inventory.hosts}
    over_ssh = SshTransport(command, servers.config)
    over_dask = DaskTransport(cluster.scheduler, tuple(command), addresses)
    ssh, dask = [], []
    for name, cpu, pid, (address, port) in zip(names, cpus, servers.pids, servers.ports, strict=True):
        bind(pid, cpu)
        bind(cluster.workers[name].pid, cpu)
        ssh.append(Side(over_ssh, Host(name, address, port=port)))
        dask.append(Side(over_dask, workers[name], tuple(_tree(cluster.workers[name].pid))))
    return {"ssh": tuple(ssh), "dask": tuple(dask)}


async def _pair(
    sides: Mapping[str, Sequence[Side]], way: str, cpus: Sequence[int], local: int, lag_s: float, folder: Path
) -> Pair:
    """A local block on a CPU, and one over a way on the other; the side that is faster to begin waits for so long."""
    side = sides[way][1 - local]
    others = [pid for of in sides.values() for other in of if other is not side for pid in other.idle]
    with _standing_still(others):
        here, there = await asyncio.gather(_here(cpus[local], max(0.0, lag_s), folder), _there(side, max(0.0, -lag_s)))
    return Pair(here[0], there[0], there[1] - here[1])


async def _here(cpu: int, wait_s: float, folder: Path) -> tuple[float, float]:
    """Seconds of a local block, and when it ended."""
    await asyncio.sleep(wait_s)
    with bound(cpu):
        process = subprocess.Popen([sys.executable, __file__, "block"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   env={**os.environ, "XDG_CACHE_HOME": f"{folder}/here{cpu}"})  # fmt: skip
    printed, _ = await asyncio.to_thread(process.communicate, json.dumps(encode(SPEC)).encode())
    return _seconds(printed.decode(), "the local run"), time.monotonic()


async def _there(side: Side, wait_s: float) -> tuple[float, float]:
    """Seconds of a host's block, and when it ended."""
    await asyncio.sleep(wait_s)
    content = await ask(side.transport, side.host, spec=SPEC, timeout_s=600.0)
    return _seconds(str(content), side.host.name), time.monotonic()


def _seconds(record: str, where: str) -> float:
    """Of a call; NaN where fewer than ten samples of the block are undisturbed."""
    run = parse_run(record, where)
    assert run.spec == SPEC, f"{where}: other work"
    (timed,) = timed_of(run)
    if noteworthy(timed.page_faults, timed.seconds):  # which the allocator's setting excludes
        print(f"  {where}: each call faulted {timed.page_faults:.0f} pages", flush=True)
    return math.nan if timed.seconds is None else timed.seconds


def _whole(pair: Pair) -> bool:
    return math.isfinite(pair.here) and math.isfinite(pair.there)


def block() -> int:
    """Do the run that standard input asks for, as ``lparbench run`` does, and print its record."""
    spec = decode(RunSpec, parse_json(sys.stdin.read(), "the spec"), "the spec")
    sys.stdout.write(record_text(run_once(spec, ProcessExecutor(), Silence())))
    return 0


@contextlib.contextmanager
def bound(cpu: int) -> Iterator[None]:
    """What is started meanwhile is bound to a CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def bind(pid: int, cpu: int) -> None:
    """Bind a process, those that it started, all their threads, and so what they start later."""
    for each in _tree(pid):
        for task in Path(f"/proc/{each}/task").iterdir():
            with contextlib.suppress(OSError):  # it has ended
                os.sched_setaffinity(int(task.name), {cpu})


def _tree(pid: int) -> list[int]:
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


@contextlib.contextmanager
def _standing_still(pids: Sequence[int]) -> Iterator[None]:
    """Where a local run measures there is no worker of Dask with timers of its own."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _show(way: str, couples: Sequence[Couple]) -> None:
    last = couples[-1]
    times = [f"{1e3 * pair.here:.3f} | {1e3 * pair.there:.3f} ms" for pair in (last.straight, last.swapped)]
    so_far = text(difference(couples)) if len(couples) > 1 else ""
    print(f"  {way} {len(couples):2}: here | there {times[0]}, swapped {times[1]}  {so_far}", flush=True)


def main(minutes: float, clock: float | None) -> int:
    """Print the differences; 0 when they are as they should be."""
    good = True
    for way, couples in measured(minutes, clock).items():
        if len(couples) < 2:
            print(f"{way}: too few couples for an interval")
            good = False
            continue
        effect = difference(couples)
        apart = median(abs(pair.apart_s) for couple in couples for pair in (couple.straight, couple.swapped))
        cpu = paired_effect([(_ratio(couple.straight) - _ratio(couple.swapped)) / 2 for couple in couples])
        if clock is None:
            right, answer = within(effect), "alike within 3 %" if within(effect) else "NOT SHOWN to be alike within 3 %"
        else:
            right = effect.low <= math.log(clock) <= effect.high and not effect.low <= 0 <= effect.high
            answer = f"the hosts' clock is {'found' if right else 'NOT FOUND'} to be {clock - 1:+.1%} off"
        good &= right
        print(f"{way}: {text(effect)} of the time of a local block: {answer}")
        print(f"  {len(couples)} couples; the second CPU {text(cpu)} of the first; ends {apart:.1f} s apart (median)")
    return int(not good)


def simulated_couples(rng: np.random.Generator, couples: int, effect: float, *, at_once: bool) -> list[Couple]:
    """Couples on a machine whose capacity drifts by 20 %, and whose second CPU is 8 % slower and drifts by itself too.

    Args:
        effect: of the host's time, log scale.
        at_once: the two blocks of a pair at the same time; else after each other, in shuffled order.
    """
    slots = 4 * couples
    drift = 0.1 * _walk(rng, slots)
    own = np.array([0.03 * _walk(rng, slots), 0.08 + 0.03 * _walk(rng, slots)])
    noise = rng.normal(0, 0.015, (slots, 2))
    pairs = []
    for number in range(2 * couples):
        swapped = number % 2
        turn = 0 if at_once else int(rng.integers(2))
        here_at, there_at = (2 * number, 2 * number) if at_once else (2 * number + turn, 2 * number + 1 - turn)
        here = drift[here_at] + own[swapped][here_at] + noise[here_at][0]
        there = drift[there_at] + own[1 - swapped][there_at] + noise[there_at][1] + effect
        pairs.append(Pair(math.exp(here), math.exp(there)))
    return [Couple(*pairs[at : at + 2]) for at in range(0, len(pairs), 2)]


def _walk(rng: np.random.Generator, steps: int) -> np.ndarray:
    """A drift of mean 0 and deviation 1 that forgets half of itself in some ten blocks."""
    keep = 0.93
    values = np.empty(steps)
    values[0] = rng.normal()
    for at in range(1, steps):
        values[at] = keep * values[at - 1] + math.sqrt(1 - keep**2) * rng.normal()
    return values


def simulated(studies: int, couples: int = 20) -> int:
    """Print what the designs find; 1 when the intervals of this one hold the difference in less than 93 %."""
    wrong = False
    for at_once in (True, False):
        for effect in (0.0, math.log(1.05)):
            rng = np.random.default_rng(7)
            found = [difference(simulated_couples(rng, couples, effect, at_once=at_once)) for _ in range(studies)]
            held = np.mean([each.low <= effect <= each.high for each in found])
            half = median((each.high - each.low) / 2 for each in found)
            decided = np.mean([within(each) if effect == 0 else each.low > 0 for each in found])
            wrong |= at_once and held < 0.93
            design, asked = (
                "at the same time" if at_once else "one after the other",
                "within 3 %" if effect == 0 else "found",
            )
            print(
                f"{design:20}{math.expm1(effect):+.0%}: held {held:.1%}, half-width {half:.1%}, {asked} {decided:.1%}"
            )
    return int(wrong)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    match sys.argv[1:]:
        case ["block"]:
            sys.exit(block())
        case ["simulated", *rest]:
            sys.exit(simulated(int(rest[0]) if rest else 2000))
        case given:
            sys.exit(main(float(given[0]) if given else 15.0, float(given[1]) if given[1:] else None))
