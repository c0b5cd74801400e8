"""The train scenario: the training loop of a backend, timed in laps of a few steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.datasets.coded_rows import CodedRows, Rows, chosen_rows
from harness.measure.laps import Laps
from harness.measure.sampling import Limits
from harness.measure.steady import PILOT_SAMPLES, steady_state
from harness.record.series import Series
from harness.record.spec import TrainingDtype
from harness.scenarios.series import MOST_SECONDS, Bench, as_series

# A sample should last a few milliseconds; a step of the small nets takes half of one, or some ten microseconds.
_EAGER_STEPS, _NATIVE_STEPS = 8, 64

Labels = NDArray[np.int8]


def train_eager(artifact: Path, X: Rows, y: Labels, seed: int, bench: Bench) -> list[Series]:
    """One series of laps of the detector's own torch loop; empty for a method that takes no steps.

    Args:
        artifact: directory of the exported detector; one of its kind is trained anew, for as long as the time allows.
        X: training rows, (n, d).
        y: their labels, (n,).
        seed: of weights and orders.
        bench: what to time with.
    """
    return _by_fit(artifact, X, y, seed, bench, "torch")


def train_native(
    artifact: Path, X: Rows, y: Labels, seed: int, bench: Bench, dtype: TrainingDtype = "float32"
) -> list[Series]:
    """One series of laps of the native trainer, which goes on from the exported weights of a chain of dense layers.

    Arguments as for ``train_eager``. No torch is loaded: what is timed is the trainer alone. A detector that the native
    kernels train in another way is trained anew, with products in ``dtype``; torch then makes the order of its rows.
    """
    from harness import decode
    from harness.scoring.artifacts import TRAINING_FILE, read
    from harness.scoring.backend_native import as_chain
    from harness.training.native_spec import NativeTraining, dense_trainer, trained_form

    if not (artifact / TRAINING_FILE).exists():
        return _by_fit(artifact, X, y, seed, bench, "native", dtype)
    how = decode.decode_json_file(NativeTraining, artifact / TRAINING_FILE)
    chain = as_chain(read(artifact).program())
    if chain is None:
        return []
    trainer = dense_trainer(trained_form(chain[0], how), how)
    rows = X if how.loss == "bce" else chosen_rows(X, y == 0)
    targets = y.astype(np.float32) if how.loss == "bce" else None
    generator = np.random.default_rng(seed)
    steps = min(_NATIVE_STEPS, max(1, len(rows) // how.batch_size))
    stride = steps * how.batch_size

    def work(lap: Callable[[int], bool]) -> None:
        while True:
            order = generator.permutation(len(rows)).astype(np.int64)
            for start in range(0, len(rows), stride):
                part = order[start : start + stride]
                drawn = (len(part), trainer.latent)
                noise = generator.standard_normal(drawn, dtype=np.float32) if trainer.latent else None
                learnt, wanted, at = rows, targets, part
                if isinstance(learnt, CodedRows):  # the features of these batches alone, as in a training
                    learnt, wanted, at = learnt[part], None if targets is None else targets[part], np.arange(len(part))
                trainer.epoch(learnt, wanted, order=at, batch_size=how.batch_size, noise=noise)
                if not lap(-(-len(part) // how.batch_size)):
                    return

    return _timed(work, steps, bench)


def _by_fit(
    artifact: Path, X: Rows, y: Labels, seed: int, bench: Bench, trainer: Literal["torch", "native"],
    dtype: TrainingDtype = "float32",
) -> list[Series]:  # fmt: skip
    from harness.detectors.registry import resolve
    from harness.scoring.artifacts import DETECTOR_FILE
    from harness.training.context import FitContext

    meta = json.loads((artifact / DETECTOR_FILE).read_text(encoding="utf-8"))
    parameters = {**meta["parameters"], "random_state": seed}
    detector = resolve(meta["detector"], parameters)
    learnt = len(y) if detector.supervised else int((y == 0).sum())
    per_pass = max(1, learnt // parameters.get("batch_size", 1))
    laps = min(_EAGER_STEPS, per_pass)  # a lap does not reach beyond its pass
    if "epochs" in parameters:  # of few rows it takes many passes to make a series
        enough = -(-(PILOT_SAMPLES + 1) * laps // per_pass)
        detector.set_params(epochs=max(parameters["epochs"], enough))

    if trainer == "native" and not detector.trains_natively:
        return []

    def work(lap: Callable[[int], bool]) -> None:
        detector.fit(X, y, context=FitContext(trainer=trainer, dtype=dtype, on_steps=lap, lap_steps=laps))

    return _timed(work, laps, bench)


def _timed(work: Callable[[Callable[[int], bool]], Any], steps: int, bench: Bench) -> list[Series]:
    limits = Limits(samples=4 * PILOT_SAMPLES, budget_s=bench.seconds, at_least=PILOT_SAMPLES, most_s=MOST_SECONDS)
    laps = Laps(bench.clock, bench.counters, bench.watch, inner=steps, limits=limits)
    work(laps.lap)
    samples = laps.samples()
    if not len(samples):
        return []
    return [as_series("steps", samples, steady_state(samples.durations_ns), None)]
