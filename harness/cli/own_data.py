"""Options of ``run`` that say how a file of one's own is written and what its columns mean."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.errors import InputError

if TYPE_CHECKING:
    from harness.record.spec import OptionValue

_PANEL = "A file of your own"


def _option(name: str, metavar: str | None, help: str) -> Any:
    return typer.Option(name, metavar=metavar, help=help, rich_help_panel=_PANEL, show_default=False)


Label = Annotated[str | None, _option("--label", "COLUMN", "Label column of the file that --dataset or --train gives.")]
Normal = Annotated[str | None, _option("--normal", "A,B", "Labels of normal rows. Default: 0, normal, benign, no.")]
Anomalies = Annotated[str | None, _option("--anomalies", "A,B", "Labels of anomalies. Default: all but the normal.")]
Unlabelled = Annotated[str | None, _option("--unlabelled", "A,B", 'Labels of rows to leave out; "" for none.')]
Drop = Annotated[str | None, _option("--drop", "A,B", "Columns to leave out.")]
Time = Annotated[str | None, _option("--time", "COLUMN", "Order the rows by this column; the latest test.")]
Separator = Annotated[str | None, _option("--sep", "CHAR", "Separator of values; tab for a tab. Default: found out.")]
Decimal = Annotated[str | None, _option("--decimal", "CHAR", "Decimal mark. Default: found out.")]
TextEncoding = Annotated[str | None, _option("--encoding", "NAME", "Encoding of the text (cp1252). Default: UTF-8.")]
NoHeader = Annotated[bool, _option("--no-header", None, "The first line is data; columns are called 0, 1, 2, …")]
Train = Annotated[str | None, _option("--train", "PATH", "File, folder or pattern (day*.csv) to train on.")]
Test = Annotated[str | None, _option("--test", "PATH", "File, folder or pattern to test on; the other file trains.")]

_SEPARATORS = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";"}


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the command line says of a file of one's own; named as the options are."""

    dataset: str | None
    train: str | None
    test: str | None
    normal: str | None
    anomalies: str | None
    unlabelled: str | None
    drop: str | None
    time: str | None
    sep: str | None
    decimal: str | None
    encoding: str | None
    no_header: bool

    def name(self) -> str | None:
        """The data set that ``--dataset`` or ``--train`` names.

        Raises:
            InputError: both do.
        """
        if self.train is None:
            return self.dataset
        if self.dataset is not None:
            raise InputError("--train and --dataset exclude each other.", remedy="Leave one of them out.")
        path = Path(self.train).expanduser()
        names = [child.name for child in path.iterdir()] if path.is_dir() else [path.name]
        parquet = any(Path(name).suffix.lower() in (".parquet", ".pq") for name in names)
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


def _names(text: str | None) -> tuple[str, ...] | None:
    """Values separated by commas; one that holds a comma stands in quotation marks."""
    return None if text is None else tuple(value.strip() for value in next(csv.reader([text]), None) or [""])
