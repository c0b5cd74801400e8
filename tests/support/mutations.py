"""Damages run records in every way a file can be damaged, to see that no reader is fooled."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from support.records import inference, placement, run

from harness.compare.observations import Side, side_of
from harness.record.codec import DIGEST, digest_of, to_json
from harness.record.model import ProcessRecord, Result, Run
from harness.record.series import Series

Document = dict[str, Any]
Mutation = Callable[[Document, random.Random], str]

BLOCKS = 12
_SAMPLES = 24


def small_run(name: str, *, seed: int, slowdown: float = 1.0) -> Run:
    """A valid run of two workloads, small enough to be damaged thousands of times."""
    results = tuple(_result(workload, seed, slowdown) for workload in ("mlp", "autoencoder"))
    return run(*results, run_id=name)


def stepped_runs(count: int = 14) -> list[Side]:
    """Sides over time of which the second half is 15 % slower, with another version of a library."""
    sides = []
    for index in range(count):
        late = index >= count // 2
        side = side_of(small_run(f"run-{index:02d}", seed=index, slowdown=1.15 if late else 1.0))
        fingerprint = {**side.fingerprint, "libraries.torch": "2.9" if late else "2.6"}
        sides.append(replace(side, created=f"2026-08-{index + 1:02d}T12:00:00Z", fingerprint=fingerprint))
    return sides


def _result(workload: str, seed: int, slowdown: float) -> Result:
    rng = random.Random(f"{workload} {seed}")
    where = placement()
    processes = tuple(_process(index, rng, slowdown, where.cpus) for index in range(BLOCKS))
    return inference(workload, batch_size=64, processes=processes, by_batch={})


def _process(index: int, rng: random.Random, slowdown: float, cpus: tuple[int, ...]) -> ProcessRecord:
    level = 2e6 * slowdown * rng.lognormvariate(0, 0.01)
    durations = tuple(int(level * rng.lognormvariate(0, 0.02)) for _ in range(_SAMPLES))
    return ProcessRecord(
        block=index,
        order=0,
        random_state=index,
        pid=100 + index,
        wall_s=1.0,
        rss_peak_bytes=1 << 28,
        steal_share=0.0,
        cpus_allowed=cpus,
        cpus_sampled=cpus[:1],
        page_nodes={0: 1000},
        series=(Series("call", 64, 1, durations, (0,) * _SAMPLES, 0, True, sorted(durations)[12] / 1e9, level / 1e9),),
    )


def document(one: Run) -> Document:
    """The record as JSON values, to be damaged."""
    return to_json(one)


def _results(doc: Document) -> list[Any]:
    found: list[Any] = doc["results"]
    return found


def _series_of(result: Any) -> list[Any]:
    return [series for process in result["processes"] for series in process["series"]]


def unequal_blocks(doc: Document, rng: random.Random) -> str:
    for result in _results(doc):
        del result["processes"][rng.randrange(BLOCKS)]
    return json.dumps(doc)


def one_block(doc: Document, rng: random.Random) -> str:
    for result in _results(doc):
        del result["processes"][1:]
    return json.dumps(doc)


def same_block_twice(doc: Document, rng: random.Random) -> str:
    for result in _results(doc):
        result["processes"][rng.randrange(1, BLOCKS)]["block"] = 0
    return json.dumps(doc)


def no_variance(doc: Document, rng: random.Random) -> str:
    factor = rng.choice([1, 3])
    for result in _results(doc):
        for series in _series_of(result):
            series["durations_ns"] = [2_000_000 * factor] * _SAMPLES
    return json.dumps(doc)


def zero_durations(doc: Document, rng: random.Random) -> str:
    for result in _results(doc):
        for series in _series_of(result):
            series["durations_ns"] = [0] * _SAMPLES
    return json.dumps(doc)


def not_a_number(doc: Document, rng: random.Random) -> str:
    token = rng.choice(["NaN", "Infinity", "-Infinity", "1e999"])
    series = rng.choice(_series_of(rng.choice(_results(doc))))
    series["durations_ns"][rng.randrange(_SAMPLES)] = "@"
    return json.dumps(doc).replace('"@"', token)


def missing_workload(doc: Document, rng: random.Random) -> str:
    del _results(doc)[rng.randrange(2)]
    return json.dumps(doc)


def same_workload_twice(doc: Document, rng: random.Random) -> str:
    _results(doc).extend(copy.deepcopy(_results(doc)))
    return json.dumps(doc)


def other_schema(doc: Document, rng: random.Random) -> str:
    doc["schema_version"] = rng.choice([0, 1, 3, "2", None, 2.5, True, [2]])
    return json.dumps(doc)


def truncated(doc: Document, rng: random.Random) -> str:
    text = json.dumps(doc)
    return text[: rng.randrange(len(text))]


def called_invalid(doc: Document, rng: random.Random) -> str:
    for result in _results(doc):
        result["validity"]["verdict"] = rng.choice(["invalid", "failed", "no_steady_state", "timings_refused"])
    return json.dumps(doc)


def disturbed(doc: Document, rng: random.Random) -> str:
    for result in _results(doc):
        for series in _series_of(result):
            series["flags"] = [rng.choice([1, 2, 4, 8, 31]) for _ in range(_SAMPLES)]
    return json.dumps(doc)


def all_warm_up(doc: Document, rng: random.Random) -> str:
    for result in _results(doc):
        for series in _series_of(result):
            series["warmup"] = _SAMPLES
    return json.dumps(doc)


def no_series(doc: Document, rng: random.Random) -> str:
    for result in _results(doc):
        for process in result["processes"]:
            process["series"] = []
    return json.dumps(doc)


def failed_block(doc: Document, rng: random.Random) -> str:
    for result in _results(doc):
        rng.choice(result["processes"])["failure"] = "killed by signal 9"
    return json.dumps(doc)


def moved(doc: Document, rng: random.Random) -> str:
    for result in _results(doc):
        result["placement"]["verified"] = False
    return json.dumps(doc)


def other_machine(doc: Document, rng: random.Random) -> str:
    name = rng.choice(["arch", "cpu", "smt"])  # an SMT level that is not known parts nothing
    doc["fingerprint"][name] = rng.choice(["other", 3, [], {}, *([] if name == "smt" else [None])])
    return json.dumps(doc)


def no_accuracy(doc: Document, rng: random.Random) -> str:
    for result in _results(doc):
        result["accuracy"] = rng.choice([None, {}, {"metrics": None}, {"metrics": {"auc_roc": {"mean": "NaN"}}}])
    return json.dumps(doc)


def empty(doc: Document, rng: random.Random) -> str:
    return rng.choice(["", "{}", "[]", "null", "1", '"run"', "\x00", "[" * 5000, json.dumps({**doc, "results": []})])


def any_value(doc: Document, rng: random.Random) -> str:
    """Replace, remove or repeat one value anywhere."""
    holder: Any = doc
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = rng.choice(keys)
        inner = holder[key]
        if isinstance(inner, dict | list) and inner and rng.random() < 0.9:
            holder = inner
            continue
        break
    action = rng.randrange(3)
    if action == 0:
        del holder[key]
    elif action == 1 and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(inner))
    else:
        holder[key] = rng.choice([None, -1, 0, 1, 2**63, 10**30, 1e308, -0.5, "", "x", "\ud800", True, [], {}, [[]]])
    return json.dumps(doc)


def any_byte(doc: Document, rng: random.Random) -> str:
    """A file as it was written, a few bytes of which became others."""
    text = list(json.dumps({**doc, DIGEST: digest_of(doc)}))
    for _ in range(rng.randrange(1, 4)):
        text[rng.randrange(len(text))] = chr(rng.randrange(32, 127))
    return "".join(text)


# These leave nothing that could be judged: neither a pass nor a regression may come from them, however slow the code.
MATERIAL: dict[str, Mutation] = {
    one.__name__: one
    for one in (
        one_block, same_block_twice, no_variance, zero_durations, not_a_number, same_workload_twice,
        other_schema, truncated, called_invalid, disturbed, all_warm_up, no_series, failed_block, moved,
        other_machine, empty,
    )
}  # fmt: skip

# These leave nothing that could be paired block by block, but times that can be compared with the level of sessions.
UNPAIRED: dict[str, Mutation] = {unequal_blocks.__name__: unequal_blocks}

# These leave times that can be judged, but not all that a pass needs.
INCOMPLETE: dict[str, Mutation] = {one.__name__: one for one in (missing_workload, no_accuracy)}

# May hit something that does not matter, so a pass is possible; a regression of unchanged code is not.
ANYWHERE: dict[str, Mutation] = {one.__name__: one for one in (any_value, any_byte)}


def mutate(name: str, one: Document, seed: int) -> str:
    """The text of a damaged copy."""
    rng = random.Random(f"{name} {seed}")
    return {**MATERIAL, **UNPAIRED, **INCOMPLETE, **ANYWHERE}[name](copy.deepcopy(one), rng)
