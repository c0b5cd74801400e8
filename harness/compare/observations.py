"""What compare and gate see of a run: one time per process and key, and why it may not be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness.measure.estimates import process_estimate
from harness.measure.sampling import MIN_CLEAN
from harness.measure.validity import Evidence, Reason, invalidities
from harness.record.model import Block, Result, Run, Series, Verdict

_LARGEST_FIGURE = 1e6
_LONGEST_S = 1e9  # of a call
_TOO_FEW = f"fewer than {MIN_CLEAN} undisturbed samples after the warm-up"


@dataclass(frozen=True, order=True)
class Key:
    """What must be the same for two times to be of the same thing.

    ``layout`` tells results of one run apart that differ only in where they ran; it is empty when there is one.
    """

    workload: str
    scenario: str
    backend: str
    dtype: str
    batch_size: int  # rows per call; 0 for training
    layout: str = ""

    def __str__(self) -> str:
        batch = f"batch {self.batch_size}" if self.batch_size else ""
        layout = f"on {self.layout}" if self.layout else ""
        parts = (self.workload, self.scenario, self.backend, self.dtype, batch, layout)
        return " ".join(part for part in parts if part)


@dataclass(frozen=True)
class Observation:
    """Times of one key in one run.

    Attributes:
        seconds: block number -> seconds per call of that block's process, the median of its undisturbed samples.
        problems: why these times may not be judged, one sentence each; empty when they may.
        conditions: where and on what it ran; name -> JSON value.
        unusable: block number -> why its process gives no time; its partner on the other side is left out with it.
    """

    key: Key
    seconds: Mapping[int, float]
    problems: tuple[str, ...] = ()
    conditions: Mapping[str, Any] = field(default_factory=dict)
    unusable: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AccuracyFigure:
    """One accuracy metric of one workload; higher is better. ``sd`` over ``n`` seeds, None for one."""

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of one workload: its metrics by name, and the one it is judged by (None: not said)."""

    headline: str | None
    metrics: Mapping[str, AccuracyFigure]


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        name: how to call it: the run identifier.
        created: ISO 8601, UTC.
        fingerprint: facts of the environment; name -> JSON value.
        observations: by key.
        accuracy: by workload.
        argv: the command that measured it; empty when it cannot be repeated.
    """

    name: str
    created: str
    fingerprint: Mapping[str, Any]
    observations: Mapping[Key, Observation]
    accuracy: Mapping[str, Accuracy] = field(default_factory=dict)
    argv: tuple[str, ...] = ()


def side_of(run: Run) -> Side:
    """A run as a side of a comparison; estimates are made from the raw samples, not taken from the record."""
    found = [observation for result in run.results for observation in _observations(result)]
    times = Counter(observation.key for observation in found)
    told_apart = [one if times[one.key] == 1 else _with_layout(one) for one in found]
    still_double = {key for key, count in Counter(one.key for one in told_apart).items() if count > 1}
    observations: dict[Key, Observation] = {}
    for one in told_apart:
        if one.key in still_double:
            one = replace(one, seconds={}, problems=("the run holds this result more than once",))
        observations[one.key] = one
    argv = run.tool.get("argv")
    command = tuple(argv) if isinstance(argv, list | tuple) and all(isinstance(one, str) for one in argv) else ()
    return Side(run.run_id, run.created, run.fingerprint, observations, _accuracy(run.results), command)


def blocks_of(side: Side, blocks: Iterable[int]) -> Side:
    """The side restricted to some blocks, numbered anew from 0 in the order given."""
    order = list(blocks)
    kept = {
        key: replace(
            one,
            seconds={new: one.seconds[old] for new, old in enumerate(order) if old in one.seconds},
            unusable={new: one.unusable[old] for new, old in enumerate(order) if old in one.unusable},
        )
        for key, one in side.observations.items()
    }
    return replace(side, observations=kept)


def _observations(result: Result) -> list[Observation]:
    problems = _result_problems(result)
    keys = sorted({(one.name, one.batch_size or 0) for block in result.blocks for one in block.series})
    if not keys:
        keys = [("", result.batch_size or 0)]
        problems = (*problems, "no process left any samples")
    return [_observation(result, name, batch, problems) for name, batch in keys]


def _observation(result: Result, name: str, batch: int, problems: tuple[str, ...]) -> Observation:
    key = Key(result.workload, result.scenario, result.backend, result.dtype, batch)
    return observe_blocks(
        key,
        result.blocks,
        lambda one: (one.name, one.batch_size or 0) == (name, batch),
        problems=(*problems, *result.placement.mismatches),
        conditions=_conditions(result),
    )


def observe_blocks(
    key: Key,
    blocks: Sequence[Block],
    is_of_key: Callable[[Series], bool],
    *,
    problems: Sequence[str] = (),
    conditions: Mapping[str, Any],
) -> Observation:
    """Times of one key from the processes that measured it, with everything that keeps them from being judged.

    Args:
        key: what was measured.
        blocks: one process each.
        is_of_key: tells the series of the key from others of the same process.
        problems: what is known to be wrong beforehand.
        conditions: where and on what it ran.
    """
    seconds: dict[int, float] = {}
    unusable: dict[int, str] = {}
    found = list(problems)
    shares: list[float] = []
    steady: list[bool] = []
    for block in blocks:
        if block.failure is not None:
            found.append(f"block {block.index}: {block.failure}")
            continue
        rate = block.rates.get(str(key.batch_size))
        if rate is not None and block.index not in seconds and block.index not in unusable:
            if rate > 0 and key.batch_size / rate < _LONGEST_S:
                seconds[block.index] = key.batch_size / rate
            else:
                unusable[block.index] = "no rate above zero"
            continue
        matching = [one for one in block.series if is_of_key(one)]
        if len(matching) != 1 or block.index in seconds or block.index in unusable:
            found.append(f"block {block.index} does not hold this series exactly once")
            continue
        series = matching[0]
        steady.append(series.steady)
        if len(series.durations_ns) <= series.warmup:
            shares.append(0.0)
            unusable[block.index] = _TOO_FEW
            continue
        estimate = process_estimate(series.durations_ns, series.flags, inner=max(1, series.inner), warmup=series.warmup)
        shares.append(estimate.undisturbed_share)
        if estimate.undisturbed_s is None or not estimate.undisturbed_s > 0:
            unusable[block.index] = _TOO_FEW
        else:
            seconds[block.index] = estimate.undisturbed_s
    steal = [block.steal_share for block in blocks]
    evidence = Evidence(blocks=len(seconds), clean_shares=shares, steal_shares=steal, steady=steady)
    derived = [one.text for one in invalidities(evidence) if one.reason is not Reason.TOO_FEW_BLOCKS]
    found += [text for text in derived if not any(text in told for told in found)]
    return Observation(key, seconds, tuple(dict.fromkeys(found)), conditions, unusable)


def _result_problems(result: Result) -> tuple[str, ...]:
    problems = []
    if result.validity.verdict is not Verdict.VALID:
        reasons = "; ".join(result.validity.reasons) or "no reason given"
        problems.append(f"the run calls this result {result.validity.verdict.value}: {reasons}")
    if result.placement.verified is False and not result.placement.mismatches:
        problems.append("the placement was not found as asked for")
    return tuple(problems)


def _conditions(result: Result) -> dict[str, Any]:
    place, data = result.placement, result.dataset
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
        "threads": place.threads,
        "threads_per_core": place.threads_per_core,
        "smt": place.smt,
        "memory_policy": place.memory_policy,
        "thread_environment": dict(place.env),
        "cache": result.cache,
        "instances": result.instances,
        "p99_bound_s": _p99_bound_s(result),
    }


def _p99_bound_s(result: Result) -> float | None:
    """Of a server result; None of others."""
    served = (block.details.get("served") for block in result.blocks)
    return next((_number(one.get("bound_s")) for one in served if isinstance(one, Mapping)), None)


def _with_layout(one: Observation) -> Observation:
    known = one.conditions
    nodes = ",".join(str(node) for node in known["nodes"]) or "?"
    parts = [f"{known['threads']} threads, {known['threads_per_core']} per core, node {nodes}, smt {known['smt']}"]
    if known.get("instances", 1) != 1:
        parts.append(f"{known['instances']} instances")
    if known.get("cache", "hot") != "hot":
        parts.append(f"{known['cache']} cache")
    return replace(one, key=replace(one.key, layout=", ".join(parts)))


def _accuracy(results: Iterable[Result]) -> dict[str, Accuracy]:
    found: dict[str, Accuracy] = {}
    for result in results:
        recorded = result.accuracy or {}
        metrics, oracle, headline = recorded.get("metrics"), recorded.get("oracle"), recorded.get("headline")
        if result.workload in found or not isinstance(metrics, Mapping):
            continue
        cheats = oracle if isinstance(oracle, list | tuple) else ()  # these looked at the test labels
        figures = {
            str(name): figure
            for name, value in metrics.items()
            if name not in cheats and (figure := _figure(value)) is not None
        }
        found[result.workload] = Accuracy(headline if isinstance(headline, str) else None, figures)
    return found


def _figure(value: Any) -> AccuracyFigure | None:
    """A figure as records hold it, {"value" or "mean", "sd", "n"}; None when it is not one."""
    if not isinstance(value, Mapping):
        return None
    mean, sd, n = _number(value.get("mean", value.get("value"))), _number(value.get("sd")), value.get("n")
    if mean is None or not isinstance(n, int) or isinstance(n, bool) or n < 1:
        return None
    return AccuracyFigure(mean, sd if sd is not None and sd >= 0 and n > 1 else None, n)


def _number(value: Any) -> float | None:
    """A finite number of a size that accuracy metrics have; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST_FIGURE:
        return None
    return float(value)
