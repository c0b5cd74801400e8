"""The machines that are booted to be read: what LPARs look like, and what SMT may have been left at."""

from __future__ import annotations

from guest import KERNELS
from machine import Machine, Node

_SMALL = {"threads": 4, "nodes": (Node(2, 1),)}  # two SMT4 cores on one node

MACHINES = {
    "two-nodes": Machine(distances={(0, 1): 40}),
    "node-without-memory": Machine(threads=4, nodes=(Node(1, 2), Node(1, 0)), distances={(0, 1): 40}),
    "node-without-cores": Machine(
        threads=4, nodes=(Node(), Node(0, 1), Node()), distances={(0, 1): 20, (0, 2): 40, (1, 2): 30}
    ),
    "nodes-0-and-3": Machine(threads=4, nodes=(Node(), Node(0, 0), Node(0, 0), Node())),
    "no-node-0": Machine(threads=4, nodes=(Node(0, 0), Node(), Node())),
    "two-cores-a-node": Machine(threads=4, nodes=(Node(2), Node(2)), distances={(0, 1): 40}),
    "halves": Machine(halves=True, distances={(0, 1): 40}),
    "smt2-cores": Machine(threads=2, nodes=(Node(2, 1),)),
    "power9": Machine(cpu="power9", **_SMALL),
    "power11": Machine(cpu="power11", **_SMALL),
    "power9-mode": Machine(compatible="power9", **_SMALL),
    "pages-of-64k": Machine(kernel=KERNELS[1], **_SMALL),
    "lparcfg": Machine(kernel=KERNELS[1], before="load_lparcfg", **_SMALL),
    # States of one machine, reached one after the other.
    "smt-mixed": Machine(before="echo 0 > $cpus/cpu5/online", **_SMALL),
    "core-offline": Machine(before="for cpu in 4 5 6 7; do echo 0 > $cpus/cpu$cpu/online; done", **_SMALL),
    "smt-2": Machine(before="ppc64_cpu --smt=2", **_SMALL),
    "smt-off": Machine(before="ppc64_cpu --smt=off", **_SMALL),
}

# The machines on which the product is at work, by the program that holds the checks; each has a core to plug in.
WORKING = {
    "live": Machine(threads=4, nodes=(Node(), Node(2, 1)), distances={(0, 1): 40}, spare=1),
    "work": Machine(threads=4, nodes=(Node(), Node(2, 1)), distances={(0, 1): 40}, spare=1),
}
