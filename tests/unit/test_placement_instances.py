"""Dividing a placement among instances."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InputError
from harness.placement.instances import divide_among_instances, divides_evenly
from harness.placement.model import MemoryBinding, Placement, thread_environment


def placement(cores: int, threads_per_core: int) -> Placement:
    """Cores of eight threads, the first so many of each chosen."""
    cpus = tuple(8 * core + thread for core in range(cores) for thread in range(threads_per_core))
    environment = thread_environment(cpus)
    return Placement(cpus, 0, (0,), (0,), MemoryBinding((0,)), len(cpus), threads_per_core, cores, environment)


@given(cores=st.integers(1, 24), threads_per_core=st.integers(1, 8), instances=st.integers(1, 64))
def test_instances_partition_the_cpus_and_share_no_core_unless_all_their_cpus_are_of_it(
    cores: int, threads_per_core: int, instances: int
) -> None:
    whole = placement(cores, threads_per_core)
    if not divides_evenly(cores, threads_per_core, instances):
        with pytest.raises(InputError, match="cannot share"):
            divide_among_instances(whole, instances)
        return
    parts = divide_among_instances(whole, instances)
    assert len(parts) == instances
    assert sorted(cpu for part in parts for cpu in part.cpus) == list(whole.cpus)
    for part in parts:
        on = {cpu // 8 for cpu in part.cpus}
        assert len(part.cpus) == part.threads == part.cores * part.threads_per_core
        assert len(on) == part.cores
        assert part.env["OMP_NUM_THREADS"] == str(part.threads)
        assert part.memory_nodes == whole.memory_nodes
        others = {cpu // 8 for other in parts if other is not part for cpu in other.cpus}
        assert part.cores == 1 or not on & others


def test_a_core_and_a_half_is_refused_with_a_remedy() -> None:
    with pytest.raises(InputError, match="whole cores"):
        divide_among_instances(placement(3, 2), 2)


def test_instances_on_one_smt8_core_keep_to_one_half_each() -> None:
    """Even threads are one half of the core, odd ones the other."""
    assert [part.cpus for part in divide_among_instances(placement(1, 8), 2)] == [(0, 2, 4, 6), (1, 3, 5, 7)]
    assert [part.cpus for part in divide_among_instances(placement(1, 8), 4)] == [(0, 4), (1, 5), (2, 6), (3, 7)]
