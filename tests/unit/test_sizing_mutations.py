"""Known faults of tools that size, put into ours one at a time: a known answer has to notice each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import test_sizing_answer as answers
import test_sizing_memory as memories
import test_sizing_queues as queueing
import test_sizing_usl as laws

from harness.measure import stats
from harness.record.size_model import Basis, Capacity, SizeRoof
from harness.roofline.measured import MeasuredRoof
from harness.scenarios import capacity
from harness.sizing import answer, assemble, curves, memory, queues, usl

Patch = pytest.MonkeyPatch


def bootstrap(patch: Patch) -> None:
    """Blocks resampled instead of Student's t."""

    def limits(logs: Iterable[float], basis: Basis, confidence: float, *, widened: float = 0.0) -> Capacity | None:
        values = np.array(list(logs))
        drawn = np.random.default_rng(1).choice(values, (2000, len(values))).mean(axis=1)
        low, high, floor = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2, 1 - confidence])
        return Capacity(*(math.exp(each) for each in (values.mean(), low, high, floor)), len(values), basis)

    patch.setattr(curves, "_limits", limits)


def one_sided_with_too_many_degrees(patch: Patch) -> None:
    """R's ``confint.USL``: the one-sided quantile with n - 1 degrees."""
    patch.setattr(usl, "t_quantile", lambda confidence, degrees: stats.t_quantile(2 * confidence - 1, degrees + 2))


def inverse_without_coherency(patch: Patch) -> None:
    """usl4j's concurrency at a throughput."""
    patch.setattr(usl.Usl, "cores_for", lambda law, rate: rate * (1 - law.alpha) / (law.gamma - rate * law.alpha))


def separate_queues_as_shared(patch: Patch) -> None:
    """Instances with sockets of their own reckoned as if they shared a queue."""
    replay = queues.replay
    patch.setattr(queues, "replay", lambda *arguments, queue: replay(*arguments, queue="shared"))


def borrowed_cycles(patch: Patch) -> None:
    """Capacity reached with other partitions' processors counted as the partition's own."""
    patch.setattr(curves, "usable_rate", lambda block, entitled: block.capacity)


def across_the_node(patch: Patch) -> None:
    """The curve of a node continued into the next."""
    patch.setattr(answer.Bench, "limit", property(lambda bench: curves.FARTHEST * bench.most))


def mean_for_p99(patch: Patch) -> None:
    """The mean latency against a bound on the 99th percentile."""
    patch.setattr(capacity, "_percentile", lambda latencies, percent: float(np.mean(latencies)) * 1e-9)


def a_cores_bandwidth_for_the_nodes(patch: Patch) -> None:
    """The share of what one core gets from memory."""
    roof = assemble._roof

    def of_a_core(measured: MeasuredRoof) -> SizeRoof | None:
        given = roof(measured)
        return None if given is None else replace(given, node_bytes_per_s=given.bytes_per_s)

    patch.setattr(assemble, "_roof", of_a_core)


def weights_that_never_leave_the_cache(patch: Patch) -> None:
    """Bytes of the rows alone, however large the model is."""
    use = memory.Traffic.use
    patch.setattr(
        memory.Traffic, "use", lambda traffic, *asked: use(replace(traffic, cache_bytes=(2**40,) * 4), *asked)
    )


def p99_is_what_bounds() -> None:
    """99 requests of 1 ms and 2 of 50 ms miss a bound of 5 ms, which their mean meets."""
    latencies = np.array([1_000_000] * 4900 + [50_000_000] * 100)
    p99_s = capacity._percentile(latencies, 99.0)
    assert p99_s is not None
    assert p99_s > 0.005


def arrivals() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(7)
    return generator.exponential(1.0, 100_000), generator.exponential(1.0, 100_000)


CASES: Sequence[tuple[Callable[[Patch], None], Callable[[], None]]] = (
    (bootstrap, answers.test_the_interval_is_students_over_blocks_and_the_lower_limit_decides),
    (one_sided_with_too_many_degrees, laws.test_six_points_of_the_ray_tracer_as_r_prints_them),
    (inverse_without_coherency, lambda: laws.test_the_inverse_keeps_coherency(11_048, 19.9239)),
    (separate_queues_as_shared, lambda: queueing.test_separate_queues_stay_as_slow_as_one(arrivals())),
    (borrowed_cycles, answers.test_borrowed_cycles_are_not_capacity),
    (across_the_node, answers.test_nothing_is_said_beyond_the_node),
    (mean_for_p99, p99_is_what_bounds),
    (a_cores_bandwidth_for_the_nodes, memories.test_the_roof_of_a_core_and_that_of_its_node_are_kept_apart),
    (weights_that_never_leave_the_cache, memories.test_bytes_of_a_row_by_hand),
)


@pytest.mark.parametrize(("mutate", "known"), CASES, ids=[mutate.__name__ for mutate, _ in CASES])
def test_a_known_answer_notices(mutate: Callable[[Patch], None], known: Callable[[], None], monkeypatch: Patch) -> None:
    known()
    mutate(monkeypatch)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        known()
