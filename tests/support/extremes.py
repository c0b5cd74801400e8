"""Files of every kind with extreme values or damaged bytes, through what reads them.

Whatever a file holds, the answer is a result or one of the errors that are shown in one line: no exception, and no
exit code 1 of something that is no regression.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import lzma
import random
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from support.mutations import small_run
from support.records import facts, run
from support.sweeps import design_of, journal_of, setting

from harness.compare.observations import side_of
from harness.datasets.base import load
from harness.decode import encode
from harness.detectors.registry import check
from harness.errors import ExitCode, LparbenchError
from harness.gates.baseline import make_baseline
from harness.gates.baseline_file import baseline_text, read_baseline
from harness.record.codec import DIGEST, digest_of, to_json
from harness.record.journal import JOURNAL_FILE
from harness.record.store import load_run, sweep_text
from harness.reporting.stored import ExportFormat, exported, page_of
from harness.reporting.sweep_terminal import print_sweep
from harness.reporting.terminal import print_run
from harness.runs.design import DESIGN_FILE, write_design
from harness.runs.journal import open_journal
from harness.sweeps.result import stored_sweep, sweep_record
from harness.workload.files import check_dataset_options, find_workload, list_workloads

_DEEP: Any = 1
for _ in range(600):
    _DEEP = [_DEEP]
VALUES: tuple[Any, ...] = (
    10**400, -(10**400), 1e308, -1e308, 1e100, -1e100, 5e-324, -5e-324, 2**63, 2**63 - 1, 10**30, -1, 0, 1, True, None,
    "", "x", "../../x", "x\n", "\x1b[31mred", "\x9b31m", "\u202e", "\ud800", "\x00", "w" * 140_000, "w" * 3000,
    "9999-99-99T99:99:99Z", "0000-01-01T00:00:00Z", "2026-02-30T00:00:00Z", _DEEP, {"a": _DEEP}, [], {}, [[]], [1],
)  # fmt: skip
_CONTROL = frozenset(map(chr, [*range(9), *range(11, 32), *range(127, 160), 0x202E]))
_TEXTS = (ExportFormat.CSV, ExportFormat.OPENMETRICS, ExportFormat.PYTEST_BENCHMARK)


class Tally:
    """How many inputs were taken and refused, and what went wrong otherwise."""

    def __init__(self) -> None:
        self.taken = self.refused = 0
        self.complaints: list[str] = []

    def trial(self, name: str, work: Callable[[], object]) -> None:
        """Do ``work``; an error that is shown in one line is an answer, unless it is called a regression."""
        try:
            work()
            self.taken += 1
        except LparbenchError as error:
            self.refused += 1
            if error.exit_code is ExitCode.REGRESSION:
                self.complaints.append(f"{name}: exit code 1: {error}")
        except Exception as error:  # noqa: BLE001 - a traceback is what is looked for
            frame = traceback.extract_tb(error.__traceback__)[-1]
            self.complaints.append(f"{name}: {type(error).__name__} at {frame.filename}:{frame.lineno}")


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> Iterable[tuple[Any, ...]]:
    """Every place in a document, of a list its first two items."""
    yield path
    items = value.items() if isinstance(value, dict) else list(enumerate(value))[:2] if isinstance(value, list) else ()
    for key, item in items:
        yield from paths_of(item, (*path, key))


def extreme(document: Any, paths: list[tuple[Any, ...]], seed: int) -> Any:
    """A copy with one value replaced, removed, or under another key."""
    rng = random.Random(seed)
    path, value = paths[rng.randrange(1, len(paths))], VALUES[seed % len(VALUES)]
    damaged = copy.deepcopy(document)
    holder = damaged
    for key in path[:-1]:
        holder = holder[key]
    if rng.random() < 0.05:
        del holder[path[-1]]
    elif rng.random() < 0.05 and isinstance(holder, dict):
        holder[rng.choice(["1" * 5000, "\x1b[31m", "new", "k" * 5000])] = holder.pop(path[-1])
    else:
        holder[path[-1]] = value
    return damaged


def dumped(document: Any) -> str:
    if isinstance(document, dict):
        with contextlib.suppress(ValueError, RecursionError):
            document[DIGEST] = digest_of(document)
    return json.dumps(document)


def printed(work: Callable[[], object]) -> None:
    """What is printed has no control character."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        work()
    bad = _CONTROL & set(out.getvalue())
    assert not bad, f"control characters {bad}"


def records(seeds: Iterable[int], scratch: Path, tally: Tally, *, pages: int = 50) -> None:
    """Records with one extreme value and a digest that fits, through every export, the terminal, and some pages."""
    document = to_json(run())
    paths = list(paths_of(document))
    path = scratch / "run.json"
    for seed in seeds:
        path.write_text(dumped(extreme(document, paths, seed)), encoding="utf-8", errors="surrogatepass")

        def work(seed: int = seed) -> None:
            record = load_run(path)
            for form in _TEXTS:
                exported([path], form)
            printed(lambda: print_run(record, path))
            if seed % pages == 0:
                assert len(page_of(path).content) < 1_000_000

        tally.trial(f"record {seed}", work)


def sweeps(seeds: Iterable[int], scratch: Path, tally: Tally) -> None:
    """Designs, journals and records of a sweep, one value of which is extreme."""
    design = design_of((setting(), setting(smt=1)), facts())
    entries = journal_of(design, lambda configuration, block: 1e6)
    directory = scratch / "sweep"
    directory.mkdir()
    write_design(design, directory)
    with open_journal(directory) as journal:
        for entry in entries:
            journal.note(entry)
    whole = {name: (directory / name).read_text() for name in (DESIGN_FILE, JOURNAL_FILE)}
    written = json.loads(whole[DESIGN_FILE])
    lines = whole[JOURNAL_FILE].splitlines()
    record = json.loads(sweep_text(sweep_record(design, entries)))
    design_paths, record_paths = list(paths_of(written)), list(paths_of(record))
    stored = scratch / "sweep.json"
    for seed in seeds:
        rng = random.Random(seed)
        target = directory
        for name, text in whole.items():
            (directory / name).write_text(text)
        if seed % 3 == 0:
            (directory / DESIGN_FILE).write_text(dumped(extreme(written, design_paths, seed)), errors="surrogatepass")
        elif seed % 3 == 1:
            at = rng.randrange(len(lines))
            line = json.loads(lines[at])
            changed = json.dumps(extreme(line, list(paths_of(line)), seed))
            text = "\n".join([*lines[:at], changed, *lines[at + 1 :]]) + "\n"
            (directory / JOURNAL_FILE).write_text(text, errors="surrogatepass")
        else:
            target = stored
            stored.write_text(dumped(extreme(record, record_paths, seed)), errors="surrogatepass")

        def work(target: Path = target) -> None:
            sweep = stored_sweep(target)
            exported([target], ExportFormat.CSV)
            printed(lambda: print_sweep(sweep, target))

        tally.trial(f"sweep {seed}", work)


def baselines(seeds: Iterable[int], scratch: Path, tally: Tally) -> None:
    """Baseline files with one extreme value."""
    document = json.loads(baseline_text(make_baseline(side_of(small_run("baseline", seed=1)))))
    paths = list(paths_of(document))
    path = scratch / "baseline.json"
    for seed in seeds:
        path.write_text(dumped(extreme(document, paths, seed)), encoding="utf-8", errors="surrogatepass")
        tally.trial(f"baseline {seed}", lambda: read_baseline(path))


TOML_PIECES = ("[" * 300, "1" * 5000, "x" * 200_000, "\x1b", "\x00", "'''", "nan", "inf", "1e999", "-1", "9" * 20,
         "true", "{}", "[]", "../../x", '"\\u202e"', "\n[training]\n", "\nname = 'y'\n", ".a" * 200)  # fmt: skip


def workload_files(seeds: Iterable[int], scratch: Path, tally: Tally) -> None:
    """Workload files with other bytes and values."""
    from harness.content import content_dir

    sources = [(content_dir("workloads") / f"{name}.toml").read_text() for name in list_workloads()]
    path = scratch / "own.toml"
    for seed in seeds:
        rng = random.Random(seed)
        text = rng.choice(sources)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice((*TOML_PIECES, chr(rng.randrange(1, 0x250)))) + text[at + rng.randrange(4) :]
        path.write_text(text)

        def work() -> None:
            workload = find_workload(str(path))
            check_dataset_options(workload)
            for protocol in ("clean", "as-published"):
                check(workload.detector, workload.parameters_for(protocol, 0))  # type: ignore[arg-type]
            encode(workload)

        tally.trial(f"workload file {seed}", work)


def data_files(seeds: Iterable[int], scratch: Path, tally: Tally) -> None:
    """Tables, plain and compressed, with other bytes; array files, whose parsers can crash, are tested in forks."""
    rng = random.Random(0)
    rows = "".join(f"{rng.random():.3f},{rng.choice('ab')},{rng.choice(['normal', 'attack'])}\n" for _ in range(60))
    text = f"x,c,label\n{rows}".encode()
    forms = {"t.csv": text, "t.csv.xz": lzma.compress(text)}
    for seed in seeds:
        rng = random.Random(seed)
        name = rng.choice(list(forms))
        damaged = bytearray(forms[name])
        for _ in range(rng.randrange(1, 5)):
            at = rng.randrange(len(damaged))
            damaged[at : at + rng.randrange(3)] = rng.choice(
                (b"\x00", b"\xff", b'"', b"\r", b"\n", b",", b";", b"1e999", b"\x1b[31m", b"9" * 400, b"nan", bytes(64))
            )
        path = scratch / name
        path.write_bytes(damaged)

        def work(path: Path = path) -> None:
            load(f"csv:{path}", options={"label": "label", "normal": ("normal",)}, synthetic="never")

        tally.trial(f"data file {seed}", work)


KINDS = {
    "records": records, "sweeps": sweeps, "baselines": baselines, "workload files": workload_files,
    "data files": data_files,
}  # fmt: skip
