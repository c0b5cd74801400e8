"""What every placement must hold to, judged by the true layout of a synthetic machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from support.trees import CoreLayout, Layout


def usable_threads(core: CoreLayout, allowed: Collection[int] | None) -> tuple[int, ...]:
    """Threads of a core that are online and allowed."""
    return tuple(cpu for cpu in core.online if allowed is None or cpu in allowed)


def can_give(
    laid: Layout, cores: int, threads_per_core: int, node: int | None, allowed: Collection[int] | None
) -> bool:
    """Whether some node (or the one given) has the cores asked for."""
    fitting = Counter(core.node for core in laid.cores if len(usable_threads(core, allowed)) >= threads_per_core)
    return any(count >= cores for where, count in fitting.items() if node in (None, where))


def check_plan(
    laid: Layout,
    cpus: Sequence[int],
    *,
    cores: int,
    threads_per_core: int,
    node: int | None,
    allowed: Collection[int] | None = None,
) -> None:
    """Asserts that ``cpus`` are what was asked for."""
    core_of = {cpu: core for core in laid.cores for cpu in core.online}
    assert len(set(cpus)) == len(cpus), f"a CPU twice in {cpus}"
    strangers = [cpu for cpu in cpus if cpu not in core_of]
    assert not strangers, f"offline or foreign CPUs {strangers}"
    if allowed is not None:
        assert set(cpus) <= set(allowed), f"forbidden CPUs {set(cpus) - set(allowed)}"
    used = Counter(core_of[cpu].number for cpu in cpus)
    assert len(used) == cores, f"{len(used)} distinct cores instead of {cores}"
    assert set(used.values()) == {threads_per_core}, f"threads on each core: {dict(used)}"
    homes = {core_of[cpu].node for cpu in cpus}
    assert len(homes) == 1, f"CPUs of nodes {homes}"
    if node is not None:
        assert homes == {node}, f"CPUs of node {homes}, asked for {node}"
    for number, count in used.items():
        core = laid.cores[number]
        chosen = {cpu for cpu in cpus if cpu in core.online}
        free = [[cpu for cpu in usable_threads(core, allowed) if cpu in half] for half in core.halves]
        taken = [len(chosen.intersection(half)) for half in free]
        # As even as the usable threads of the halves permit: no half idle while another has two.
        for index, threads in enumerate(taken):
            if threads < len(free[index]):
                assert max(taken) <= threads + 1, f"halves of core {number} unevenly used: {taken} of {count}"
