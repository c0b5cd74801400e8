"""Runs in the guest: sweeps, sizings and gates are at work there, apply every setting, and give no times.

Each ``check_`` function is one test of ``test_live.py``; see ``live.py``, whose helpers these are.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

from live import CPUS, NODES, PLUGGED, ROOT, begin, online, refusal, run_checks, state, wait_until
from support.sweeps import fit_outcome, result_of

from harness.placement.model import Placement
from harness.placement.smt_state import load
from harness.platform.parse import cpu_list
from harness.record.model import Verdict
from harness.record.spec import RunSpec
from harness.record.store import sweep_text
from harness.reporting.progress import Silence
from harness.runs.journal import Measurement, read_journal
from harness.sizing import session as sizing
from harness.sweeps import session as sweeps
from harness.sweeps.settings import Location
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
        return result_of(fit_outcome(), placement)


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
    from harness.cli.size import _question

    wanted = sizing.Wanted(_question("100/s", None, None, None, 0.95, 0), ())
    said = refusal(lambda: sizing.begin(SPEC, wanted, ("lparbench", "size"), Path("/tmp/sizes")))
    assert "emulated (QEMU TCG)" in said, said
    assert not Path("/tmp/sizes").exists()


if __name__ == "__main__":
    run_checks(globals())
