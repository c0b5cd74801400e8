"""Divides a placement among instances that run at the same time: disjoint CPUs, the same memory."""

from __future__ import annotations

from dataclasses import replace

from harness.errors import InputError
from harness.placement.model import Placement, process_environment


def divide_among_instances(plan: Placement, instances: int) -> tuple[Placement, ...]:
    """One plan per instance; together they have exactly the CPUs of ``plan``.

    An instance gets whole cores, or several instances share each core; never a core and a half. Instances that share an
    SMT8 core keep to one half of it each as far as they can, so that each has that half's caches to itself.

    Raises:
        InputError: the CPUs cannot be divided so.
    """
    share, rest = divmod(plan.threads, instances) if instances > 0 else (0, 1)
    per_core = plan.threads_per_core
    if rest or share == 0 or (share % per_core and per_core % share):
        shared = "1 core" if plan.cores == 1 else f"{plan.cores} cores"
        raise InputError(
            f"{instances} instances cannot share {shared} at SMT {per_core}.",
            remedy="Each instance gets the same number of whole cores, or the same number of threads of one core.",
        )
    if share >= per_core:
        parts = [plan.cpus[at : at + share] for at in range(0, plan.threads, share)]
    else:  # the threads of a core are listed with its halves in turn
        cores = [plan.cpus[at : at + per_core] for at in range(0, plan.threads, per_core)]
        sharing = per_core // share
        parts = [core[at::sharing] for core in cores for at in range(sharing)]
    return tuple(
        replace(
            plan,
            cpus=cpus,
            threads=share,
            threads_per_core=min(share, per_core),
            cores=max(1, share // per_core),
            env=process_environment(cpus),
        )
        for cpus in parts
    )


def divides_evenly(cores: int, threads_per_core: int, instances: int) -> bool:
    """Whether :func:`divide_among_instances` can divide so many cores."""
    share, rest = divmod(cores * threads_per_core, instances)
    return not rest and share > 0 and (share % threads_per_core == 0 or threads_per_core % share == 0)
