"""Two runs at once, turn by turn: every process of one beside the same process of the other, in random order.

What a machine does to one side in a minute it then does to the other too, so the difference that is left is the code's.
"""

from __future__ import annotations

import queue
import random
import threading
from dataclasses import dataclass

from harness.errors import LparbenchError
from harness.placement.plan import Plan
from harness.record.model import Run
from harness.reporting.progress import Progress, Silence
from harness.runs.executor import Executor
from harness.runs.jobs import Job, Outcome
from harness.runs.main_job import execute
from harness.runs.request import Request, Surroundings


@dataclass(frozen=True)
class Part:
    """One side: what to run, where, and what starts its processes."""

    request: Request
    around: Surroundings
    executor: Executor


def run_beside(first: Part, second: Part, *, seed: int, progress: Progress) -> tuple[Run, Run]:
    """Do both runs, each in fresh processes of its own, one process at a time.

    Both requests must ask for the same blocks in the same order (the same ``seed``), so that equal jobs meet.

    Raises:
        LparbenchError: what either run raises; the other is given up.
        KeyboardInterrupt: the user's; both are given up, and no process is left.
    """
    order = random.Random(seed)  # noqa: S311 - order of measurements, not a secret
    sides = [_Side(first, progress), _Side(second, Silence())]
    try:
        while waiting := [side for side in sides if side.waits()]:
            for side in order.sample(waiting, len(waiting)):
                side.serve()
        return sides[0].result(), sides[1].result()
    finally:
        for side in sides:
            side.give_up()


@dataclass(frozen=True)
class _Wish:
    """A job that a side waits for."""

    job: Job
    plan: Plan
    timeout_s: float


class _GivenUpError(BaseException):
    """Unwinds a side that nobody waits for any more; no handler of errors may stop it."""


class _Side:
    """One run, planned and assembled in a thread, whose processes the main thread starts: it gets the signals."""

    def __init__(self, part: Part, progress: Progress) -> None:
        self._executor = part.executor
        self._wishes: queue.Queue[_Wish | None] = queue.Queue()
        self._answers: queue.Queue[Outcome | BaseException] = queue.Queue()
        self._run: Run | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, args=(part, progress), daemon=True)
        self._thread.start()
        self._wish = self._wishes.get()  # None: the run is over

    def waits(self) -> bool:
        """Whether the side waits for a process; False once its run is finished.

        Raises:
            BaseException: what ended the run.
        """
        if self._error is not None:
            raise self._error
        return self._wish is not None

    def serve(self) -> None:
        """Run the process that the side waits for, and let the side come to its next one.

        Nothing of this side may be at work while the other side is measured.
        """
        wish = self._wish
        assert wish is not None
        try:
            self._answers.put(self._executor.run(wish.job, wish.plan, timeout_s=wish.timeout_s))
        except LparbenchError as error:
            self._answers.put(error)
        self._wish = self._wishes.get()

    def result(self) -> Run:
        """The finished run."""
        assert self._run is not None
        return self._run

    def give_up(self) -> None:
        """End the thread, if it has not ended by itself."""
        self._answers.put(_GivenUpError())
        self._thread.join()

    def _work(self, part: Part, progress: Progress) -> None:
        try:
            self._run = execute(part.request, part.around, self, progress)
        except _GivenUpError:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self._error = error
        finally:
            self._wishes.put(None)

    def run(self, job: Job, plan: Plan, *, timeout_s: float) -> Outcome:
        """As the executor of its own run: hand the job to the main thread and wait for the outcome."""
        self._wishes.put(_Wish(job, plan, timeout_s))
        answer = self._answers.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer
