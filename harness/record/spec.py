"""What a run is asked to do: what resuming reads, a gate repeats, and a record holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from harness.record.fields import PositiveCount

Protocol = Literal["clean", "as-published"]
PROTOCOLS: tuple[Protocol, ...] = ("clean", "as-published")
OptionValue = bool | str | tuple[str, ...]
"""Of a data set's option, as the command line can give it."""
Synthetic = Literal["never", "when-missing", "always"]
Scenario = Literal["train", "offline", "single_stream", "multi_stream", "server", "http"]
EndedBy = Literal["blocks", "budget", "limit", "precision"]
SCENARIOS: tuple[Scenario, ...] = ("train", "offline", "single_stream", "multi_stream", "server", "http")
CAPACITY: tuple[Scenario, ...] = ("server", "http")  # of which the answer is a rate that meets a bound
Reduction = Literal["gloo", "native"]
REDUCTIONS: tuple[Reduction, ...] = ("gloo", "native")
TrainingDtype = Literal["float32", "bfloat16"]
"""To what operands of a training's products are rounded; whatever it keeps is float32."""
TRAINING_DTYPES: tuple[TrainingDtype, ...] = ("float32", "bfloat16")


@dataclass(frozen=True)
class RunSpec:
    """One run as the user asked for it, defaults filled in; it can be repeated on any machine with the same files.

    Attributes:
        workloads: names, paths of ``.toml`` files, or ``module:Class`` of a detector.
        suite: that the workloads are from, if they are from one.
        dataset: instead of each workload's own; ``csv:PATH`` is a file.
        label: label column of that file.
        dataset_options: further options of that data set.
        data_dir: folder with data sets, searched first.
        synthetic: stand-ins are asked for; see `stand_ins`.
        backends, dtypes, seeds: None stands for each workload's own.
        scenarios: None stands for offline and single_stream, and train where the backend can.
        epochs: at most so many in each stage of a training; None for each workload's schedule.
        rows: of the training file; None for all.
        learning_rates: to train every seed with as well, for their accuracy alone.
        train_dtypes: to train every seed in, besides float32; None stands for each workload's own.
        both_protocols: each system is fitted under the other protocol too, for its accuracy alone.
        node: NUMA node; None for the best.
        smt: threads online per core, switched to for the run; None for what there is.
        instances: processes at once, which divide the cores among them.
        ranks: processes that train together, each on so many cores of its own; None trains in one.
        reduce: over what the ranks combine gradients: gloo, or "native" in memory that they share.
        blocks: fresh processes per configuration; does not count where ``budget_s`` or ``half_width`` is given.
        budget_s: wall time of the whole run, set-up and fits included.
        half_width: relative half-width of the 95 % intervals to reach.
        series_seconds: time spent on each timed series of a process.
        p99_bound_s: of the server scenario.
        arrivals: of its requests: "poisson", "constant", or a file of recorded ones.
        bundle: directory of a model that is measured as it is, in place of one that is fitted.
        seed: of the order of everything.
        save: directory that receives the model bundles of the first seed.
        bundles: the run directory keeps these bundles, where ``save`` names no other place.
        scores: whether the score of every test row is written next to the record.
        counters: whether processes count instructions, cycles, misses and consumed capacity.
        roofline: "kept" takes the roofs that were measured in this state of the machine before, where there are some.
    """

    workloads: tuple[str, ...]
    suite: str | None = None
    dataset: str | None = None
    label: str | None = None
    dataset_options: dict[str, OptionValue] = field(default_factory=dict)
    protocol: Protocol = "clean"
    data_dir: str | None = None
    synthetic: bool = False
    backends: tuple[str, ...] | None = None
    dtypes: tuple[str, ...] | None = None
    scenarios: tuple[Scenario, ...] | None = None
    seeds: int | None = None
    epochs: int | None = None
    rows: int | None = None
    learning_rates: tuple[float, ...] = ()
    train_dtypes: tuple[TrainingDtype, ...] | None = None
    both_protocols: bool = False
    cores: int = 1
    threads_per_core: int = 1
    node: int | None = None
    smt: int | None = None
    instances: int = 1
    ranks: PositiveCount | Literal["per-node"] | None = None
    reduce: Reduction = "gloo"
    cache: Literal["hot", "cold"] = "hot"
    blocks: int = 6
    budget_s: float | None = None
    half_width: float | None = None
    series_seconds: float = 0.5
    p99_bound_s: float = 0.01
    arrivals: str = "poisson"
    bundle: str | None = None
    seed: int = 1
    save: str | None = None
    bundles: bool = False
    scores: bool = False
    counters: bool = False
    roofline: Literal["kept", "measured", "none"] = "kept"

    @property
    def stand_ins(self) -> Synthetic:
        """Whether synthetic rows take the place of files: never of data that were asked for by name or by folder.

        Where they are asked for, they take the place of all data, or with a folder, of what is not in it.
        """
        if self.synthetic:
            return "always" if self.data_dir is None else "when-missing"
        return "when-missing" if self.dataset is None and self.data_dir is None else "never"


@dataclass(frozen=True)
class StoppingRecord:
    """Why the measuring ended.

    Attributes:
        blocks: measured.
        block_s: time of the last block.
        predicted_half_width: of the widest relative 95 % interval, from the first blocks.
        reached_half_width: at the end.
        ended_by: what decided.
    """

    blocks: int
    block_s: float | None
    predicted_half_width: float | None
    reached_half_width: float | None
    ended_by: EndedBy
