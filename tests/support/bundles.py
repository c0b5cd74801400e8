"""Small fitted systems, saved as model bundles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.datasets.base import load
from harness.datasets.encoded import EncodedDataset
from harness.datasets.registry import is_own_table
from harness.detectors.base import Detector
from harness.detectors.export import Fitted, save_bundle
from harness.detectors.registry import resolve
from harness.evaluation.metrics import operating_points
from harness.training.context import FitContext
from harness.workers.fit import dataset_record


@dataclass(frozen=True)
class Saved:
    """A bundle on disk beside the detector and the data that it was made of."""

    directory: Path
    detector: Detector
    data: EncodedDataset


def saved(
    directory: Path, name: str = "mlp", parameters: dict[str, Any] | None = None, dataset: str = "nsl-kdd",
    **options: Any,
) -> Saved:  # fmt: skip
    """Fit a detector on a stand-in, or on a table of one's own, and save it."""
    own = is_own_table(dataset)
    data = load(dataset, options={"rows": 1500, **options}, synthetic="never" if own else "always")
    detector = resolve(name, {"epochs": 1} if parameters is None else parameters)
    y = None if data.validation_y is None else data.validation_y.astype(int)
    detector.fit(data.train_x, data.train_y, context=FitContext(X_val=data.validation_x, y_val=y))
    points = ()
    if data.validation_x is not None:
        validation = detector.decision_function(data.validation_x), data.validation_y
        test = detector.decision_function(data.test_x), data.test_y
        points = operating_points(validation, test, missed_cost=10.0, target_recall=0.7)
    save_bundle(detector, data, Fitted(f"{dataset}-{name}", "clean", 0, dataset_record(data), points), directory)
    return Saved(directory, detector, data)
