"""Runs in the guest: sweeps, sizings and gates are at work there, apply every setting, and give no times.

Each ``check_`` function is one test of ``test_live.py``; see ``live.py``, whose helpers these are.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from live import CPUS, NODES, PLUGGED, ROOT, begin, forked, online, refusal, run_checks, state, wait_until
from support import records
from support.sweeps import fit_outcome, result_of

from harness.compare.observations import side_of
from harness.decode import decode_json_file
from harness.evaluation.metrics import Evaluation
from harness.gates.baseline_file import update_baseline
from harness.gates.files import Inputs, judge_files
from harness.gates.policy import Policy
from harness.placement.model import Placement
from harness.placement.smt_state import load
from harness.platform.parse import cpu_list
from harness.platform.probe import probe
from harness.record.load_model import LoadSpec
from harness.record.model import Run, Verdict
from harness.record.size_model import SizeQuestion
from harness.record.spec import RunSpec
from harness.record.store import sweep_text
from harness.reporting.progress import Silence
from harness.runs.fingerprint import fingerprint
from harness.runs.journal import Measurement, read_journal
from harness.runs.run import run_once
from harness.serving import model as served
from harness.serving.trial import Session
from harness.sizing import session as sizing
from harness.sweeps import session as sweeps
from harness.sweeps.settings import Location
from harness.trust import allow
from harness.workers.executor import ProcessExecutor
from harness.workers.jobs import FitJob, Job, MeasureJob
from harness.workers.outcomes import JobResult

SPEC = RunSpec(("nsl-kdd-pca",), seeds=1, epochs=1, rows=300, blocks=1, series_seconds=0.02, synthetic=True)
LEVELS = sweeps.Levels(
    smt=(1, 2), threads_per_core=(1,), cores=(1,), locations=(Location(0),), batch_sizes=(8,), backends=("eager",),
    instances=(1,),
)  # fmt: skip


class Fitted(ProcessExecutor):
    """Measures as always, with a detector that was fitted on the host: its libraries take minutes under emulation."""

    def run(self, job: Job, placement: Placement, *, timeout_s: float) -> JobResult:
        if not isinstance(job, FitJob):
            return super().run(job, placement, timeout_s=timeout_s)
        shutil.copytree("/job/fit", job.directory)
        evaluation = decode_json_file(Evaluation, Path("/job/evaluation.json"))
        return result_of(replace(fit_outcome(), evaluations=(evaluation,)), placement)


class Plugging(Fitted):
    """Has a core plugged in while the first slot is measured."""

    def run(self, job: Job, placement: Placement, *, timeout_s: float) -> JobResult:
        result = super().run(job, placement, timeout_s=timeout_s)
        if isinstance(job, MeasureJob) and not Path("/job/plug").exists():
            Path("/job/plug").touch()
            wait_until(lambda: len(online()) == 3, "the core did not come")
        return result


def workers() -> list[str]:
    """Command lines of the product's processes but this one."""
    lines = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            words = (entry / "cmdline").read_bytes().split(b"\0") if (entry / "cmdline").exists() else []
            if any(word.startswith(b"harness") for word in words):
                lines.append(b" ".join(words).decode())
    return lines


def check_a_sweep_that_is_killed_puts_smt_back_and_one_that_is_resumed_refuses_times_and_sees_a_plugged_core() -> None:
    begin("mixed")
    before = state()
    directory = sweeps.begin(SPEC, LEVELS, 0.03, ("lparbench", "sweep"), Path("/tmp/sweeps"))
    child = os.fork()
    if child == 0:
        try:
            sweeps.proceed(directory, Fitted(), Silence())
        finally:
            os._exit(1)
    wait_until(lambda: load(ROOT) is not None and online() in ([1, 1], [2, 2]), "SMT was not switched")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    wait_until(lambda: load(ROOT) is None, "the saved state is still there")
    assert state() == before
    wait_until(lambda: not workers(), f"these go on: {workers()}")

    record = sweeps.proceed(directory, Plugging(), Silence())
    assert (record.design.slots, record.design.slots_done, record.design.sessions) == (2, 2, 2)
    assert (record.best, record.losses, record.method) == ((), (), "switched")
    assert sweeps.exit_code(record) == 2
    assert {(cell.smt, cell.threads_per_core) for cell in record.cells} == {(1, 1), (2, 1)}
    for cell in record.cells:
        assert cell.validity.verdict is Verdict.TIMINGS_REFUSED, cell.validity
        assert cell.rows_per_s.value is None
        assert [set(cpu_list(process.cpus or "") or ()) <= set(NODES[0]) for process in cell.processes] == [True]
    assert json.loads(sweep_text(record))["facts"]["emulation"]["emulated"] is True
    measurements = [entry for entry in read_journal(directory) if isinstance(entry, Measurement)]
    assert [measurement.result.failure for measurement in measurements] == [None, None]
    changed = [" ".join(measurement.mismatches) for measurement in measurements]
    assert any(str(cpu) in changed[0] for cpu in PLUGGED), changed
    assert (CPUS / "smt/control").read_text().strip() == before[0]
    assert cpu_list((CPUS / "online").read_text()) == (0, 1, 2, 4, 6, 7, *PLUGGED)


def check_a_sizing_is_refused() -> None:
    wanted = sizing.Wanted(SizeQuestion(rate=100.0), ())
    said = refusal(lambda: sizing.begin(SPEC, wanted, ("lparbench", "size"), Path("/tmp/sizes")))
    assert "emulated (QEMU TCG)" in said, said
    assert not Path("/tmp/sizes").exists()


def check_a_server_starts_on_its_node_and_a_load_test_of_it_refuses_times() -> None:
    begin("on")
    command = [sys.executable, "-m", "harness", "serve", "/job/bundle", "--backend", "eager", "--trust", "--node", "1"]
    command += ["--threads-per-core", "2", "--port", "0", "--deadline", "60s", "--json"]
    errors = Path("/tmp/serve.err")
    with errors.open("w") as handle, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=handle) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            assert line, errors.read_text()
            described = json.loads(line)
            process = Path("/proc", str(server.pid))
            allowed = cpu_list(dict(_pairs(process / "status"))["Cpus_allowed_list"]) or ()
            assert len(set(allowed) & set(NODES[1])) == len(allowed) == 2, allowed
            assert " bind:1 " in (process / "numa_maps").read_text()

            def load() -> object:
                allow(True)
                served.fastest_backend = lambda _: "eager"  # the others' libraries are not in the guest
                url = described["url"]
                session = Session.open(url, Path("/job/bundle"), None, None, None, 0, probe(ROOT, cross_checked=False))
                record = session.offer(LoadSpec(url, 4.0, 1.0, 1, "constant", 0, 30.0, patience_s=120.0))
                return {"met": record.result.met, "by": record.result.by_status, "why": record.result.reasons}

            answer = forked(load)  # whose CPUs are changed
            assert answer.get("by") == {"200": 4}, answer
            assert answer["met"] is None
            assert "this machine is emulated (QEMU TCG): times mean nothing" in answer["why"]
            server.send_signal(signal.SIGTERM)
            assert server.wait(timeout=240) == 0, errors.read_text()
        finally:
            server.kill()


def check_a_server_of_two_nodes_has_a_scorer_on_each() -> None:
    """Each process is where it belongs before it loads a library, long before it is ready under emulation."""
    begin("on")
    command = [sys.executable, "-m", "harness", "serve", "/job/bundle", "--backend", "eager", "--trust", "--port", "0"]
    command += ["--node", "0", "--node", "1", "--fronts", "2", "--deadline", "60s", "--json"]
    errors = Path("/tmp/serve2.err")
    with errors.open("w") as handle, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=handle) as server:
        try:
            for role in ("scorer", "front"):
                wait_until(lambda role=role: len(_processes_of_a_server(role)) == 2, f"no {role} on each node")
                for number, process in _processes_of_a_server(role).items():
                    allowed = cpu_list(dict(_pairs(process / "status"))["Cpus_allowed_list"]) or ()
                    assert allowed, errors.read_text()
                    assert set(allowed) <= set(NODES[number]), (role, number, allowed)
                    assert f" bind:{number} " in (process / "numa_maps").read_text(), (role, number)
        finally:
            server.kill()


def _processes_of_a_server(role: str) -> dict[int, Path]:
    """By number, once they are placed."""
    found = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdecimal() else []
            module = f"harness.serving.{role}_process".encode()
            if module in words and b"harness.placement.launch" not in words:
                found[int(words[words.index(module) + 2])] = entry
    return found


def check_a_gate_measures_and_judges_no_times() -> None:
    """Against a baseline of the machine that is imitated, and as the first baseline of its own."""
    begin("on")
    measured: list[Run] = []

    def measure(spec: RunSpec) -> Run:
        measured.append(run_once(spec, Fitted(), Silence(), ("lparbench", "gate")))
        return measured[-1]

    facts = probe(ROOT, cross_checked=False)
    real = replace(fingerprint(facts, facts.software), emulated=False)
    spec = replace(SPEC, scenarios=("offline",), backends=("eager",))
    baseline = Path("/tmp/baseline.json")
    update_baseline(baseline, side_of(records.run(fingerprint=real, spec=spec)))
    refused = refusal(lambda: judge_files(Inputs(baseline, [], measure), Policy()))
    assert "emulated: False and True" in refused, refused
    (run,) = measured
    assert run.results
    assert {result.validity.verdict for result in run.results} == {Verdict.TIMINGS_REFUSED}
    refused = refusal(lambda: update_baseline(Path("/tmp/own.json"), side_of(run)))
    assert "refused under emulation (QEMU TCG)" in refused, refused
    assert not Path("/tmp/own.json").exists()


def _pairs(path: Path) -> list[tuple[str, str]]:
    return [(key, value.strip()) for key, _, value in (line.partition(":") for line in path.read_text().splitlines())]


if __name__ == "__main__":
    run_checks(globals())
