"""A pinned worker process: started through the placement launcher, gone on every way out, its death put in words.

What a worker hands back is one file, which appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from harness.decode import decode_json_file, encode
from harness.errors import InputError, LparbenchError
from harness.interpreter import SAFE_PATH, program
from harness.interpreter import environment as with_package
from harness.process_tree import in_tree
from harness.record.files import DISK_FULL, write_file
from harness.scratch import SCRATCH_VARIABLE

if TYPE_CHECKING:
    from harness.placement.model import Placement

T = TypeVar("T")

OUTCOME_FILE = "outcome.json"
PARSING_FILE = "parsing.json"  # names the data file that a library's parser is at work on
_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)
OUTPUT_FILE = "output.txt"

_NAMED = re.compile(rf"(/.+): cannot be written: (?:{'|'.join(os.strerror(number) for number in sorted(DISK_FULL))})")
_LEAST_ROOM = 1 << 16  # bytes on a disk, below which it is called full
_RESUME = "Make room there; what was measured is kept, and --resume continues where a directory is named."
_OUTPUT_TAIL = 2000  # characters of a failed worker's output that are kept


@dataclass(frozen=True)
class WorkerProcess:
    """A worker that was started; ``directory`` holds its output and, at the end, its outcome."""

    process: subprocess.Popen[bytes]
    directory: Path
    oom_kills_before: int

    @property
    def pid(self) -> int:
        """Its process id, which is that of its process group too."""
        return self.process.pid

    def status(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self.process.poll()

    def wait(self, timeout_s: float) -> int | None:
        """Exit status, negative for a signal; None when it still runs after ``timeout_s`` seconds."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def out_of_room(self, remedy: str = _RESUME) -> LparbenchError | None:
        """The error where a worker failed for want of room, which says nothing of what it was to do."""
        return no_room(self.directory, self._output(), remedy)

    def _output(self) -> str:
        """The end of what the worker printed."""
        return (self.directory / OUTPUT_FILE).read_text(encoding="utf-8", errors="replace")[-_OUTPUT_TAIL:].strip()

    def crashed_parsing(self, status: int | None) -> InputError | None:
        """The error for a data file on which a library's parser ended the worker; None where that is not so."""
        note = self.directory / PARSING_FILE
        if status is None or -status not in _CRASHES or not note.exists():
            return None
        path, form = decode_json_file(tuple[str, str], note)
        crash = signal.Signals(-status).name
        return InputError(
            f"{path} is no readable {form}: the library that reads it crashed ({crash}).", remedy="Get it again."
        )

    def cause_of_death(self, status: int | None, timeout_s: float, *, lines: int = 1) -> str:
        """One sentence for a worker that did not do its work.

        Args:
            status: what :meth:`wait` gave.
            timeout_s: the time it had.
            lines: how many of the last lines of its output to quote.
        """
        if status is None:
            return f"hung: no result within {timeout_s:.0f} s, so it was killed"
        if _oom_kills() > self.oom_kills_before:
            return "out of memory: killed by the kernel's OOM killer"
        if status < 0:
            return f"killed by signal {-status} ({signal.Signals(-status).name})"
        quoted = " / ".join(self._output().splitlines()[-lines:]) or "no output"
        if "MemoryError" in quoted or "can't allocate memory" in quoted:
            return f"out of memory: {quoted}"
        return f"exited with status {status}: {quoted}"


def no_room(directory: Path, output: str = "", remedy: str = _RESUME) -> LparbenchError | None:
    """The error where a disk is full, or a process that failed says that it is; None where there is room.

    Args:
        directory: that the process worked in.
        output: what it printed.
        remedy: what was kept, and how to go on.
    """
    named = _NAMED.search(output)
    if named is not None:
        return LparbenchError(f"{named[1]}: no space left on its disk.", remedy=remedy)
    temporary, shared = Path(tempfile.gettempdir()), os.environ.get(SCRATCH_VARIABLE)
    places = {temporary: "of TMPDIR"}
    if not directory.absolute().is_relative_to(temporary) or _disk(directory) != _disk(temporary):
        places = {directory: "of TMPDIR" if shared and directory.is_relative_to(shared) else "of --out", **places}
    free = {place: shutil.disk_usage(place).free for place in places}
    place = min(free, key=lambda each: free[each])
    if free[place] > _LEAST_ROOM and not any(os.strerror(number) in output for number in DISK_FULL):
        return None
    return LparbenchError(f"{place}: no space left on the disk {places[place]}.", remedy=remedy)


def _disk(place: Path) -> int:
    """A number for each file system: a directory below another may be on a disk of its own."""
    return place.stat().st_dev


@contextlib.contextmanager
def worker_process(
    command: Sequence[str],
    directory: Path,
    placement: Placement,
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[WorkerProcess]:
    """A process at work under a placement; it and its descendants are gone afterwards.

    A session of its own keeps the terminal's Ctrl-C from reaching the worker before this process has decided what to
    do.

    Args:
        command: program and arguments. The kernel kills it when this process dies; what it has started goes with it.
        directory: where the worker's output goes; it exists.
        placement: applied before the program's first instruction.
        cwd: working directory; None: this process's own.
        environment: of the worker; None: this process's own, in which the working directory is no place to import from.
            The way to this package is added to its PYTHONPATH.
    """
    file = directory / "placement.json"
    own = {**os.environ, SAFE_PATH: "1", SCRATCH_VARIABLE: str(directory.absolute())}
    file.write_text(json.dumps(encode(placement)), encoding="utf-8")
    oom_kills = _oom_kills()
    with (directory / OUTPUT_FILE).open("wb") as output:
        process = subprocess.Popen(
            program("harness.placement.launch", "--plan", str(file), "--parent", str(os.getpid()), "--", *command),
            cwd=cwd,
            env=in_tree(with_package(own if environment is None else environment)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            yield WorkerProcess(process, directory, oom_kills)
        finally:
            _end(process)


def write_outcome(directory: Path, outcome: Any) -> None:
    """Leave what a worker hands back: a dataclass, or plain JSON types."""
    write_file(directory / OUTCOME_FILE, json.dumps(encode(outcome)).encode(), durable=False)


def read_outcome(directory: Path, hint: type[T]) -> T | None:
    """What the worker of ``directory`` handed back, as ``hint``; None when it handed back nothing.

    Raises:
        InputError: the outcome is of another shape.
    """
    file = directory / OUTCOME_FILE
    return decode_json_file(hint, file) if file.exists() else None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the worker and whatever is left of its descendants: all that any of them has to clean up is a directory of
    this process.
    """
    import psutil  # not needed by a worker itself, which imports this module too

    descendants: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):  # while it lives: later, those in other groups are lost track of
        descendants = psutil.Process(process.pid).children(recursive=True)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for descendant in descendants:
        with contextlib.suppress(psutil.NoSuchProcess):
            descendant.kill()


def _oom_kills() -> int:
    """OOM kills counted by this process's cgroup (v2) so far; 0 where that cannot be read."""
    try:
        group = Path("/proc/self/cgroup").read_text(encoding="utf-8").strip().rpartition("::")[2]
        events = Path(f"/sys/fs/cgroup{group}/memory.events").read_text(encoding="utf-8")
    except OSError:
        return 0
    counts = dict(line.split() for line in events.splitlines())
    return int(counts.get("oom_kill", 0))
