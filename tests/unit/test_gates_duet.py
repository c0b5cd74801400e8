"""Two runs turn by turn: order, errors, interrupts, and nothing at work beside a measured process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from support.records import run

from harness.errors import InputError
from harness.gates import duet
from harness.gates.duet import Part, run_beside
from harness.record.model import Run
from harness.reporting.progress import Silence
from harness.runs.jobs import Outcome

Script = Callable[[Any, Any], Run]


class Recorder:
    """An executor that notes who was served, and that nothing else of the two runs was awake meanwhile."""

    def __init__(self, name: str, log: list[str], trouble: BaseException | None = None) -> None:
        self.name, self.log, self.trouble = name, log, trouble

    def run(self, job: Any, plan: Any, *, timeout_s: float) -> Outcome:
        assert threading.current_thread() is threading.main_thread()
        self.log.append(f"{self.name}{job}")
        if self.trouble is not None and job == 2:
            raise self.trouble
        return Outcome(payload={"job": job}, failure=None, pid=1, wall_s=timeout_s)


def parts(log: list[str], jobs: tuple[int, int] = (5, 5), trouble: BaseException | None = None) -> tuple[Part, Part]:
    first = Part(("a", jobs[0]), None, Recorder("a", log))  # type: ignore[arg-type]
    second = Part(("b", jobs[1]), None, Recorder("b", log, trouble))  # type: ignore[arg-type]
    return first, second


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    def execute(request: Any, around: Any, executor: Any, progress: Any) -> Run:
        name, jobs = request
        for job in range(jobs):
            outcome = executor.run(job, None, timeout_s=1.0)
            assert outcome.payload == {"job": job}
        return run(run_id=name)

    monkeypatch.setattr(duet, "execute", execute)


def test_equal_jobs_meet_and_the_order_is_shuffled() -> None:
    log: list[str] = []
    first, second = run_beside(*parts(log, (20, 20)), seed=3, progress=Silence())
    assert (first.run_id, second.run_id) == ("a", "b")
    pairs = [sorted(log[at : at + 2]) for at in range(0, 40, 2)]
    assert pairs == [[f"a{job}", f"b{job}"] for job in range(20)]
    assert 4 < sum(entry.startswith("a") for entry in log[::2]) < 16


def test_a_longer_run_goes_on_alone() -> None:
    log: list[str] = []
    run_beside(*parts(log, (2, 5)), seed=1, progress=Silence())
    assert log[-3:] == ["b2", "b3", "b4"]


@pytest.mark.parametrize("trouble", [InputError("no such column"), KeyboardInterrupt(), RuntimeError("defect")])
def test_trouble_on_one_side_ends_both_and_leaves_no_thread(trouble: BaseException) -> None:
    log: list[str] = []
    before = threading.active_count()
    with pytest.raises(type(trouble)):
        run_beside(*parts(log, trouble=trouble), seed=1, progress=Silence())
    assert threading.active_count() == before
    assert "b3" not in log
    assert "a4" not in log


def test_a_run_that_needs_no_process_is_fine() -> None:
    assert run_beside(*parts([], (0, 0)), seed=1, progress=Silence())[1].run_id == "b"
