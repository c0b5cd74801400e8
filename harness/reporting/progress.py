"""How far a run is and how long it will take, on standard error: a bar for somebody who watches, else a few lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from harness.errors import printable
from harness.reporting.text import clip

if TYPE_CHECKING:
    import rich.progress
    from rich.console import Console


_BLOCK = "block "  # how the engine names the units of a block
_BAR = 12  # columns of the bar itself
_TIMES = len(" 0:00:00 left 0:00:00 ") + len(" /")  # columns of both times and of the units, without their digits


class Progress(Protocol):
    """Told what a run does."""

    def start(self, total: int, text: str) -> None:
        """``total`` units of work lie ahead; ``text`` names the first."""
        ...

    def advance(self, text: str) -> None:
        """One unit is done; ``text`` names the next."""
        ...

    def expect(self, total: int) -> None:
        """It turned out that there are ``total`` units in all."""
        ...

    def say(self, text: str) -> None:
        """Something that the user should know now."""
        ...

    def close(self) -> None:
        """The work is over, or was given up."""
        ...


class Silence:
    """Says nothing."""

    def start(self, total: int, text: str) -> None:
        """See ``Progress.start``."""

    def advance(self, text: str) -> None:
        """See ``Progress.advance``."""

    def expect(self, total: int) -> None:
        """See ``Progress.expect``."""

    def say(self, text: str) -> None:
        """See ``Progress.say``."""

    def close(self) -> None:
        """See ``Progress.close``."""


class Lines(Silence):
    """What the user should know and each new stage, a line each; of a block one line, with the time left."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._total = self._done = 0
        self._stage = ""
        self._blocks: tuple[float, int] | None = None  # when the first block began, and the units done by then

    def start(self, total: int, text: str) -> None:
        """See ``Progress.start``."""
        self._total = total
        self._enter(text)

    def advance(self, text: str) -> None:
        """See ``Progress.advance``."""
        self._done += 1
        stage, colon, _ = text.partition(":")
        if not (colon and stage.startswith(_BLOCK)):
            self._enter(text)
            return
        self._blocks = self._blocks or (self._clock(), self._done)
        self._enter(stage, self._left())

    def expect(self, total: int) -> None:
        """See ``Progress.expect``."""
        self._total = total

    def say(self, text: str) -> None:
        """See ``Progress.say``."""
        print(printable(text), file=sys.stderr)

    def _enter(self, stage: str, left: str = "") -> None:
        if stage != self._stage:
            self._stage = stage
            self.say(f"{stage}{left}")

    def _left(self) -> str:
        """By what the units of the blocks took so far; empty before the first is done."""
        began, before = self._blocks or (0.0, 0)
        done = self._done - before
        if not done:
            return ""
        seconds = (self._clock() - began) / done * max(0, self._total - self._done)
        from harness.runs.stopping import duration  # with NumPy, which help and lists need not wait for

        return f", about {duration(seconds)} left"


class Bar:
    """One line with a bar, units done, time spent and time left, gone when the work is over."""

    def __init__(self, console: Console) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            BarColumn(bar_width=_BAR),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
            console=console,
            transient=True,
        )
        self._task: rich.progress.TaskID | None = None
        self._total = 0

    def start(self, total: int, text: str) -> None:
        """See ``Progress.start``."""
        self._total = total
        self._task = self._bar.add_task(self._fitting(text), total=total)
        self._bar.start()

    def advance(self, text: str) -> None:
        """See ``Progress.advance``."""
        if self._task is not None:
            self._bar.update(self._task, advance=1, description=self._fitting(text))

    def expect(self, total: int) -> None:
        """See ``Progress.expect``."""
        self._total = total
        if self._task is not None:
            self._bar.update(self._task, total=total)

    def say(self, text: str) -> None:
        """See ``Progress.say``."""
        from harness.reporting.console import say

        say(self._bar.console, printable(text))

    def close(self) -> None:
        """See ``Progress.close``."""
        self._bar.stop()

    def _fitting(self, text: str) -> str:
        """The beginning that leaves the units and times their room in the line."""
        return clip(text, max(_BAR, self._bar.console.width - _BAR - _TIMES - 2 * len(str(self._total))))


@contextmanager
def progress_for(*, quiet: bool) -> Iterator[Progress]:
    """A bar when standard error is a terminal, else lines, and nothing when ``quiet``; closed on every way out."""
    progress: Progress = Silence() if quiet else Lines()
    if not quiet and sys.stderr.isatty():
        from rich.console import Console

        progress = Bar(Console(stderr=True))
    try:
        yield progress
    finally:
        progress.close()
