"""Adversarial detectors with an encoder, whose scores are cheap enough to be looked at after every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from harness.detectors.adversarial import Adversarial
from harness.errors import InputError
from harness.evaluation import thresholds
from harness.training.context import Epoch, FitContext, Matrix
from harness.training.nets import load_state
from harness.training.replicas import Replicas


@dataclass
class Reconstructing(Adversarial):
    """``keep``: the weights of the ``last`` epoch, or of the one with the highest F1 on the ``validation`` labels, as
    the losses of an adversarial training do not tell when it is best.
    """

    keep: Literal["last", "validation"] = "last"


class Weights:
    """Which weights of ``replicas``, trained in ``groups``, are kept.

    Raises:
        InputError: validation labels are to choose them and there are none.
    """

    def __init__(self, replicas: Sequence[Reconstructing], groups: Sequence[Replicas], context: FitContext) -> None:
        self._replicas, self._groups, self._context = replicas, groups, context
        self._chosen = replicas[0].keep == "validation" and not context.only_timed
        if self._chosen and (context.X_val is None or context.y_val is None):
            raise InputError(f"{replicas[0].name}: keep = 'validation' needs a labelled validation split.")
        self._best = [float("-inf")] * len(replicas)
        self._states: list[dict[str, NDArray[Any]] | None] = [None] * len(replicas)

    def epoch(self) -> bool:
        """After an epoch: take note of replicas that are better than before; training goes on."""
        X, y = self._context.X_val, self._context.y_val
        if self._chosen and X is not None and y is not None:
            self._write_back()
            for index, replica in enumerate(self._replicas):
                figure = thresholds.highest_f1(replica.decision_function(X), y)
                if figure > self._best[index]:
                    self._best[index], self._states[index] = figure, replica.state()
        return True

    def finish(self, histories: Sequence[tuple[Epoch, ...]], normal: Matrix) -> None:
        """Give the replicas their weights, histories and thresholds."""
        self._write_back()
        for replica, state, history in zip(self._replicas, self._states, histories, strict=True):
            if state is not None:
                load_state(replica.nets, state)
            replica.history_ = history
            replica.choose(normal, self._context)

    def _write_back(self) -> None:
        for group in self._groups:
            group.write_back(averaged=True)
        for replica in self._replicas:
            replica.nets.eval()
