"""Sizing on this machine, which nothing else may use: ``python tests/bench/sizing_live.py [FIGURE...] [--repeat 5]``.

decision: at 60 % of a core's capacity `size` says 1 core, at 140 % it says 2; requests offered at the demand then meet
the bound, and at 1.3 times the upper limit of the answer they do not.
budget: the default workload with the default budget ends within 10 minutes, and the time that it says is left after the
first block is within 30 % of what it takes.
bundle: the model that a run kept is sized as it is, by the command, and the answer says that its rows are made.
killed: kill -9 in the middle, then ``--resume``: what was measured is kept, and there is an answer.
capped: under a cap of half a core with windows of 10 ms, as of a capped virtual processor, capacity is less than
without, and requests offered at either say the same.

Requests are offered by processes of this script, each on a CPU of its own, as instances of the answer would be. Each
figure begins with a line that says what is done and ends with a judged one, whatever happens. Exits 1 on a miss, and 2
where none was missed and one cannot be shown here.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

WORKLOAD = "nsl-kdd-autoencoder"
BACKEND = "eager"  # slow enough that the loop that offers requests takes no part of its time
BOUND = "5ms"
BOUND_S = 5e-3
OFFERED_S = 6.0
SAMPLE = (
    "--synthetic", "--rows", "4000", "--threads-per-core", "1", "--layouts", "per-core", "--seconds", "0.5",
    "--backend", BACKEND,
)  # fmt: skip
_CGROUPS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/cpu"))
_CAPS = (("cpu.max", "5000 10000"), ("cpu.cfs_period_us", "10000"), ("cpu.cfs_quota_us", "5000"))  # version 2; 1
verdicts: list[str] = []


class FailedError(Exception):
    """The product did not give what a figure is taken from."""


class NotHereError(Exception):
    """This machine lacks what a figure takes."""


def figure(what: str, good: bool | None, seen: str) -> None:
    """Print and remember a verdict; None for what cannot be shown here."""
    verdicts.append("NOT SHOWN" if good is None else "ok" if good else "MISSED")
    print(f"{what:<70} {seen}  {verdicts[-1]}", flush=True)


def judged(name: str, directory: Path, repeat: int) -> None:
    """One figure, from its first line to its verdict."""
    before = len(verdicts)
    began = time.monotonic()
    print(f"{name}: {FIGURES[name].__doc__}", flush=True)
    try:
        FIGURES[name](directory, repeat)
    except NotHereError as reason:
        figure(name, None, str(reason))
    except (FailedError, OSError, ValueError, KeyError) as error:
        figure(name, False, f"{type(error).__name__}: {error}")
    if len(verdicts) == before:
        figure(name, False, "it came to no verdict")
    print(f"{name}: ended after {(time.monotonic() - began) / 60:.1f} min", flush=True)


def command(*arguments: str) -> list[str]:
    """The product's command."""
    return [sys.executable, "-m", "harness", "size", *arguments]


def sized(out: Path, *arguments: str, prepare: Callable[[], None] | None = None) -> dict[str, Any]:
    """The record of a sizing, with its wall time and its directory."""
    began = time.monotonic()
    done = subprocess.run(
        command(WORKLOAD, *arguments, "--out", str(out), "--json"),
        capture_output=True, text=True, check=False, preexec_fn=prepare,
    )  # fmt: skip
    if not done.stdout:
        raise FailedError(f"size {' '.join(arguments)} failed ({done.returncode}): {done.stderr}")
    return {**json.loads(done.stdout), "wall_s": time.monotonic() - began, "stderr": done.stderr}


def capacity_of(record: dict[str, Any], cores: int) -> dict[str, Any] | None:
    """The capacity of the answer's configurations with so many cores."""
    answer = record["answer"]
    for name in ("chosen", "smaller", "larger"):
        if answer[name] is not None and answer[name]["cores"] == cores:
            capacity: dict[str, Any] = answer[name]["capacity"]
            return capacity
    return None


def refusal_of(record: dict[str, Any]) -> str:
    """Why a sizing has no answer, in its own words."""
    return "; ".join(each["why"] for each in record["answer"]["refused"]) or "it does not say why"


def offered_p99_s(bundle: Path, cpus: Sequence[int], rate: float, prepare: Callable[[], None] | None = None) -> float:
    """The 99th percentile of requests offered to an instance on each CPU, an equal part of the rate to each."""
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "--serve", str(bundle), str(cpu), str(rate / len(cpus)), str(number)],
            stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}, preexec_fn=prepare,
        )
        for number, cpu in enumerate(cpus)
    ]  # fmt: skip
    outputs = [process.communicate()[0] for process in processes]
    return float(np.percentile(np.concatenate([np.frombuffer(output, dtype=np.int64) for output in outputs]), 99)) / 1e9


def serve(bundle: Path, cpu: int, rate: float, seed: int) -> None:
    """One instance under open-loop load; latencies to standard output."""
    os.sched_setaffinity(0, {cpu})
    from harness.measure.arrivals import poisson_schedule, serve_open_loop
    from harness.measure.clock import SystemClock
    from harness.serving.model import ServedModel

    model = ServedModel.open(bundle, BACKEND, 1)
    row = np.zeros(model.shape(1), dtype=np.float32)
    for _ in range(500):
        model.score(row)
    schedule = poisson_schedule(rate, max(1000, round(rate * OFFERED_S)), seed=seed)
    served = serve_open_loop(lambda: model.score(row), schedule, clock=SystemClock())
    sys.stdout.buffer.write(served.latencies_ns.astype(np.int64).tobytes())


def saved(directory: Path) -> Path:
    """A bundle of the workload."""
    kept = ("--save", str(directory / "saved"), "--out", str(directory / "runs"))
    quick = ("--synthetic", "--rows", "4000", "--epochs", "1", "--seeds", "1", "--blocks", "1")
    run = [sys.executable, "-m", "harness", "run", WORKLOAD, *quick, *kept]
    subprocess.run(run, check=False, capture_output=True)
    bundle = directory / "saved" / WORKLOAD
    if not bundle.is_dir():
        raise FailedError("the workload could not be trained and saved")
    return bundle


def decision(directory: Path, repeat: int) -> None:
    """60 % says 1 core, 140 % says 2."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise NotHereError("two CPUs are needed")
    bundle = saved(directory)
    first = sized(directory, "--rate", "1000/s", "--p99", BOUND, "--cores", "1", "--budget", "3m", *SAMPLE)
    core = capacity_of(first, 1)
    if core is None:
        raise FailedError(f"no capacity of one core was measured: {refusal_of(first)}")
    print(f"  a core: {core['value']:,.0f} [{core['low']:,.0f}, {core['high']:,.0f}] requests per second")
    good = 0
    for number in range(repeat):
        held = []
        for share, wanted in ((0.6, 1), (1.4, 2)):
            rate = share * core["value"]
            record = sized(directory, "--rate", f"{rate:.0f}/s", "--p99", BOUND, "--cores", "1,2", *SAMPLE)
            chosen = record["answer"]["chosen"]
            said = None if chosen is None else chosen["cores"]
            p99_s = offered_p99_s(bundle, cpus[:wanted], rate)
            above = None if chosen is None else 1.3 * chosen["capacity"]["high"]
            over_s = BOUND_S * 2 if above is None else offered_p99_s(bundle, cpus[:wanted], above)
            held.append(said == wanted and p99_s <= BOUND_S < over_s and record["answer"]["verdict"] == "answered")
            print(
                f"  {number + 1}: {share:.0%}: {said} cores ({record['answer']['verdict']}); p99 at the demand "
                f"{p99_s * 1e3:.3g} ms, at 1.3 times the upper limit {over_s * 1e3:.3g} ms; {record['wall_s']:.0f} s"
            )
        good += all(held)
    figure("60 % says 1 core, 140 % says 2, confirmed by load", good == repeat, f"{good} of {repeat}")


def budget(directory: Path, repeat: int) -> None:
    """The default workload within 10 minutes, and what was said to be left."""
    began = time.monotonic()
    process = subprocess.Popen(
        command(WORKLOAD, "--synthetic", "--rate", "20k/s", "--p99", BOUND, "--out", str(directory)),
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    said: tuple[float, float] | None = None
    for line in process.stderr:
        match = re.search(r"about (?:(\d+) h )?(?:(\d+) min)?(?:(\d+) s)? ?to go", line)
        if match:
            hours, minutes, seconds = (int(part or 0) for part in match.groups())
            said = (time.monotonic(), 3600.0 * hours + 60.0 * minutes + seconds)
    process.wait()
    ended = time.monotonic()
    if process.returncode not in (0, 2):
        raise FailedError(f"size of the default workload ended with {process.returncode}")
    figure("size of the default workload, default budget: minutes", ended - began <= 600, f"{(ended - began) / 60:.1f}")
    if said is None:
        figure("time left after the first block", False, "it said nothing")
        return
    at, expected = said
    took = ended - at
    error = abs(expected / took - 1) if took else 1.0
    figure("time left after the first block, within 30 %", error <= 0.3, f"said {expected:.0f} s, took {took:.0f} s")


def bundle(directory: Path, repeat: int) -> None:
    """A model bundle, sized as it is."""
    kept = saved(directory)
    size = (*SAMPLE[SAMPLE.index("--threads-per-core") :], "--cores", "1", "--budget", "2m")
    asked = [str(kept), "--rate", "100/s", "--p99", BOUND, *size, "--out", str(directory), "--json"]
    done = subprocess.run(command(*asked), capture_output=True, text=True, check=False)
    if done.returncode not in (0, 2) or not done.stdout:
        raise FailedError(f"size of the bundle ended with {done.returncode}: {done.stderr}")
    record = json.loads(done.stdout)
    core, answer = capacity_of(record, 1), record["answer"]
    said = any(str(kept.resolve()) in note for note in record["notes"])
    shown = "no capacity" if core is None else f"{core['value']:,.0f} requests per second of a core"
    good = said and answer["verdict"] == "answered" and answer["chosen"]["cores"] == 1
    figure("size BUNDLE answers 1 core for 100/s and names the bundle", good, f"{shown}, {answer['verdict']}")


def killed(directory: Path, repeat: int) -> None:
    """A kill in the middle."""
    out = directory / "killed"
    out.mkdir()
    arguments = (WORKLOAD, "--rate", "20k/s", "--p99", BOUND, "--cores", "1", *SAMPLE, "--budget", "3m")
    process = subprocess.Popen(
        command(*arguments, "--out", str(out)), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    journal: Path | None = None
    before = b""
    while process.poll() is None and before.count(b"\n") < 5:  # session, survey, fit, and measurements
        time.sleep(0.05)
        journal = next(out.glob("*/journal.jsonl"), None)
        before = b"" if journal is None else journal.read_bytes()
    process.send_signal(signal.SIGKILL)
    process.wait()
    if journal is None:
        figure("kill -9 in the middle, then --resume", False, "it never measured")
        return
    before = journal.read_bytes()
    whole = before[: before.rfind(b"\n") + 1]
    resumed = command("--resume", str(journal.parent), "--json")
    done = subprocess.run(resumed, capture_output=True, text=True, check=False)
    kept = journal.read_bytes().startswith(whole)
    record = json.loads(done.stdout) if done.returncode in (0, 2) else {"series": [], "answer": {"verdict": "none"}}
    blocks = sum(len(point["blocks"]) for series in record["series"] for point in series["points"])
    seen = f"killed after {whole.count(bytes([10]))} entries, kept: {kept}, then {blocks} blocks"
    good = kept and blocks > 1
    figure("kill -9 in the middle, then --resume", good, f"{seen}, {record['answer']['verdict']}")


@contextmanager
def half_a_core() -> Iterator[Callable[[], None] | None]:
    """What puts a process under a cap of 5 ms in every 10; None where this user may not."""
    for top in _CGROUPS:
        group = top / f"lparbench-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            for name, text in _CAPS:
                if (group / name).exists():  # else a plain folder would take any file, and cap nothing
                    (group / name).write_text(text)
        except OSError:
            group.rmdir()
            continue
        if not any((group / name).exists() for name, _ in _CAPS):
            group.rmdir()
            continue
        try:
            yield partial(_enter, group)
        finally:
            for _ in range(100):
                try:
                    group.rmdir()
                    break
                except OSError:
                    time.sleep(0.05)
        return
    yield None


def _enter(group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()))


def capped(directory: Path, repeat: int) -> None:
    """Half a core in windows of 10 ms."""
    bundle, cpu = saved(directory), sorted(os.sched_getaffinity(0))[:1]
    with half_a_core() as cap:
        if cap is None:
            raise NotHereError("no group of processes with a cap can be made here (cgroup v1 or v2, as root)")
        asked = ("--rate", "1000/s", "--p99", BOUND, "--cores", "1", "--budget", "4m", *SAMPLE)
        free, under = sized(directory, *asked), sized(directory, *asked, prepare=cap)
        whole, half = capacity_of(free, 1), capacity_of(under, 1)
        if whole is None:
            raise FailedError(f"no capacity of one core was measured: {refusal_of(free)}")
        shown = "none" if half is None else f"{half['value']:,.0f} [{half['low']:,.0f}, {half['high']:,.0f}]"
        differs = half is None or half["high"] < whole["low"]
        figure("capped: the capacity is less than uncapped", differs, f"{shown} against {whole['value']:,.0f}")
        p99_s = offered_p99_s(bundle, cpu, 0.9 * whole["low"], prepare=cap)
        figure("capped: the uncapped capacity is not met", p99_s > BOUND_S, f"p99 {p99_s * 1e3:.3g} ms")
        if half is not None:
            p99_s = offered_p99_s(bundle, cpu, 0.9 * half["low"], prepare=cap)
            figure("capped: the capped capacity is met", p99_s <= BOUND_S, f"p99 {p99_s * 1e3:.3g} ms")


FIGURES = {each.__name__: each for each in (decision, budget, bundle, killed, capped)}


def main() -> int:
    """Print the figures asked for, or all; 1 when one was missed, 2 when one cannot be shown here."""
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))
        return 0
    parser = argparse.ArgumentParser()
    parser.add_argument("figures", nargs="*", choices=[*FIGURES, []], help="default: all")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        for name in options.figures or FIGURES:
            judged(name, Path(directory), options.repeat)
    return 1 if "MISSED" in verdicts else 2 if "NOT SHOWN" in verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
