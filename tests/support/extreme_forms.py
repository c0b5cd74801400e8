"""Extreme and damaged files of serving, sizing, fleets, archives and bundles; see ``support.extremes``."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from support import fleets as made_fleets
from support.bundles import saved
from support.extremes import TOML_PIECES, VALUES, Tally, dumped, extreme, paths_of, printed
from support.loads import load_record
from support.mutations import small_run
from support.sizes import sized_record

from harness.advice.policy import load_policy
from harness.advice.rules import shipped_rules
from harness.compare.archived_sides import KIND, side_text
from harness.compare.observations import Key
from harness.detectors.opening import open_stream
from harness.errors import LparbenchError
from harness.fleet import session
from harness.fleet.capacity import size_fleet
from harness.fleet.compare import compare_fleets
from harness.fleet.inventory import load_inventory
from harness.fleet.judge import fleet_of
from harness.gates.policy import Policy, read_policy
from harness.record.archive import Query, opened
from harness.record.codec import to_json
from harness.record.journal import JOURNAL_FILE
from harness.record.load_model import LoadSpec
from harness.record.size_model import PLAN_KINDS, SizeQuestion
from harness.record.store import FLEET_NAME, LOAD_NAME, SIZE_NAME, load_fleet, load_load_test, write_run
from harness.reporting.archive import entries_text, holdings_of, holdings_text
from harness.reporting.fleet_html import render_fleet
from harness.reporting.fleet_terminal import fleet_text
from harness.reporting.fleet_view import view_of
from harness.reporting.load_view import lines
from harness.reporting.site import site_of
from harness.reporting.size_terminal import print_size
from harness.reporting.stored import page_of
from harness.scoring.bundle import Bundle, open_bundle
from harness.serving.arrival_trace import read_trace
from harness.serving.load import schedule
from harness.sizing.stored import size_from, stored_size
from harness.sizing.table import fit_table, read_table

_BIG = 1 << 20
_QUESTION = SizeQuestion(5000, 0.005)
# Bytes that text files are spoilt with.
_BYTES = (b"\x00", b"\xff", b'"', b"\r", b"\n", b",", b";", b"1e999", b"-1e308", b"5e-324", b"\x1b[31m", b"9" * 400,
          b"nan", b"inf", b"x" * 200_000, b"[", b"]", b"[[", b"[1-9999999]", b"=", b"@", b"../../x", b"-oX=x",
          "\u202e".encode(), b"#", b":children]", b"'")  # fmt: skip


def _written(path: Path, document: Any) -> None:
    path.write_text(dumped(document), encoding="utf-8", errors="surrogatepass")


def load_records(seeds: Iterable[int], scratch: Path, tally: Tally) -> None:
    """Records of load tests with one extreme value, as text and as a page."""
    document = to_json(load_record())
    paths, path = list(paths_of(document)), scratch / LOAD_NAME
    for seed in seeds:
        _written(path, extreme(document, paths, seed))

        def work() -> None:
            record = load_load_test(path)
            printed(lambda: print("\n".join(lines(record))))
            assert len(page_of(path).content) < _BIG

        tally.trial(f"load record {seed}", work)


@cache
def _size() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return to_json(sized_record(Path(folder)))


def sizings(seeds: Iterable[int], scratch: Path, tally: Tally) -> None:
    """Records of sizings with one extreme value, printed, as a page, and asked again."""
    paths, path = list(paths_of(_size())), scratch / SIZE_NAME
    for seed in seeds:
        _written(path, extreme(_size(), paths, seed))

        def work() -> None:
            record = stored_size(path)
            printed(lambda: print_size(record, path))
            assert len(page_of(path).content) < _BIG
            size_from([path], _QUESTION, PLAN_KINDS)

        tally.trial(f"sizing {seed}", work)


def fleets(seeds: Iterable[int], scratch: Path, tally: Tally) -> None:
    """Records, designs and journals of fleet runs, one value of which is extreme."""
    document = to_json(made_fleets.fleet_record(hosts=8, waves=3))
    design = made_fleets.design(["a", "b"])
    directory = made_fleets.write(scratch / "fleet", design)
    hosts = {name: made_fleets.looked(made_fleets.facts(number)) for number, name in enumerate(("a", "b"), 1)}
    rates = {"nsl-kdd-mlp": np.full((2, design.waves), 1e3)}
    with session.open_journal(directory) as journal:
        for entry in made_fleets.entries(design, rates, hosts):
            journal.note(entry)
    whole = {name: (directory / name).read_text() for name in (session.DESIGN_FILE, JOURNAL_FILE)}
    written, noted = json.loads(whole[session.DESIGN_FILE]), whole[JOURNAL_FILE].splitlines()
    paths, design_paths, path = list(paths_of(document)), list(paths_of(written)), scratch / FLEET_NAME
    for seed in seeds:
        rng, part = random.Random(seed), seed % 3
        for name, text in whole.items():
            (directory / name).write_text(text)
        if part == 0:
            _written(path, extreme(document, paths, seed))
        elif part == 1:
            text = json.dumps(extreme(written, design_paths, seed))
            (directory / session.DESIGN_FILE).write_text(text, errors="surrogatepass")
        else:
            at = rng.randrange(len(noted))
            line = json.loads(noted[at])
            changed = json.dumps(extreme(line, list(paths_of(line)), seed))
            text = "\n".join([*noted[:at], changed, *noted[at + 1 :]]) + "\n"
            (directory / JOURNAL_FILE).write_text(text, errors="surrogatepass")

        def work(part: int = part) -> None:
            if part:
                fleet_of(session.design_to_resume(directory), session.read_journal(directory))
                return
            fleet = load_fleet(path)
            printed(lambda: print(fleet_text(fleet, view_of(fleet), 80)))
            assert len(render_fleet(fleet)) < _BIG
            for each in (lambda: compare_fleets(path, path, 0.03), lambda: size_fleet(path, _QUESTION)):
                try:
                    each()
                except LparbenchError:
                    continue

        tally.trial(f"fleet {seed}", work)


def archives(seeds: Iterable[int], scratch: Path, tally: Tally) -> None:
    """Archives one cell, byte or table of which is another."""
    for number in range(2):
        write_run(small_run(f"run-{number}", seed=number), scratch / "runs")
    whole, path = scratch / "whole.sqlite", scratch / "team.sqlite"
    with opened(str(whole), new=True) as archive:
        archive.add([scratch / "runs"], keeping=(KIND, side_text))
    for seed in seeds:
        rng = random.Random(seed)
        shutil.copy(whole, path)
        if seed % 4 == 0:
            content = bytearray(path.read_bytes())
            for _ in range(rng.randrange(1, 40)):
                content[rng.randrange(len(content))] = rng.randrange(256)
            path.write_bytes(content[: rng.choice((len(content), rng.randrange(len(content))))])
        else:
            _change_cell(path, rng, VALUES[seed % len(VALUES)])

        def work(seed: int = seed) -> None:
            with opened(str(path)) as archive:
                entries = archive.entries(Query())
                printed(lambda: print(entries_text(entries, 80), holdings_text(holdings_of(entries), 80)))
                site_of(archive, margin=0.03)
                archive.write(entries, scratch / f"out-{seed}")

        tally.trial(f"archive {seed}", work)


def _change_cell(path: Path, rng: random.Random, value: Any) -> None:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        value = float(str(value)[:20])
    value = value if isinstance(value, int | float | str | None) else b"\xff\x00"
    value = value.encode("utf-8", "surrogatepass") if value == "\ud800" else value
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA foreign_keys = off")
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    table = rng.choice(tables)
    column = rng.choice([row[1] for row in connection.execute(f"PRAGMA table_info({table})")])
    try:
        match rng.randrange(12):
            case 0:
                connection.execute(f"DROP TABLE {table}")
            case 1:
                connection.execute(f"ALTER TABLE {table} RENAME COLUMN {column} TO other")
            case 2:
                connection.execute(f"DELETE FROM {table}")
            case _:
                connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = 1", (value,))
        connection.commit()
    except sqlite3.Error:  # a condition of the table's own
        pass
    connection.close()


def _spoilt(content: bytes, rng: random.Random, pieces: tuple[bytes, ...] = _BYTES) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(damaged) + 1)
        damaged[at : at + rng.randrange(4)] = rng.choice(pieces)
    return bytes(damaged)


_INVENTORY = b"""lpar01 ansible_host=10.0.0.1
[power10]
root@lpar[02-04]:22
[power9]
old[1:3] ansible_user=me
[all:vars]
ansible_port=2222
[both:children]
power10
power9
"""
_RULES = b"""fail_on = "high"
[rules.affinity-score]
least_score = 70
[rules.other-load]
ignore = true
"""
_MARGINS = b"""margin = "5%"
floor = "50 us"
allow_diff = ["kernel"]
[benchmarks."test_*"]
margin = "10%"
floor = "1 ms"
"""
_ARRIVALS = b"time,status\n10.0,200\n10.1,200\n10.1,500\n# pause\n12.0,200\n"
_TABLE = b"cores,rate\n1,1000\n2,1900\n4,3500\n8,6000\n8,6100\n"


def text_files(seeds: Iterable[int], scratch: Path, tally: Tally) -> None:
    """Inventories, policies of doctor and gate, recorded arrivals and tables of rates, with other bytes."""
    path, rules = scratch / "file", shipped_rules()

    def margins() -> None:
        policy = read_policy(path, Policy())
        for name in ("test_a", "other"):
            policy.asked(Key(name, "offline", "native", "float32", 64), 1e-3)

    def inventory() -> None:
        load_inventory(path).selected("@all")

    def arrivals() -> None:
        trace = read_trace(path)
        times = schedule(LoadSpec("", 1e3, 1.0, 1, "trace", 3, None), trace)
        assert (np.diff(times) >= 0).all()

    readers: tuple[tuple[bytes, Callable[[], object]], ...] = (
        (_INVENTORY, inventory),
        (_RULES, lambda: load_policy(path, rules)),
        (_MARGINS, margins),
        (_ARRIVALS, arrivals),
        (_TABLE, lambda: fit_table(read_table(path), str(path), rate=5000)),
    )
    for seed in seeds:
        rng = random.Random(seed)
        content, read = readers[seed % len(readers)]
        pieces = (*_BYTES, *(piece.encode() for piece in TOML_PIECES))
        path.write_bytes(_spoilt(content, rng, pieces))
        tally.trial(f"text file {seed}", read)


@cache
def _bundle() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="extreme-bundles-"))
    return saved(folder / "mlp").directory


def bundles(seeds: Iterable[int], scratch: Path, tally: Tally) -> None:
    """Bundles one value, array or byte of which is another, their sums made anew; each in a process of its own."""
    from harness.scoring.bundle import _SUMS, _sums

    for seed in seeds:
        directory = scratch / f"bundle-{seed}"
        shutil.copytree(_bundle(), directory)
        _change_bundle(directory, seed)
        (directory / _SUMS).write_text(_sums(directory), encoding="utf-8")
        tally.trial(f"bundle {seed}", lambda directory=directory: _in_a_process(lambda: _use(open_bundle(directory))))
        shutil.rmtree(directory)


def _change_bundle(directory: Path, seed: int) -> None:
    rng = random.Random(seed)
    path = rng.choice(sorted(each for each in directory.iterdir() if each.name != "SHA256SUMS"))
    if path.suffix == ".json":
        document = json.loads(path.read_text())
        path.write_text(json.dumps(extreme(document, list(paths_of(document)), seed)), errors="surrogatepass")
    elif path.suffix == ".npz" and rng.random() < 0.8:
        with np.load(path) as archive:
            held = {name: archive[name] for name in archive.files}
        name = rng.choice(sorted(held))
        held[name] = _other(held[name], rng)
        if rng.random() < 0.1:
            del held[name]
        np.savez(path, **held)
    else:
        path.write_bytes(_spoilt(path.read_bytes(), rng))


def _other(x: np.ndarray, rng: random.Random) -> np.ndarray:
    match rng.randrange(7):
        case 0:
            return x[..., :-1] if x.ndim else np.array("{}")
        case 1:
            return x.reshape(-1)
        case 2:
            return np.zeros((0,), x.dtype)
        case 3 if x.dtype.kind in "fi":
            most = 2**31 - 1 if x.dtype.kind == "f" else min(2**31 - 1, np.iinfo(x.dtype).max)
            return np.full_like(x, rng.choice((0, -1, most)))
        case 4 if x.dtype.kind == "f":
            return np.full_like(x, rng.choice((np.nan, np.inf, 3e38)))
        case 5:
            return np.array(["x"])
        case _:
            return x.astype(rng.choice(("f8", "i8", "U8")) if x.dtype.kind in "fi" else "U4")


def _use(bundle: Bundle) -> None:
    """All that is made of a bundle; what is refused is named, and the rest is looked at as well."""
    width = len(bundle.manifest.features)

    def scored(backend: str) -> None:
        stream = open_stream(bundle, backend, encoded=True)
        stream.score(np.zeros((3, min(width, 1000)), np.float32))  # type: ignore[arg-type]

    uses: tuple[Callable[[], object], ...] = (
        lambda: bundle.encoder, lambda: bundle.drift, lambda: bundle.validation,
        *(lambda name=name: scored(name) for name in ("native", "onnxruntime", "eager")),
    )  # fmt: skip
    refused: list[LparbenchError] = []
    for use in uses:
        try:
            use()
        except LparbenchError as error:
            refused.append(error)
    if refused:
        raise refused[0]


def _in_a_process(work: Callable[[], object]) -> None:
    """Do ``work`` in a fork, which may die of it; errors come back as text."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        text = "taken"
        try:
            work()
        except LparbenchError as error:
            text = f"refused {error}"
        except BaseException as error:  # noqa: BLE001 - a traceback is what is looked for
            import traceback

            frame = traceback.extract_tb(error.__traceback__)[-1]
            text = f"{type(error).__name__} {error} at {frame.filename}:{frame.lineno}"
        os.write(writer, text.encode("utf-8", "replace")[:4000])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answers:
        said = answers.read().decode("utf-8", "replace")
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        raise AssertionError(f"killed by {signal.Signals(os.WTERMSIG(status)).name}")
    if said.startswith("refused "):
        raise LparbenchError(said)
    assert said == "taken", said


FORMS = {
    "load records": load_records, "sizings": sizings, "fleets": fleets, "archives": archives,
    "text files": text_files, "bundles": bundles,
}  # fmt: skip
