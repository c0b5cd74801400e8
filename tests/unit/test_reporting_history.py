"""A history as a page: steps in the words of the terminal, a chart per result, and names as text."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.mutations import stepped_runs

from harness.compare.history import History, history
from harness.reporting.comparison_terminal import print_history
from harness.reporting.history_html import render_history
from harness.reporting.history_view import lines_of, sentence

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def histories() -> tuple[History, ...]:
    return history(stepped_runs())


def test_page_and_terminal_say_the_same(histories: tuple[History, ...], capsys: pytest.CaptureFixture[str]) -> None:
    print_history(histories)
    printed = capsys.readouterr().out
    page = render_history(histories).decode()
    assert page == render_history(histories).decode()
    lines = lines_of(histories)
    for line in lines:
        assert line.summary in printed
        assert line.summary in page
        (step,) = line.steps
        assert step.at == 7
        assert step.text in printed
        assert step.text in page
        assert "slower" in step.text
        assert step.changes == ("libraries.torch from 2.6 to 2.9",)
    status, text = sentence(lines)
    assert status.kind == "bad"
    assert text in page
    assert page.count("<svg") == 2 * len(lines)  # narrow and wide


def test_accepted_and_faster_steps_are_no_slowdown(histories: tuple[History, ...]) -> None:
    (step,) = histories[0].steps
    accepted = replace(histories[0], steps=(replace(step, accepted="new parser"),))
    faster = replace(histories[0], steps=(replace(step, ratio=0.8),))
    assert [line.status.word for line in lines_of([accepted, faster])] == ["Accepted", "Faster"]
    assert sentence(lines_of([accepted, faster]))[0].kind == "good"
    assert "Accepted: new parser" in render_history([accepted]).decode()


def test_few_runs_and_hostile_names_have_a_page(histories: tuple[History, ...]) -> None:
    first = histories[0]
    key = replace(first.key, workload=HOSTILE)
    points = tuple(replace(point, run=HOSTILE) for point in first.points[:2])
    page = render_history([History(key, points, (), note="2 of the 6 valid runs"), History(key, (), ())]).decode()
    assert "<script" not in page
    assert "Too few runs" in page
    assert "no valid run" in page
    assert "No result has a valid run" in render_history([]).decode()
