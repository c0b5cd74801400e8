"""The page of published figures, from the records of the runs that repeat them.

``python docs/results.py RUN...`` keeps the records of runs under both protocols in ``results/published`` in place of
older ones of their workloads, and writes ``docs/results.md`` anew; without a run it writes the page alone.
"""

from __future__ import annotations

import lzma
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.record.model import Run
from harness.record.store import load_run, parse_run
from harness.reporting.published_markdown import render_published
from harness.workload.files import load_suite

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "results" / "published"
PAGE = ROOT / "docs" / "results.md"
SUITE = "seeds"
_INTRODUCTION = """# Published figures, repeated

The systems of the five source documents, each fitted on the published files at its own length, under the document's
protocol and under a clean one, next to the figure that the document gives and to the best of the baseline detectors.
A cell is the mean over seeds ± its standard deviation. Why a figure differs stands in the last column.

{missing}`lparbench run --suite seeds --seeds 3` fits all of them; it takes hours, and `lparbench run --resume DIR` goes
on where it was ended. The records of the runs below are in `results/published`; their times are of a machine in use
and are not quoted. `lparbench export RUN... --format published` makes the table, and `python docs/results.py RUN...`
this page. How the protocols differ: [method](method.md).

"""


def records(folder: Path = RECORDS) -> list[Run]:
    """The records that are kept, in the order of the suite."""
    order = load_suite(SUITE).workloads
    names = [path.name.partition(".")[0] for path in folder.glob("*.json.xz")]
    return [
        parse_run(lzma.decompress((folder / f"{name}.json.xz").read_bytes()).decode(), name)
        for name in sorted(names, key=order.index)
    ]


def page(runs: Sequence[Run]) -> str:
    """The page of these runs."""
    there = {result.workload for run in runs for result in run.results}
    missing = [name for name in load_suite(SUITE).workloads if name not in there]
    text = f"Not run at full length yet: {', '.join(missing)}.\n\n" if missing else ""
    return _INTRODUCTION.format(missing=text) + render_published(runs)


def keep(path: Path) -> None:
    """Keep the record of a run of one workload."""
    record = path / "run.json"
    (workload,) = load_run(path).spec.workloads
    RECORDS.mkdir(parents=True, exist_ok=True)
    (RECORDS / f"{workload}.json.xz").write_bytes(lzma.compress(record.read_bytes(), preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    for given in sys.argv[1:]:
        keep(Path(given))
    PAGE.write_text(page(records()), encoding="utf-8")
