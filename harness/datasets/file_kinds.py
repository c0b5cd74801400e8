"""Files that are no tables of text: what they are, by their first bytes, and a command that makes one of them."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from harness.errors import InputError

_START = 512


@dataclass(frozen=True)
class _Kind:
    """A format.

    Attributes:
        name: with its article.
        reader: of pandas, which reads it with what is installed; empty where there is none.
        remedy: where pandas does not.
    """

    name: str
    reader: str = ""
    remedy: str = ""


_WORKBOOK = "Save its sheet as CSV in the program that wrote it."
_THERE = "Write it as CSV where it was made: DataFrame.to_csv('FILE.csv', index=False)."
_NPZ = _Kind("an archive of NumPy arrays", remedy="With X and y it is a data set: lparbench data list adbench.")
_PICKLE = _Kind("a pickle, which may run anything when it is read", remedy=_THERE)
_KINDS: tuple[tuple[bytes, _Kind], ...] = (
    (b"PK\x03\x04", _Kind("a ZIP archive or an Excel workbook", remedy=_WORKBOOK)),
    (b"\xd0\xcf\x11\xe0", _Kind("an old Excel workbook", remedy=_WORKBOOK)),
    (b"PAR1", _Kind("a Parquet file", remedy="parquet:{path} reads it.")),
    (b"ARROW1", _Kind("an Arrow (Feather) file", remedy="parquet:{path} reads it.")),
    (b"FEA1", _Kind("a Feather file of version 1", reader="read_feather")),
    (b"ORC", _Kind("an ORC file", reader="read_orc")),
    (b"Obj\x01", _Kind("an Avro file", remedy="Write it as Parquet, and name it parquet:FILE.")),
    (b"\x89HDF", _Kind("an HDF5 file", remedy=_THERE)),
    (b"SQLi", _Kind("an SQLite database")),
    (b"<stata_dta>", _Kind("a Stata file", reader="read_stata")),
    (b"\0" * 12 + b"\xc2\xea\x81\x60", _Kind("a SAS data set", reader="read_sas")),
    (b"HEADER RECORD*******LIB", _Kind("a SAS transport file", reader="read_sas")),
    (b"$FL2", _Kind("an SPSS file", remedy="Save it as CSV in SPSS, or with R: haven::read_sav.")),
    (b"\x93NUMPY", _Kind("a NumPy array", remedy="Write it as CSV with a header: numpy.savetxt(FILE, array, "
                         "delimiter=',', header='a,b,label', comments='').")),
    (b"MATLAB 5.0", _Kind("a MATLAB file", remedy="ODDS files are data sets of their own: lparbench data list odds.")),
    (b"MATLAB 7.3", _Kind("a MATLAB file of version 7.3", remedy="In MATLAB: writetable(array2table(X), 'FILE.csv').")),
    (b"\x80\x04", _PICKLE), (b"\x80\x05", _PICKLE), (b"\x80\x03", _PICKLE), (b"\x80\x02", _PICKLE),
    (b"RDX", _Kind("an R workspace", remedy="Write it as CSV in R: write.csv(TABLE, 'FILE.csv', row.names = FALSE).")),
    (b"X\n\0\0\0", _Kind("an R object", remedy="In R: write.csv(readRDS('FILE'), 'FILE.csv', row.names = FALSE).")),
    (b"%PDF", _Kind("a PDF document", remedy="Save the table as CSV where the document was made.")),
)  # fmt: skip
_OLD_STATA = (b"\x6e", b"\x6f", b"\x71", b"\x72", b"\x73")  # then the byte order, 1 or 2, and 1
_TEXTS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("<!doctype", "<html", "<?xml"), "a web page or XML", "Was a page saved in place of the file? Get it again."),
    (("-[ record",), "psql's expanded output", "Write it with psql --csv, or with \\pset format csv."),
    (("\\begin{",), "a LaTeX table", _THERE),
    (("%yaml", "--- #"), "YAML", _THERE),
    (("insert into ", "create table ", "-- postgresql database dump", "-- mysql dump", "pragma foreign_keys"),
     "SQL statements", "Load them into the database, and write the table as CSV."),
)  # fmt: skip


def refuse_binary(path: Path, data: bytes) -> None:
    """See that a file is none of the known formats that are no text.

    Raises:
        InputError: it is; names the format and what to do.
    """
    kind = _kind_of(data)
    if kind is None:
        return
    if path.suffix.lower() == ".npz":
        kind = _NPZ
    remedy = kind.remedy.format(path=path)
    if kind.reader:
        remedy = as_csv(path, f"import pandas; pandas.{kind.reader}({str(path)!r})")
    elif not remedy:
        remedy = _of_database(path)
    raise InputError(f"{path} is {kind.name}; a table of text was expected.", remedy=remedy)


def binary_kind(data: bytes) -> str | None:
    """What a file that begins so is, with its article, where that is a known format that is no text."""
    kind = _kind_of(data)
    return None if kind is None else kind.name


def _kind_of(data: bytes) -> _Kind | None:
    if data[:1] in _OLD_STATA and data[1:2] in (b"\1", b"\2") and data[2:3] == b"\1":
        return _Kind("a Stata file", reader="read_stata")
    return next((kind for magic, kind in _KINDS if data.startswith(magic)), None)


def refuse_text(path: Path, first: str) -> None:
    """See that a text is no other kind of document.

    Args:
        path: of the file.
        first: its first line that is not blank.

    Raises:
        InputError: it is; names the kind and what to do.
    """
    start = first.strip().casefold()
    for marks, kind, remedy in _TEXTS:
        if start.startswith(marks):
            raise InputError(f"{path} is {kind}; a table of text was expected.", remedy=remedy)


def as_csv(path: Path, frame: str) -> str:
    """A command that writes what an expression of pandas reads as ``csv:`` takes it."""
    target = path.with_suffix(".csv").name
    target = target if target != path.name else f"{path.stem}-table.csv"
    return f"Make a CSV file of it: {Path(sys.executable)} -c \"{frame}.to_csv('{target}', index=False)\""


def _of_database(path: Path) -> str:
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            query = "select name from sqlite_master where type in ('table', 'view') order by name"
            tables = [str(name) for (name,) in database.execute(query)]
    except sqlite3.Error:
        return "It is damaged, or not whole."
    if not tables:
        return "It holds no table."
    some = ", ".join(tables[:8]) + (" …" if len(tables) > 8 else "")
    first = tables[0] if tables[0].isidentifier() else "TABLE"  # nothing of a file's that a shell would run
    query = f"select * from {first}"  # noqa: S608 - for the user to read
    read = f"import pandas, sqlite3; pandas.read_sql({query!r}, sqlite3.connect({str(path)!r}))"
    return f"Its tables: {some}. {as_csv(path, read)}"


def blank_misfit(path: Path) -> str:
    """What to do where a line of values that blanks separate is too short or too long."""
    read = as_csv(path, f"import pandas; pandas.read_fwf({str(path)!r})")
    return f"A value holds a blank or is missing. Where columns are of fixed width: {read}"
