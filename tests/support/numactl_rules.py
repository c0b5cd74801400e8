"""What numactl accepts, for commands written for a synthetic machine and a process with limits there.

After numactl 2.0.16: ``--physcpubind`` takes CPUs of the affinity mask, memory options take nodes of
``Mems_allowed_list`` that have memory ("out of range" otherwise), and ``--cpunodebind`` needs a CPU that is allowed
(sched_setaffinity gives EINVAL). ``support.oracles.numactl_runs`` asks numactl itself.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from support.placement_rules import can_give
from support.trees import Layout

_MEMORY_OPTIONS = ("membind", "interleave", "preferred")


def numbers(text: str) -> set[int]:
    """``0-3,8`` as a set."""
    ranges = (part.partition("-") for part in text.split(","))
    return {number for first, _, last in ranges for number in range(int(first), int(last or first) + 1)}


def objections(command: str, laid: Layout, cpus: Collection[int], mems: Collection[int]) -> list[str]:
    """Why numactl, taskset or ``lparbench run`` would refuse a command, or leave the CPUs and nodes given.

    Args:
        command: the command line.
        laid: the machine.
        cpus: CPUs that are online and allowed.
        mems: nodes with memory that are allowed.
    """
    wrong: list[str] = []
    for option, text in re.findall(r"--([a-z-]+)[= ]([0-9][0-9,-]*)(?= |$)", command):
        given = numbers(text)
        if option == "physcpubind" and not given <= set(cpus):
            wrong.append(f"CPUs {given - set(cpus)}")
        if option in _MEMORY_OPTIONS and not given <= set(mems):
            wrong.append(f"memory of nodes {given - set(mems)}")
        if option in ("cpunodebind", "nodes"):
            wrong += [f"no CPU of node {node}" for node in given if not set(laid.node_cpus(node)) & set(cpus)]
    places = re.search(r"OMP_NUM_THREADS=([0-9]+)", command)
    if places and int(places[1]) > len(cpus):
        wrong.append(f"{places[1]} threads on {len(cpus)} CPUs")
    cores = re.search(r"run --nodes ([0-9]+) --cores ([0-9]+)", command)
    if cores:
        there = [core for core in laid.cores if core.node == int(cores[1]) and set(core.online) & set(cpus)]
        if len(there) < int(cores[2]):
            wrong.append(f"{cores[2]} cores of the {len(there)} of node {cores[1]}")
    placed = re.search(r"run --cores ([0-9]+) --threads-per-core ([0-9]+)", command)
    if placed and not can_give(laid, int(placed[1]), int(placed[2]), None, cpus):
        wrong.append(f"no node with {placed[1]} cores of {placed[2]} threads")
    return wrong
