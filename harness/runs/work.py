"""What a run does on its machine: survey, fits, and blocks of measurements, as many as its budget has time for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.content import user_cache
from harness.record.spec import Protocol, RunSpec, Scenario, TrainingDtype
from harness.roofline.measured import cache_to_exceed
from harness.runs.accuracy import other_protocol
from harness.runs.assemble import missing_backends, too_large
from harness.runs.engine import Engine, Fit, key_of
from harness.runs.fingerprint import state_digest
from harness.runs.forecast import has_time, next_slot_s, no_survey, slot_s
from harness.runs.journal import Measurement
from harness.runs.machine import Machine
from harness.runs.precision import headline_estimates
from harness.runs.schedule import Configuration, Slot, block_of
from harness.runs.stopping import Stopping, duration
from harness.runs.training_formats import lower_formats
from harness.scenarios.cold import eviction_bytes
from harness.scoring.backends import BACKENDS
from harness.workers.outcomes import JobResult, SurveyOutcome, TrainingFormatTrial
from harness.workers.variants import FULL
from harness.workload.model import Workload

_TO_START = ("onnxruntime", "native", "eager", "compile")  # the quickest first: to train takes torch, two seconds
INFERENCE: tuple[Scenario, ...] = ("offline", "single_stream")


@dataclass(frozen=True)
class Work:
    """Set-up and blocks of a run, as far as its budget goes."""

    engine: Engine
    machine: Machine
    stopping: Stopping

    def survey(self) -> SurveyOutcome | None:
        """What the survey gave; None when it failed."""
        placement = self.machine.placement
        if self.engine.spec.roofline == "none":
            return self.engine.survey(placement, roof=False)
        facts, cache = self.machine.facts, user_cache()
        known = None if cache is None else cache / "roofs" / f"{state_digest(facts, placement)}.json"
        if not facts.emulation.emulated and (known is None or not known.exists()):
            self.engine.progress.say(
                "The roofs of these CPUs are measured first, which takes up to a minute; later runs in this state of "
                "the machine use them again. --no-roofline leaves them out."
            )
        cache_bytes = cache_to_exceed(facts, placement.cpus)
        return self.engine.survey(placement, roof=True, cache_bytes=cache_bytes, kept=known)

    def fits(self) -> dict[str, Fit]:
        """Every workload fitted, with what its accuracy is compared with."""
        engine = self.engine
        fits: dict[str, Fit] = {}
        for name in engine.workloads:
            least = slot_s(engine.workloads[name], engine.spec)
            if fits and not self.stopping.has_room(_slowest(fit.result for fit in fits.values()) + least):
                engine.progress.say(f"{name} is left out: the budget has no time to train and measure it.")
                continue
            fits[name] = self._in_formats(self._fit(name, engine.spec.protocol))
        for fit in fits.values():
            for reason in (*missing_backends(engine.spec, fit), *too_large(fit)):
                engine.progress.say(reason)
        # Under emulation, minutes of scikit-learn for no figure of this machine; in a short budget there is no time.
        if self.machine.facts.emulation.emulated or not has_time(engine.spec):
            return fits
        return {name: self._compared(fit) for name, fit in fits.items()}

    def _compared(self, fit: Fit) -> Fit:
        """With the fit under the other protocol where asked for, and the baseline detectors; nothing here is timed."""
        engine, name = self.engine, fit.workload.name
        if fit.outcome is None or fit.workload.role != "system":
            return fit
        if engine.spec.both_protocols:
            fit = replace(fit, counterpart=self._fit(name, other_protocol(engine.spec.protocol)).result)
        return replace(fit, baselines=engine.baselines(name, self.machine.placement))

    def _fit(self, name: str, protocol: Protocol, dtype: TrainingDtype = "float32") -> Fit:
        backends = backends_of(self.engine.workloads[name], self.engine.spec)
        return self.engine.fit(name, protocol, self.machine.placement, backends=backends, dtype=dtype)

    def _formats(self, name: str) -> tuple[TrainingDtype, ...]:
        """Formats below float32 that a workload is trained in; what is opened from a bundle is not trained."""
        spec = self.engine.spec
        return () if spec.bundle is not None else lower_formats(self.engine.workloads[name], spec, spec.protocol)

    def _in_formats(self, fit: Fit) -> Fit:
        """With every seed trained again in each lower format, as far as a budget goes."""
        engine, name, outcome = self.engine, fit.workload.name, fit.outcome
        for dtype in () if outcome is None else self._formats(name):
            assert outcome is not None
            if engine.fitted(name, fit.protocol, dtype) is None:
                if not self.stopping.has_room(fit.result.wall_s):
                    engine.progress.say(f"{name} is not trained in {dtype}: the budget has no time for that.")
                    continue
                takes = duration(outcome.train_seconds)
                engine.progress.say(f"{name} is trained again in {dtype}; in {FULL} that took {takes}.")
            lower = self._fit(name, fit.protocol, dtype).result
            trial = lower.outcome(TrainingFormatTrial)
            if trial is None:
                outcome = replace(outcome, remarks=(*outcome.remarks, f"Training in {dtype} failed: {lower.failure}"))
            else:
                outcome = replace(outcome, training_formats=(*outcome.training_formats, trial))
        return fit if outcome is None else replace(fit, result=fit.result.with_outcome(outcome))

    def measure(self, fits: Mapping[str, Fit]) -> tuple[tuple[Configuration, ...], list[Measurement]]:
        """One process per configuration and block, in the shuffled order, for as many blocks as it takes."""
        engine, facts, placement = self.engine, self.machine.facts, self.machine.placement
        configurations = tuple(each for fit in fits.values() for each in _configurations(fit, engine.spec))
        if facts.emulation.emulated:
            configurations = tuple(replace(each, scenarios=()) for each in configurations)
        evict_bytes = eviction_bytes(facts, placement.cpus) if engine.spec.cache == "cold" else None
        done = {measurement.slot: measurement for measurement in engine.journal.of(Measurement)}
        self.stopping.set_up(measured_s=sum(measurement.result.wall_s for measurement in done.values()))
        measurements: list[Measurement] = []
        left_out: list[str] = []
        block = 0
        while configurations:
            slots: Sequence[Slot] = block_of(configurations, block=block, seed=engine.spec.seed)
            if not block and no_survey(engine.spec):
                slots = sorted(slots, key=lambda each: _TO_START.index(configurations[each.configuration].backend))
            for slot in slots:
                configuration = configurations[slot.configuration]
                late = measurements and not block and slot.name not in done
                if late and not self.stopping.has_room(_next_s(configuration, configurations, measurements, fits)):
                    left_out.append(f"{configuration.workload} on {configuration.backend}, {configuration.dtype}")
                    continue
                of_blocks = f"block {block + 1}" + (f" of {self.stopping.blocks}" if self.stopping.known else "")
                engine.progress.advance(f"{of_blocks}: {configuration.workload}")
                measurement = done.get(slot.name)
                if measurement is None:
                    measurement = engine.measure(slot, configuration, placement, evict_bytes=evict_bytes)
                measurements.append(measurement)
            block += 1
            if left_out:
                engine.progress.say(f"Left out, for which the budget has no time: {'; '.join(sorted(left_out))}.")
                self.stopping.cut_short()
                break
            another = self.stopping.another(block, headline_estimates(configurations, measurements))
            if block == 1 and another and (left := self.stopping.left()):
                engine.progress.say(left)
            engine.progress.expect(self.set_up_units() + len(configurations) * self.stopping.blocks)
            if not another:
                break
        return configurations, measurements

    def set_up_units(self) -> int:
        """Jobs before the first block: survey, fits, and what their accuracy is compared with."""
        engine = self.engine
        systems = [name for name, workload in engine.workloads.items() if workload.role == "system"]
        baselines = {key_of(engine.baseline_job(name, self.machine.placement)) for name in systems}
        compared = len(baselines) + (len(systems) if engine.spec.both_protocols else 0)
        bare = self.machine.facts.emulation.emulated or not has_time(engine.spec)
        repeated = sum(len(self._formats(name)) for name in engine.workloads)
        return 1 + len(engine.workloads) + repeated + (0 if bare else compared)


def _next_s(
    configuration: Configuration,
    configurations: Sequence[Configuration],
    measurements: Iterable[Measurement],
    fits: Mapping[str, Fit],
) -> float:
    """Seconds that the next measurement may take, by those before it."""
    walls: dict[str, list[float]] = {}
    for each in measurements:
        walls.setdefault(configurations[each.configuration].backend, []).append(each.result.wall_s)
    return next_slot_s(configuration.backend, walls, _slowest(fit.result for fit in fits.values()))


def _slowest(results: Iterable[JobResult]) -> float:
    """Seconds of the longest job."""
    return max(result.wall_s for result in results)


def _configurations(fit: Fit, spec: RunSpec) -> Iterator[Configuration]:
    """What is measured of a workload: each backend and number format that can run it."""
    outcome, inference = fit.outcome, fit.workload.inference
    for backend in backends_of(fit.workload, spec):
        if outcome is None or backend not in outcome.backends:
            continue
        scored = spec.dtypes or inference.dtypes
        trained = [FULL, *(trial.dtype for trial in outcome.training_formats if backend == "native")]
        wanted = spec.scenarios or (*INFERENCE, "train")
        for dtype in dict.fromkeys((*scored, *trained)):
            scores = dtype in scored and dtype in BACKENDS[backend] and (dtype == FULL or outcome.macs_per_row)
            loops = dtype in trained and (scores or dtype != FULL)
            trains = loops and backend in outcome.trains_on and spec.ranks is None  # it times one process
            scenarios = tuple(name for name in wanted if (trains if name == "train" else scores))
            if scenarios:
                yield Configuration(
                    workload=fit.workload.name,
                    backend=backend,
                    dtype=dtype,
                    scenarios=scenarios,
                    batch_sizes=tuple(size for size in inference.batch_sizes if size > 1),
                    cores=spec.cores,
                    threads_per_core=spec.threads_per_core,
                    instances=spec.instances,
                    node=spec.node,
                )


def backends_of(workload: Workload, spec: RunSpec) -> tuple[str, ...]:
    """Backends to measure a workload on: those asked for, or its own."""
    return spec.backends or workload.inference.backends
