"""A score that is searched for: the code whose generated row is nearest, as data and on the native kernels.

All of it is float64: the signs in the gradient and Adam's division turn a rounding error into another path, and five
hundred steps in float32 end, for some rows, in scores that differ in the third digit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.linalg import native
from harness.linalg.layers import checked, coded
from harness.scoring.program import DenseLayer

Rule = Literal["cross-entropy", "feature-matching"]


@dataclass(frozen=True)
class CodeSearch:
    """What to search and how.

    The loss of a code for a row is (1 - ``weight``) times the L1 distance of the row to what the generator makes of the
    code, plus ``weight`` times the judge's term: by ``cross-entropy`` the softplus of its negated logit, by
    ``feature-matching`` the L1 distance of the values before its last layer. The score is the loss of the last code.
    """

    generator: Sequence[DenseLayer]
    judge: Sequence[DenseLayer]
    rule: Rule
    weight: float
    start: NDArray[np.float32]  # code that every row begins with, (latent,)
    rates: NDArray[np.float64]  # of each step, (steps,)
    betas: tuple[float, float]  # Adam's
    eps: float

    @property
    def judging(self) -> Sequence[DenseLayer]:
        """The layers of the judge that the rule looks at."""
        return self.judge[:-1] if self.rule == "feature-matching" else self.judge


def native_searcher(
    search: CodeSearch, threads: int | None = None, *, isa: str | None = None
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """A function from rows (n, d) to their scores (n,), by the native kernels.

    Args:
        search: with no activations but ReLU and leaky ReLU.
        threads: at most so many; by default the placement's.
        isa: the instruction set to use instead of the best one, by its name.

    Raises:
        InputError: the kernels are not built.
    """
    selected = native.select(isa)
    assert native.extension is not None
    compiled = native.extension.Search(
        selected.index,
        _coded(search.generator),
        _coded(search.judging),
        native.extension.SEARCH_TERMS[search.rule],
        search.weight,
        search.start.astype(np.float64),
        np.ascontiguousarray(search.rates, dtype=np.float64),
        *search.betas,
        search.eps,
        native.default_threads() if threads is None else threads,
    )
    return compiled.run


def _coded(layers: Sequence[DenseLayer]) -> list[tuple[NDArray[np.float32], NDArray[np.float32], int, float]]:
    return coded(checked([(each.weight, each.bias, each.activation, each.slope) for each in layers]))
