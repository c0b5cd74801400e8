"""Whether a detector can learn from the rows of a data set: asked before anything is measured, and before the fit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from harness.datasets.encoded import EncodedDataset
from harness.datasets.registry import is_own_table
from harness.detectors.base import Detector
from harness.detectors.foreign import Foreign
from harness.detectors.room import require_room
from harness.errors import InputError
from harness.workload.model import Value


def check_ready(detector: Detector, data: EncodedDataset, options: Mapping[str, Value]) -> None:
    """See that there are rows of both kinds for a detector that needs them, and memory for its fit.

    Args:
        detector: to be fitted.
        data: to be fitted on.
        options: of the data set.

    Raises:
        InputError: the training rows are all normal, or all anomalies, and it learns from labels: it would learn
            nothing, and its scores would all be equal; or it needs more memory than there is.
    """
    needs_labels = detector.needs_labels if isinstance(detector, Foreign) else detector.supervised
    if needs_labels and len(np.unique(data.train_y)) < 2:
        kind = "anomalies" if data.train_y.any() else "normal"
        # Of a user's table all labelled rows are taken unless asked otherwise; of others often the normal ones.
        drawn = kind == "normal" and options.get("train_rows", "all" if is_own_table(data.name) else None) != "all"
        of_option = 'Set train_rows = "all" in [dataset_options] where anomalies are labelled, or take'
        raise InputError(
            f"{detector.identity()} learns from labelled rows of both kinds; "
            f"the {len(data.train_y):,} training rows of {data.name} are all {kind}.",
            remedy=f"{of_option if drawn else 'Take'} a detector that learns from "
            "normal rows, such as isolation-forest or autoencoder.",
        )
    require_room(detector, data.train_x)
