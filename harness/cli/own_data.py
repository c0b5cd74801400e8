"""Options that say how a file of the user's is written and what its columns mean, one set for every command."""

from __future__ import annotations

import csv
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import completion
from harness.errors import InputError

if TYPE_CHECKING:
    from harness.record.spec import OptionValue, RunSpec

_PANEL = "A file of your own"
_HELP: dict[str, tuple[str, str]] = {  # parameter -> what stands for its value, and what it is
    "label": ("COLUMN", "Label column of the file that --dataset or --train gives."),
    "normal": ("A,B", "Labels of normal rows. Default: 0, normal, benign, no."),
    "anomalies": ("A,B", "Labels of anomalies. Default: all but the normal."),
    "unlabelled": ("A,B", 'Labels of rows to leave out; "" for none.'),
    "drop": ("A,B", "Columns to leave out."),
    "time": ("COLUMN", "Order the rows by this column; the latest test."),
    "sep": ("CHAR", "Separator of values; tab for a tab. Default: detected."),
    "decimal": ("CHAR", "Decimal mark. Default: detected."),
    "encoding": ("NAME", "Encoding of the text (cp1252). Default: UTF-8."),
    "train": ("PATH", "File, folder or pattern (day*.csv) to train on."),
    "test": ("PATH", "File, folder or pattern to test on; the other file trains."),
}
_SEPARATORS = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";"}


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the command line says of the user's file; named as the options are."""

    dataset: str | None = None
    label: str | None = None
    normal: str | None = None
    anomalies: str | None = None
    unlabelled: str | None = None
    drop: str | None = None
    time: str | None = None
    sep: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    no_header: bool = False
    train: str | None = None
    test: str | None = None

    def __bool__(self) -> bool:
        return self != Given()

    def of(self, spec: RunSpec) -> RunSpec:
        """The spec on this file, or as it is where none was given.

        Raises:
            InputError: both ``--train`` and ``--dataset`` name one.
        """
        name = self.name()
        base = spec if name is None else replace(spec, dataset=name, label=None, dataset_options={})
        options = {**base.dataset_options, **self.options()}
        return replace(base, label=self.label or base.label, dataset_options=options)

    def name(self) -> str | None:
        """The data set that ``--dataset`` or ``--train`` names.

        Raises:
            InputError: both do.
        """
        if self.train is None:
            return self.dataset
        if self.dataset is not None:
            raise InputError("--train and --dataset exclude each other.", remedy="Leave one of them out.")
        from harness.datasets.locate import COLUMNAR

        path = Path(self.train).expanduser()
        names = [child.name for child in path.iterdir()] if path.is_dir() else [path.name]
        parquet = any(Path(name).suffix.lower() in COLUMNAR for name in names)
        return f"{'parquet' if parquet else 'csv'}:{self.train}"

    def options(self) -> dict[str, OptionValue]:
        """Those of ``[dataset_options]`` that are given."""
        values: dict[str, OptionValue | None] = {
            "normal": _names(self.normal),
            "anomalies": _names(self.anomalies),
            "unlabelled": _names(self.unlabelled),
            "drop": _names(self.drop),
            "time": self.time,
            "sep": None if self.sep is None else _SEPARATORS.get(self.sep, self.sep),
            "decimal": self.decimal,
            "text_encoding": self.encoding,
            "header": False if self.no_header else None,
            "test_files": self.test,
        }
        return {key: value for key, value in values.items() if value is not None}


def takes_own_data(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes ``own: Given``, with the options of a file of the user's in its place."""
    signature = inspect.signature(command, eval_str=True)
    names = [item.name for item in fields(Given)]

    @wraps(command)
    def with_options(**values: Any) -> None:
        command(own=Given(**{name: values.pop(name) for name in names}), **values)

    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        parameters += map(_parameter, names) if parameter.name == "own" else [parameter]
    with_options.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_options


def _parameter(name: str) -> inspect.Parameter:
    kind: Any = str | None
    if name == "dataset":
        option = typer.Option(
            "--dataset",
            metavar="NAME",
            autocompletion=completion.datasets,
            help="Run on this data set instead: a name of `lparbench data list`, csv:PATH or parquet:PATH.",
            show_default=False,
        )
    elif name == "no_header":
        kind = bool
        option = _option(name, None, "The first line is data; columns are called 0, 1, 2, …")
    else:
        option = _option(name, *_HELP[name])
    default = False if kind is bool else None
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])


def _option(name: str, metavar: str | None, text: str) -> Any:
    flag = f"--{name.replace('_', '-')}"
    return typer.Option(flag, metavar=metavar, help=text, rich_help_panel=_PANEL, show_default=False)


def _names(text: str | None) -> tuple[str, ...] | None:
    """Values separated by commas; one that holds a comma stands in quotation marks."""
    return None if text is None else tuple(value.strip() for value in next(csv.reader([text]), None) or [""])
