"""Workload and suite files: TOML, read strictly.

The tables ``dataset_options``, ``hyperparameters`` and ``training`` of a workload may hold sub-tables ``clean`` and
``as-published``, whose keys win under that protocol. ``reference`` is the published figure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.content import content_dir, toml_files
from harness.datasets.catalogue import specs
from harness.datasets.locate import COLUMNAR, TABLES
from harness.datasets.registry import resolve_options
from harness.decode import PathPart, Text, decode
from harness.errors import InputError, unknown
from harness.parsing import read_toml
from harness.record.spec import PROTOCOLS, Protocol
from harness.workload.model import (
    Accuracy,
    Inference,
    PublishedFigure,
    Role,
    Settings,
    Suite,
    Training,
    Value,
    Workload,
)
from harness.workload.naming import Named, classes_of_file, parsed, refuse_file

_TRAINING = frozenset({"epochs", "batch_size"})  # arguments that [training] has and hands to the detector

_CLASS = re.compile(r"[\w.-]{1,200}:[\w.]{1,200}")


@dataclass(frozen=True)
class _File:
    """The keys of a workload file.

    Attributes:
        name: as commands and records call it; that of the file.
        title: as pages call it.
        detector: a name of ``lparbench list``, or ``module:Class``.
        dataset: a name of ``lparbench data list``, ``csv:PATH`` or ``parquet:PATH``.
        dataset_options: of the data set; for files of your own the keys of docs/own-data.md. It may hold the tables
            ``clean`` and ``as-published``, whose keys win under that protocol; so may the next two.
        hyperparameters: arguments of the detector, but for those of ``training``.
        training: ``epochs``, ``batch_size``, ``seeds`` and ``dtypes``.
        inference: what is measured.
        accuracy: what it is judged by.
        reference: the published figure, and how its protocol differs.
        role: ``system``, or ``baseline`` for what systems are compared with.
        notes: shown by ``lparbench list NAME`` and on the page.
    """

    name: PathPart
    title: Text
    detector: Text
    dataset: Text
    dataset_options: Mapping[str, Any] = field(default_factory=dict)
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    inference: Inference = field(default_factory=Inference)
    accuracy: Accuracy = field(default_factory=Accuracy)
    reference: PublishedFigure | None = None
    role: Role = "system"
    notes: tuple[str, ...] = ()


def find_workload(name: str) -> Workload:
    """A workload by name, ``.toml`` file, or ``module:Class`` of a detector, each also with arguments for its detector.

    Raises:
        InputError: see :func:`load_workload` and :func:`harness.workload.naming.parsed`.
    """
    named = parsed(name)
    if ":" in named.name and not named.name.endswith(".toml"):
        return _with_arguments(workload_of_detector(named.name), named)
    return _with_arguments(load_workload(named.name), named)


def load_workload(name_or_path: str) -> Workload:
    """The workload of that name, or in that ``.toml`` file.

    Its hyper-parameters and its data set's options are checked for their form; :func:`check_dataset_options` and
    ``harness.detectors.registry.check`` know their names.

    Raises:
        InputError: no such workload, not TOML, an unknown key, a missing key, or a value of the wrong type.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        if name_or_path not in list_workloads():
            own = classes_of_file(name_or_path)
            if own:
                raise InputError(f"Unknown workload {name_or_path!r}.", remedy=f"A class in that file: {own[0]}.")
            if path.suffix.lower() in TABLES:
                kind = "parquet" if path.suffix.lower() in COLUMNAR else "csv"
                raise InputError(
                    f"{name_or_path!r} is the name of a table; a workload was expected.",
                    remedy=f"As its data: run WORKLOAD --dataset {kind}:{name_or_path} --label COLUMN. (--scores takes "
                    "no name: the file is written next to the report.)",
                )
            raise unknown("workload", name_or_path, list_workloads(), see="Or give a .toml file. See: lparbench list")
        path = content_dir("workloads") / f"{name_or_path}.toml"
    file = decode(_File, read_toml(path), path.name)
    return Workload(
        name=file.name,
        title=file.title,
        detector=file.detector,
        dataset=file.dataset,
        clean=_settings(file, "clean", path.name),
        as_published=_settings(file, "as-published", path.name),
        inference=file.inference,
        accuracy=file.accuracy,
        published=file.reference,
        role=file.role,
        notes=file.notes,
        source=path.name,
    )


def workload_of_detector(path: str, dataset: str = "nsl-kdd") -> Workload:
    """A workload for ``module:Class``, with the defaults of everything else.

    Raises:
        InputError: it names a file or a data set instead.
    """
    kind = path.partition(":")[0]
    if kind in {entry.name for entry in specs()}:
        raise InputError(
            f"{path!r} is a data set, and a workload is expected.",
            remedy=f"Name a workload or module:Class and the data: lparbench run WORKLOAD --dataset {path}",
        )
    refuse_file(path)
    if not _CLASS.fullmatch(path):
        raise InputError(f"{path!r}: module:Class is expected.", remedy="Such as sklearn.ensemble:IsolationForest.")
    name = path.replace(":", ".").rpartition(".")[2].lower()
    return Workload(
        name=f"{dataset.partition(':')[0]}-{name}",
        title=f"{path} on {dataset}",
        detector=path,
        dataset=dataset,
        inference=Inference(backends=("eager",)),
        source=path,
    )


def _with_arguments(workload: Workload, named: Named) -> Workload:
    """The workload with arguments of its own: no published figure and no floor is for these any more."""
    if not named.arguments:
        return workload
    where = f"{named.name}: arguments"
    training = decode(Training, {key: named.arguments[key] for key in _TRAINING & named.arguments.keys()}, where)
    own = {key: value for key, value in named.arguments.items() if key not in _TRAINING}
    hint: Any = Mapping[str, Value]
    values: Mapping[str, Value] = decode(hint, own, where)

    def of(settings: Settings) -> Settings:
        given = {key: getattr(training, key) for key in _TRAINING & named.arguments.keys()}
        return replace(
            settings,
            hyperparameters={**settings.hyperparameters, **values},
            training=replace(settings.training, **given),
        )

    return replace(
        workload,
        name=f"{workload.name}{named.suffix}",
        title=f"{workload.title}, {', '.join(f'{key} = {value}' for key, value in named.arguments.items())}",
        clean=of(workload.clean),
        as_published=of(workload.as_published),
        accuracy=replace(workload.accuracy, floor={}),
        published=None,
    )


def check_dataset_options(workload: Workload) -> None:
    """See that the data set exists and takes the options, under either protocol; reads no data.

    Raises:
        InputError: no such data set, an option that it does not have, or a value that the option does not take.
    """
    for protocol in PROTOCOLS:
        resolve_options(workload.dataset, protocol, workload.options_for(protocol))


def list_workloads() -> tuple[str, ...]:
    """Names of the workloads that come with the product."""
    return tuple(path.stem for path in toml_files("workloads"))


def list_suites() -> tuple[str, ...]:
    """Names of the suites that come with the product."""
    return tuple(path.stem for path in toml_files("workloads", "suites"))


def load_suite(name: str) -> Suite:
    """The suite of that name.

    Raises:
        InputError: no such suite, or its file is wrong.
    """
    path = content_dir("workloads") / "suites" / f"{name}.toml"
    if name not in list_suites():
        raise unknown("suite", name, list_suites())
    suite = decode(Suite, read_toml(path), path.name)
    for workload in suite.workloads:
        if workload not in list_workloads():
            raise InputError(f"{path.name}: workloads lists {workload!r}, which has no file.")
    return suite


def _settings(file: _File, protocol: Protocol, where: str) -> Settings:
    values = Mapping[str, Value]
    return Settings(
        dataset_options=_merged(values, file.dataset_options, protocol, f"{where}: dataset_options"),
        hyperparameters=_merged(values, file.hyperparameters, protocol, f"{where}: hyperparameters"),
        training=_merged(Training, file.training, protocol, f"{where}: training"),
    )


def _merged(hint: Any, table: Mapping[str, Any], protocol: Protocol, where: str) -> Any:
    """The table with the keys of the protocol's sub-table in it, each decoded where it stands in the file."""
    common = {key: value for key, value in table.items() if key not in PROTOCOLS}
    decode(hint, common, where)
    special = table.get(protocol, {})
    decode(hint, special, f"{where}.{protocol}")
    return decode(hint, {**common, **special}, where)
