"""What a detector is given: encoded float32 arrays with labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from harness.datasets.coded_rows import Rows

if TYPE_CHECKING:
    from harness.datasets.encoders import Encoder
    from harness.datasets.streamed import BatchSource

Protocol = Literal["clean", "as-published"]
Origin = Literal["real", "synthetic"]
Synthetic = Literal["never", "when-missing", "always"]

Labels = npt.NDArray[np.int8]
Strings = npt.NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class EncodedDataset:
    """A data set ready for a detector: n training, v validation and m test rows of d features.

    ``*_x`` are C-contiguous float32 of shape (rows, d), or (rows, steps, d) for windows over a sequence, oldest step
    first; or `CodedRows`, where indicators would take much memory. ``*_y`` are int8, 1 = anomaly. Validation labels may
    choose a threshold or a preset; test labels may not.
    """

    name: str
    origin: Origin
    protocol: Protocol
    sha256: Mapping[str, str]  # canonical file name -> digest of the uncompressed file
    verified: bool | None  # None: no digest is known for at least one of the files
    train_x: Rows
    train_y: Labels
    validation_x: Rows | None
    validation_y: Labels | None
    test_x: Rows
    test_y: Labels
    feature_names: tuple[str, ...]
    train_class: Strings | None = None  # class of each row ("normal", "neptune", ...), where the data set names them
    validation_class: Strings | None = None
    test_class: Strings | None = None
    # Entity of each test window (a card), its windows in time order; drawing ``rows`` leaves gaps between them.
    test_group: npt.NDArray[np.int64] | None = None
    notes: tuple[str, ...] = ()
    split_seed: int | None = (
        None  # that the test rows were drawn with; None where they are those of a publisher or time
    )
    warnings: tuple[str, ...] = ()  # see ``harness.datasets.suspicions``
    duplicates: Mapping[str, int] = field(default_factory=dict)  # see ``harness.datasets.table.count_duplicates``
    # Columns of a published file without a header, label included; none where files have headers or are no text.
    file_columns: tuple[str, ...] = ()
    streamed: BatchSource | None = None  # what is trained on, where the training rows here are only a part of it
    encoder: Encoder | None = None  # fitted on training rows; None where the arrays are the published numbers

    def __post_init__(self) -> None:
        for split in ("train", "validation", "test"):
            x, y = getattr(self, f"{split}_x"), getattr(self, f"{split}_y")
            if x is None and y is None and split == "validation":
                continue
            if x.dtype != np.float32 or y.dtype != np.int8 or len(x) != len(y):
                raise TypeError(f"{split}: float32 rows with as many int8 labels expected")
            if x.shape[-1] != len(self.feature_names):
                raise TypeError(f"{split}: {x.shape[-1]} features, {len(self.feature_names)} names")

    @property
    def prevalence(self) -> float:
        """Share of anomalies among the test rows, in [0, 1]."""
        return float(np.mean(self.test_y == 1))

    @property
    def rows(self) -> dict[str, int]:
        """Split -> number of rows."""
        train = len(self.train_x) if self.streamed is None else self.streamed.rows
        counts = {"train": train, "test": len(self.test_x)}
        if self.validation_x is not None:
            counts["validation"] = len(self.validation_x)
        return counts
