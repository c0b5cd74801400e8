"""How a training scales over ranks: strong and weak, against one process on all cores and against independent seeds.

    python tests/bench/rank_scaling.py [--workload nsl-kdd-autoencoder] [--ranks 2] [--batches 64,1024,4096]
        [--epochs 3] [--repeats 6] [--rows N] [--seed 1] [--reduce gloo|native] [--least 1.5]

Per batch size of one rank, each repeat trains once in every way, in shuffled order; what is compared is paired by
repeat. Strong: the same batch, shared by the ranks. Weak: a batch for each rank, so the whole one is larger, and its
learning rate is left as it is: the quality next to it says what that costs. Speed-ups are rows per second of the epochs
against one rank of one core, with a 95 % interval over the repeats; efficiency is the speed-up over the ranks.
The data are synthetic stand-ins: rates count, and quality compares the ways with each other alone.
With ``--least`` the exit code is 1 where ranks that share the largest batch are not so many times as fast as one.
"""

from __future__ import annotations

import argparse
import math
import random
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from statistics import fmean

from harness.measure.stats import log_ratios, paired_effect
from harness.placement.model import Placement
from harness.placement.plan import plan
from harness.placement.ranks import plan_ranks
from harness.platform import limits
from harness.platform.probe import read_topology
from harness.platform.sysroot import SysRoot
from harness.record.spec import REDUCTIONS, Reduction
from harness.workers.executor import ProcessExecutor
from harness.workers.jobs import FitJob, ranked
from harness.workers.outcomes import FitOutcome
from harness.workload.files import find_workload
from harness.workload.model import Workload

ONE, ALL, STRONG, WEAK, SEEDS = "one rank", "one process, all cores", "strong", "weak", "independent seeds"


@dataclass(frozen=True)
class Trained:
    """Rows per second of a training, the share of its time in combining gradients, and its ROC-AUC."""

    rate: float
    reduced: float
    quality: float


@dataclass(frozen=True)
class Study:
    """What is trained, and where: each rank's placement, and that of one process on all of their cores."""

    workload: Workload
    epochs: int
    rows: int | None
    ranks: tuple[Placement, ...]
    whole: Placement
    reduce: Reduction

    def train(self, way: str, batch: int) -> Trained:
        """One training in one way; of independent seeds, all of them at once."""
        count = len(self.ranks)
        match way:
            case "one rank":
                return self._fit(batch, self.ranks[:1])
            case "one process, all cores":
                return self._fit(batch, (self.whole,))
            case "strong":
                return self._fit(batch, self.ranks)
            case "weak":
                return self._fit(batch * count, self.ranks)
        with ThreadPoolExecutor(count) as pool:
            runs = list(pool.map(lambda at: self._fit(batch, (self.ranks[at],), at), range(count)))
        return Trained(sum(run.rate for run in runs), 0.0, fmean(run.quality for run in runs))

    def _fit(self, batch: int, where: tuple[Placement, ...], seed: int = 0) -> Trained:
        training = replace(self.workload.clean.training, batch_size=batch)
        workload = replace(self.workload, clean=replace(self.workload.clean, training=training))
        with tempfile.TemporaryDirectory() as directory:
            job = FitJob(
                workload=workload, protocol="clean", data_dir=None, synthetic="always", seeds=(seed,), trainer="torch",
                epochs=self.epochs, rows=self.rows, threads=where[0].threads, directory=f"{directory}/fit",
            )  # fmt: skip
            whole = job if len(where) == 1 else ranked(job, where, None, self.reduce)
            result = ProcessExecutor().run(whole, where[0], timeout_s=3600)
        outcome = result.outcome(FitOutcome)
        if outcome is None:
            raise SystemExit(result.failure)
        rows, seconds = sum(epoch.rows for epoch in outcome.epochs), sum(epoch.seconds for epoch in outcome.epochs)
        reduced = min(1.0, outcome.reduce_seconds / seconds)
        return Trained(rows / seconds, reduced, outcome.evaluations[0].auc_roc)


def main() -> None:
    """Train, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", default="nsl-kdd-autoencoder")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--batches", default="64,1024,4096")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--reduce", choices=REDUCTIONS, default="gloo")
    parser.add_argument("--least", type=float)
    given = parser.parse_args()
    topology, bounds = read_topology(SysRoot()), limits.collect(SysRoot())
    placed = plan_ranks(topology, given.ranks, cores=1, threads_per_core=1, limits=bounds)
    whole = plan(topology, cores=given.ranks, threads_per_core=1, limits=bounds)
    study = Study(find_workload(given.workload), given.epochs, given.rows, placed, whole, given.reduce)
    order = random.Random(given.seed)
    breaks_even, faster = None, 0.0
    for batch in map(int, given.batches.split(",")):
        trained: dict[str, list[Trained]] = {way: [] for way in (ONE, ALL, STRONG, WEAK, SEEDS)}
        for _ in range(given.repeats):
            for way in order.sample(list(trained), len(trained)):
                trained[way].append(study.train(way, batch))
        print(f"\nbatch {batch:,} on {given.ranks} ranks, {given.repeats} repeats")
        for way, runs in trained.items():
            print(_line(way, runs, trained[ONE], given.ranks))
        faster = _speed_up(trained[STRONG], trained[ONE])[0]
        if breaks_even is None and _speed_up(trained[STRONG], trained[ONE])[1] > 1:
            breaks_even = batch
    where = (
        "at no batch that was tried" if breaks_even is None else f"from a batch of {breaks_even:,} on, of those tried"
    )
    print(f"\n{given.ranks} ranks sharing a batch are surely faster than one {where}")
    if given.least is not None and faster < given.least:
        raise SystemExit(f"{faster:.2f} times as fast, and {given.least} was asked for")


def _line(way: str, runs: list[Trained], base: list[Trained], ranks: int) -> str:
    rate, reduced = fmean(run.rate for run in runs), fmean(run.reduced for run in runs)
    text = f"{way:24}{rate:12,.0f} rows/s  ROC-AUC {fmean(run.quality for run in runs):.3f}"
    if way != ONE:
        ratio, low, high = _speed_up(runs, base)
        text += f"  speed-up {ratio:.2f} [{low:.2f}, {high:.2f}]  efficiency {ratio / ranks:.0%}"
        text += f" [{low / ranks:.0%}, {high / ranks:.0%}]"
    return f"{text}  combining {reduced:.0%}" if reduced else text


def _speed_up(runs: list[Trained], base: list[Trained]) -> tuple[float, float, float]:
    """Ratio of the rates with its 95 % interval over the repeats."""
    effect = paired_effect(log_ratios([run.rate for run in base], [run.rate for run in runs]))
    return effect.ratio, math.exp(effect.low), math.exp(effect.high)


if __name__ == "__main__":
    main()
