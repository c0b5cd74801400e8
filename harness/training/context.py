"""What a training is given beside its rows, and what it tells of each pass over them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Vector = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Epoch:
    """One pass over the training rows. ``losses`` are means over the steps, by name; the first is the one to plot."""

    index: int
    losses: dict[str, float]
    seconds: float
    steps: int
    rows: int

    @property
    def loss(self) -> float:
        """The leading loss."""
        return next(iter(self.losses.values()))


@dataclass(frozen=True)
class FitContext:
    """What a caller may add to a fit: labelled validation rows, the trainer, listeners, and a bound on the work.

    ``trainer`` is asked of detectors with a `Detector.native_training`; others train with torch whatever it says.
    ``max_steps`` ends training after that many optimiser steps. ``on_steps`` is called after every ``lap_steps``
    steps and at the end of each pass with the number of steps since the last call; it ends training by returning
    False. Both are for a timing that needs no trained model.
    """

    X_val: Matrix | None = None
    y_val: Labels | None = None
    trainer: Literal["torch", "native"] = "torch"
    on_epoch: Callable[[Epoch], None] | None = None
    max_steps: int | None = None
    on_steps: Callable[[int], bool] | None = None
    lap_steps: int = 1

    @property
    def only_timed(self) -> bool:
        """Whether the steps are timed and nobody will use the detector: it then needs no threshold."""
        return self.on_steps is not None
