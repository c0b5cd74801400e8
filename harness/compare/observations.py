"""What compare and gate see of a run: one time per process and key, and why it may not be used."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from typing import Annotated

from harness.compare.facts import Facts, facts_of
from harness.decode import Check
from harness.measure.estimates import ProcessEstimate, process_estimate
from harness.measure.sampling import MIN_CLEAN
from harness.measure.validity import Evidence, Reason, invalidities
from harness.placement.model import settings_of
from harness.record.model import ProcessRecord, Result, Run, Verdict
from harness.record.series import Series
from harness.record.spec import RunSpec

_SHORTEST_S, _LONGEST_S = 1e-12, 1e18  # of a call; timers of other tools count bytes too
_LARGEST_FIGURE = 1e6  # of an accuracy metric
_MOST = 2**63 - 1
# Tools whose files are read, as scenarios: their samples are not known to be undisturbed.
PYTEST_BENCHMARK, PYPERF, HYPERFINE, GOOGLE_BENCHMARK = "pytest-benchmark", "pyperf", "hyperfine", "google-benchmark"
JMH = "JMH"
_ESTIMATES = {
    "server": "time per request at the highest rate",
    "http": "time per request at the highest rate",
    PYTEST_BENCHMARK: "median round",
    PYPERF: "median value",
    HYPERFINE: "time of a command",
    GOOGLE_BENCHMARK: "median repetition",
    JMH: "median iteration",
}
_NO_TIME = "its undisturbed samples take no time"
_TOO_FEW = f"fewer than {MIN_CLEAN} undisturbed samples after the warm-up"

Seconds = Annotated[
    float, Check(f"a number from {_SHORTEST_S:g} to {_LONGEST_S:g}", lambda value: is_measurable(value))
]
Count = Annotated[int, Check("a whole number from 0", lambda value: 0 <= value <= _MOST)]
Figure = Annotated[float, Check(f"a number within ± {_LARGEST_FIGURE:g}", lambda value: abs(value) <= _LARGEST_FIGURE)]
Spread = Annotated[float, Check("a number from 0", lambda value: 0 <= value <= _LARGEST_FIGURE)]
PositiveCount = Annotated[int, Check("at least 1", lambda value: 1 <= value <= _MOST)]
ByBlock = Check("block numbers from 0", lambda blocks: all(0 <= block <= _MOST for block in blocks))


@dataclass(frozen=True, order=True)
class Key:
    """What must be the same for two times to be of the same thing.

    ``layout`` tells results of one run apart that differ only in where they ran; it is empty when there is one.
    """

    workload: str
    scenario: str
    backend: str
    dtype: str
    batch_size: Count  # rows per call; 0 for training
    layout: str = ""

    @property
    def estimate(self) -> str:
        """What the time of a process is."""
        return _ESTIMATES.get(self.scenario, "undisturbed time per call")

    @property
    def parts(self) -> tuple[str, ...]:
        """Its fields in words, in order; empty where a field says nothing."""
        batch = f"batch {self.batch_size:,}" if self.batch_size else ""
        layout = f"on {self.layout}" if self.layout else ""
        return self.workload, self.scenario.replace("_", " "), self.backend, self.dtype, batch, layout

    @property
    def title(self) -> str:
        """What was measured, for people: ``nsl-kdd-mlp single stream eager float32 batch 1``."""
        return " ".join(part for part in self.parts if part)

    def __str__(self) -> str:
        batch = f"batch {self.batch_size}" if self.batch_size else ""
        layout = f"on {self.layout}" if self.layout else ""
        parts = (self.workload, self.scenario, self.backend, self.dtype, batch, layout)
        return " ".join(part for part in parts if part)


class ProblemKind(str, Enum):
    """What the trouble with the times of an observation is about."""

    RUN_VERDICT = "run_verdict"  # the run's own
    PROCESS = "process"  # one ended without samples, or without those of the key
    PLACEMENT = "placement"
    SAMPLES = "samples"  # disturbed, stolen from, or not settled
    AMBIGUOUS = "ambiguous"  # the key stands for more than one result


@dataclass(frozen=True)
class Problem:
    """Why times may not be judged; ``text`` is a sentence with its figures."""

    kind: ProblemKind
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Observation:
    """Times of one key in one run.

    Attributes:
        seconds: block number -> seconds per call of that block's process, the median of its undisturbed samples.
        problems: why these times may not be judged; empty when they may.
        conditions: where and on what it ran.
        unusable: block number -> why its process gives no time; its partner on the other side is left out with it.
        unit: of ``seconds`` where another tool's timer counted something else; empty when that is not known.
    """

    key: Key
    seconds: Annotated[Mapping[int, Seconds], ByBlock]
    problems: tuple[Problem, ...] = ()
    conditions: Facts = field(default_factory=dict)
    unusable: Annotated[Mapping[int, str], ByBlock] = field(default_factory=dict)
    unit: str = "s"

    @cached_property
    def log_centre(self) -> float:
        """Mean of the logarithms over processes."""
        return math.fsum(self._logs) / len(self.seconds)

    @cached_property
    def log_error(self) -> float:
        """Standard error of :attr:`log_centre`."""
        centre, count = self.log_centre, len(self.seconds)
        return math.sqrt(math.fsum((log - centre) ** 2 for log in self._logs) / (count - 1) / count)

    @cached_property
    def _logs(self) -> list[float]:
        return [math.log(value) for value in self.seconds.values()]


@dataclass(frozen=True)
class AccuracyFigure:
    """One accuracy metric of one workload; higher is better. ``sd`` over ``n`` seeds, None for one."""

    mean: Figure
    sd: Spread | None
    n: PositiveCount


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of one workload: its metrics by name, and the one it is judged by (None: not said)."""

    headline: str | None
    metrics: Mapping[str, AccuracyFigure]


@dataclass(frozen=True)
class Commit:
    """A revision of the code that was measured; ``time`` ISO 8601 or empty."""

    id: str
    time: str = ""
    dirty: bool = False

    def is_same(self, other: Commit) -> bool:
        """Whether both name one state of the code."""
        return (self.id, self.dirty) == (other.id, other.dirty)

    def __str__(self) -> str:
        return self.id[:10] + (" with changes" if self.dirty else "")


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        name: how to call it: the run identifier, or what the user calls it.
        created: ISO 8601, UTC.
        fingerprint: facts of the environment.
        observations: by key.
        accuracy: by workload.
        spec: the run that measured it; None when it was not measured by a run.
        commit: of the code that was measured; None where nobody said.
        run_id: of the run, whatever it is called; empty where no run measured it.
        left_out: files given with it that hold nothing to compare, each with why.
    """

    name: str
    created: str
    fingerprint: Facts
    observations: Mapping[Key, Observation]
    accuracy: Mapping[str, Accuracy] = field(default_factory=dict)
    spec: RunSpec | None = None
    commit: Commit | None = None
    run_id: str = ""
    left_out: tuple[str, ...] = ()

    def named(self, name: str) -> Side:
        """The same under another name."""
        return replace(self, name=name)


def is_measurable(value: float) -> bool:
    """Whether a value can be the time of a call."""
    return _SHORTEST_S <= value <= _LONGEST_S


def side_of(run: Run) -> Side:
    """A run as a side of a comparison; estimates are made from the raw samples, not taken from the record."""
    observations = _with_layouts([observation for result in run.results for observation in _observations(result)])
    fingerprint = facts_of(run.fingerprint)
    accuracy = _accuracy(run.results)
    return Side(run.run_id, run.created, fingerprint, observations, accuracy, run.spec, run_id=run.run_id)


def _with_layouts(observations: Sequence[Observation]) -> dict[Key, Observation]:
    """By key; where several have one key, the layout is added to it, and where that does not part them, none counts."""
    counts = Counter(observation.key for observation in observations)
    parted = [
        observation if counts[observation.key] == 1 else replace(observation, key=_key_with_layout(observation))
        for observation in observations
    ]
    counts = Counter(observation.key for observation in parted)
    ambiguous = (Problem(ProblemKind.AMBIGUOUS, "the run holds this result more than once"),)
    return {
        observation.key: observation
        if counts[observation.key] == 1
        else replace(observation, seconds={}, problems=ambiguous)
        for observation in parted
    }


def _key_with_layout(observation: Observation) -> Key:
    facts = observation.conditions
    nodes = facts["nodes"]
    node = ",".join(map(str, nodes)) if isinstance(nodes, tuple) and nodes else "?"
    parts = [f"{facts['threads']} threads, {facts['threads_per_core']} per core, node {node}, smt {facts['smt']}"]
    if facts.get("instances", 1) != 1:
        parts.append(f"{facts['instances']} instances")
    if facts.get("cache", "hot") != "hot":
        parts.append(f"{facts['cache']} cache")
    return replace(observation.key, layout=", ".join(parts))


def _observations(result: Result) -> list[Observation]:
    problems = _result_problems(result)
    keys = sorted({(series.name, series.batch_size or 0) for process in result.processes for series in process.series})
    if not keys:
        keys = [("", result.batch_size or 0)]
        problems = (*problems, Problem(ProblemKind.PROCESS, "no process left any samples"))
    return [_observation(result, name, batch, problems) for name, batch in keys]


def _observation(result: Result, name: str, batch: int, problems: tuple[Problem, ...]) -> Observation:
    return observe_processes(
        Key(result.workload, result.scenario, result.backend, result.dtype, batch),
        result.processes,
        lambda series: (series.name, series.batch_size or 0) == (name, batch),
        problems=problems,
        conditions=facts_of(_conditions(result)),
    )


def observe_processes(
    key: Key,
    processes: Sequence[ProcessRecord],
    is_of_key: Callable[[Series], bool],
    *,
    problems: Sequence[Problem] = (),
    conditions: Facts,
) -> Observation:
    """Times of one key from the processes that measured it, with everything that keeps them from being judged.

    Args:
        key: what was measured.
        processes: that measured it.
        is_of_key: tells the series of the key from others of the same process.
        problems: what is known to be wrong beforehand.
        conditions: where and on what it ran.
    """
    seconds: dict[int, float] = {}
    unusable: dict[int, str] = {}
    all_problems = list(problems)
    estimates: list[ProcessEstimate | None] = []
    steady: list[bool] = []
    for process in processes:
        block = process.block
        if process.failure is not None:
            all_problems.append(Problem(ProblemKind.PROCESS, f"block {block}: {process.failure}"))
            continue
        rate = _rate(process, key.batch_size)
        matching = [series for series in process.series if is_of_key(series)]
        if block in seconds or block in unusable or (rate is None and len(matching) != 1):
            text = f"block {block} does not hold this series exactly once"
            all_problems.append(Problem(ProblemKind.PROCESS, text))
        elif rate is not None:
            if rate > 0 and key.batch_size / rate < _LONGEST_S:
                seconds[block] = key.batch_size / rate
            else:
                unusable[block] = "no rate above zero"
        else:
            estimate = _estimate(matching[0])
            steady.append(matching[0].steady)
            estimates.append(estimate)
            if estimate is not None and estimate.undisturbed_s:
                seconds[block] = estimate.undisturbed_s
            else:
                unusable[block] = _TOO_FEW if estimate is None or estimate.undisturbed_s is None else _NO_TIME
    evidence = Evidence(
        blocks=len(seconds),
        clean_shares=[0.0 if estimate is None else estimate.undisturbed_share for estimate in estimates],
        steal_shares=[process.steal_share for process in processes],
        steady=steady,
    )
    all_problems += _problems_of_samples(evidence, problems)
    return Observation(key, seconds, tuple(dict.fromkeys(all_problems)), conditions, unusable)


def _estimate(series: Series) -> ProcessEstimate | None:
    if len(series.durations_ns) <= series.warmup:
        return None
    return process_estimate(series.durations_ns, series.flags, inner=max(1, series.inner), warmup=series.warmup)


def _problems_of_samples(evidence: Evidence, known: Sequence[Problem]) -> list[Problem]:
    """What the samples show themselves; a run that calls its result unusable has judged by the same rules."""
    if any(problem.kind is ProblemKind.RUN_VERDICT for problem in known):
        return []
    broken = (rule for rule in invalidities(evidence) if rule.reason is not Reason.TOO_FEW_BLOCKS)
    return [Problem(ProblemKind.SAMPLES, rule.text) for rule in broken]


def _result_problems(result: Result) -> tuple[Problem, ...]:
    problems = [Problem(ProblemKind.PLACEMENT, text) for text in result.placement.mismatches]
    if result.placement.verified is False and not problems:
        problems.append(Problem(ProblemKind.PLACEMENT, "the placement was not observed as asked for"))
    if result.validity.verdict is not Verdict.VALID:
        reasons = "; ".join(reason.rstrip(".") for reason in result.validity.reasons) or "no reason given"
        text = f"the run calls this result {result.validity.verdict.value}: {reasons}"
        problems.insert(0, Problem(ProblemKind.RUN_VERDICT, text))
    return tuple(problems)


def _conditions(result: Result) -> Mapping[str, object]:
    place, data = result.placement, result.dataset
    served = next((process.served for process in result.processes if process.served is not None), None)
    return {
        "data": {
            "name": data.name,
            "origin": data.origin,
            "protocol": data.protocol,
            "sha256": dict(data.sha256),
            "rows": dict(data.rows),
            "features": data.features,
        },
        "detector": result.detector,
        "nodes": list(place.nodes),
        "cpus": list(place.cpus),
        **{name: getattr(place, name) for name in ("threads", "threads_per_core", "smt")},
        "memory_policy": str(place.memory_policy),
        **settings_of(place.env),
        "cache": result.cache,
        "instances": result.instances,
        "p99_bound_s": served and served.bound_s,
        "rate_of": served and served.meets,
    }


def _rate(process: ProcessRecord, batch_size: int) -> float | None:
    """Rows per second, where that is not the batch over a series' median: of a server, or of several instances."""
    together = process.rate_together(batch_size)
    if together is not None:
        return together.rows_per_s_undisturbed
    return process.served.rate if process.served is not None else None


def _accuracy(results: Iterable[Result]) -> dict[str, Accuracy]:
    figures: dict[str, Accuracy] = {}
    for result in results:
        recorded = result.accuracy
        if recorded is None or result.workload in figures:
            continue
        figures[result.workload] = Accuracy(
            recorded.headline,
            {
                name: AccuracyFigure(metric.mean, metric.sd if metric.n > 1 else None, metric.n)
                for name, metric in recorded.metrics.items()
                if name not in recorded.oracle and abs(metric.mean) <= _LARGEST_FIGURE
            },
        )
    return figures
