"""An archive: the records of a team in one database, SQLite in a file or any other that SQLAlchemy reaches by a URL.

A record is kept as the text of its file, under its digest; what can be asked for stands in columns beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from harness.decode import PathPart, decode
from harness.errors import InputError
from harness.parsing import parse_json
from harness.record.archive_entry import FILES, Entry, Kind, read_entry, record_files, records_of_hosts
from harness.record.codec import DIGEST, DigestError, check_digest
from harness.record.database import errors_of, refuse_programs, sqlalchemy, tables_of
from harness.record.files import check_output
from harness.record.model import Run
from harness.record.store import encode, parse_fleet, write_directory
from harness.scratch import folder_made

DATABASE = "archive.sqlite"  # in a directory that is given as the archive
_BUSY_S = 60  # to wait for another process that writes
_RESTORE = "Restore the archive from a copy."


@dataclass(frozen=True)
class Query:
    """Which records are wanted; None takes all.

    Attributes:
        since, until: of the time of creation, as ISO 8601 dates or times; ``until`` is not included.
        ids: names of records, or beginnings of their digests.

    Raises:
        InputError: a time is none.
    """

    kind: Kind | None = None
    workload: str | None = None
    machine: str | None = None
    partition: str | None = None
    since: str | None = None
    until: str | None = None
    ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("since", "until"):
            value = getattr(self, name)
            if value is not None and re.fullmatch(r"\d{4}-\d\d(-\d\d(T\d\d(:\d\d(:\d\d)?)?Z?)?)?", value) is None:
                raise InputError(f"--{name} {value}: expected a date such as 2026-11-01, or 2026-11-01T12:00.")


class Archive:
    """An open archive; made by :func:`opened`."""

    def __init__(self, engine: Any, tables: Any, name: str) -> None:
        self._engine = engine
        self._records, self._workloads, self._kept = tables
        self._name = name

    def add(
        self, paths: Iterable[Path], keeping: tuple[str, Callable[[Run], str]] | None = None
    ) -> tuple[list[Entry], int]:
        """Take in the records below ``paths``, all or, on an error, none.

        Args:
            paths: records, their directories, or folders of those.
            keeping: of what kind, and what is kept with the record of a run; see `keep`.

        Returns:
            What was taken in, and how many were there already.

        Raises:
            InputError: there is no record, or one is damaged; names the file.
            LparbenchError: the database cannot be written.
        """
        sql = sqlalchemy()
        files = [file for path in paths for file in record_files(path)]
        present, added, texts = 0, [], {}
        with errors_of(self._name), self._engine.begin() as connection:
            for file in files:
                entry, text, record = read_entry(file)
                seen = sql.select(self._records.c.digest).where(self._records.c.digest == entry.digest)
                if connection.execute(seen).first() is not None:
                    present += 1
                    continue
                values = {name: value for name, value in vars(entry).items() if name != "workloads"}
                connection.execute(self._records.insert().values(**values, text=text))
                rows = [{"digest": entry.digest, "workload": name} for name in entry.workloads]
                if rows:
                    connection.execute(self._workloads.insert(), rows)
                if keeping is not None and isinstance(record, Run):
                    texts[entry.digest] = keeping[1](record)
                added.append(entry)
        if keeping is not None and texts:
            self.keep(keeping[0], texts)
        return added, present

    def entries(self, query: Query) -> list[Entry]:
        """What is wanted, oldest first."""
        sql, records, workloads = sqlalchemy(), self._records, self._workloads
        conditions = [
            records.c[name] == value for name in ("kind", "partition") if (value := getattr(query, name)) is not None
        ]
        if query.machine is not None:
            conditions.append(records.c.machine.contains(query.machine, autoescape=True))
        if query.since is not None:
            conditions.append(records.c.created >= query.since)
        if query.until is not None:
            conditions.append(records.c.created < query.until)
        if query.workload is not None:
            having = sql.select(workloads.c.digest).where(workloads.c.workload == query.workload)
            conditions.append(records.c.digest.in_(having))
        if query.ids:
            conditions.append(sql.or_(*(self._named(name) for name in query.ids)))
        wanted = sql.select(*(column for column in records.c if column.name != "text")).where(*conditions)
        of_wanted = sql.select(workloads.c.digest, workloads.c.workload).join(records).where(*conditions)
        with errors_of(self._name), self._engine.connect() as connection:
            rows = connection.execute(wanted.order_by(records.c.created, records.c.id)).mappings().all()
            named: dict[str, list[str]] = {}
            for digest, workload in connection.execute(of_wanted):
                named.setdefault(digest, []).append(workload)
        return [self._entry({**row, "workloads": sorted(map(str, named.get(row["digest"], ())))}) for row in rows]

    def _entry(self, row: Mapping[str, Any]) -> Entry:
        try:
            return decode(Entry, row, f"{self._name}: record {str(row['id'])[:80]!r}")
        except InputError as error:
            raise InputError(error.message, remedy=_RESTORE) from None

    def texts(self, entries: Sequence[Entry]) -> Iterator[tuple[Entry, bytes]]:
        """The content of each record's file, its digest checked.

        Raises:
            InputError: the database holds something else than what was taken in.
        """
        wanted = sqlalchemy().select(self._records.c.text)
        with errors_of(self._name), self._engine.connect() as connection:
            for entry in entries:
                text = connection.execute(wanted.where(self._records.c.digest == entry.digest)).scalar_one()
                where = f"{self._name}: {entry.kind} {entry.id}"
                document = parse_json(str(text), where)
                try:
                    check_digest(document)
                    if not isinstance(document, dict) or document.get(DIGEST) != entry.digest:
                        raise DigestError("it is another record than the one that was taken in")
                except DigestError as error:
                    raise InputError(f"{where}: {error}.", remedy=_RESTORE) from None
                yield entry, encode(text)

    def kept(self, kind: str) -> dict[str, str]:
        """What `keep` was given of this kind, by digest of the record."""
        sql = sqlalchemy()
        with errors_of(self._name), self._engine.connect() as connection:
            if not sql.inspect(connection).has_table(self._kept.name):  # an archive of an earlier version
                return {}
            wanted = sql.select(self._kept.c.digest, self._kept.c.text).where(self._kept.c.kind == kind)
            return {row.digest: str(row.text) for row in connection.execute(wanted)}

    def keep(self, kind: str, texts: Mapping[str, str]) -> None:
        """Keep what was worked out from records, which can be worked out again.

        Args:
            kind: what it is, and of which version.
            texts: digest of a record to what is kept of it.

        Raises:
            LparbenchError: the database cannot be written.
        """
        sql, kept = sqlalchemy(), self._kept
        with errors_of(self._name), self._engine.begin() as connection:
            kept.create(connection, checkfirst=True)
            there = set(connection.execute(sql.select(kept.c.digest).where(kept.c.kind == kind)).scalars())
            rows = [{"digest": key, "kind": kind, "text": text} for key, text in texts.items() if key not in there]
            if rows:
                connection.execute(kept.insert(), rows)

    def write(self, entries: Sequence[Entry], directory: Path) -> list[Path]:
        """Write records into directories of their names, as `lparbench run` and the others do.

        With a fleet run go the records of its hosts, as far as they are here.

        Raises:
            InputError: one is there already, two have one name, or a name is none of ours.
            LparbenchError: the disk refuses.
        """
        places = [directory / decode(PathPart, entry.id, f"{self._name}: id") for entry in entries]
        taken = next((place for place in places if place.exists() or places.count(place) > 1), None)
        if taken is not None:
            raise InputError(f"{taken} is there already, or asked for twice; nothing was written.")
        for place, (entry, content) in zip(places, self.texts(entries), strict=True):
            of_hosts = self._of_hosts(content) if entry.kind == "fleet" else {}
            write_directory(place, {**of_hosts, FILES[entry.kind]: content})
        return places

    def _of_hosts(self, fleet: bytes) -> dict[str, bytes]:
        """The records of a fleet's hosts, by their places in its directory, as far as they are here."""
        text = fleet.decode("utf-8", "backslashreplace")
        places = dict(records_of_hosts(parse_fleet(text, self._name), self._name))
        held = {entry.digest: entry for entry in self.entries(Query(kind="run"))}
        wanted = [held[digest] for digest in places if digest in held]
        return {places[entry.digest]: content for entry, content in self.texts(wanted)}

    def _named(self, name: str) -> Any:
        digest = name if name.startswith("sha256:") else f"sha256:{name}"
        return (self._records.c.id == name) | self._records.c.digest.startswith(digest, autoescape=True)


@contextmanager
def opened(place: str, *, new: bool = False) -> Iterator[Archive]:
    """The archive at ``place``: a file, a directory that holds ``archive.sqlite``, or a database URL.

    Args:
        new: make one where there is none.

    Raises:
        InputError: SQLAlchemy or the driver is not installed, there is no archive, or the file is not one.
        LparbenchError: the database refuses.
    """
    sql = sqlalchemy()
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        url = sql.engine.make_url(place if "://" in place else _sqlite(Path(place), new=new))
        name = url.render_as_string(hide_password=True) if "://" in place else place
        waiting = {"timeout": _BUSY_S} if url.get_backend_name() == "sqlite" else {}
        engine = sql.create_engine(url, connect_args=waiting)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise InputError(
            f"not a database that can be reached: {error}.",
            remedy="Give a file, or a URL such as postgresql+psycopg://USER@HOST/NAME (pip install 'psycopg[binary]').",
        ) from None
    metadata = sql.MetaData()
    tables = tables_of(metadata)
    file = Path(url.database) if waiting and url.database else None
    made = file is not None and not file.exists()
    if made and file is not None:
        check_output(file)
    try:
        with errors_of(name), folder_made(file.parent) if made and file is not None else nullcontext():
            refuse_programs(engine, tables, name)
            if new:
                metadata.create_all(engine)
            elif not sql.inspect(engine).has_table(tables[0].name):
                raise InputError(f"{name}: no archive.", remedy=f"Make one: lparbench archive add {name} RUN")
            yield Archive(engine, tables, name)
    except BaseException:
        if made and file is not None and _is_empty(engine, tables[0]):  # it is as it was before
            engine.dispose()
            file.unlink(missing_ok=True)
        raise
    finally:
        engine.dispose()


def _is_empty(engine: Any, records: Any) -> bool:
    """Whether nothing came into an archive that was made, not even its tables perhaps."""
    sql = sqlalchemy()
    try:
        with engine.connect() as connection:
            held = sql.inspect(connection).has_table(records.name)
            return not held or connection.execute(sql.select(records.c.digest).limit(1)).first() is None
    except sql.exc.SQLAlchemyError:
        return False


def is_archive(path: Path) -> bool:
    """Whether a path is an archive on this disk."""
    file = path / DATABASE if path.is_dir() else path
    try:
        with file.open("rb") if file.is_file() else BytesIO() as stream:  # a pipe would be waited for
            return stream.read(16) == b"SQLite format 3\0"
    except OSError:
        return False


def _sqlite(path: Path, *, new: bool) -> str:
    file = path / DATABASE if path.is_dir() else path
    if not file.exists() and not new:
        raise InputError(f"{file}: no such archive.", remedy=f"Make one: lparbench archive add {path} RUN")
    if file.exists() and not is_archive(file) and not (file.is_file() and not file.stat().st_size):
        raise InputError(f"{file}: not an archive.", remedy="Give the name of a new file.")
    return f"sqlite:///{file}"
