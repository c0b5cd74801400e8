"""The part in a training of a command that has other ranks of it than the first: it trains, and leaves nothing."""

from __future__ import annotations

from harness.errors import MeasurementError
from harness.record.spec import RunSpec
from harness.runs.engine import Engine, Progress
from harness.runs.journal import open_journal
from harness.runs.run import begin
from harness.scratch import scratch
from harness.training.rank_setting import RankGroup
from harness.workers.executor import Executor


def take_part(spec: RunSpec, group: RankGroup, executor: Executor, progress: Progress) -> None:
    """Train with the others until the model is whole, which the first rank evaluates, measures and records.

    Raises:
        MeasurementError: a rank failed.
        LparbenchError: see `harness.runs.run.begin`.
    """
    with scratch("rank") as directory:
        session = begin(spec, (), directory, group=group)
        workloads = {workload.name: workload for workload in session.design.workloads}
        machine = session.machine
        with open_journal(session.directory) as journal:
            engine = Engine(
                session.directory, session.design.spec, workloads, journal, executor, progress,
                ranks=machine.ranks, group=group,
            )  # fmt: skip
            progress.start(1, f"rank {group.first} of {group.count}")
            fit = engine.fit(next(iter(workloads)), spec.protocol, machine.placement, backends=())
        if fit.result.failure is not None:
            raise MeasurementError(f"rank {group.first}: {fit.result.failure}.")
