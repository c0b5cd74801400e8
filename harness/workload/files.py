"""Workload files: detector × data set × hyper-parameters × published reference, read strictly.

A file is TOML. The tables ``dataset_options``, ``hyperparameters`` and ``training`` may hold sub-tables ``clean`` and
``as-published``, whose keys win under that protocol.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_type_hints

from harness.content import content_dir
from harness.errors import InputError
from harness.evaluation.metrics import METRICS
from harness.record.spec import PROTOCOLS, Protocol
from harness.scoring.backends import BACKENDS
from harness.workload.parameters import coerce

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")


@dataclass(frozen=True)
class Training:
    """How the detector is trained; ``epochs`` and ``batch_size`` are None for methods that have none."""

    epochs: int | None = None
    batch_size: int | None = None
    seeds: int = 5


@dataclass(frozen=True)
class Inference:
    """What is measured: rows per call, backends, number formats."""

    batch_sizes: tuple[int, ...] = (1, 64, 1024)
    backends: tuple[str, ...] = ("eager", "onnxruntime")
    dtypes: tuple[str, ...] = ("float32",)


@dataclass(frozen=True)
class Accuracy:
    """The headline metric and, per protocol and data origin, the value below which a result is called a failure."""

    metric: str = "auc_roc"
    floor: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Reference:
    """A published figure, its source, and how its protocol differs from ours."""

    metric: str
    value: float
    source: str
    difference: str
    spread: float | None = None  # standard deviation, where published


@dataclass(frozen=True)
class Workload:
    """One workload file. Read the tables that depend on the protocol through the methods."""

    name: str
    title: str
    detector: str
    dataset: str
    dataset_options: Mapping[str, Any] = field(default_factory=dict)
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    inference: Inference = field(default_factory=Inference)
    accuracy: Accuracy = field(default_factory=Accuracy)
    reference: Reference | None = None
    role: Literal["system", "reference"] = "system"  # a reference is there for the others to be compared with
    notes: tuple[str, ...] = ()
    source: str = ""  # file it was read from

    def options_for(self, protocol: Protocol) -> dict[str, Any]:
        """Options of the data set."""
        return _overlay(self.dataset_options, protocol)

    def training_for(self, protocol: Protocol) -> Training:
        """Epochs, batch size and number of seeds."""
        return _read(Training, _overlay(self.training, protocol), self.source, "training.")

    def parameters_for(self, protocol: Protocol, seed: int) -> dict[str, Any]:
        """Constructor arguments of the detector."""
        training = self.training_for(protocol)
        found = _overlay(self.hyperparameters, protocol)
        if training.epochs is not None:
            found["epochs"] = training.epochs
        if training.batch_size is not None:
            found["batch_size"] = training.batch_size
        return {**found, "seed": seed}

    def floor_for(self, protocol: Protocol, origin: str) -> float | None:
        """Smallest acceptable headline metric, or None when none is set."""
        return self.accuracy.floor.get(protocol, {}).get(origin)


@dataclass(frozen=True)
class Suite:
    """A named list of workloads and what a run of it takes when the command line does not say."""

    name: str
    title: str
    workloads: tuple[str, ...]
    seeds: int | None = None  # instead of each workload's own
    epochs: int | None = None  # at most this many, for a run that must be short; said in the report
    blocks: int = 6  # fresh processes per configuration
    both_protocols: bool = False  # fit each system under either protocol, the second one for its accuracy alone
    series_seconds: float = 0.5  # time spent on each timed series of a process


def load_workload(name_or_path: str) -> Workload:
    """The workload of that name, or in that ``.toml`` file.

    Raises:
        InputError: no such workload, not TOML, an unknown key, a missing key, or a value of the wrong type.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = content_dir("workloads") / f"{name_or_path}.toml"
        if not path.is_file():
            known = ", ".join(list_workloads())
            raise InputError(f"Unknown workload {name_or_path!r}.", remedy=f"Known: {known}; or give a .toml file.")
    table = _parse(path)
    workload = _read(Workload, {**table, "source": path.name}, path.name)
    _check(workload)
    return workload


def workload_of_detector(path: str, dataset: str = "nsl-kdd") -> Workload:
    """A workload for ``module:Class``, with the defaults of everything else."""
    name = path.replace(":", ".").rpartition(".")[2].lower()
    return Workload(
        name=f"{dataset.partition(':')[0]}-{name}",
        title=f"{path} on {dataset}",
        detector=path,
        dataset=dataset,
        inference=Inference(backends=("eager",)),
        source=path,
    )


def on_dataset(workload: Workload, dataset: str, label: str | None) -> Workload:
    """The same detector and settings on another data set: without what was said of the first one.

    Args:
        workload: what to start from.
        dataset: a name, or ``csv:PATH`` or ``parquet:PATH``.
        label: label column of a file of one's own.
    """
    kind, _, parameter = dataset.partition(":")
    stem = Path(parameter).name.partition(".")[0] if kind in ("csv", "parquet") else parameter or kind
    return replace(
        workload,
        name=f"{stem}-{workload.name}",
        title=f"{workload.title.removesuffix(f' on {workload.dataset}')} → {stem}",
        dataset=dataset,
        dataset_options={} if label is None else {"label": label},
        accuracy=replace(workload.accuracy, floor={}),
        reference=None,
        notes=(),
    )


def list_workloads() -> tuple[str, ...]:
    """Names of the workloads that come with the product."""
    return tuple(sorted(path.stem for path in content_dir("workloads").glob("*.toml")))


def list_suites() -> tuple[str, ...]:
    """Names of the suites that come with the product."""
    return tuple(sorted(path.stem for path in (content_dir("workloads") / "suites").glob("*.toml")))


def load_suite(name: str) -> Suite:
    """The suite of that name.

    Raises:
        InputError: no such suite, or its file is wrong.
    """
    folder = content_dir("workloads") / "suites"
    path = folder / f"{name}.toml"
    if not path.is_file():
        raise InputError(f"Unknown suite {name!r}.", remedy=f"Known: {', '.join(list_suites())}.")
    suite = _read(Suite, _parse(path), path.name)
    for workload in suite.workloads:
        if workload not in list_workloads():
            raise InputError(f"{path.name}: workloads lists {workload!r}, which has no file.")
    return suite


def _check(workload: Workload) -> None:
    where = workload.source
    for protocol in PROTOCOLS:
        training = workload.training_for(protocol)
        for key in ("epochs", "batch_size", "seeds"):
            value = getattr(training, key)
            if value is not None and value < 1:
                raise InputError(f"{where}: training.{key} is {value}; expected 1 or more.")
    for backend in workload.inference.backends:
        if backend not in BACKENDS:
            raise InputError(f"{where}: inference.backends lists {backend!r}.", remedy=f"Known: {', '.join(BACKENDS)}.")
    for batch in workload.inference.batch_sizes:
        if batch < 1:
            raise InputError(f"{where}: inference.batch_sizes lists {batch}; expected 1 or more.")
    metrics = [("accuracy.metric", workload.accuracy.metric)]
    if workload.reference is not None:
        metrics.append(("reference.metric", workload.reference.metric))
    for key, metric in metrics:
        if metric not in METRICS:
            raise InputError(f"{where}: {key} is {metric!r}.", remedy=f"Known: {', '.join(METRICS)}.")
    for protocol_name, origins in workload.accuracy.floor.items():
        if protocol_name not in PROTOCOLS or not set(origins) <= {"real", "synthetic"}:
            raise InputError(
                f"{where}: accuracy.floor.{protocol_name} is unknown.",
                remedy="Expected clean or as-published, each with real or synthetic.",
            )


def _overlay(table: Mapping[str, Any], protocol: Protocol) -> dict[str, Any]:
    common = {key: value for key, value in table.items() if key not in PROTOCOLS}
    return {**common, **table.get(protocol, {})}


def _parse(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid TOML: {error}.") from error


def _read(cls: type[T], table: Mapping[str, Any], file: str, prefix: str = "") -> T:
    """``cls`` from a table, nested dataclasses included; ``prefix`` is the dotted key of the table itself."""
    hints = get_type_hints(cls)
    known = {item.name: item for item in fields(cls)}  # type: ignore[arg-type]  # T is always a dataclass
    for key in table:
        if key not in known:
            raise InputError(f"{file}: unknown key {prefix + key!r}.", remedy=f"Known: {', '.join(known)}.")
    found = {}
    for name, item in known.items():
        if name not in table:
            if item.default is MISSING and item.default_factory is MISSING:
                raise InputError(f"{file}: key {prefix + name!r} is missing.")
            continue
        nested = _nested(hints[name])
        if nested is None:
            found[name] = coerce(table[name], hints[name], f"{file}: {prefix}{name}")
        elif isinstance(table[name], Mapping):
            found[name] = _read(nested, table[name], file, f"{prefix}{name}.")
        else:
            raise InputError(f"{file}: {prefix}{name} is {table[name]!r}; expected a table.")
    return cls(**found)


def _nested(hint: Any) -> type | None:
    for candidate in (hint, *get_args(hint)):
        if isinstance(candidate, type) and is_dataclass(candidate):
            return candidate
    return None
