"""An archive gives back the bytes that it took in, once each, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import sqlite3
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support import fleets, loads, records
from support.sizes import ServingExecutor
from support.sweeps import power_sweep
from test_sizing_session import ask, law, machine, sized
from typer.testing import CliRunner

from harness import compare_runs, load
from harness.cli.main import app
from harness.compare import archived_sides
from harness.compare.archived_sides import sides
from harness.compare.observations import side_of
from harness.errors import ExitCode, InputError, LparbenchError
from harness.record import archived as archived_module
from harness.record.archive import Query, is_archive, opened
from harness.record.archive_entry import partition_of
from harness.record.archived import archived
from harness.record.codec import digest_of, to_json
from harness.record.fleet_model import FleetRecord
from harness.record.spec import RunSpec
from harness.record.store import (
    SIZE_NAME,
    SWEEP_NAME,
    fleet_text,
    load_run,
    load_text,
    record_text,
    size_text,
    sweep_text,
    write_run,
)
from harness.reporting import site
from harness.sizing.subject import spec_of

DAYS = ("2026-08-01", "2026-08-02", "2026-08-03")


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs of two workloads, a sweep and a sizing, as their commands leave them."""
    results = tmp_path_factory.mktemp("results")
    for number, day in enumerate(DAYS):
        workload = "nsl-kdd-mlp" if number else "nsl-kdd-autoencoder"
        run = records.run(*records.workload_results(workload), run_id=f"run-{number}", created=f"{day}T12:00:00Z")
        write_run(run, results / "runs")
    place = tmp_path_factory.mktemp("sizing")
    size = sized(place, machine(place / "tree", 4), ask(2000), ServingExecutor(law, noise=0.01))
    for name, text in ((SWEEP_NAME, sweep_text(power_sweep())), (SIZE_NAME, size_text(size))):
        (results / name.removesuffix(".json")).mkdir()
        (results / name.removesuffix(".json") / name).write_text(text, encoding="utf-8")
    unfinished = results / "runs" / "run-9.unfinished"
    shutil.copytree(results / "runs" / "run-0", unfinished)
    return results


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """A cluster of its own in a temporary directory, reached by a socket in it."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs and (elsewhere := shutil.which("initdb")) is not None:
        programs = [Path(elsewhere)]
    if not programs:
        pytest.skip("initdb is not installed (postgresql)")
    top = Path(tempfile.mkdtemp())  # not pytest's, which only its own user may enter
    as_user: tuple[str, ...] = ()
    if os.geteuid() == 0:  # which PostgreSQL refuses
        user = pwd.getpwnam("postgres")
        os.chown(top, user.pw_uid, user.pw_gid)
        as_user = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")
    binaries, data = programs[-1].parent, top / "data"

    def program(name: str, *arguments: str) -> None:
        command = [*as_user, str(binaries / name), *arguments]
        subprocess.run(command, check=True, cwd=top, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120)

    program("initdb", "-D", str(data), "-A", "trust", "-U", "team", "--no-sync")
    options = f"-c listen_addresses='' -c unix_socket_directories={top} -c fsync=off"
    program("pg_ctl", "-D", str(data), "-l", str(top / "log"), "-w", "-o", options, "start")
    try:
        yield f"postgresql+psycopg://team:secret@/postgres?host={top}"
    finally:
        program("pg_ctl", "-D", str(data), "-m", "fast", "-w", "stop")
        shutil.rmtree(top)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "team.sqlite")
    url = request.getfixturevalue("postgresql")
    with opened(url, new=True) as archive, archive._engine.begin() as connection:
        for table in (archive._workloads, archive._records):
            connection.execute(table.delete())
    return str(url)


def lparbench(*words: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})
    if isinstance(done.exception, LparbenchError):
        raise done.exception
    return done.exit_code, done.output


def test_it_gives_back_what_it_took_in_and_takes_nothing_twice(place: str, team: Path, tmp_path: Path) -> None:
    assert lparbench("archive", "add", place, team) == (0, "5 records taken in.\n")
    assert lparbench("archive", "add", place, team / "runs", team / "size") == (
        0,
        "0 records taken in, 4 there already.\n",
    )
    code, text = lparbench("archive", "query", place, "--out", tmp_path / "back", "--json")
    entries = json.loads(text)
    assert (code, [entry["kind"] for entry in entries if entry["id"].startswith("run-")]) == (0, ["run"] * 3)
    for number in range(3):
        written = (tmp_path / "back" / f"run-{number}" / "run.json").read_bytes()
        assert written == (team / "runs" / f"run-{number}" / "run.json").read_bytes()
    assert len(list((tmp_path / "back").iterdir())) == 5
    with pytest.raises(InputError, match="there already"):
        lparbench("archive", "query", place, "--out", tmp_path / "back")


def test_fleets_come_back_with_their_hosts_and_load_tests_by_what_they_are(place: str, tmp_path: Path) -> None:
    whole = fleets.fleet_record(hosts=8, waves=2)
    run = fleets.record(fleets.facts(), fleets.SPEC, 0.001)
    path, digest = whole.hosts[0].records[0].path, digest_of(to_json(run))
    host = replace(whole.hosts[0], records=(FleetRecord(1, path, digest),))
    directory = tmp_path / "results" / "fleet"
    (directory / path).mkdir(parents=True)
    (directory / path / "run.json").write_text(record_text(run))
    (directory / "fleet.json").write_text(fleet_text(replace(whole, hosts=(host, *whole.hosts[1:]))))
    (tmp_path / "monday.json").write_text(load_text(loads.load_record()))
    added = lparbench("archive", "add", place, tmp_path / "results", tmp_path / "monday.json")
    assert added == (0, "3 records taken in.\n")
    listed = lparbench("archive", "list", place)[1]
    assert "1 fleet run" in listed
    assert "1 load test" in listed
    lparbench("archive", "query", place, "--kind", "fleet", "--out", tmp_path / "back")
    back = tmp_path / "back" / whole.fleet_id
    assert (back / path / "run.json").read_bytes() == (directory / path / "run.json").read_bytes()
    assert (back / "fleet.json").read_bytes() == (directory / "fleet.json").read_bytes()
    assert lparbench("fleet", "report", f"{place}#{whole.fleet_id}") == lparbench("fleet", "report", directory)
    with pytest.raises(InputError, match=f"#{run.run_id}: this is a run, not a fleet run"):
        lparbench("fleet", "report", f"{place}#{run.run_id}")


def test_a_fleet_whose_records_lie_elsewhere_is_not_written(tmp_path: Path) -> None:
    whole = fleets.fleet_record(hosts=8, waves=2)
    host = replace(whole.hosts[0], records=(FleetRecord(1, "../../x", "sha256:0"),))
    (tmp_path / "fleet.json").write_text(fleet_text(replace(whole, hosts=(host, *whole.hosts[1:]))))
    place = tmp_path / "team.sqlite"
    lparbench("archive", "add", place, tmp_path)
    with pytest.raises(InputError, match="expected a name without /"):
        lparbench("archive", "query", place, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_conditions_hold_together(place: str, team: Path) -> None:
    with opened(place, new=True) as archive:
        archive.add([team])

        def ids(**asked: object) -> list[str]:
            return [entry.id for entry in archive.entries(Query(**asked)) if entry.kind == "run"]

        assert ids() == ["run-0", "run-1", "run-2"]
        assert ids(workload="nsl-kdd-mlp") == ["run-1", "run-2"]
        assert ids(workload="nsl-kdd-mlp", since="2026-08-03") == ["run-2"]
        assert ids(until="2026-08-02") == ["run-0"]
        assert ids(kind="sweep") == []
        assert ids(machine="%") == []  # a sign of SQL is a letter
        assert ids(ids=("run-1",)) == ["run-1"]
        (first, *_) = archive.entries(Query(kind="run"))
        assert ids(ids=(first.digest[7:20],)) == [first.id]
        assert ids(partition=first.partition) == ["run-0", "run-1", "run-2"]
        assert (first.results, first.valid <= first.results) == (len(records.workload_results()), True)


def test_what_is_damaged_takes_nothing_in(team: Path, tmp_path: Path) -> None:
    broken = tmp_path / "results"
    shutil.copytree(team, broken)
    file = broken / "runs" / "run-2" / "run.json"
    file.write_text(file.read_text().replace("2026-08-03", "2026-08-04", 1))
    with pytest.raises(InputError, match=r"run-2/run\.json"):
        lparbench("archive", "add", tmp_path / "a.sqlite", broken)
    assert not (tmp_path / "a.sqlite").exists()
    with opened(str(tmp_path / "a.sqlite"), new=True) as archive:
        assert archive.entries(Query()) == []
    with pytest.raises(InputError, match=r"no run.json, sweep.json, size.json, load.json, fleet.json in there"):
        lparbench("archive", "add", tmp_path / "a.sqlite", tmp_path / "results" / "runs" / "run-9.unfinished")


def test_a_changed_database_is_not_believed(team: Path, tmp_path: Path) -> None:
    place = tmp_path / "team.sqlite"
    lparbench("archive", "add", place, team / "runs" / "run-1")
    with sqlite3.connect(place) as connection:
        connection.execute("UPDATE lparbench_records SET text = replace(text, '2026-08-02', '2026-08-05')")
    with pytest.raises(InputError, match=r"run run-1: .*digest"):
        lparbench("archive", "query", place, "--out", tmp_path / "out")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere.sqlite", "no such archive"),
        ("text.txt", "not an archive"),
        ("empty.sqlite", "no archive"),
        ("nonsense://x/y", "not a database that can be reached"),
        ("postgresql+psycopg://u:secret@127.0.0.1:1/x", "the database refuses"),
    ],
)
def test_what_is_no_archive_is_named(place: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("no archive")
    sqlite3.connect("empty.sqlite").execute("CREATE TABLE other (x)").connection.commit()
    with pytest.raises(LparbenchError, match=message) as error:
        lparbench("archive", "list", place)
    assert "secret" not in str(error.value)
    assert not Path("nowhere.sqlite").exists()


_ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"


@pytest.mark.parametrize(
    ("what", "statements"),
    [
        (
            "a view called LPARBENCH_RECORDS",
            (
                "ALTER TABLE lparbench_records RENAME TO mine",
                f"CREATE VIEW LPARBENCH_RECORDS AS {_ENDLESS} SELECT mine.* FROM n, mine",
            ),
        ),
        (
            "a trigger called t",
            (f"CREATE TRIGGER t AFTER INSERT ON lparbench_kept BEGIN DELETE FROM lparbench_kept WHERE digest IN"
             f" ({_ENDLESS} SELECT x FROM n); END",),
        ),
        (
            "a virtual table called lparbench_kept",
            ("DROP TABLE lparbench_kept", "CREATE VIRTUAL TABLE lparbench_kept USING fts5(digest, kind, text)"),
        ),
    ],
)  # fmt: skip
def test_an_archive_that_would_work_without_an_end_is_refused(
    what: str, statements: tuple[str, ...], team: Path, tmp_path: Path
) -> None:
    place = tmp_path / "team.sqlite"
    lparbench("archive", "add", place, team / "runs" / "run-1")
    with sqlite3.connect(place) as connection:
        for statement in statements:
            connection.execute(statement)
    for words in (("archive", "query", place), ("archive", "add", place, team), ("site", place, tmp_path / "site")):
        with pytest.raises(InputError, match=f"{what}, which no archive has"):
            lparbench(*words)


def test_a_name_from_the_database_leads_nowhere_else(team: Path, tmp_path: Path) -> None:
    place = tmp_path / "team.sqlite"
    lparbench("archive", "add", place, team / "runs" / "run-1")
    with sqlite3.connect(place) as connection:
        connection.execute("UPDATE lparbench_records SET id = '../outside'")
    with pytest.raises(InputError, match=r"team\.sqlite: record .*expected a name without /"):
        lparbench("archive", "query", place, "--out", tmp_path / "out" / "deep")
    assert not (tmp_path / "out").exists()


def test_a_date_that_is_none_is_named() -> None:
    with pytest.raises(InputError, match="--since yesterday: expected a date"):
        Query(since="yesterday")


def test_two_that_add_at_once_both_succeed(team: Path, tmp_path: Path) -> None:
    place, failures = str(tmp_path / "team.sqlite"), []

    def add(name: str) -> None:
        try:
            with opened(place, new=True) as archive:
                archive.add([team / "runs" / name])
        except LparbenchError as error:
            failures.append(error)

    with opened(place, new=True):
        pass
    threads = [threading.Thread(target=add, args=(f"run-{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with opened(place) as archive:
        assert (failures, len(archive.entries(Query()))) == ([], 3)


def test_history_reads_an_archive(team: Path, tmp_path: Path) -> None:
    place = tmp_path / "team.sqlite"
    lparbench("archive", "add", place, team)
    assert is_archive(place)
    from_archive, from_folder = lparbench("history", place), lparbench("history", team / "runs" / "run-1", team)
    assert from_archive[0] == from_folder[0] == ExitCode.INCONCLUSIVE
    assert "nsl-kdd-mlp" in from_archive[1]


@pytest.fixture(scope="module")
def archive(team: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The records of the team in an SQLite file."""
    place = tmp_path_factory.mktemp("archive") / "team.sqlite"
    with opened(str(place), new=True) as store:
        store.add([team])
    return place


def test_a_record_of_an_archive_stands_where_a_run_does(archive: Path, team: Path) -> None:
    """``compare`` and ``size`` say of it what they say of its directory."""
    runs = [str(team / "runs" / name) for name in ("run-1", "run-2")]
    with opened(str(archive)) as store:
        digests = {entry.id: entry.digest for entry in store.entries(Query())}
    named = [f"{archive}#run-1", f"{archive}#{digests['run-2'].removeprefix('sha256:')[:16]}"]
    answers = [CliRunner().invoke(app, ["compare", *paths, "--json"]) for paths in (runs, named)]
    assert answers[0].output == answers[1].output
    assert json.loads(answers[0].output)
    for command in (["export"], ["report", "-o", "-"]):
        of_each = [CliRunner().invoke(app, [*command, paths[0]]).output for paths in (runs, named)]
        assert of_each[0] == of_each[1] != ""
    size = next(name for name in digests if "size" in name)
    question = ["--rate", "100/s"]
    for command in (
        ["size", "--from", f"{archive}#{size}", *question],
        ["size", "--from", str(team / "size"), *question],
    ):
        answers.append(CliRunner().invoke(app, command))
    assert answers[2].output == answers[3].output


def test_a_gate_takes_its_candidates_from_an_archive(archive: Path, team: Path, tmp_path: Path) -> None:
    """Its baseline is a file of sessions, which a record is not: that is an error that says so."""
    answers = []
    for number, place in enumerate((f"{archive}#run-", f"{team / 'runs'}/run-")):
        baseline = tmp_path / f"{number}.json"
        updated = lparbench("gate", baseline, "--update", "--candidate", f"{place}1")
        judged = CliRunner().invoke(app, ["gate", str(baseline), "--candidate", f"{place}2", "--json"])
        answers.append((updated[0], baseline.read_text(), judged.exit_code, judged.stdout.replace(str(baseline), "")))
    assert answers[0] == answers[1]
    assert answers[0][0] == ExitCode.GOOD
    with pytest.raises(InputError, match="baseline"):
        lparbench("gate", f"{archive}#run-1", "--candidate", f"{archive}#run-2")


def test_whatever_reads_records_takes_those_of_an_archive(archive: Path, team: Path, tmp_path: Path) -> None:
    runs, named = ([f"{place}run-{number}" for number in (1, 2)] for place in (f"{team / 'runs'}/", f"{archive}#"))
    assert [load(run) for run in named] == [load(run) for run in runs]
    assert compare_runs(*named).verdicts == compare_runs(load(runs[0]), runs[1]).verdicts
    assert lparbench("history", *named) == lparbench("history", *runs)
    with pytest.raises(InputError, match=r"team\.sqlite#run-1: a run of 2 workloads"):
        spec_of(named[0], RunSpec(()))
    copy = tmp_path / "copy.sqlite"
    assert lparbench("archive", "add", copy, *named, runs[0])[1] == "2 records taken in, 1 there already.\n"
    with opened(str(copy)) as store:
        assert [entry.id for entry in store.entries(Query())] == ["run-1", "run-2"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "of which one is wanted"),
        ("#", "of which one is wanted"),
        ("#run-7", "no record run-7"),
        ("#sha256:", "records are called"),
    ],
)
def test_what_names_no_single_record_is_an_error(archive: Path, name: str, words: str) -> None:
    with pytest.raises(InputError, match=words), archived([Path(f"{archive}{name}")]):
        pass


def test_an_address_of_a_database_is_put_together_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def refuse(place: str) -> None:
        asked.append(place)
        raise InputError("as scripted")

    monkeypatch.setattr(archived_module, "opened", refuse)
    with pytest.raises(InputError), archived([Path("postgresql+psycopg://team@db/x#run-1")]):
        pass
    assert asked == ["postgresql+psycopg://team@db/x"]


def test_a_site_shows_partitions_workloads_and_steps(tmp_path: Path) -> None:
    """Fifteen runs, of which the later half is a fifth slower; pages link to each other, and to nothing else."""
    for number in range(15):
        centre = 1e-3 * (1.2 if number >= 7 else 1.0)
        result = records.inference("nsl-kdd-mlp")
        series = records.processes(6, result.placement.cpus, batch_size=8192, centre_s=centre, samples=90)
        run = records.run(
            replace(result, processes=series, workload="<b>mlp" if number == 14 else "nsl-kdd-mlp"),
            run_id=f"run-{number:02d}",
            created=f"2026-08-{number + 1:02d}T12:00:00Z",
        )
        write_run(run, tmp_path / "runs")
    place = tmp_path / "team.sqlite"
    lparbench("archive", "add", place, tmp_path / "runs")
    public = tmp_path / "public"
    public.mkdir()
    for name, text in (("workload-gone", "<title>x – LPARBench</title>"), ("workload-mine", "x"), ("mine", "x")):
        (public / f"{name}.html").write_text(text, encoding="utf-8")
    done = CliRunner().invoke(app, ["site", str(place), str(public)])
    assert done.exit_code == 0, done.output
    pages = {file.name: file.read_text(encoding="utf-8") for file in public.iterdir()}
    assert pages.pop("mine.html") == pages.pop("workload-mine.html") == "x"
    links = {link for page in pages.values() for link in re.findall(r'<a href="([^#"]+)"', page)}
    assert links == pages.keys() - {"index.html"}
    assert "workload-nsl-kdd-mlp.html" in links
    assert "The last step made something slower on 1 of 1 partitions." in pages["index.html"]
    assert "run-07" in pages["workload-nsl-kdd-mlp.html"]
    assert "slower from here on" in pages["workload-nsl-kdd-mlp.html"]
    assert all("<b>mlp" not in page and "<script" not in page for page in pages.values())
    (public / "index.html").write_text("home")
    with pytest.raises(InputError, match=r"index\.html: this is no page of an archive"):
        lparbench("site", place, public)
    assert (public / "index.html").read_text() == "home"


def test_a_site_has_the_pages_of_every_other_record(
    team: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fleet").mkdir()
    fleet = fleets.fleet_record(hosts=8, waves=2)
    (tmp_path / "fleet" / "fleet.json").write_text(fleet_text(fleet), encoding="utf-8")
    (tmp_path / "load").mkdir()
    named = loads.load_record()
    machine_of = replace(named.facts.machine, name="<i>load")
    named = replace(named, facts=replace(named.facts, machine=machine_of))
    (tmp_path / "load" / "load.json").write_text(load_text(named), encoding="utf-8")
    place, public = tmp_path / "team.sqlite", tmp_path / "public"
    lparbench("archive", "add", place, team, tmp_path / "fleet", tmp_path / "load")
    lparbench("site", place, public)
    pages = {file.name: file.read_bytes() for file in public.iterdir()}
    index = pages["index.html"].decode()
    assert set(re.findall(r'<a href="([^#"]+)"', index)) == pages.keys() - {"index.html"}
    assert "&lt;i&gt;load" in index
    assert "3 runs, 1 sweep, 1 sizing, 1 load test and 1 fleet run" in index
    for kind, source in (("sweep", team), ("sizing", team), ("load", tmp_path), ("fleet", tmp_path)):
        (page,) = [content for name, content in pages.items() if name.startswith(f"{kind}-")]
        record = source / {"sizing": "size"}.get(kind, kind)
        lparbench("report", record, "-o", tmp_path / f"{kind}.html")
        assert page == (tmp_path / f"{kind}.html").read_bytes(), kind
    monkeypatch.setattr(site, "NEWEST", 0)
    lparbench("site", place, public)  # no pages any more: those of before are gone, the lines stay
    assert not [*public.glob("sweep-*"), *public.glob("fleet-*")]
    assert fleet.fleet_id in (public / "index.html").read_text(encoding="utf-8")


def test_what_is_kept_beside_a_record_is_what_the_record_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same from what was kept, from the records, from damaged text, and where nothing can be kept."""
    for number in range(4):
        write_run(records.run(run_id=f"run-{number}", created=f"2026-08-{number + 1:02d}T12:00:00Z"), tmp_path / "runs")
    place = str(tmp_path / "team.sqlite")
    with opened(place, new=True) as store:
        store.add([tmp_path / "runs"])
        entries = store.entries(Query())
        by_itself = dict(sides(store, entries))
        for entry in entries:
            run = load_run(tmp_path / "runs" / entry.id)
            expected = side_of(run)
            made = by_itself[entry]
            assert (made.name, made.created, made.fingerprint) == (entry.id, run.created, expected.fingerprint)
            assert made.observations == expected.observations
        with monkeypatch.context() as reading:
            reading.setattr(archived_sides, "parse_run", None)  # no record is read again
            assert dict(sides(store, entries)) == by_itself
        monkeypatch.setattr(store, "kept", lambda _: dict.fromkeys((each.digest for each in entries), "{}"))
        monkeypatch.setattr(store, "keep", refused)
        assert dict(sides(store, entries)) == by_itself


def refused(*_: object) -> None:
    raise LparbenchError("attempt to write a readonly database")


def test_the_list_counts_by_partition_and_workload(team: Path, tmp_path: Path) -> None:
    place = tmp_path / "team.sqlite"
    lparbench("archive", "add", place, team)
    code, text = lparbench("archive", "list", place)
    assert code == 0
    assert any(line.startswith("nsl-kdd-mlp") and "2 runs" in line for line in text.splitlines())
    assert lparbench("archive", "query", place, "--workload", "none") == (1, "No such record.\n")


def test_partitions_are_told_apart_and_not_shown() -> None:
    facts = records.facts()
    other = replace(facts, lpar=replace(facts.lpar, partition_id=77))
    assert partition_of(facts) == partition_of(records.facts()) != partition_of(other)
    assert len(partition_of(facts)) == 12


def test_an_archive_that_cannot_be_made_leaves_no_empty_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlalchemy

    def full(metadata: sqlalchemy.MetaData, engine: sqlalchemy.Engine) -> None:
        engine.connect().close()  # SQLite makes the file here
        raise sqlalchemy.exc.OperationalError("CREATE TABLE", {}, Exception("database or disk is full"))

    monkeypatch.setattr(sqlalchemy.MetaData, "create_all", full)
    (tmp_path / "there.sqlite").touch()
    for name in ("new.sqlite", "there.sqlite"):
        with pytest.raises(LparbenchError, match="disk is full"), opened(str(tmp_path / name), new=True):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["there.sqlite"]


def test_an_archive_where_none_can_be_is_named_and_leaves_no_folder(team: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    for place in (tmp_path / "file" / "a.sqlite", tmp_path / "new" / ("n" * 256)):
        with pytest.raises(InputError, match="cannot be written"):
            lparbench("archive", "add", place, team / "runs")
    assert sorted(tmp_path.rglob("*")) == before
    assert lparbench("archive", "add", tmp_path / "new" / "a.sqlite", team / "runs" / "run-1")[0] == 0
