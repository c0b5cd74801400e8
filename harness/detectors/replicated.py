"""Detectors that can be trained many at a time: the same method and data, other seeds or learning rates."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

from numpy.typing import ArrayLike

from harness.detectors.base import Detector, as_rows_or_codes
from harness.errors import InputError
from harness.training.context import FitContext, Labels, Matrix


@dataclass
class Replicated(Detector):
    """A detector whose training takes K of its kind at once; alone it is K = 1 of the same code."""

    takes_codes: ClassVar[bool] = True
    per_replica: ClassVar[frozenset[str]] = frozenset({"random_state", "learning_rate"})

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, *, context: FitContext | None = None) -> Detector:
        """Train this detector alone; see `Detector.fit`."""
        rows, labels = self.rows_to_train_on(X, y)
        self.train_together([self], rows, labels, context or FitContext())
        return self

    @classmethod
    def rows_to_train_on(cls, X: ArrayLike, y: ArrayLike | None) -> tuple[Matrix, Labels | None]:
        """Checked rows and labels; rows held as codes stay so."""
        rows, labels = as_rows_or_codes(X, y, cls.name)
        return cast("Matrix", rows), labels

    @classmethod
    @abstractmethod
    def train_together(cls, replicas: Sequence[Any], X: Matrix, y: Labels | None, context: FitContext) -> None:
        """Train all ``replicas``, which are of this class and differ in `per_replica` parameters only."""


def fit_together(
    detectors: Sequence[Detector], X: ArrayLike, y: ArrayLike | None = None, *, context: FitContext | None = None
) -> None:
    """Fit ``detectors`` on the same rows: in one go when they are replicas of each other, else one after the other.

    Raises:
        InputError: they are of one replicable class, but differ in more than random_state and learning rate.
    """
    first = detectors[0]
    if not isinstance(first, Replicated) or any(type(other) is not type(first) for other in detectors):
        alone = replace(context or FitContext(), charted=False)
        for at, detector in enumerate(detectors):  # the history of the first is what a record has
            detector.fit(X, y, context=alone if at else context)
        return
    expected = first.get_params()
    for other in detectors[1:]:
        for name, value in other.get_params().items():
            if name not in first.per_replica and value != expected[name]:
                raise InputError(
                    f"{first.name}: replicas differ in {name} ({expected[name]!r} and {value!r}).",
                    remedy=f"Only {', '.join(sorted(first.per_replica))} may differ; train the others separately.",
                )
    rows, labels = first.rows_to_train_on(X, y)
    type(first).train_together(detectors, rows, labels, context or FitContext())
