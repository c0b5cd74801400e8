"""What a run needs to know of the machine before it starts: facts, findings, and where on it the run goes."""

from __future__ import annotations

from dataclasses import dataclass

from harness.advice.engine import evaluate
from harness.advice.finding import Report
from harness.placement.model import Placement
from harness.placement.plan import plan, plan_apart
from harness.placement.ranks import plan_ranks
from harness.platform import limits
from harness.platform.facts import Facts
from harness.platform.probe import probe, read_topology
from harness.platform.sysroot import SysRoot
from harness.record.spec import RunSpec
from harness.runs.forecast import no_survey
from harness.training.rank_setting import RankGroup

_LEAST_ROOM = 512 << 20  # what a worker process takes with its libraries before it has any data


@dataclass(frozen=True)
class Machine:
    """The machine as it was observed before the run.

    Attributes:
        report: on its layout.
        generator: where the load of the http scenario comes from; None where it is not asked for.
        ranks: where each rank of a training goes that this run starts; none where one process trains.
        group: that they are a part of; None where they are all.
    """

    facts: Facts
    report: Report
    placement: Placement
    generator: Placement | None = None
    ranks: tuple[Placement, ...] = ()
    group: RankGroup | None = None


def any_core(sysroot: SysRoot) -> Placement:
    """A core to check the user's files on; no other tool is asked and no library looked at.

    Raises:
        InputError: there is no CPU that may be used.
    """
    return plan(read_topology(sysroot), cores=1, threads_per_core=1, limits=limits.collect(sysroot))


def observed(spec: RunSpec, sysroot: SysRoot, group: RankGroup | None = None) -> Machine:
    """Probe the machine, check its layout, and choose the placement.

    Args:
        spec: of the run.
        sysroot: the machine.
        group: of ranks, of which some are started here; None: all of them are.

    Raises:
        InputError: the cores asked for are not there, their node has no room for a process bound to it, or no core is
            left for the generator of HTTP load.
    """
    facts = probe(sysroot, cross_checked=not no_survey(spec))
    placement = plan(
        facts.topology,
        cores=spec.cores,
        threads_per_core=spec.threads_per_core,
        node=spec.node,
        limits=facts.limits,
        memory_bytes=_LEAST_ROOM,
    )
    generator = None
    if "http" in (spec.scenarios or ()):
        generator = plan_apart(facts.topology, placement, limits=facts.limits)
    ranks: tuple[Placement, ...] = ()
    if spec.ranks is not None:
        ranks = plan_ranks(
            facts.topology,
            spec.ranks if group is None else group.planned,
            cores=spec.cores,
            threads_per_core=spec.threads_per_core,
            limits=facts.limits,
            memory_bytes=_LEAST_ROOM,
        )
    if group is not None and group.at is not None:
        ranks = (ranks[group.at],)
    return Machine(facts, evaluate(facts), placement, generator, ranks, group)
