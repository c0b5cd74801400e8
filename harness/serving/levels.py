"""What is to be done with a row: thresholds on the probability of an anomaly, by name, and how sure that is.

The defaults are those of the FT-Transformer document: investigate above 0.3, alert above 0.5, block above 0.7. A
threshold may also be asked for by what it does on the validation rows, whose scores the bundle keeps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError
from harness.evaluation import thresholds
from harness.scoring.bundle import Bundle

NONE = "none"
DEFAULT = "investigate=0.3,alert=0.5,block=0.7"
_MOST = 8
_NAME = re.compile(r"[A-Za-z][\w-]{0,31}")
_EXPECTED = (
    "Expected rising levels such as investigate=0.3,alert=0.5,block=0.7; in place of a probability recall:0.99, "
    "fpr:0.001 or cost:10 (a miss costs so many false alarms), solved on the validation rows."
)


@dataclass(frozen=True)
class Level:
    """What is above ``score``, or above ``probability`` where there is none, is of this level at least."""

    name: str
    probability: float
    score: float | None = None


@dataclass(frozen=True)
class Levels:
    """Levels by rising threshold."""

    levels: tuple[Level, ...]
    calibrated: bool

    @classmethod
    def of(cls, bundle: Bundle, text: str = DEFAULT) -> Levels | None:
        """Levels as ``--thresholds`` gives them; None where the model has no probabilities and none were asked for.

        Raises:
            InputError: the text gives none, they do not rise, or the model cannot have them.
        """
        if bundle.probabilities(np.zeros(1, dtype=np.float32)) is None:
            if text == DEFAULT:
                return None
            raise InputError(
                f"--thresholds are of probabilities; {bundle.manifest.provenance.workload} has none: its scores are no "
                "probabilities, and its validation rows could not calibrate them.",
                remedy="Serve a classifier, or a detector saved with labelled validation rows of both kinds.",
            )
        levels = tuple(_level(bundle, target) for target in targets(text))
        values = [level.probability for level in levels]
        if any(high <= low for low, high in pairwise(values)):
            solved = ", ".join(f"{level.name} {level.probability:.4g}" for level in levels)
            raise InputError(f"--thresholds {text!r} do not rise: {solved}.", remedy=_EXPECTED)
        return cls(levels, bundle.manifest.calibration is not None)

    @property
    def thresholds(self) -> dict[str, float]:
        """Probability of each level."""
        return {level.name: level.probability for level in self.levels}

    def names(self, scores: NDArray[np.float32], probabilities: NDArray[np.float32]) -> list[str]:
        """The highest level of each row."""
        reached = np.zeros(len(scores), dtype=np.int64)
        for number, level in enumerate(self.levels, 1):
            over = probabilities > level.probability if level.score is None else scores > np.float32(level.score)
            reached[over] = number
        all_names = (NONE, *(level.name for level in self.levels))
        return [all_names[number] for number in reached.tolist()]


@dataclass(frozen=True)
class Target:
    """What a level is asked to be."""

    name: str
    rule: str  # "" for a probability
    number: float
    text: str


def targets(text: str) -> tuple[Target, ...]:
    """Levels as they were written.

    Raises:
        InputError: they are none.
    """
    given = tuple(_target(part.strip()) for part in text.split(","))
    names = {target.name for target in given}
    if len(given) > _MOST or len(names) < len(given) or NONE in names:
        raise InputError(f"--thresholds {text!r}: expected at most {_MOST} different names.", remedy=_EXPECTED)
    return given


def _target(text: str) -> Target:
    name, separator, value = text.partition("=")
    if not separator or not _NAME.fullmatch(name):
        raise InputError(f"--thresholds: {text!r} is no level.", remedy=_EXPECTED)
    rule, separator, amount = value.replace("=", ":").partition(":")
    number = _number(amount.removesuffix(":1") if separator else value)
    if not separator:
        if number is None or not 0 < number < 1:
            raise InputError(f"--thresholds {text}: expected a probability between 0 and 1.", remedy=_EXPECTED)
        return Target(name, "", number, text)
    highest = {"recall": 1.0, "fpr": float(np.nextafter(1, 0)), "cost": float("inf")}.get(rule, 0.0)
    if number is None or not 0 < number <= highest:
        raise InputError(f"--thresholds {text} is no target.", remedy=_EXPECTED)
    return Target(name, rule, number, text)


def _level(bundle: Bundle, target: Target) -> Level:
    if not target.rule:
        return Level(target.name, target.number)
    if bundle.validation is None:
        raise InputError(
            f"--thresholds {target.text}: the bundle holds no scores of labelled validation rows.",
            remedy="Give a probability, or save the model with validation rows of both kinds.",
        )
    scores, labels = bundle.validation
    match target.rule:
        case "recall":
            cut = thresholds.at_recall(scores, labels, target.number)
        case "fpr":
            cut = thresholds.at_false_positive_rate(scores, labels, target.number)
        case _:
            cut = thresholds.least_cost(scores, labels, target.number)
    probability = bundle.probabilities(np.array([cut.value], dtype=np.float32))
    assert probability is not None
    return Level(target.name, float(probability[0]), cut.value)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None
