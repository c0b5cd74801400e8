"""Hypothesis strategies of synthetic machines."""

from __future__ import annotations

from hypothesis import strategies as st
from support.trees import NodeSpec, TreeSpec

_GENERATIONS = ("POWER8", "POWER9", "POWER10", "POWER11")


@st.composite
def machines(draw: st.DrawFn) -> TreeSpec:
    """A machine with at least one core online: sparse nodes, some without CPUs or memory, cores and threads missing."""
    platform = draw(st.sampled_from(("PowerVM", "KVM", "x86")))
    power = platform != "x86"
    ids = draw(st.lists(st.integers(0, 255), min_size=1, max_size=4, unique=True))
    counts = draw(st.lists(st.integers(0, 4), min_size=len(ids), max_size=len(ids)).filter(any))
    memory = draw(st.lists(st.sampled_from((0, 512, 4096, 95948)), min_size=len(ids), max_size=len(ids)))
    nodes = tuple(
        NodeSpec(node, cores=cores, memory_mb=size)
        for node, cores, size in zip(sorted(ids), counts, memory, strict=True)
    )
    total = sum(counts)
    threads = draw(st.sampled_from((1, 2, 4, 8) if power else (1, 2)))
    spread = draw(st.permutations([node.id for node in nodes for _ in range(node.cores)]))
    offline = draw(st.sets(st.integers(0, total - 1), max_size=total - 1))
    online_threads = draw(
        st.dictionaries(
            st.integers(0, total - 1),
            st.sets(st.integers(0, threads - 1), min_size=1).map(lambda chosen: tuple(sorted(chosen))),
            max_size=3,
        )
    )
    present = total * threads
    generation = draw(st.sampled_from(_GENERATIONS))
    # PowerVM gives whole cores: fewer threads than the silicon has are a matter of its mode or of a guest.
    whole = platform == "PowerVM" and (threads == 8 or (threads == 4 and generation != "POWER8"))
    return TreeSpec(
        platform=platform,
        generation=generation,
        threads=threads,
        smt=draw(st.integers(1, threads)),
        online_threads=online_threads,
        nodes=nodes,
        node_of_core=tuple(spread),
        offline_cores=frozenset(offline),
        deconfigured_cores=frozenset(draw(st.sets(st.integers(0, 6), max_size=2))) if power else frozenset(),
        enumeration=draw(st.sampled_from(("cores-first", "siblings-first"))),
        packages_known=draw(st.booleans()),
        possible_cpus=present + 16 * threads + draw(st.integers(0, 100)),
        distance=draw(st.sampled_from((20, 40, 80))),
        device_tree=draw(st.booleans()) if whole or platform == "KVM" else True,
        smt_control=draw(st.sampled_from((None, "on", "off", "2"))),
    )
