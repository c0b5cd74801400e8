"""What trains and searches on the native kernels, compared with torch: pairs on one thread, CPU time, median ratios.

    python tests/bench/training_figures.py [--pairs 15] [--only search-matching]

prints every figure with its bar and exits 1 if one is missed: 2.5, and 1 for products of bfloat16 compared with the
native float32 step. Cases that end in bf16 compare with torch under autocast to bfloat16. Detectors are of the
published sizes, on generated rows of as many features as their workload has; how well they detect is no matter here.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from kernel_pairs import Pairs, take_turns

from harness.detectors.anogan import AnoGAN
from harness.detectors.registry import resolve
from harness.record.spec import TrainingDtype
from harness.training.context import FitContext

BAR = 2.5
FEATURES = 121
SEARCHED, SEARCH_STEPS = 512, 20
TRAINED = 10_000


def rows(count: int, features: int = FEATURES) -> np.ndarray:
    """Numbers in [0, 1] and indicators, as encoded traffic has."""
    generator = np.random.default_rng(0)
    made = (generator.random((count, features)) < 0.1).astype(np.float32)
    numbers = min(40, features)
    made[:, :numbers] = generator.random((count, numbers))
    return made


def searched(rule: str, pairs: int) -> Pairs:
    """A search over distinct rows; that of a full length takes 25 times as many steps."""
    detector = AnoGAN(score_by=rule, search_steps=SEARCH_STEPS)
    detector.build(FEATURES)
    detector.fitted_net().eval()
    X = rows(SEARCHED)
    return take_turns(partial(detector.decision_function, X), partial(detector.eager_scores, X), pairs)


@dataclass(frozen=True)
class Side:
    """A way to train: by which steps, and in which format products are; torch by autocast."""

    trainer: Literal["native", "torch"]
    dtype: TrainingDtype = "float32"

    def context(self, **options: Any) -> FitContext:
        """Of a fit so."""
        return FitContext(trainer=self.trainer, dtype=self.dtype if self.trainer == "native" else "float32", **options)

    def products(self) -> AbstractContextManager[Any]:
        """Around a fit so."""
        cast = self.trainer == "torch" and self.dtype == "bfloat16"
        return torch.autocast("cpu", dtype=torch.bfloat16) if cast else nullcontext()


SIDES = (Side("native"), Side("torch"))
CAST = (Side("native", "bfloat16"), Side("torch", "bfloat16"))
ROUNDED = (Side("native", "bfloat16"), Side("native"))


def trained(
    name: str,
    parameters: dict[str, Any],
    pairs: int,
    features: int = FEATURES,
    most: int = 20,
    steps: int = 0,
    sides: tuple[Side, Side] = SIDES,
) -> Pairs:
    """Steps of a training, ``most`` at a time; that a net is built and the first steps are not timed.

    Of windows where there are ``steps``; of each of the ``sides``.
    """
    X, batch = rows(TRAINED, features), parameters["batch_size"]
    if steps:
        X = np.lib.stride_tricks.sliding_window_view(np.pad(X, ((steps - 1, 0), (0, 0))), steps, axis=0).swapaxes(1, 2)
    y = np.arange(TRAINED) % 4 == 0 if resolve(name, {}).supervised else None
    lap = max(1, min(most, TRAINED // batch // 2))
    times: dict[Side, list[float]] = {side: [] for side in sides}
    for _ in range(pairs):
        for side in sides:
            marks: list[float] = []
            with side.products():
                context = side.context(lap_steps=lap, on_steps=partial(_marked, marks))
                resolve(name, {**parameters, "epochs": 1}).fit(X, y, context=context)
            times[side].append((marks[1] - marks[0]) / lap)
    return Pairs(*(tuple(of_side) for of_side in times.values()))


def _marked(marks: list[float], steps: int) -> bool:
    marks.append(time.process_time())
    return len(marks) < 2


ROUNDING: dict[str, Callable[..., Pairs]] = {
    "ft-transformer": partial(
        trained, "ft-transformer", {"batch_size": 256, "pretraining_epochs": 0}, features=72, most=1
    ),
    "lstm": partial(trained, "lstm", {"batch_size": 256}, features=27, steps=10),
    "bilstm": partial(trained, "bilstm", {"batch_size": 512}, features=72),
    "cnn": partial(trained, "cnn", {"batch_size": 512}, features=72),
}
CASES: dict[str, Callable[[int], Pairs]] = {
    "search-matching": partial(searched, "feature-matching"),
    "search-logit": partial(searched, "cross-entropy"),
    "anogan": partial(trained, "anogan", {"batch_size": 50}),
    "egbad": partial(trained, "egbad", {"batch_size": 50}),
    "egbad-256": partial(trained, "egbad", {"batch_size": 256}),
    "egbad-images": partial(trained, "egbad-images", {"batch_size": 100}, features=784, most=3),
    "alad": partial(trained, "alad", {"batch_size": 50, "code_cycle": False}),
    "dagmm": partial(trained, "dagmm", {"batch_size": 1024}),
    "dagmm-nvi": partial(trained, "dagmm", {"batch_size": 1024, "objective": "variational"}),
    **ROUNDING,
    **{f"{name}-bf16": partial(case, sides=CAST) for name, case in ROUNDING.items()},
    **{f"{name}-bf16-float32": partial(case, sides=ROUNDED) for name, case in ROUNDING.items()},
    "ft-transformer-masked": partial(trained, "ft-transformer", {"batch_size": 256}, features=72, most=1),
    "lstm-80": partial(trained, "lstm", {"batch_size": 256}, features=80, steps=10),
    "dsebm": partial(trained, "dsebm", {"batch_size": 100}),
    "alad-256": partial(trained, "alad", {"batch_size": 256}),
}


def main() -> int:
    """Print the table; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--only", default=",".join(CASES))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    met = True
    for name in chosen.only.split(","):
        found = CASES[name](chosen.pairs)
        ours, theirs = (1e6 * statistics.median(side) for side in (found.ours, found.theirs))
        bar = 1.0 if name.endswith("-float32") else BAR
        met &= found.ratio >= bar
        print(f"{'ok  ' if found.ratio >= bar else 'MISS'} {name:27s} {ours:12.1f} us : {theirs:12.1f} us  "
              f"{found.ratio:5.2f} >= {bar:g}", flush=True)  # fmt: skip
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
