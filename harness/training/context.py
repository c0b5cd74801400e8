"""What a training gets besides its rows, and what it reports of each pass over them; needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from harness.record.spec import TrainingDtype

if TYPE_CHECKING:
    from harness.datasets.coded_rows import CodedRows
    from harness.datasets.streamed import BatchSource
    from harness.training.ranks import Ranks

Matrix = NDArray[np.float32]
Vector = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Epoch:
    """One pass over the training rows.

    Attributes:
        losses: means over the steps, by name; the first is the one to plot.
        steps: of the optimiser; 0 for a boosting round.
        validation: metrics of the validation rows after it, by name; empty where they were not looked at.
        validation_s: what measuring them took, which is not in ``seconds``.
    """

    index: int
    losses: dict[str, float]
    seconds: float
    steps: int
    rows: int
    validation: dict[str, float] = field(default_factory=dict)
    validation_s: float = 0.0

    @property
    def loss(self) -> float:
        """The leading loss."""
        return next(iter(self.losses.values()))


@dataclass(frozen=True)
class Schedule:
    """The passes of a training over its rows.

    Attributes:
        rows: number of training rows.
        batch_size: rows per step; the last batch may be smaller unless ``drop_last``.
        epochs: passes over the rows.
        seeds: of the replicas' row orders, which do not depend on how many replicas there are.
        loss_names: names of the losses that a step returns.
        orders: independent orders per pass.
        drop_last: leave out the incomplete last batch.
        batches_per_step: how many batches a step is given at once, side by side, for a trainer that walks through
            them itself; it then returns the mean of their losses.
    """

    rows: int
    batch_size: int
    epochs: int
    seeds: tuple[int, ...]
    loss_names: tuple[str, ...] = ("loss",)
    orders: int = 1
    drop_last: bool = False
    batches_per_step: int = 1

    @property
    def end(self) -> int:
        """Rows of a pass that are trained on."""
        whole = self.rows - self.rows % self.batch_size
        return whole if self.drop_last and whole else self.rows


@dataclass(frozen=True)
class FitContext:
    """What a caller may add to a fit: labelled validation rows, the trainer, listeners, and a bound on the work.

    ``trainer`` is asked of detectors that `Detector.trains_natively`; others train with torch whatever it says.
    ``dtype`` is what a native training rounds operands of products to; other trainings must not be asked for it.
    ``max_steps`` ends training after that many optimiser steps. ``on_steps`` is called after every ``lap_steps``
    steps and at the end of each pass with the number of steps since the last call; it ends training by returning
    False. Both are for a timing that needs no trained model. ``ranks`` share each batch; None trains alone.
    ``streamed`` is what detectors that can (`Detector.streams`) are trained on, in place of the rows given to ``fit``,
    which are then a part of it. Where not ``charted``, nobody will look at ``history_``, and what only makes its curves
    may be left out.
    """

    X_val: Matrix | CodedRows | None = None
    y_val: Labels | None = None
    trainer: Literal["torch", "native"] = "torch"
    dtype: TrainingDtype = "float32"
    on_epoch: Callable[[Epoch], None] | None = None
    max_steps: int | None = None
    on_steps: Callable[[int], bool] | None = None
    lap_steps: int = 1
    ranks: Ranks | None = None
    streamed: BatchSource | None = None
    charted: bool = True

    @property
    def only_timed(self) -> bool:
        """Whether the steps are timed and nobody will use the detector: it then needs no threshold."""
        return self.on_steps is not None
