"""Does what the plan of a sweep says and its journal does not yet hold."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from harness.errors import EnvironmentMismatchError, InputError
from harness.placement.instances import divide_among_instances
from harness.placement.plan import Placement, plan
from harness.placement.smt import SmtMethod, SmtSession, Write, smt_session, write_switch
from harness.placement.smt_guard import guarded, restore_after_kill
from harness.placement.verify import Observation, mismatches
from harness.platform.facts import Facts
from harness.platform.parse import format_cpulist
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot
from harness.runs.concurrent import together
from harness.runs.fingerprint import fingerprint
from harness.runs.stopping import duration
from harness.scoring.artifacts import disagreement
from harness.sweeps.design import SweepPlan, SweepSlot
from harness.sweeps.journal import Journal
from harness.sweeps.settings import Place, Setting
from harness.workers.executor import Executor
from harness.workers.jobs import FitJob, InstanceJob, Outcome, SurveyJob, TogetherJob

_SURVEY_TIMEOUT_S = 120.0
_FIT_TIMEOUT_S = 6 * 3600.0
_SLOT_TIMEOUT_S = 300.0  # beyond the time its series is given
_SERIES_PER_SLOT = 2  # as much time goes into warming up as into the window
_AROUND_S = 1.0  # of a slot, beside starting the process and the series: the signal, the journal, loading the data


class Progress(Protocol):
    """Told what the sweep does; see ``harness.reporting.progress``."""

    def start(self, total: int, text: str) -> None:
        """``total`` units of work lie ahead."""

    def advance(self, text: str) -> None:
        """One unit is done; ``text`` names the next."""

    def say(self, text: str) -> None:
        """Something that the user should know now."""


def run_sweep(
    directory: Path,
    sweep: SweepPlan,
    journal: Journal,
    executor: Executor,
    progress: Progress,
    *,
    sysroot: SysRoot | None = None,
    write: Write = write_switch,
) -> None:
    """Survey, fit, and measure every slot that is not in the journal, in the order of the plan.

    A worker that dies takes only its own slot with it, which is noted as failed and not tried again. Whatever ends this
    function, the SMT state is as it was found, and what the journal holds need not be measured again.

    Args:
        directory: of the sweep.
        sweep: its plan.
        journal: of the same sweep.
        executor: runs the worker processes.
        progress: told how far it is.
        sysroot: the machine whose SMT is switched; this one by default.
        write: writes the switches of ``sysroot``.

    Raises:
        InputError: what a worker found wrong in the user's files.
        EnvironmentMismatchError: the machine is not the one the sweep was begun on.
    """
    sysroot = sysroot or SysRoot("/")
    if sweep.method is SmtMethod.SWITCHED and restore_after_kill(sysroot):
        progress.say("The sweep was killed while SMT was switched; the state before is back.")
    _same_machine(sweep, probe(sysroot))
    journal.note({"kind": "session", "at": _now()})
    work = _Work(directory, sweep, journal, executor, progress, sysroot)
    done = journal.done()
    remaining = [slot for slot in sweep.slots if slot.name not in done]
    fits = [name for name in sweep.entries if not work.fit_of(name)]
    progress.start(len(fits) + len(remaining) + 1, "survey of the timing loop")
    work.survey()
    progress.say(_estimate(sweep, journal, len(fits), len(remaining)))
    for name in fits:
        progress.advance(f"{name}: training")
        work.fit(name)
    with ExitStack() as stack:
        session: SmtSession | None = None
        if sweep.method is SmtMethod.SWITCHED and remaining:
            stack.enter_context(guarded(sysroot))
            session = stack.enter_context(smt_session(sysroot, write))
            if session.method is not SmtMethod.SWITCHED:
                raise InputError(
                    "The sweep switches SMT, which is not permitted to this user.", remedy="Go on as root."
                )
        for slot in remaining:
            progress.advance(f"block {slot.block + 1} of {sweep.blocks}: {describe(sweep.settings[slot.cell])}")
            work.measure(slot, session)
    for leftover in ("fits", "scratch"):  # what they are for is in the journal
        shutil.rmtree(directory / leftover, ignore_errors=True)


def describe(setting: Setting) -> str:
    """A setting in a few words."""
    cores = f"{setting.cores} {'core' if setting.cores == 1 else 'cores'}"
    parts = [f"SMT {setting.smt}", f"{cores} x {setting.threads_per_core}", setting.place.name]
    if setting.instances > 1:
        parts.append(f"{setting.instances} instances")
    return ", ".join([*parts, setting.backend, setting.dtype, f"batch {setting.batch}"])


@dataclass
class _Work:
    directory: Path
    sweep: SweepPlan
    journal: Journal
    executor: Executor
    progress: Progress
    sysroot: SysRoot
    level: int | None = None  # of SMT, as last switched
    facts: Facts | None = field(default=None)  # of the machine at that level

    def survey(self) -> None:
        if self.journal.of_kind("survey"):
            return
        where = self._placed(Place(None), cores=1, threads_per_core=1)
        job = SurveyJob(where.threads, where.cpus, str(self._scratch("survey")), peak=False)
        outcome = self.executor.run(job, where, timeout_s=_SURVEY_TIMEOUT_S)
        self.journal.note({"kind": "survey", "wall_s": outcome.wall_s, "payload": outcome.payload})

    def fit_of(self, workload: str) -> Mapping[str, Any] | None:
        """What the journal holds of the fit of a workload."""
        return next((entry for entry in self.journal.of_kind("fit") if entry["workload"] == workload), None)

    def fit(self, workload: str) -> None:
        """Train once with one seed; what is measured is the scoring, whose speed does not depend on the weights."""
        directory = self._artifact(workload)
        shutil.rmtree(directory, ignore_errors=True)  # of a fit that was killed
        where = self._placed(Place(None), cores=1, threads_per_core=1)
        native = any(setting.backend == "native" for setting in self.sweep.settings if setting.workload == workload)
        job = FitJob(
            workload=self.sweep.entries[workload],
            protocol="as-published" if self.sweep.protocol == "as-published" else "clean",
            data_dir=self.sweep.data_dir,
            seeds=(0,),
            trainer="native" if native else "torch",
            epochs=self.sweep.epochs,
            rows=self.sweep.rows,
            threads=where.threads,
            directory=str(directory),
        )
        outcome = self.executor.run(job, where, timeout_s=_FIT_TIMEOUT_S)
        payload = outcome.payload
        kept = None if payload is None else {key: payload[key] for key in ("dataset", "backends")}
        self.journal.note({"kind": "fit", "workload": workload, "payload": kept, "failure": outcome.failure})

    def measure(self, slot: SweepSlot, session: SmtSession | None) -> None:
        """Measure one slot, switching SMT where it needs another level, and note what came of it."""
        setting = self.sweep.settings[slot.cell]
        noted = {"kind": "slot", "slot": slot.name, "block": slot.block, "cell": slot.cell, "at": _now()}
        try:
            self._switch(setting.smt, session)
            failure = self._unable(setting)
            where = None if failure else self._placed(setting.place, setting.cores, setting.threads_per_core)
            found = {"failure": failure} if where is None else self._measured(slot, setting, where)
        except InputError as error:  # of this setting on this machine: the others may still do
            found = {"failure": str(error)}
        self.journal.note({**noted, **found})
        shutil.rmtree(self._scratch(slot.name), ignore_errors=True)

    def _measured(self, slot: SweepSlot, setting: Setting, where: Placement) -> dict[str, Any]:
        directory = self._scratch(slot.name)
        shutil.rmtree(directory, ignore_errors=True)  # of a slot that was killed: its signal must not start this one
        parts = divide_among_instances(where, setting.instances)
        instances = tuple(
            InstanceJob(
                artifact=str(self._artifact(setting.workload)),
                backend=setting.backend,
                dtype=setting.dtype,
                scenarios=("offline",),
                batch_sizes=(setting.batch,),
                series_seconds=self.sweep.series_seconds,
                steal_cpus=part.cpus,
                threads=part.threads,
                seed=1 + slot.block * len(self.sweep.settings) + slot.cell + index,
                directory=str(directory / f"instance-{index}"),
                start_file=str(directory / "start.json"),
            )
            for index, part in enumerate(parts)
        )
        job = TogetherJob(instances, str(directory))
        timeout = _SLOT_TIMEOUT_S + 8 * self.sweep.series_seconds
        outcome = self.executor.run(job, where, timeout_s=timeout)
        found = {"cpus": format_cpulist(where.cpus), "memory_policy": where.memory_policy, "wall_s": outcome.wall_s}
        return {**found, **self._judged(setting, job, parts, outcome)}

    def _judged(
        self, setting: Setting, job: TogetherJob, parts: tuple[Placement, ...], outcome: Outcome
    ) -> dict[str, Any]:
        """The outcome as the journal keeps it: rates, raw samples, and what is wrong with them."""
        if outcome.payload is None:
            return {"failure": outcome.failure or "it left no outcome"}
        payloads: list[dict[str, Any]] = outcome.payload["instances"]
        traces = [payload["traces"][0] for payload in payloads if payload["traces"]]
        if len(traces) < len(payloads):
            return {"failure": f"the data set has fewer rows than a batch of {setting.batch}"}
        observed = [Observation.from_json(payload["observation"]) for payload in payloads]
        wrong = [text for part, one in zip(parts, observed, strict=True) for text in mismatches(part, one)]
        return {
            "failure": None,
            "rates": asdict(together(traces)),
            "series": [trace["series"] for trace in traces],
            "steal_shares": [payload["steal_share"] for payload in payloads],
            "mismatches": list(dict.fromkeys(wrong)),
            "disagreement": self._disagreement(setting, job),
        }

    def _disagreement(self, setting: Setting, job: TogetherJob) -> str | None:
        artifact = self._artifact(setting.workload)
        differences = (disagreement(artifact, Path(item.directory), setting.dtype) for item in job.instances)
        return next((difference for difference in differences if difference is not None), None)

    def _unable(self, setting: Setting) -> str | None:
        """Why this setting's workload cannot be measured on its backend."""
        fit = self.fit_of(setting.workload)
        if fit is None or fit["payload"] is None:
            return f"its training failed: {fit['failure'] if fit else 'it was not run'}"
        able = fit["payload"]["backends"]
        if setting.backend not in able:
            return f"{setting.workload} cannot run on backend {setting.backend}; it runs on: {', '.join(able)}"
        return None

    def _switch(self, level: int, session: SmtSession | None) -> None:
        if session is not None and level != self.level:
            session.switch(level)
            self.level, self.facts = level, None

    def _placed(self, place: Place, cores: int, threads_per_core: int) -> Placement:
        if self.facts is None:
            self.facts = probe(self.sysroot)
        chosen = plan(
            self.facts.topology,
            cores=cores,
            threads_per_core=threads_per_core,
            node=place.node,
            allowed=self.facts.limits.allowed_cpus,
        )
        if place.memory is None:
            return chosen
        return replace(chosen, memory_nodes=(place.memory,), memory_policy=f"bind:{place.memory}")

    def _artifact(self, workload: str) -> Path:
        return self.directory / "fits" / workload

    def _scratch(self, name: str) -> Path:
        return self.directory / "scratch" / name


def _same_machine(sweep: SweepPlan, facts: Facts) -> None:
    document = facts.to_json()
    now = fingerprint(document, document["software"])
    then = fingerprint(sweep.facts, sweep.facts["software"])
    differing = sorted(name for name in now if now[name] != then[name])
    if differing:
        raise EnvironmentMismatchError(
            f"this is not the machine, or not the state of it, that the sweep was begun on: {', '.join(differing)}.",
            remedy="Put it back as it was, or start a new sweep.",
        )


def _estimate(sweep: SweepPlan, journal: Journal, fits: int, remaining: int) -> str:
    """What lies ahead, by the slots done so far, or before the first one by what starting a process took."""
    walls = [entry["wall_s"] for entry in journal.of_kind("slot") if entry.get("wall_s")]
    survey = next(iter(journal.of_kind("survey")))
    slot_s = survey["wall_s"] + _SERIES_PER_SLOT * sweep.series_seconds + _AROUND_S
    if walls:
        slot_s = sum(walls) / len(walls)
    settings, all_slots = len(sweep.settings), len(sweep.slots)
    blocks = f"{sweep.blocks} {'block' if sweep.blocks == 1 else 'blocks'}"
    count = f"{settings} {'setting' if settings == 1 else 'settings'} in {blocks}"
    done = "" if remaining == all_slots else f", {all_slots - remaining} of {all_slots} measurements done"
    training = f" after training {fits} {'workload' if fits == 1 else 'workloads'}" if fits else ""
    return f"{count}{done}: about {duration(remaining * slot_s)}{training}."


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
