"""Parquet files through pyarrow, which is optional."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harness.datasets.csvfile import require_columns
from harness.errors import InputError

_BATCH_ROWS = 1 << 17


def frames(path: Path, wanted: Callable[[str], bool], *, required: Sequence[str] = ()) -> Iterator[pd.DataFrame]:
    """Read the wanted columns batch by batch.

    Yields:
        Float64 columns; anything that is no number as a categorical column of texts.

    Raises:
        InputError: pyarrow is not installed; no readable Parquet file; a required column is missing.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise InputError(f"{path}: reading Parquet needs pyarrow.", remedy="pip install pyarrow") from None
    try:
        file = ParquetFile(path)
        names = tuple(file.schema_arrow.names)
        require_columns(path, names, required)
        for batch in file.iter_batches(_BATCH_ROWS, columns=[name for name in names if wanted(name)]):
            frame = batch.to_pandas()
            yield pd.DataFrame({name: _column(frame[name]) for name in frame.columns})
    except (ArrowException, OSError) as error:
        raise InputError(f"{path} is no readable Parquet file: {str(error).splitlines()[0]}.") from None


def _column(column: pd.Series[Any]) -> pd.Series[Any]:
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.astype("float64")
    return column.astype("str").astype("category")
