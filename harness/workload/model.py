"""A workload as the parent decodes it once: all that a worker process needs to fit, score and judge it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from harness.datasets.encoded import Origin
from harness.decode import PathPart, PositiveInt, Text, one_of
from harness.evaluation.metrics import METRICS
from harness.record.spec import Protocol, TrainingDtype
from harness.scoring.backends import BACKENDS, DTYPES

Scalar = bool | int | float | str
Value = Scalar | tuple[Scalar | tuple[Scalar, ...], ...]
"""Of a hyper-parameter or a data set's option."""
Metric = Annotated[str, one_of(METRICS)]
Role = Literal["system", "baseline"]


@dataclass(frozen=True)
class Training:
    """How the detector is trained.

    Attributes:
        epochs, batch_size: None for methods that have none.
        dtypes: float32, which is what is measured, and bfloat16 to train every seed in as well: operands of products.
    """

    epochs: PositiveInt | None = None
    batch_size: PositiveInt | None = None
    seeds: PositiveInt = 5
    dtypes: tuple[TrainingDtype, ...] = ("float32",)


@dataclass(frozen=True)
class Inference:
    """What is measured.

    Attributes:
        batch_sizes: rows per call.
        backends: eager, compile, onnxruntime, native.
        dtypes: float32, bfloat16, int8, where a backend has them.
    """

    batch_sizes: tuple[PositiveInt, ...] = (1, 64, 1024)
    backends: tuple[Annotated[str, one_of(BACKENDS)], ...] = ("eager", "onnxruntime")
    dtypes: tuple[Annotated[str, one_of(DTYPES)], ...] = ("float32",)


@dataclass(frozen=True)
class Accuracy:
    """What a result is judged by.

    Attributes:
        metric: the headline metric.
        floor: protocol -> origin of the data -> value below which a result is called a failure.
    """

    metric: Metric = "auc_roc"
    floor: Mapping[Protocol, Mapping[Origin, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class PublishedFigure:
    """A figure of a source document.

    Attributes:
        metric, value: as it was published.
        source: where.
        difference: how its protocol differs from ours.
        spread: its standard deviation, where that was published.
    """

    metric: Metric
    value: float
    source: Text
    difference: Text
    spread: float | None = None


@dataclass(frozen=True)
class Settings:
    """What a workload sets under one protocol."""

    dataset_options: Mapping[str, Value] = field(default_factory=dict)
    hyperparameters: Mapping[str, Value] = field(default_factory=dict)
    training: Training = field(default_factory=Training)


@dataclass(frozen=True)
class Workload:
    """Detector × data set × hyper-parameters × published figure.

    Attributes:
        detector: a name of ``harness.detectors.registry``, or ``module:Class``.
        dataset: a name of ``harness.datasets.registry``, or ``csv:PATH`` or ``parquet:PATH``.
        clean, as_published: what depends on the protocol.
        role: a baseline is there for the systems to be compared with.
        source: name of the file it was read from, for messages.
    """

    name: PathPart
    title: Text
    detector: Text
    dataset: Text
    clean: Settings = field(default_factory=Settings)
    as_published: Settings = field(default_factory=Settings)
    inference: Inference = field(default_factory=Inference)
    accuracy: Accuracy = field(default_factory=Accuracy)
    published: PublishedFigure | None = None
    role: Role = "system"
    notes: tuple[str, ...] = ()
    source: str = ""

    def settings(self, protocol: Protocol) -> Settings:
        """What holds under that protocol."""
        return self.clean if protocol == "clean" else self.as_published

    def options_for(self, protocol: Protocol) -> dict[str, Value]:
        """Options of the data set."""
        return dict(self.settings(protocol).dataset_options)

    def training_for(self, protocol: Protocol) -> Training:
        """Epochs, batch size and number of seeds."""
        return self.settings(protocol).training

    def parameters_for(self, protocol: Protocol, random_state: int) -> dict[str, Value]:
        """Constructor arguments of the detector; ``harness.detectors.registry.check`` checks them."""
        training = self.training_for(protocol)
        parameters = dict(self.settings(protocol).hyperparameters)
        if training.epochs is not None:
            parameters["epochs"] = training.epochs
        if training.batch_size is not None:
            parameters["batch_size"] = training.batch_size
        return {**parameters, "random_state": random_state}

    def floor_for(self, protocol: Protocol, origin: Origin) -> float | None:
        """Smallest acceptable headline metric, or None when none is set."""
        return self.accuracy.floor.get(protocol, {}).get(origin)

    def on_dataset(self, dataset: str, options: Mapping[str, Value]) -> Workload:
        """The same detector and settings on another data set: without what belongs to the first one.

        Args:
            dataset: a name, or ``csv:PATH`` or ``parquet:PATH``.
            options: of that data set.
        """
        kind, _, parameter = dataset.partition(":")
        stem = _stem(Path(parameter)) if kind in ("csv", "parquet") else parameter or kind
        # A class of the user's is called after a data set that it never was on.
        own = self.name.removeprefix(f"{self.dataset.partition(':')[0]}-") if ":" in self.detector else self.name
        return replace(
            self,
            name=f"{stem}-{own}",
            title=f"{_method(self.title)} on {stem}",
            dataset=dataset,
            clean=replace(self.clean, dataset_options=options),
            as_published=replace(self.as_published, dataset_options=options),
            accuracy=Accuracy(),  # the metric of a publication is for its own data
            published=None,
            notes=(),
        )


@dataclass(frozen=True)
class Suite:
    """A named list of workloads and what a run of it takes when the command line does not say.

    Attributes:
        seeds: instead of each workload's own.
        epochs: at most this many, for a run that must be short; the report says so.
        blocks: fresh processes per configuration.
        both_protocols: fit each system under either protocol, the second one for its accuracy alone.
        series_seconds: time spent on each timed series of a process.
    """

    name: Text
    title: Text
    workloads: tuple[str, ...]
    seeds: PositiveInt | None = None
    epochs: PositiveInt | None = None
    blocks: PositiveInt = 6
    both_protocols: bool = False
    series_seconds: float = 0.5


def _stem(path: Path) -> str:
    """What files of one's own are called: a file or folder without its ending, a pattern as its folder."""
    if not re.search(r"[*?\[]", path.name):
        return path.name.partition(".")[0]
    return path.parent.name or re.sub(r"[^\w-]", "", path.stem) or "files"


def _method(title: str) -> str:
    """What a title such as "Isolation forest on CICIDS2017, unseen attacks (baseline detector)" says of the method."""
    return title.partition(" on ")[0].partition(",")[0].strip()
