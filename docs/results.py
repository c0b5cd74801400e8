"""The page of published figures, from the records of the runs that repeat them.

``python docs/results.py RUN...`` keeps the records of runs under both protocols in ``results/published`` in place of
older ones of their workloads, and writes ``docs/results.md`` anew; without a run it writes the page alone.
"""

from __future__ import annotations

import lzma
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.errors import InputError, LparbenchError, one_line, unknown
from harness.parsing import read_content
from harness.record.files import write_file
from harness.record.model import Result, Run
from harness.record.store import RECORD_NAME, load_run, parse_run
from harness.reporting.published_markdown import render_published
from harness.workload.files import load_suite, load_workload

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "results" / "published"
PAGE = ROOT / "docs" / "results.md"
SUITE = "seeds"
_LARGEST = 1 << 26  # bytes of a record
_OF_A_FIT = ("The trees were grown by ",)  # how what a fit remarks begins, which no workload file says
_INTRODUCTION = """# Published figures, repeated

The systems of the five source documents, each fitted on the published files at its own length, under the document's
protocol and under a clean one, next to the figure that the document gives and to the best of the baseline detectors.
A cell is the mean over seeds ± its standard deviation. Why a figure differs stands in the last column, as the workload
says it today.

{missing}`lparbench run --suite seeds --seeds 3` fits all of them; it takes hours, and `lparbench run --resume DIR` goes
on where it was ended. The records of the runs below are in `results/published`; their times are of a machine in use
and are not quoted. `lparbench export RUN... --format published` makes the table, and `python docs/results.py RUN...`
this page. How the protocols differ: [method](method.md).

"""


def records(folder: Path = RECORDS) -> list[Run]:
    """The records that are kept, in the order of the suite."""
    order = load_suite(SUITE).workloads
    files = {path.name.partition(".")[0]: path for path in folder.glob("*.json.xz")}
    for name, path in files.items():
        if name not in order:
            raise unknown("workload", name, order, where=str(path))
    return [parse_run(_unpacked(files[name]), name) for name in order if name in files]


def _unpacked(path: Path) -> str:
    """The text in a file.

    Raises:
        InputError: it is damaged, or holds more than a record.
    """
    unpacker = lzma.LZMADecompressor(memlimit=_LARGEST << 2)
    try:
        content = unpacker.decompress(read_content(path, _LARGEST), max_length=_LARGEST)
        if not unpacker.eof:
            raise InputError(f"{path}: cut short, or more than {_LARGEST >> 20} MiB.", remedy="Keep the run again.")
        return content.decode("utf-8")
    except (lzma.LZMAError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no record: {error}.", remedy="Keep the run again.") from None


def page(runs: Sequence[Run]) -> str:
    """The page of these runs."""
    there = {result.workload for run in runs for result in run.results}
    missing = [name for name in load_suite(SUITE).workloads if name not in there]
    text = f"Not run at full length yet: {', '.join(missing)}.\n\n" if missing else ""
    return _INTRODUCTION.format(missing=text) + render_published([explained_today(run) for run in runs])


def explained_today(run: Run) -> Run:
    """The run with the explanations of its workloads of today: a record keeps those that they had when it ran."""
    return replace(run, results=tuple(map(_explained, run.results)))


def _explained(result: Result) -> Result:
    workload = load_workload(result.workload)
    accuracy, published = result.accuracy, result.published
    if accuracy is not None:
        remarks = [note for note in accuracy.notes if note.startswith(_OF_A_FIT)]
        accuracy = replace(accuracy, notes=(*workload.notes, *remarks))
    if published is not None and workload.published is not None:
        published = replace(published, difference=workload.published.difference)
    return replace(result, accuracy=accuracy, published=published)


def keep(path: Path) -> None:
    """Keep the record of a run of one workload."""
    workloads = load_run(path).spec.workloads
    if len(workloads) != 1 or workloads[0] not in load_suite(SUITE).workloads:
        raise InputError(f"{path}: a run of {', '.join(workloads)}.", remedy=f"Give a run of one workload of {SUITE}.")
    content = (path / RECORD_NAME if path.is_dir() else path).read_bytes()
    packed = lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)
    write_file(RECORDS / f"{workloads[0]}.json.xz", packed)


if __name__ == "__main__":
    try:
        for given in sys.argv[1:]:
            keep(Path(given))
        write_file(PAGE, page(records()).encode())
    except LparbenchError as problem:
        sys.exit(one_line(str(problem)))
