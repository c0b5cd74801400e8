"""A history in words: what the terminal and the page both say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.compare.environment import grouped
from harness.compare.history import History, Point, Step
from harness.reporting.sections.status import BAD, GOOD, WARN, Status
from harness.reporting.text import NO_BREAK, moment, quantity, value_text
from harness.wording import plural, signed

_CHANGES = 5  # named per step


@dataclass(frozen=True)
class StepLine:
    """A lasting step: from which run on, how much, why it was accepted, and what changed in the environment with it."""

    status: Status
    at: int
    text: str
    accepted: str
    changes: tuple[str, ...]


@dataclass(frozen=True)
class HistoryLine:
    """The history of one result; ``charted`` when it has a valid run."""

    name: str
    summary: str
    status: Status
    charted: bool
    steps: tuple[StepLine, ...]


def lines_of(histories: Sequence[History]) -> list[HistoryLine]:
    """Every result of every machine."""
    return [_line(history) for history in histories]


def sentence(lines: Sequence[HistoryLine]) -> tuple[Status, str]:
    """All of it in a sentence, by the last step of each result."""
    worse = [line.name for line in lines if line.status.kind == "bad"]
    known = [line for line in lines if line.status.kind != "warn"]
    if worse:
        rest = f" and {len(worse) - 3} more" if len(worse) > 3 else ""
        return Status("Slower", BAD, "bad"), f"The last step made it slower: {', '.join(worse[:3])}{rest}."
    if not known:
        return Status("Too few runs", WARN, "warn"), "Too few valid runs to distinguish a step from noise."
    stepped = sum(bool(line.steps) for line in known)
    text = f"No last step of {plural(len(known), 'result')} made it slower; {stepped} of them have steps."
    return Status(
        "No slowdown", GOOD, "good"
    ), text if stepped else f"No lasting step in {plural(len(known), 'result')}."


def _line(history: History) -> HistoryLine:
    name = f"{history.key.title} on {history.machine}" if history.machine else history.key.title
    if not history.points:
        return HistoryLine(name, "no valid run", Status("No valid run", WARN, "warn"), charted=False, steps=())
    last = quantity(history.points[-1].seconds, history.unit)
    outcome = history.note or (plural(len(history.steps), "step") if history.steps else "no lasting step")
    steps = tuple(_step(step, history.points[step.at], history.unit) for step in history.steps)
    status = Status("Too few runs", WARN, "warn") if history.note else steps[-1].status if steps else _STEADY
    summary = f"{plural(len(history.points), 'run')}, {last} in the last ({history.key.estimate}), {outcome}"
    return HistoryLine(name, summary, status, charted=True, steps=steps)


_STEADY = Status("Steady", GOOD, "good")


def _step(step: Step, point: Point, unit: str) -> StepLine:
    slower = step.ratio > 1
    more, less = ("slower", "faster") if unit == "s" else ("more", "less")
    bad = slower and step.accepted is None
    status = Status(more.capitalize(), BAD, "bad") if bad else Status("Accepted", GOOD, "good")
    if not slower:
        status = Status(less.capitalize(), GOOD, "good")
    size, of = f"{signed(100 * (step.ratio - 1))}{NO_BREAK}%", " time" if unit == "s" else ""
    which = point.run if point.commit is None else f"{point.run}, commit {point.commit}"
    changes = [
        f"{facts[0].name} from {value_text(facts[0].a)} to {value_text(facts[0].b)}"
        + (f" and {len(facts) - 1} more of its group" if len(facts) > 1 else "")
        for facts in grouped(step.differences)
    ]
    rest = [f"{len(changes) - _CHANGES} more facts"] if len(changes) > _CHANGES else []
    return StepLine(
        status,
        step.at,
        f"{moment(point.created)}, {which}: {size}{of}, {more if slower else less} from here on (p = {step.p:.1g})",
        step.accepted or "",
        tuple(changes[:_CHANGES] + rest),
    )
