"""How far a run is and how long it will take, on standard error: a bar for somebody who watches, else a few lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from harness.errors import printable

if TYPE_CHECKING:
    import rich.progress
    from rich.console import Console


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
    """Only what the user should know, a line each."""

    def say(self, text: str) -> None:
        """See ``Progress.say``."""
        print(printable(text), file=sys.stderr)


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
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
            console=console,
            transient=True,
        )
        self._task: rich.progress.TaskID | None = None

    def start(self, total: int, text: str) -> None:
        """See ``Progress.start``."""
        self._task = self._bar.add_task(printable(text), total=total)
        self._bar.start()

    def advance(self, text: str) -> None:
        """See ``Progress.advance``."""
        if self._task is not None:
            self._bar.update(self._task, advance=1, description=printable(text))

    def expect(self, total: int) -> None:
        """See ``Progress.expect``."""
        if self._task is not None:
            self._bar.update(self._task, total=total)

    def say(self, text: str) -> None:
        """See ``Progress.say``."""
        self._bar.console.print(printable(text), markup=False, highlight=False)

    def close(self) -> None:
        """See ``Progress.close``."""
        self._bar.stop()


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
