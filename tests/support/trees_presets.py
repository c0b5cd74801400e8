"""Named synthetic machines (see ``trees``)."""

from __future__ import annotations

from support.trees import LparSpec, NodeSpec, TreeSpec

# ids, descriptions and words as firmware gives them to /sys/firmware/papr/energy_scale_info; frequencies in MHz
ENERGY_MAXIMUM = {
    1: ("Power and Performance Mode", 3, "Maximum Performance"),
    2: ("Idle Power Saver Status", 0, "Disabled"),
    3: ("Minimum Frequency", 2000, None),
    4: ("Static Power Saver Frequency", 2400, None),
    6: ("Maximum Frequency", 4000, None),
    8: ("Processor Folding Status", 0, "Disabled"),
}
ENERGY_SAVING = {
    **ENERGY_MAXIMUM,
    1: ("Power and Performance Mode", 2, "Static Power Saver"),
    2: ("Idle Power Saver Status", 1, "Enabled"),
}

PRESETS = {
    "p10-dedicated": TreeSpec(energy=ENERGY_MAXIMUM),
    # the LPAR of the RocketCE guide's numactl listing
    "p10-node7": TreeSpec(nodes=(NodeSpec(7, cores=4, memory_mb=95948, free_mb=94391),), energy=ENERGY_MAXIMUM),
    "p10-smt2": TreeSpec(smt=2, smt_control="2", energy=ENERGY_MAXIMUM),
    "p10-mixed-smt": TreeSpec(smt_of_core={1: 2, 3: 1}),
    "p10-two-nodes": TreeSpec(
        nodes=(NodeSpec(0, cores=6), NodeSpec(1, cores=6)), lpar=LparSpec(affinity_score=63), energy=ENERGY_SAVING
    ),
    "p10-remote-memory": TreeSpec(nodes=(NodeSpec(2, cores=4, memory_mb=0), NodeSpec(3, cores=0, memory_mb=65536))),
    "p10-in-p9-mode": TreeSpec(mode="POWER9"),
    "p10-shared": TreeSpec(
        nodes=(NodeSpec(0, cores=8),),
        lpar=LparSpec(shared=True, capped=False, donating=None, entitled_percent=200, weight=128, affinity_score=75),
        steal_ticks=500_000,
    ),
    "p10-donating": TreeSpec(lpar=LparSpec(donating=True)),
    "p10-over-chip": TreeSpec(nodes=(NodeSpec(0, cores=10), NodeSpec(1, cores=4))),
    "p11": TreeSpec(generation="POWER11", mtm="9824-42A"),
    "p11-in-p10-mode": TreeSpec(generation="POWER11", mode="POWER10", mtm="9105-22A"),
    "p9-lpar": TreeSpec(generation="POWER9", mtm="9009-42A"),
    "p9-bare-metal": TreeSpec(
        platform="PowerNV",
        generation="POWER9",
        mtm="8335-GTH",
        threads=4,
        nodes=(
            NodeSpec(0, cores=4),
            NodeSpec(8, cores=4),
            *(NodeSpec(number, cores=0, memory_mb=0) for number in range(252, 256)),
        ),
        lpar=None,
        governor="performance",
        smt_control=None,
    ),
    "p8-bare-metal-smt-off": TreeSpec(
        platform="PowerNV",
        generation="POWER8",
        mtm="8247-22L",
        smt=1,
        nodes=tuple(NodeSpec(number, cores=5) for number in (0, 1, 16, 17)),
        lpar=None,
        governor="ondemand",
        smt_control=None,
        subcores=1,
    ),
    "p8-lpar": TreeSpec(generation="POWER8", mtm="8286-42A", lpar=LparSpec(affinity_score=None)),
    "p7-lpar-old-kernel": TreeSpec(
        generation="POWER7",
        mtm="8231-E2B",
        threads=4,
        little_endian=False,
        sibling_lists=False,
        node_lists=False,
        has_possible=False,
        has_model_line=False,
        auxv=False,
        packages_known=False,
        smt_control=None,
        lpar=LparSpec(affinity_score=None, version="1.8"),
    ),
    "kvm-guest": TreeSpec(
        platform="KVM", generation="POWER9", mtm=None, threads=1, nodes=(NodeSpec(0, cores=16),), lpar=None
    ),
    "tcg-guest": TreeSpec(platform="TCG", mtm=None, threads=1, nodes=(NodeSpec(0, cores=2),), lpar=None),
    "x86-two-sockets": TreeSpec(
        platform="x86", threads=2, nodes=(NodeSpec(0, cores=4), NodeSpec(1, cores=4)), distance=21, lpar=None
    ),
    "x86-siblings-first": TreeSpec(
        platform="x86", threads=2, nodes=(NodeSpec(0, cores=4),), enumeration="siblings-first", lpar=None
    ),
    "p10-1920-cpus": TreeSpec(
        mtm="9080-HEX",
        nodes=tuple(NodeSpec(number, cores=15, memory_mb=1 << 20) for number in range(16)),
        possible_cpus=2048,
        linked_threads=False,
    ),
}
