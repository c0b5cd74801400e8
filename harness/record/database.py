"""The tables of an archive, and what a database that refuses says, in one line."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from harness.errors import InputError, LparbenchError, one_line

# What SQLite says of a file that is no archive, or no longer one; anything else is of the disk, or of another process.
_DAMAGED = ("malformed", "not a database", "no such ", "could not decode", "corrupt")
_NOT_WRITABLE = ("readonly", "unable to open")
_FULL = "is full"


def tables_of(metadata: Any) -> tuple[Any, Any, Any]:
    """Records, their workloads, and what is kept of records."""
    sql = sqlalchemy()

    def words(name: str, length: int, **options: Any) -> Any:
        return sql.Column(name, sql.String(length), nullable=False, **options)

    records = sql.Table(
        "lparbench_records",
        metadata,
        words("digest", 80, primary_key=True),
        words("kind", 10),
        words("id", 200, index=True),
        words("created", 40, index=True),
        words("machine", 200),
        words("partition", 16, index=True),
        sql.Column("results", sql.Integer, nullable=False),
        sql.Column("valid", sql.Integer, nullable=False),
        words("added", 40),
        sql.Column("text", sql.Text, nullable=False),
    )
    workloads = sql.Table(
        "lparbench_workloads",
        metadata,
        sql.Column("digest", sql.String(80), sql.ForeignKey(records.c.digest), primary_key=True),
        words("workload", 200, primary_key=True, index=True),
    )
    kept = sql.Table(
        "lparbench_kept",  # no foreign key: whoever deletes a record need not know of this
        metadata,
        words("digest", 80, primary_key=True),
        words("kind", 80, primary_key=True),
        sql.Column("text", sql.Text, nullable=False),
    )
    return records, workloads, kept


def refuse_programs(engine: Any, tables: Iterable[Any], name: str) -> None:
    """See that the tables of an SQLite file are tables: a view or a trigger could work without an end.

    Raises:
        InputError: one is something else.
    """
    if engine.dialect.name != "sqlite":
        return
    ours = {table.name for table in tables}
    with errors_of(name), engine.connect() as connection:
        for kind, own, of, text in connection.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_master"):
            named = {str(own).lower(), str(of).lower()}  # SQLite heeds no case
            virtual = str(text).upper().startswith("CREATE VIRTUAL")
            if named & ours and (virtual or kind not in ("table", "index")):
                raise InputError(
                    f"{name}: {'a virtual table' if virtual else f'a {kind}'} called {own}, which no archive has.",
                    remedy="Take the archive from where it was made.",
                )


@contextmanager
def errors_of(name: str) -> Iterator[None]:
    """What a database refuses, in one line."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, UnicodeDecodeError) as error:
        raise refused(name, error) from None


def refused(name: str, error: Exception) -> LparbenchError:
    """The error for a database that refuses, or holds what no archive does."""
    from sqlalchemy.exc import NoResultFound, ProgrammingError

    words = one_line(str(getattr(error, "orig", None) or error).splitlines()[0])
    damaged = isinstance(error, UnicodeDecodeError | NoResultFound | ProgrammingError)
    if damaged or any(mark in words.lower() for mark in _DAMAGED):
        return InputError(f"{name}: damaged: {words}.", remedy="Restore the archive from a copy.")
    if any(mark in words.lower() for mark in _NOT_WRITABLE):
        return InputError(
            f"{name}: cannot be written: {words}.", remedy="See who may write there, or take another place."
        )
    remedy = "Make room and repeat it: nothing was taken in." if _FULL in words else None
    return LparbenchError(f"{name}: the database refuses: {words}.", remedy=remedy)


def sqlalchemy() -> Any:
    """The module.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module("sqlalchemy")
    except ModuleNotFoundError:
        raise InputError("an archive needs SQLAlchemy.", remedy="pip install 'lparbench[archive]'") from None
