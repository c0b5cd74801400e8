"""Rows that a load test sends: of a file, or made of the bundle's own columns and categories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.errors import InputError
from harness.serving.exchange import to_json
from harness.serving.model import ServedModel

ROWS = 1000  # different ones, so that no answer can come from a cache


def rows_of_file(model: ServedModel, path: Path) -> list[list[Any]]:
    """Raw rows of a file as `lparbench score` reads it.

    Raises:
        InputError: it cannot be read, or has no good row.
    """
    from harness.scoring.stream import layout_of
    from harness.scoring.whole_rows import file_rows

    rows: list[list[Any]] = []
    try:
        with path.open("rb") as file:
            for block in file_rows(path, file, layout_of(model.bundle, encoded=False)):
                if isinstance(block.frame, pd.DataFrame):
                    values = block.frame[list(model.bundle.encoder.columns)].astype(object)
                    rows += values.where(values.notna(), None).to_numpy().tolist()  # a missing number is null
                if len(rows) >= ROWS:
                    break
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", remedy="Check the path.") from None
    if not rows:
        raise InputError(f"{path} holds no row that fits the model.", remedy="Give raw rows, as for lparbench score.")
    return rows[:ROWS]


def made_rows(model: ServedModel, seed: int) -> list[list[Any]]:
    """Synthetic raw rows: any category, numbers from nothing to thousands.

    Raises:
        InputError: the model takes encoded rows only.
    """
    if model.cards is not None:
        raise InputError(
            f"{model.name} takes transactions of cards, whose scores depend on those before.",
            remedy="Give --cards 10000.",
        )
    if model.encoder is None:
        raise InputError(f"{model.name} takes encoded rows only.", remedy="Serve a model with an encoder for raw rows.")
    encoder = model.bundle.encoder
    rng = np.random.default_rng(seed)
    columns = [
        [encoder.vocabulary[name][code] for code in rng.integers(0, len(encoder.vocabulary[name]), ROWS)]
        if name in encoder.vocabulary
        else np.round(np.expm1(rng.exponential(2.0, ROWS)) * (rng.random(ROWS) < 0.5), 2).tolist()
        for name in encoder.columns
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def payloads(model: ServedModel, rows: list[list[Any]]) -> tuple[list[bytes], NDArray[np.float32]]:
    """Bodies for ``POST /predict``, and the detector's own scores."""
    assert model.encoder is not None
    return [to_json({"features": row}) for row in rows], model.score(model.encoder.encode(rows, "rows"))
